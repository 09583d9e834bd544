"""`farfield listen`: the always-on loop, from a mic board to wake events."""

import json
import os
import signal
import threading
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live
from rich.text import Text

from farfield.block import Block, WakeEvent
from farfield.board.simulated import SimulatedBoard
from farfield.board.source import SerialSource
from farfield.capture.switched import Blocks
from farfield.chain import Chain
from farfield.cli.capturing import Service, capture_options
from farfield.cli.shared import as_json, second_look
from farfield.errors import InputError
from farfield.model import load_model
from farfield.profile import RATE, Profile, load_profile
from farfield.source import FileSource

_METER_S = 0.2  # between two updates of the meters
_METER_FLOOR_DB, _METER_CELLS = -60.0, 12
_CELLS = " ▏▎▍▌▋▊▉█"


@click.command()
@click.option("--serial", "port", metavar="PORT", help="A serial mic board (see dsp/board/PROTOCOL.md for what it speaks).")
@click.option("--board-simulated", "room", type=click.Path(path_type=Path), metavar="ROOM",
              help="A board in software that plays a recorded room, in real time, once.")  # fmt: skip
@click.option("--profile", metavar="NAME_OR_PATH", help="Layout of the device. [default: the room's, else single]")
@click.option("--model", "names", multiple=True, metavar="NAME_OR_PATH",
              help="A shipped model's name, a .safetensors or a microWakeWord .tflite file; repeatable. "
                   "[default: the profile's words, else alexa]")  # fmt: skip
@click.option("--fa-per-hour", type=click.FloatRange(0), metavar="X",
              help="How often something else may wake it where people speak a fifth of the time.")  # fmt: skip
@second_look
@capture_options
@as_json
def listen(
    port: str | None,
    room: Path | None,
    profile: str | None,
    names: tuple[str, ...],
    fa_per_hour: float | None,
    second_look: bool,
    as_json: bool,
    **capture: Any,
) -> None:
    """Listen until interrupted, and say each time that a wake word is heard.

    On a terminal with level meters and what was lost; with --json one object a line: "heard" with the fields of `farfield detect`
    in samples of the capture clock, "lost" for every gap, and "end" with what went wrong on the line in all. SIGINT and SIGTERM
    end it cleanly. Nothing that is heard is kept.

    With --preroll-ms or --on-state utterances are captured (dsp/capture/PRIVACY.md): SIGUSR1 closes the device (mute),
    SIGUSR2 opens it again, and with --json each change is a "state" and each utterance, without its sound, an "utterance".
    """
    if (port is None) == (room is None):
        got = "neither" if port is None else "both"
        raise InputError(f"listen: got {got}, wanted one of --serial and --board-simulated")
    layout = load_profile(profile or (_profile_of(room) if room else "single"))
    models = [load_model(name, second_look=second_look) for name in names or layout.words or ("alexa",)]
    if fa_per_hour is not None:
        models = [model.deciding_at(model.threshold_for(fa_per_hour)) for model in models]
    service = Service.asked(**capture, as_json=as_json)
    with ExitStack() as stack:
        stop = stack.enter_context(_signals())
        opened = partial(_opened, port, room, layout)
        if service:
            stack.enter_context(service.guarded(Path(os.path.realpath(port)).parent if port else Path("/dev")))
        source, blocks = stack.enter_context(service.switched(opened) if service else opened())
        chain = Chain(layout, models, references=source.references)
        report = stack.enter_context(Report(source, as_json))
        listener = stack.enter_context(service.listener(chain)) if service else chain
        for block in blocks(stop.is_set):
            report.block(block)
            for event in listener.process(block):
                report.event(event)
        for event in listener.flush(RATE // 2):
            report.event(event)


@contextmanager
def _opened(port: str | None, room: Path | None, layout: Profile) -> Iterator[tuple[SerialSource, Blocks]]:
    """The board, and its blocks until told to stop or nothing more will come."""
    with ExitStack() as stack:
        board = stack.enter_context(_simulated(room, layout)) if room else None
        source = stack.enter_context(SerialSource(board.port if board else str(port), layout))
        ended = board.finished.is_set if board else lambda: False
        yield source, lambda stop: source.blocks(stop, ended)


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _profile_of(room: Path) -> str:
    """The profile that a recorded room names."""
    path = room / "room.toml"
    try:
        named = tomllib.loads(path.read_text("utf-8")).get("profile")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); wanted a recorded room's folder") from None
    if not isinstance(named, str) or not named:
        raise InputError(f"{path}: field profile: got {named!r}, wanted a profile's name")
    return str(room / named) if named.endswith(".toml") else named


