"""`farfield store`, `consent`, `utterances` and `audit` as the owner meets them: status, stdout, one line where it is refused."""

import json
import random
import sqlite3
import stat
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from farfield.store import Settings, Store, keys, merkle, read_package, read_receipt
from farfield.store.log import read_checkpoint
from farfield.store.opened import utc_now
from farfield.store.records import Records
from reference.command import said_by
from reference.keeping import OWNER, POLICY, REVIEWERS, Clock, files, keep, marked, traces


@pytest.fixture
def run(capsys, monkeypatch):
    """Run `farfield ARGUMENTS`, without a terminal: (status, lines on stdout, lines on stderr)."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False))
    monkeypatch.delenv("FARFIELD_STORE", raising=False)
    return partial(said_by, capsys)


@pytest.fixture
def refused(run):
    """Run what is wrong use: nothing on stdout, status 2, one line that says this."""

    def refused_(what, *arguments):
        status, out, err = run(*arguments)
        assert (status, out, len(err)) == (2, [], 1) and err[0].startswith("farfield") and what in err[0], (status, out, err)

    return refused_


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A store in `store` with utterances of three days before today, keys beside it, and FARFIELD_STORE set."""
    start = utc_now().replace(hour=10, minute=30, second=15, microsecond=0) - timedelta(days=4)
    clock, folder = Clock(start), tmp_path / "store"
    settings = Settings(OWNER.public_key(), REVIEWERS.public_key(), retention_days=3650, sample_share=1.0)
    store = Store.set_up(folder, settings, clock=clock, uptime=clock.uptime)
    store.chance = random.Random(1)
    store.give(("store", "review"), POLICY)
    store.kept = []
    for seed in range(3):
        store.kept.append(keep(store, marked(seed, 0.3)))
        clock.go(days=1)
    monkeypatch.setenv("FARFIELD_STORE", str(folder))
    for name, private in (("owner", OWNER), ("reviewers", REVIEWERS)):
        kept = {"kind": keys._KIND, "key": keys._base64(private.private_bytes_raw())}
        (tmp_path / f"{name}.key").write_text(json.dumps(kept))
        (tmp_path / f"{name}.pub").write_bytes(keys.pem(private.public_key()))
    return SimpleNamespace(path=tmp_path, folder=folder, store=Store(folder), kept=store.kept, start=start,
                           owner=tmp_path / "owner.key", other=tmp_path / "reviewers.key")  # fmt: skip


def test_from_two_keys_to_a_store_that_keeps_nothing_yet(run, refused, tmp_path):
    folder, owner = tmp_path / "store", tmp_path / "owner.key"
    (tmp_path / "secret").write_text("correct horse\n")
    status, out, err = run("store", "key", "-o", owner, "--passphrase-file", tmp_path / "secret")
    assert (status, err) == (0, []) and "fingerprint" in out[0] and stat.S_IMODE(owner.stat().st_mode) == 0o600
    assert run("store", "key", "-o", tmp_path / "reviewers.key", "--no-passphrase")[0] == 0
    refused("no terminal to ask on", "store", "key", "-o", tmp_path / "third.key")
    refused("is there already", "store", "key", "-o", owner, "--no-passphrase")
    for is_folder in (".", "/", tmp_path):
        refused("is a folder; wanted a new file's name", "store", "key", "-o", is_folder, "--no-passphrase")
    refused("--owner: got none", "store", "setup", folder)
    assert not folder.exists()
    refused("no X25519 public key", "store", "setup", folder, "--owner", owner)
    refused("retention-days: got 0, wanted 1 to 3650", "store", "setup", folder, "--owner", tmp_path / "owner.pub",
            "--retention-days", 0)  # fmt: skip
    assert not folder.exists(), "what was refused made nothing"
    status, out, err = run("store", "setup", folder, "--owner", tmp_path / "owner.pub")
    assert (status, out) == (0, []) and "made" in err[0] and (folder / "device.pub").exists()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in files(folder) if path.suffix != ".pub"} == {0o600}
    assert run("consent", "show", "--store", folder)[1] == [f"{purpose}: not given" for purpose in
                                                            ("store", "review", "train", "false-wake")]  # fmt: skip
    assert keep(Store(folder), marked(1)) == ""
    both = "--reviewers", tmp_path / "reviewers.pub", "--no-reviewers"
    refused("wanted one of them", "store", "setup", folder, *both)
    status, _, err = run("store", "setup", folder, *both[:2], "--retention-days", 7)
    assert status == 0 and "changed" in err[0]
    shown = json.loads(run("store", "show", "--store", folder, "--json")[1][0])
    assert (shown["retention_days"], shown["sample_a_day"], shown["sample_share"], shown["utterances"]) == (7, 5, 0.01, 0)
    assert shown["reviewers"] in run("store", "show", "--store", folder)[1][1]
    assert run("store", "setup", folder, "--no-reviewers")[0] == 0
    assert json.loads(run("store", "show", "--store", folder, "--json")[1][0])["reviewers"] is None


