"""`farfield utterances`: what is kept, in its owner's hands."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import soundfile
from numpy.typing import NDArray

from farfield.alsa.pcm import changed
from farfield.cli.shared import (
    as_json,
    key_option,
    need,
    new_file,
    open_store,
    passphrase_option,
    private_key,
    store_option,
    whole_file,
    write_receipt,
)
from farfield.errors import InputError
from farfield.profile import RATE

if TYPE_CHECKING:
    from farfield.store import Utterance

_path = click.Path(path_type=Path)
_PRECISIONS = (("%Y-%m-%dT%H:%M:%S", timedelta(seconds=1)), ("%Y-%m-%dT%H:%M", timedelta(minutes=1)),
               ("%Y-%m-%dT%H", timedelta(hours=1)), ("%Y-%m-%d", timedelta(days=1)))  # fmt: skip


def _chosen(command: Any) -> Any:
    """Which utterances: ids, the last, a time, a range, all."""
    for option in (
        click.option("--all", "every", is_flag=True, help="All of them."),
        click.option("--until", metavar="TIME", help="Captured before the end of this time."),
        click.option("--since", metavar="TIME", help="Captured at this time or later."),
        click.option("--at", metavar="TIME", help="Captured within this second, minute, hour or day, UTC: 2026-11-25T10:31."),
        click.option("--last", is_flag=True, help="The last one."),
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        command = option(command)
    return command


@click.group()
def utterances() -> None:
    """What was kept: list it, hear it, take it away, delete it. An ID may be cut short as long as it is one utterance's alone."""


@utterances.command("list")
@store_option
@as_json
def list_(folder: Path, as_json: bool) -> None:
    """What is kept, oldest first; times are UTC. Its sound is not opened."""
    store = open_store(folder)
    from farfield.store.records import when
    from farfield.store.store import as_json as told

    for one in store.utterances():
        if as_json:
            print(told(one))
        else:
            marks = "".join(f", {mark}" for mark, is_set in (("reported", one.reported), ("may train", one.train)) if is_set)
            print(f"{one.id}  {when(one.at)}  {one.samples / RATE:.1f} s  {one.word}{marks}")


