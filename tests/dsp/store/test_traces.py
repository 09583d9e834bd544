"""Nothing stays of what was deleted: not in the database, not in its journal, not in the files; and not in memory."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from farfield.errors import InputError
from farfield.store import Store, records
from farfield.store.sealed import HEADER
from farfield.store.utterance import sealed_path
from reference.keeping import OWNER, files, keep, make_store, marked, mismatches, traces
from reference.patience import PATIENCE_S


def remains(folder, needles, window=16):
    """What of the needles is still there: any 16 bytes of one, wherever they begin, in any file."""
    owners = {data[at : at + window]: name for name, data in needles.items() for at in range(len(data) - window + 1)}
    held = [path.read_bytes() for path in files(folder)]
    return sorted({owners[part] for whole in held for at in range(len(whole) - window + 1)
                   if (part := whole[at : at + window]) in owners})  # fmt: skip


def kept_and_deleted(folder, way="delete"):
    """Keeps ten utterances with transcripts, deletes the middle ones; what must not be found any more, and what must."""
    store, clock = make_store(folder, consents=("store", "review"), sample_share=1.0, sample_a_day=10)
    kept = [keep(store, marked(seed, 0.4)) for seed in range(5)]
    clock.go(days=20)
    kept += [keep(store, marked(seed, 0.4)) for seed in range(5, 10)]
    needles = {}
    for identity in kept:
        store.attach(identity, "transcript", f"what was said in {identity}, and " + 300 * "some more ")
        with store.look() as database:
            (wrap,) = database.execute("SELECT wrap FROM wraps WHERE utterance = ? AND purpose = 'owner'", (identity,)).fetchone()
            (other,) = database.execute(
                "SELECT wrap FROM wraps WHERE utterance = ? AND purpose = 'review'", (identity,)
            ).fetchone()
            (derived,) = database.execute("SELECT sealed FROM derived WHERE utterance = ?", (identity,)).fetchone()
            (signature,) = database.execute("SELECT signature FROM utterances WHERE id = ?", (identity,)).fetchone()
        body = sealed_path(folder, identity).read_bytes()[len(HEADER) + 4 :]  # from where on no two files are alike
        needles[identity] = {f"{identity} sound": body, f"{identity} wrap": wrap,
                             f"{identity} review": other, f"{identity} transcript": derived,
                             f"{identity} signature": signature}  # fmt: skip
    gone = kept[:5]
    if way == "delete":
        store.delete(gone)
    elif way == "expire":
        clock.go(days=15)
        store.expire()
    else:
        gone = kept
        store.withdraw(["store"])
    assert {one.id for one in store.utterances()} == set(kept) - set(gone)
    return ({name: data for identity in gone for name, data in needles[identity].items()},
            {name: data for identity in set(kept) - set(gone) for name, data in needles[identity].items()})  # fmt: skip


def journal(made):
    path = Path(f"{made.path}-wal")
    return path.read_bytes() if path.exists() else b""  # the database's making has another


@pytest.mark.parametrize("way", ["delete", "expire", "withdraw"])
def test_nothing_remains_of_what_was_deleted(tmp_path, way):
    gone, kept = kept_and_deleted(tmp_path, way)
    assert remains(tmp_path, gone) == []
    assert remains(tmp_path, kept) == sorted(kept), "and the search finds what is there"
    assert journal(records.Records(tmp_path, None)) == b""
    with Store(tmp_path).look() as database:
        (freed,) = database.execute("PRAGMA freelist_count").fetchone()
    assert freed >= 2, "some pages of the database are free: they were searched too"
    plain = [text.encode(form) for text in ("what was said", "some more") for form in ("utf-8", "utf-16-le")]
    assert not any(text in path.read_bytes() for text in plain for path in files(tmp_path)), "nor was a transcript ever plain"


@pytest.mark.parametrize("planted", [False, True])
def test_sealed_sound_is_overwritten_before_its_name_goes(tmp_path, monkeypatch, planted):
    """Seen through another name of the same file, which deletion knows nothing of."""
    store, _ = make_store(tmp_path / "store")
    identity = keep(store, marked(1))
    os.link(sealed_path(store.folder, identity), tmp_path / "link")
    size = (tmp_path / "link").stat().st_size
    if planted:
        monkeypatch.setattr("farfield.store.utterance.destroy", lambda paths: [path.unlink() for path in paths])
    store.delete([identity])
    assert not sealed_path(store.folder, identity).exists()
    assert ((tmp_path / "link").read_bytes() == bytes(size)) != planted


def test_a_program_that_reads_along_stops_a_deletion_rather_than_keeping_a_part_of_it(tmp_path):
    store, _ = make_store(tmp_path)
    identity = keep(store, marked(1))
    with closing(sqlite3.connect(tmp_path / "records.db")) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM wraps").fetchall()
        with pytest.raises(InputError, match="another program has it open"):
            store.delete([identity])
        assert keep(store, marked(2)) == "" and "another program" in store.why_not
    assert [one.id for one in store.utterances()] == [identity] and mismatches(store) == []
    store.delete([identity])
    assert store.utterances() == [] and files(tmp_path / "sealed") == []


def test_pages_that_are_not_overwritten_are_found(tmp_path, monkeypatch):
    planted = tuple("secure_delete = OFF" if pragma.startswith("secure") else pragma for pragma in records._PRAGMAS)
    monkeypatch.setattr(records, "_PRAGMAS", planted)
    gone, _ = kept_and_deleted(tmp_path)
    found = remains(tmp_path, gone)
    assert any("transcript" in name for name in found) and any("wrap" in name for name in found)


def test_a_journal_that_is_not_cleared_is_found(tmp_path, monkeypatch):
    """What a service would leave that keeps its database open and never cuts the journal: the journal as each change ended."""
    held = []
    monkeypatch.setattr(records.Records, "_leave_nothing", lambda self, _: held.append(journal(self)))
    gone, _ = kept_and_deleted(tmp_path)
    (tmp_path / "journal").write_bytes(b"".join(held))
    found = remains(tmp_path, gone)
    assert any("transcript" in name for name in found) and any("wrap" in name for name in found)


def test_sealed_sound_that_is_only_renamed_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("farfield.store.utterance.destroy", lambda paths: [os.rename(p, p.with_suffix(".gone")) for p in paths])
    gone, _ = kept_and_deleted(tmp_path)
    assert any("sound" in name for name in remains(tmp_path, gone))


MEMORY = """
import gc, sys
sys.path[:0] = {path!r}
from pathlib import Path
import numpy as np
from reference.keeping import OPENING, make_store, marked
from farfield.store import sealed