@pytest.mark.parametrize(
    "command",
    [["utterances", "list"], ["utterances", "delete", "--all"], ["utterances", "report", "aa"], ["consent", "show"],
     ["consent", "give", "store"], ["consent", "withdraw", "store"], ["audit", "show"], ["audit", "verify"],
     ["audit", "checkpoint"], ["audit", "prove", "0"], ["store", "show"]],
    ids=" ".join,
)  # fmt: skip
def test_without_a_store_there_is_one_line(refused, tmp_path, command):
    refused("Missing option '--store'", *command)
    refused("is no store; set one up with", *command, "--store", tmp_path)


def test_list_tells_what_is_kept_and_no_sound(run, home):
    status, out, err = run("utterances", "list")
    assert (status, err) == (0, []) and [line.split()[0] for line in out] == home.kept
    assert f"{home.start:%Y-%m-%dT%H:%M:%SZ}  0.3 s  alexa" in out[0]
    told = [json.loads(line) for line in run("utterances", "list", "--json")[1]]
    assert [one["id"] for one in told] == home.kept
    assert set(told[0]) == {"id", "at", "seconds", "word", "reported", "train"}


def test_export_gives_wav_and_json_with_the_owners_key_alone(run, refused, home):
    out = home.path / "out"
    refused("is no folder", "utterances", "export", "--all", "--key", home.owner, "-o", out)
    out.mkdir()
    refused("does not open", "utterances", "export", "--all", "--key", home.other, "-o", out)
    refused("cannot be read", "utterances", "export", "--all", "--key", home.path / "none", "-o", out)
    refused("is no private key", "utterances", "export", "--all", "--key", home.path / "owner.pub", "-o", out)
    assert list(out.iterdir()) == []
    status, lines, err = run("utterances", "export", "--all", "--key", home.owner, "-o", out)
    assert (status, err) == (0, []) and lines == [str(out / f"{one}.wav") for one in home.kept]
    for seed, identity in enumerate(home.kept):
        samples, rate = soundfile.read(out / f"{identity}.wav", dtype="int16")
        assert rate == 16_000 and np.array_equal(samples, marked(seed, 0.3))
        known = json.loads((out / f"{identity}.json").read_text())
        assert (known["id"], known["word"], known["word_start"], known["samples"]) == (identity, "alexa", 8_000, 4_800)
    assert traces(home.folder, marked(0, 0.3)) == []
    told = [json.loads(line)["what"] for line in run("audit", "show", "--json")[1]]
    assert told[-3:] == ["export"] * 3 and told.count("export") == 3, "and what was refused is not told as done"


def test_an_export_that_finds_no_room_leaves_nothing_half_written(refused, home, monkeypatch):
    (out := home.path / "out").mkdir()

    def full(*_, **__):
        raise soundfile.LibsndfileError(2)

    monkeypatch.setattr(soundfile, "write", full)
    refused("cannot be written", "utterances", "export", "--last", "--key", home.owner, "-o", out)
    assert list(out.iterdir()) == []


def day(home, days):
    return f"{home.start + timedelta(days=days):%Y-%m-%d}"