@utterances.command()
@click.argument("identity", metavar="ID")
@store_option
@key_option
@passphrase_option
@click.option("--device", default="default", show_default=True, metavar="NAME", help="The ALSA device to play on.")
def play(identity: str, folder: Path, key: Path, passphrase_file: Path | None, device: str) -> None:
    """Play one, with its owner's key; its plain sound is not written anywhere."""
    alsa = need("alsaaudio", "pyalsaaudio", "alsa")
    store = open_store(folder)
    samples, _ = store.read(identity, private_key(key, passphrase_file), "play")
    try:
        with_sound = alsa.PCM(device=device, channels=1, rate=RATE, format=alsa.PCM_FORMAT_S16_LE, periodsize=RATE // 50)
        if wrong := changed(with_sound.info(), rate=RATE, channels=1, format_name="S16_LE"):
            raise InputError(f"--device: {device}: got {', '.join(wrong)}; wanted one that converts: plug:{device}")
        for at in range(0, len(samples), RATE // 50):
            period = np.zeros(RATE // 50, np.int16)
            period[: len(samples[at : at + RATE // 50])] = samples[at : at + RATE // 50]
            with_sound.write(period.tobytes())
        with_sound.close()
    except alsa.ALSAAudioError as error:
        raise InputError(f"--device: {device} cannot be played on ({error}); wanted one of: farfield devices") from None


@utterances.command()
@_chosen
@store_option
@key_option
@passphrase_option
@click.option("-o", "--output", required=True, type=_path, metavar="FOLDER", help="Where to write ID.wav and ID.json.")
def export(folder: Path, key: Path, passphrase_file: Path | None, output: Path, **which: Any) -> None:
    """Write plain WAV files, and beside each all that is known of it as JSON, with their owner's key."""
    store = open_store(folder)
    owner = private_key(key, passphrase_file)
    if not output.is_dir():
        raise InputError(f"{output}: is no folder; wanted one that is there")
    for one in _select(store.utterances(), **which):
        samples, known = store.read(one.id, owner, "export")
        _write(output / one.id, samples, known)
        print(output / f"{one.id}.wav")


@utterances.command()
@_chosen
@store_option
@click.option("--receipt", type=_path, metavar="FILE", help="Write the signed receipt here. [default: stdout]")
def delete(folder: Path, receipt: Path | None, **which: Any) -> None:
    """Delete: keys, sealed sound and everything made of it are destroyed, and a signed receipt says so."""
    store = open_store(folder)
    if receipt:
        new_file(receipt)
    got = store.delete([one.id for one in _select(store.utterances(), **which)])
    if receipt:
        write_receipt(store, got, receipt)
        print(f"deleted: {len(got.utterances)}")
    else:
        print(got.signed(store.device.signing).decode(), end="")


@utterances.command()
@click.argument("identity", metavar="ID")
@store_option
def report(identity: str, folder: Path) -> None:
    """Say that one was not meant for the device. Nobody gets it by that: see `offer`."""
    store = open_store(folder)
    store.report(identity)
    print(f"reported: {store.find(identity).id}")


@utterances.command()
@click.argument("identity", metavar="ID")
@store_option
@key_option
@passphrase_option
def offer(identity: str, folder: Path, key: Path, passphrase_file: Path | None) -> None:
    """Let reviewers have one that was reported; needs the consent to false-wake, and the owner's key, for the device has none."""
    store = open_store(folder)
    store.offer(identity, private_key(key, passphrase_file))
    print(f"offered: {store.find(identity).id}")


@utterances.command()
@store_option
@click.option("-o", "--output", required=True, type=_path, metavar="FOLDER", help="Where to write a file for each clip.")
def review(folder: Path, output: Path) -> None:
    """Write what reviewers may get and have not got yet: the sample of days that are over, and offered false wakes."""
    store = open_store(folder)
    if not output.is_dir():
        raise InputError(f"{output}: is no folder; wanted one that is there")
    for alias in store.export_review(output):
        print(output / f"{alias}.json")


def _write(stem: Path, samples: NDArray[np.int16], known: dict[str, Any]) -> None:
    try:
        with whole_file(stem.with_suffix(".json")) as beside, whole_file(stem.with_suffix(".wav")) as sound:
            beside.write_text(json.dumps(known, indent=2) + "\n", "utf-8")
            soundfile.write(sound, samples, RATE, subtype="PCM_16")
    except (OSError, soundfile.LibsndfileError) as error:
        raise InputError(f"{stem}: cannot be written ({error}); wanted a folder with room") from None


def _select(
    kept: "list[Utterance]", ids: Sequence[str], last: bool, at: str | None, since: str | None, until: str | None, every: bool
) -> "list[Utterance]":
    """The utterances that the options mean; InputError where they mean none, or contradict each other."""
    ways = [bool(ids), last, at is not None, since is not None or until is not None, every]
    if sum(ways) != 1:
        raise InputError(f"utterances: got {sum(ways)} choices, wanted one: IDs, --last, --at, --since with --until, --all")
    if ids:
        found = {identity: [one for one in kept if one.id.startswith(identity)] for identity in ids}
        for identity, matching in found.items():
            if len(matching) != 1:
                raise InputError(f"{identity}: {len(matching)} utterances begin so; wanted one of: farfield utterances list")
        wanted = {matching[0].id for matching in found.values()}
        return [one for one in kept if one.id in wanted]
    if last:
        kept = kept[-1:]
    first = _span("--since", since)[0] if since is not None else datetime.min.replace(tzinfo=UTC)
    end = _span("--until", until)[1] if until is not None else datetime.max.replace(tzinfo=UTC)
    if at is not None:
        first, end = _span("--at", at)
    kept = [one for one in kept if first <= datetime.fromtimestamp(one.at, UTC) < end]
    if not kept and not every:
        raise InputError("utterances: none is kept that was meant; see: farfield utterances list")
    return kept


def _span(option: str, text: str) -> tuple[datetime, datetime]:
    """The beginning and the end of a time, as long as the precision it is given with."""
    for form, length in _PRECISIONS:
        try:
            first = datetime.strptime(text.removesuffix("Z").replace(" ", "T"), form).replace(tzinfo=UTC)
        except ValueError:
            continue
        try:
            return first, first + length
        except OverflowError:  # there is no later time
            return first, datetime.max.replace(tzinfo=UTC)
    raise InputError(f"{option}: got {text!r}, wanted a UTC time such as 2026-11-25, 2026-11-25T10 or 2026-11-25T10:31:07")