def memory():
    "Every page that this process can write to."
    with open("/proc/self/mem", "rb", buffering=0) as file:
        for line in open("/proc/self/maps"):
            place, rights = line.split()[:2]
            if rights.startswith("rw") and "[v" not in line:
                first, end = (int(number, 16) for number in place.split("-"))
                file.seek(first)
                yield file.read(end - first)

def masked(data): return bytes(byte ^ 0x5a for byte in data)

store, _ = make_store(Path(sys.argv[1]))
plant = sys.argv[2]
block, hidden, keys = np.empty(512, np.int16), [], []
real = sealed.Sealer.destroy
def destroy(self):
    keys.append(masked(self.key))
    if plant != "key": real(self)
sealed.Sealer.destroy = destroy
left = []
sealing = store.begin(OPENING)
for n in range(40):
    block[:] = marked(n, 0.032)
    hidden.append(masked(block[100:140].tobytes()))
    sealing.write(block)
    if plant == "sound": left.append(block.tobytes())
if sys.argv[3] == "finish":
    assert sealing.finish(40 * 512).result()
else:
    sealing.abort()
block[:] = 0
if plant != "key": del sealing
gc.collect()
regions = list(memory())  # before anything is plain again; this script's own last blocks are left out
sound, key = (sum(region.count(masked(one)) for one in looked_for for region in regions) for looked_for in (hidden[:38], keys))
print(sound, key)
"""


@pytest.mark.parametrize("end", ["finish", "abort"])
@pytest.mark.parametrize("plant", ["", "key", "sound"])
def test_neither_key_nor_sound_stays_in_memory(tmp_path, plant, end):
    """The process reads its own memory after the end; what it looks for it keeps masked. Planted: a key, a sound that stays."""
    script = MEMORY.format(path=[p for p in sys.path if p])
    command = [sys.executable, "-c", script, str(tmp_path), plant, end]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.returncode == 0, ran.stderr
    sound, key = map(int, ran.stdout.split())
    assert (sound > 0, key > 0) == (plant == "sound", plant == "key"), ran.stdout


def test_no_plain_sound_is_on_the_disk_at_any_moment(tmp_path):
    """Looked for after each write while an utterance is being sealed."""
    from reference.keeping import OPENING

    store, _ = make_store(tmp_path)
    sound, sealing = marked(21, 0.5), store.begin(OPENING)
    for at in range(0, len(sound), 800):
        sealing.write(sound[at : at + 800])
        assert traces(tmp_path, sound) == []
    identity = sealing.finish(16_000 + len(sound)).result()
    assert traces(tmp_path, sound) == []
    store.read(identity, OWNER)
    assert traces(tmp_path, sound) == []