CHOICES = {
    "last": (lambda home: ["--last"], [2]),
    "a day": (lambda home: ["--at", day(home, 1)], [1]),
    "a minute": (lambda home: ["--at", f"{day(home, 1)}T10:30"], [1]),
    "a second": (lambda home: ["--at", f"{day(home, 1)} 10:30:15Z"], [1]),
    "since": (lambda home: ["--since", day(home, 1)], [1, 2]),
    "until": (lambda home: ["--until", day(home, 1)], [0, 1]),
    "until the last day": (lambda home: ["--until", "9999-12-31"], [0, 1, 2]),
    "a range": (lambda home: ["--since", day(home, 1), "--until", f"{day(home, 1)}T10"], [1]),
    "all": (lambda home: ["--all"], [0, 1, 2]),
    "an id cut short": (lambda home: [home.kept[1][:12]], [1]),
    "ids": (lambda home: [home.kept[2], home.kept[0]], [0, 2]),
}


@pytest.mark.parametrize(("which", "meant"), CHOICES.values(), ids=CHOICES)
def test_delete_takes_what_was_meant_and_gives_a_signed_receipt(run, home, which, meant):
    status, out, err = run("utterances", "delete", *which(home))
    receipt = read_receipt("\n".join(out).encode(), home.store.device.public)
    assert (status, err) == (0, []) and list(receipt.utterances) == [home.kept[n] for n in meant]
    left = [home.kept[n] for n in range(3) if n not in meant]
    assert [line.split()[0] for line in run("utterances", "list")[1]] == left
    assert {path.stem for path in (home.folder / "sealed").iterdir()} == set(left)


WRONG = {
    "nothing": ([], "got 0 choices"),
    "two ways": (["--last", "--all"], "got 2 choices"),
    "no such id": (["ffffzz"], "0 utterances begin so"),
    "every id": ([""], "utterances begin so"),
    "a time without any": (["--at", "2001-01-01"], "none is kept that was meant"),
    "an empty range": (["--since", "2001-01-02", "--until", "2001-01-01"], "none is kept that was meant"),
    "no time": (["--since", "yesterday"], "--since: got 'yesterday', wanted a UTC time"),
    "no such day": (["--at", "2026-02-30"], "--at: got '2026-02-30'"),
}


@pytest.mark.parametrize(("which", "told"), WRONG.values(), ids=WRONG)
def test_what_means_nothing_deletes_nothing(run, refused, home, which, told):
    refused(told, "utterances", "delete", *which)
    assert len(run("utterances", "list")[1]) == 3


def test_a_receipt_goes_into_a_new_file_or_nothing_is_deleted(run, refused, home):
    path = home.path / "receipt.json"
    path.write_text("mine")
    refused("is there already", "utterances", "delete", "--last", "--receipt", path)
    refused("has no folder", "utterances", "delete", "--last", "--receipt", home.path / "nowhere" / "receipt.json")
    assert len(run("utterances", "list")[1]) == 3 and path.read_text() == "mine"
    path.unlink()
    assert run("utterances", "delete", "--last", "--receipt", path) == (0, ["deleted: 1"], [])
    assert read_receipt(path.read_bytes(), home.store.device.public).utterances == (home.kept[2],)
    assert run("audit", "verify", "--checkpoint", path)[0] == 0


class Player:
    """An ALSA player in software: what was written to it."""

    PCM_FORMAT_S16_LE = 2

    class ALSAAudioError(Exception):
        pass

    def __init__(self, fails="", **changes):
        self.fails, self.changes, self.played, self.asked = fails, changes, b"", {}

    def PCM(self, **asked):
        if self.fails:
            raise self.ALSAAudioError(self.fails)
        self.asked = asked
        return self

    def info(self):
        return {"rate": self.asked["rate"], "channels": self.asked["channels"], "format_name": "S16_LE"} | self.changes

    def write(self, data):
        self.played += data

    def close(self):
        self.asked["closed"] = True