def _simulated(room: Path, layout: Profile) -> SimulatedBoard:
    """A board that plays the room; where the room has no reference, the profile's loudspeakers are silent."""
    reference = room / "ref.flac"
    heard = FileSource(room / "mics.flac", layout, reference if reference.is_file() else None)
    references = heard.references or len(layout.references)

    def sound() -> Iterator[NDArray[np.int16]]:
        for block in heard.blocks():
            silent = np.zeros((len(block.samples), references - heard.references), np.int16)
            yield np.concatenate([block.samples, silent], axis=1)

    return SimulatedBoard(sound, len(layout.microphones), references, name=f"simulated board, {room.name}")


class Report:
    """What is told while listening: JSON lines, or lines and meters on a terminal. A context manager; its end is told too."""

    def __init__(self, source: SerialSource, as_json: bool) -> None:
        self._source, self._json = source, as_json
        self._console = Console(soft_wrap=True, highlight=False)
        self._channels = source.microphones + source.references
        self._microphones = source.microphones
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if self._meters() else None
        self._peak = np.zeros(self._channels)
        self._next = self._heard = self._shown = 0
        self._epoch = 0

    def _meters(self) -> bool:
        return not self._json and self._console.is_terminal

    def __enter__(self) -> "Report":
        if self._live:
            self._live.start()
        about = self._source.about
        what = {"board": about.name, "microphones": about.microphones, "references": about.references, "rate": about.rate}
        self._say(
            "listening", what, f"Listening to {about.name}: {about.microphones} microphones, {about.references} references."
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
        counts = asdict(self._source.counts)
        wrong = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items() if count) or "nothing"
        self._say(
            "end", {"seconds": round(self._heard / RATE, 2)} | counts, f"Heard {self._heard / RATE:.1f} s; went wrong: {wrong}."
        )

    def block(self, block: Block) -> None:
        """Tells of a gap before the block, and now and then its level."""
        if block.epoch != self._epoch:
            self._say("lost", {"epoch": block.epoch, "samples": None}, "The board began anew: what was lost cannot be sized.")
        elif block.index > self._next:
            lost = block.index - self._next
            self._say(
                "lost", {"epoch": block.epoch, "index": self._next, "samples": lost}, f"Lost {lost} samples at {self._next}."
            )
        self._epoch, self._next = block.epoch, block.end
        self._heard += len(block.samples)
        if self._live:
            self._peak = np.maximum(self._peak, np.abs(block.samples.astype(np.int32)).max(axis=0))
            if self._heard - self._shown >= _METER_S * RATE:
                self._shown = self._heard
                self._live.update(self._drawn(), refresh=True)
                self._peak[:] = 0

    def event(self, event: WakeEvent) -> None:
        """A wake word was heard."""
        fields = {name: value for name, value in asdict(event).items() if value is not None}
        text = f"{event.word}  {event.start / RATE:.2f} to {event.end / RATE:.2f} s, decided at {event.decision / RATE:.2f} s, "
        text += f"score {event.score:.3f}"
        if event.direction_deg is not None:
            text += f", from {event.direction_deg:.0f}°"
        self._say("heard", fields, text)

    def _say(self, what: str, fields: dict[str, Any], text: str) -> None:
        if self._json:
            print(json.dumps({"type": what} | fields), flush=True)
        else:
            self._console.print(text)

    def _drawn(self) -> Text:
        """A bar for each channel's peak since the last one, microphones first."""
        levels = 20 * np.log10(np.maximum(self._peak, 1) / 32_768)
        bars = [_bar(float(level)) for level in levels]
        lost = self._source.counts.missing_samples
        text = f"mic {'│'.join(bars[: self._microphones])}"
        if self._channels > self._microphones:
            text += f"  ref {'│'.join(bars[self._microphones :])}"
        return Text(f"{text}  {self._heard / RATE:.0f} s, lost {lost}")


def _bar(level_db: float) -> str:
    """A level between the floor and full scale as a bar of eighths of cells."""
    eighths = round(8 * _METER_CELLS * (min(max(level_db, _METER_FLOOR_DB), 0.0) / -_METER_FLOOR_DB + 1))
    return "".join(_CELLS[min(max(eighths - 8 * cell, 0), 8)] for cell in range(_METER_CELLS))
