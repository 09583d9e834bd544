"""What `farfield listen` tells while it listens: JSON lines, or lines and level meters on a terminal."""

import json
import time
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from farfield.block import Block, WakeEvent
from farfield.cli.sources import Opened
from farfield.health import Fault
from farfield.profile import RATE

_CLOCKS_S = 10.0
_METER_S = 0.2  # between two updates of the meters
_METER_FLOOR_DB, _METER_CELLS = -60.0, 12
_CELLS = " ▏▎▍▌▋▊▉█"


class Report:
    """What is told while listening: JSON lines, or lines and meters on a terminal. A context manager; its end is told too."""

    def __init__(self, source: Opened, as_json: bool) -> None:
        self._source = source
        self._console = Console(soft_wrap=True, highlight=False)
        self._json = as_json or not self._console.is_terminal
        self._channels = source.microphones + source.references
        self._microphones = source.microphones
        self._live = None if self._json else Live(console=self._console, auto_refresh=False, transient=True)
        self._peak = np.zeros(self._channels)
        self._next = self._heard = self._shown = self._told_clocks = 0
        self._epoch = self._last_ns = 0
        self._faults: tuple[Fault, ...] = ()

    def __enter__(self) -> "Report":
        self._last_ns = time.monotonic_ns()  # a device can go away before its first block
        if self._live:
            self._live.start()
        source = self._source
        what = {"source": source.name, "microphones": source.microphones, "references": source.references, "rate": RATE}
        self._say(
            "listening", what, f"Listening to {source.name}: {source.microphones} microphones, {source.references} references."
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
        counts = self._source.counts()
        wrong = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items() if count) or "nothing"
        seconds = self._heard / RATE
        fields = {"seconds": round(seconds, 2)} | counts | _rounded(self._source.clocks())
        self._say("end", fields, f"Heard {seconds:.1f} s; went wrong: {wrong}.")

    def block(self, block: Block) -> None:
        """Tells of a gap before the block, and now and then its level."""
        if block.epoch != self._epoch:
            away = (block.host_ns - self._last_ns) / 1e9
            text = f"The stream began anew after {away:.1f} s; what was lost meanwhile cannot be told to the sample."
            self._say("lost", {"epoch": block.epoch, "samples": None, "seconds": round(away, 3)}, text)
        elif block.index > self._next:
            lost = block.index - self._next
            self._say(
                "lost", {"epoch": block.epoch, "index": self._next, "samples": lost}, f"Lost {lost} samples at {self._next}."
            )
        self._epoch, self._next, self._last_ns = block.epoch, block.end, block.host_ns
        self._heard += len(block.samples)
        if self._heard - self._told_clocks >= _CLOCKS_S * RATE:
            self._told_clocks = self._heard
            if self._json:
                self._say("clocks", _rounded(self._source.clocks()), "")
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

    def microphones(self, faults: tuple[Fault, ...]) -> None:
        """Tells of microphones that have failed, or are well again, since it was last told."""
        if faults == self._faults:
            return
        before, now = ({fault.microphone: fault for fault in some} for some in (self._faults, faults))
        self._faults = faults
        for number in sorted(before.keys() | now.keys()):
            if (fault := now.get(number)) is None:
                self._say("microphone", {"microphone": number, "fault": None}, f"Microphone {number} is well again.")
            elif before.get(number) != fault:
                told = {"fault": fault.kind, "since": fault.since, "gain_db": fault.gain_db, "partner": fault.partner}
                fields = {"microphone": number} | {name: value for name, value in told.items() if value is not None}
                self._say("microphone", fields, f"M{str(fault)[1:]}.")

    def _say(self, what: str, fields: dict[str, Any], text: str) -> None:
        if self._json:
            print(json.dumps({"type": what} | fields), flush=True)
        else:
            self._console.print(text)

    def _drawn(self) -> Text:
        """A bar for each channel's peak since the last one, microphones first."""
        levels = 20 * np.log10(np.maximum(self._peak, 1) / 32_768)
        bars = [_bar(float(level)) for level in levels]
        lost = self._source.counts()["missing_samples"]
        text = f"mic {'│'.join(bars[: self._microphones])}"
        if self._channels > self._microphones:
            text += f"  ref {'│'.join(bars[self._microphones :])}"
        text += f"  {self._heard / RATE:.0f} s, lost {lost}"
        drift = self._source.clocks().get("reference_drift_ppm")
        return Text(text if drift is None else f"{text}, reference's clock {drift:+.0f} ppm")


def _rounded(clocks: dict[str, float | None]) -> dict[str, float]:
    """What is known, to a tenth."""
    return {name: round(value, 1) for name, value in clocks.items() if value is not None}


def _bar(level_db: float) -> str:
    """A level between the floor and full scale as a bar of eighths of cells."""
    eighths = round(8 * _METER_CELLS * (min(max(level_db, _METER_FLOOR_DB), 0.0) / -_METER_FLOOR_DB + 1))
    return "".join(_CELLS[min(max(eighths - 8 * cell, 0), 8)] for cell in range(_METER_CELLS))