def test_play_plays_all_of_it_and_tells_the_log(run, refused, home, monkeypatch):
    player = Player()
    monkeypatch.setitem(sys.modules, "alsaaudio", player)
    refused("does not open", "utterances", "play", home.kept[1], "--key", home.other)
    assert player.played == b""
    assert run("utterances", "play", home.kept[1][:10], "--key", home.owner, "--device", "hw:7") == (0, [], [])
    sound = marked(1, 0.3).tobytes()
    assert player.played[: len(sound)] == sound and not any(player.played[len(sound) :])
    assert (player.asked["device"], player.asked["rate"], player.asked["channels"], player.asked["closed"]) == (
        "hw:7", 16_000, 1, True)  # fmt: skip
    told = [json.loads(line) for line in run("audit", "show", "--json")[1]]
    assert [(entry["what"], entry["utterance"]) for entry in told if entry["what"] == "play"] == [("play", home.kept[1])]
    other = Player(rate=48_000, channels=2)
    monkeypatch.setitem(sys.modules, "alsaaudio", other)
    refused("hw:7: got rate 48000 for 16000, channels 2 for 1; wanted one that converts: plug:hw:7", "utterances", "play",
            home.kept[1], "--key", home.owner, "--device", "hw:7")  # fmt: skip
    assert other.played == b""
    monkeypatch.setitem(sys.modules, "alsaaudio", Player("No such device"))
    refused("hw:7 cannot be played on (No such device)", "utterances", "play", home.kept[1], "--key", home.owner, "--device",
            "hw:7")  # fmt: skip
    monkeypatch.setitem(sys.modules, "alsaaudio", None)
    refused("pip install 'farfield[alsa]'", "utterances", "play", home.kept[1], "--key", home.owner)


def test_a_key_with_a_passphrase_asks_for_it(run, refused, tmp_path):
    (tmp_path / "right").write_text("correct horse\n")
    (tmp_path / "wrong").write_text("horse\n")
    (tmp_path / "empty").write_text("")
    assert run("store", "key", "-o", tmp_path / "o.key", "--passphrase-file", tmp_path / "right")[0] == 0
    assert run("store", "setup", tmp_path / "s", "--owner", tmp_path / "o.pub")[0] == 0
    assert run("consent", "give", "store", "--store", tmp_path / "s")[0] == 0
    keep(Store(tmp_path / "s"), marked(1, 0.1))
    (tmp_path / "out").mkdir()
    export = "utterances", "export", "--all", "--store", tmp_path / "s", "--key", tmp_path / "o.key", "-o", tmp_path / "out"
    refused("no terminal to ask on", *export)
    refused("passphrase is wrong", *export, "--passphrase-file", tmp_path / "wrong")
    refused("is empty", *export, "--passphrase-file", tmp_path / "empty")
    refused("cannot be read", *export, "--passphrase-file", tmp_path / "none")
    assert run(*export, "--passphrase-file", tmp_path / "right")[0] == 0 and len(files(tmp_path / "out")) == 2


def test_reports_offers_and_samples_reach_reviewers(run, refused, home):
    (out := home.path / "out").mkdir()
    refused("is no folder", "utterances", "review", "-o", home.path / "none")
    status, lines, err = run("utterances", "review", "-o", out)
    assert (status, err, len(lines)) == (0, [], 3) and {str(path) for path in out.iterdir()} == set(lines)
    clips = [read_package(path.read_bytes(), REVIEWERS) for path in out.iterdir()]
    assert {clip.why for clip in clips} == {"sample"} and all(clip.hour.endswith(":00:00Z") for clip in clips)
    assert run("utterances", "review", "-o", out) == (0, [], [])
    offer = "utterances", "offer", home.kept[0], "--key", home.owner
    refused("no consent to false-wake", *offer)
    assert run("consent", "give", "false-wake")[0] == 0
    refused("reported first", *offer)
    refused("none is kept", "utterances", "report", "ffff")
    assert run("utterances", "report", home.kept[0][:8]) == (0, [f"reported: {home.kept[0]}"], [])
    assert "reported" in run("utterances", "list")[1][0]
    refused("does not open", "utterances", "offer", home.kept[0], "--key", home.other)
    assert run(*offer) == (0, [f"offered: {home.kept[0]}"], [])
    (line,) = run("utterances", "review", "-o", out)[1]
    assert read_package(Path(line).read_bytes(), REVIEWERS).why == "false-wake"
    status, said, _ = run("consent", "withdraw", "review", "false-wake")
    assert status == 0 and said[0].endswith("destroyed: 0")
    assert set(said[1].partition(": ")[2].split(", ")) == {path.stem for path in out.iterdir()}


