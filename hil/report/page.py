"""The report as one page that needs nothing beside it: pictures and sounds are in it."""

import base64
import io
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np
import soundfile

from farfield import InputError
from farfield.hil.listening import Heard
from farfield.hil.report import plots
from farfield.hil.scene import RATE

_AROUND = RATE  # samples before and after what is looked at
_MOST_STRETCHES = 200  # pictures and sounds of misses and false accepts in a page; more are counted, and told of
_MOST_TIMELINES = 200  # of passes; more are counted, too
_MOST_STEPS = 200_000  # in the histogram of the system's latency


@dataclass(frozen=True)
class Stretch:
    """A miss or a false accept, to look at and to listen to: its title, and picture and sound as data URIs."""

    title: str
    kind: str
    picture: str
    sound: str


@dataclass
class Shown:
    """What is shown of one pass over a room. timeline: empty where there were too many before."""

    result: dict[str, Any]
    timeline: str
    stretches: list[Stretch] = field(default_factory=list)


class Gallery:
    """Pictures, made pass by pass while its sound is there, so that no more than one room is in memory."""

    def __init__(self) -> None:
        _needed("matplotlib", "jinja2")
        self.rooms: list[Shown] = []
        self.left_out = self.timelines_left_out = self._stretches = 0
        self._system_ms: list[float] = []
        self._every = 1  # that many steps one is in it

    def add(self, found: dict[str, Any], heard: Heard) -> None:
        """A pass: `found` as `farfield.hil.result` gives it."""
        is_drawn = len(self.rooms) < _MOST_TIMELINES
        self.timelines_left_out += not is_drawn
        shown = Shown(found, _uri("image/png", plots.timeline(found, heard)) if is_drawn else "")
        self.rooms.append(shown)
        self._system_ms += (1000 * heard.system_s[:: self._every]).tolist()
        while len(self._system_ms) > _MOST_STEPS:
            self._system_ms, self._every = self._system_ms[::2], 2 * self._every
        marks = [(one["start"], one["end"]) for one in (*found["hits"], *found["missed"])]
        looked = [(one["start"], one["end"], f"missed: {one['text']} ({one['talker'] or 'unknown'})", "missed", None)
                  for one in found["missed"]]  # fmt: skip
        for one in found["false_accepts"]:
            at, title = one["decision"], f"false accept: {one['word']}, score {one['score']:.2f}"
            looked.append((at - RATE, at, title, "false", at))
        for start, end, title, kind, decision in sorted(looked):
            if self._stretches >= _MOST_STRETCHES:
                self.left_out += 1
                continue
            self._stretches += 1
            first, last = max(0, start - _AROUND), min(heard.scene.frames, end + _AROUND)
            first = max(0, min(first, last - RATE // 4))  # a spectrum needs some sound
            picture = plots.stretch(heard, first, last, [m for m in marks if m[0] < last and m[1] > first], decision)
            sound = _uri("audio/flac", _flac(heard, first, last))
            shown.stretches.append(Stretch(f"{start / RATE:.2f} s, {title}", kind, _uri("image/png", picture), sound))

    def histograms(self) -> list[str]:
        """Of both latencies, where there are any, as data URIs."""
        algorithmic = [hit["latency_ms"] for shown in self.rooms for hit in shown.result["hits"]]
        made = []
        if algorithmic:
            made.append(plots.histogram(algorithmic, "Algorithmic latency", "decision less the word's end, ms"))
        if self._system_ms:
            title = "System latency, every step as if it decided"
            made.append(plots.histogram(self._system_ms, title, "event less the arrival of its decision sample, ms"))
        return [_uri("image/png", one) for one in made]


def page(found: dict[str, Any], gallery: Gallery) -> str:
    """The page's HTML."""
    import jinja2

    text = (resources.files("farfield.hil.report") / "page.html").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    rooms = [shown for entry in found["entries"] for room in entry["rooms"] for shown in gallery.rooms if shown.result is room]
    return environment.from_string(text).render(
        run=found, rooms=rooms, histograms=gallery.histograms(), left_out=gallery.left_out,
        timelines_left_out=gallery.timelines_left_out, rate=RATE,
    )  # fmt: skip


def _needed(*packages: str) -> None:
    from farfield.cli.shared import need

    for package in packages:
        need(package, package, "hil")


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _flac(heard: Heard, first: int, last: int) -> bytes:
    """The first microphone, as loud as can be."""
    sound = heard.scene.samples[first:last, 0].astype(np.float64)
    if not len(sound):
        raise InputError(f"{heard.scene.name}: no sound from {first} to {last}; wanted some")
    loud = sound * (0.9 * 32_767 / max(1.0, float(np.abs(sound).max())))
    made = io.BytesIO()
    soundfile.write(made, loud.astype(np.int16), RATE, format="FLAC")
    return made.getvalue()