def test_consent_is_given_under_a_text_that_is_shown_and_withdrawn_with_a_receipt(run, refused, home):
    refused("wanted one of store, review", "consent", "give", "nonsense")
    refused("wanted one of store, review", "consent", "withdraw", "nonsense")
    status, out, err = run("consent", "give", "train")
    assert (status, out) == (0, ["given: train"]) and any("Nothing is kept unless you say so" in line for line in err)
    policy = home.path / "policy.txt"
    policy.write_text("All is kept.")
    refused_status, _, err = run("consent", "give", "train", "--policy", policy)
    assert refused_status == 2 and "no version" in err[-1]
    refused("got 99 without --policy", "consent", "give", "train", "--policy-version", "99")
    refused("cannot be read", "consent", "give", "train", "--policy", home.path / "none")
    assert run("consent", "give", "train", "--policy", policy, "--policy-version", "2")[0] == 0
    shown = [json.loads(line) for line in run("consent", "show", "--json")[1]]
    now = {one["purpose"]: one for one in shown}
    assert (now["train"]["policy"], now["false-wake"]) == ("2", {"purpose": "false-wake", "given": False})
    assert now["train"]["policy_hash"] == merkle.sha256(b"All is kept.").hexdigest()
    record = [json.loads(line) for line in run("consent", "show", "--record", "--json")[1]]
    assert [(one["purpose"], one.get("policy")) for one in record] == [
        ("store", "7"), ("review", "7"), ("train", "1"), ("train", "2")]  # fmt: skip
    receipt = home.path / "receipt.json"
    status, out, err = run("consent", "withdraw", "store", "--receipt", receipt)
    assert (status, out, err) == (0, ["withdrawn: store; utterances destroyed: 3"], [])
    assert set(read_receipt(receipt.read_bytes(), home.store.device.public).utterances) == set(home.kept)
    assert run("utterances", "list") == (0, [], []) and list((home.folder / "sealed").iterdir()) == []
    assert run("consent", "show")[1][0].startswith("store: withdrawn ")


def test_audit_shows_verifies_and_proves(run, refused, home):
    shown = [json.loads(line) for line in run("audit", "show", "--json")[1]]
    assert [one["entry"] for one in shown] == list(range(len(shown))) and len(run("audit", "show")[1]) == len(shown)
    assert run("audit", "verify") == (0, [f"{len(shown)} entries, all as it was signed"], [])
    saved = home.path / "checkpoint"
    assert run("audit", "checkpoint", "-o", saved)[0] == 0
    assert "\n".join(run("audit", "checkpoint")[1]) + "\n" == saved.read_text()
    refused("cannot be written", "audit", "checkpoint", "-o", home.path / "none" / "checkpoint")
    told = json.loads("\n".join(run("audit", "prove", "3")[1]))
    head = read_checkpoint(told["checkpoint"], home.store.device.public)
    leaf = merkle.leaf_hash(told["leaf"].encode())
    assert merkle.includes(leaf, 3, head.size, [bytes.fromhex(node) for node in told["path"]], head.root)
    refused("entry: got 999, wanted 0 to", "audit", "prove", "999")
    refused("is not a valid integer", "audit", "prove", "x")
    run("utterances", "delete", "--last")
    assert run("audit", "verify", "--checkpoint", saved)[0] == 0
    refused("cannot be read", "audit", "verify", "--checkpoint", home.path / "none")
    (home.path / "else").write_text("farfield/audit\n1\n")
    status, out, _ = run("audit", "verify", "--checkpoint", home.path / "else", "--json")
    assert status == 1 and "saved checkpoint 1" in json.loads(out[0])["wrong"][0]


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(run, refused, home, monkeypatch):
    saved = home.path / "checkpoint"
    assert run("audit", "checkpoint", "-o", saved)[0] == 0
    before = saved.read_text()

    def full(path, *_):
        path.open("w").close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    refused("checkpoint: cannot be written (No space left on device)", "audit", "checkpoint", "-o", saved)
    assert saved.read_text() == before and [path.name for path in home.path.glob("*checkpoint*")] == ["checkpoint"]


def test_a_store_for_which_there_is_no_room_is_one_line(refused, home, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Records, "_connect", full)
    refused("new: cannot be set up (database or disk is full)", "store", "setup", home.path / "new", "--owner",
            home.path / "owner.pub")  # fmt: skip


def test_verify_leaves_with_status_1_where_sound_was_changed(run, home):
    path = home.folder / "sealed" / f"{home.kept[0]}.sealed"
    path.write_bytes(path.read_bytes()[:-1])
    status, out, err = run("audit", "verify")
    assert (status, err) == (1, []) and home.kept[0] in out[0] and out[-1].endswith("1 things wrong")
