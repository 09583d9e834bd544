"""A room replayed through the chain: its events, what the sound became, the scores, and the time that it took."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from farfield import Chain, Frontend, Model, WakeEvent
from farfield.hil.room import Room

RATE = 16_000
_SILENCE = RATE // 2  # after the room's end: a word that ends with it is still decided on
_FLOOR = 1e-3  # of a squared int16 step: far below one, so that digital silence has a level
_SETTLED_S = 1.0  # after the music starts: from when the echo canceller's work is measured


@dataclass(frozen=True)
class Replay:
    """One pass over a room.

    opens_above: what p must exceed for a word, or for a candidate that a second look decides on. events: in samples of
    mics.flac. steps_s, p: every step of the first model's scorer, its place in seconds and its smoothed probability.
    heard: int16 (frames,), the first microphone at 16 kHz. enhanced: int16 (frames,), after echo canceller and the beam
    nearest to the detection that is nearest in time. echo_removed_db: level of the first microphone over that of the same
    microphone after the echo canceller, where nobody speaks and the loudspeaker has played for a second; None where that is
    nowhere. real_time_factor: CPU seconds that the chain took for a second of sound.
    """

    room: Room
    opens_above: float
    events: tuple[WakeEvent, ...]
    steps_s: NDArray[np.float64]
    p: NDArray[np.float64]
    heard: NDArray[np.int16]
    enhanced: NDArray[np.int16]
    echo_removed_db: float | None
    real_time_factor: float


def replay(room: Room, models: Sequence[Model], *, threshold: float | None = None, frames: int = 512) -> Replay:
    """Replay `room` in blocks of `frames` and listen for `models`. threshold: for every model (None: each its own)."""
    source = room.source(frames)
    chain = Chain(room.profile, list(models), references=source.references, threshold=threshold)
    heard, beams, steps, p = [], [], [], []
    events: list[WakeEvent] = []
    spent_ns = 0
    for block in source.blocks():
        begun = time.process_time_ns()
        events += chain.process(block)
        spent_ns += time.process_time_ns() - begun
        heard.append(block.samples[:, 0])
        assert chain.frame is not None
        beams.append(chain.frame.beams)
        steps.append(chain.detectors[0].steps.index)
        p.append(chain.detectors[0].steps.p)
    events += chain.flush(_SILENCE)
    if chain.frame is not None:
        beams.append(chain.frame.beams[: chain.frontend.delay_samples])
    microphone = np.concatenate(heard)
    found = tuple(_in_room(event, room) for event in events)
    return Replay(
        room=room,
        opens_above=chain.detectors[0].opens_above,
        events=found,
        steps_s=np.concatenate(steps) / RATE,
        p=np.concatenate(p),
        heard=microphone,
        enhanced=_nearest_beam(np.concatenate(beams)[: len(microphone)], events, chain.frontend.beam_azimuths_deg),
        echo_removed_db=_echo_removed_db(room, source.references, frames, microphone),
        real_time_factor=spent_ns / 1e9 / (len(microphone) / RATE),
    )


def _in_room(event: WakeEvent, room: Room) -> WakeEvent:
    """The event in samples of the room's own rate, within the room."""
    at = {name: min(round(getattr(event, name) * room.rate / RATE), room.frames) for name in ("start", "end", "decision")}
    return replace(event, **at)


def _nearest_beam(beams: NDArray[np.int16], events: Sequence[WakeEvent], azimuths_deg: Sequence[float]) -> NDArray[np.int16]:
    """At each moment the beam that looks nearest to where the detection nearest in time came from."""
    turned = [event for event in events if event.direction_deg is not None]
    if not turned or not azimuths_deg:
        return beams[:, 0]
    ends = np.array([event.end for event in turned])
    borders = [0, *((ends[1:] + ends[:-1]) // 2).tolist(), len(beams)]
    made = np.empty(len(beams), np.int16)
    for event, start, stop in zip(turned, borders, borders[1:], strict=False):
        away = [abs((azimuth - float(event.direction_deg or 0) + 180) % 360 - 180) for azimuth in azimuths_deg]
        made[start:stop] = beams[start:stop, int(np.argmin(away))]
    return made


def _echo_removed_db(room: Room, references: int, frames: int, microphone: NDArray[np.int16]) -> float | None:
    if not references:
        return None
    frontend = Frontend(room.profile, references, stages="echo")
    played = np.zeros(len(microphone), bool)
    made = []
    for block in room.source(frames).blocks():
        frame = frontend.process(block)
        made.append(frame.beams[:, 0])
        played[block.index : block.end] = np.any(block.samples[:, -references:] != 0, axis=1)
    after = np.concatenate(made)
    if not played.any():
        return None
    measured = np.zeros(len(after), bool)
    measured[int(np.argmax(played)) + int(_SETTLED_S * RATE) :] = True
    for spoken in (*room.words, *room.speech):  # and the half second in which the room still rings
        measured[spoken.start * RATE // room.rate : spoken.end * RATE // room.rate + RATE // 2] = False
    if not measured.any():
        return None
    before = np.mean(microphone[: len(after)][measured].astype(np.float64) ** 2)
    left = np.mean(after[measured].astype(np.float64) ** 2)
    return float(10 * np.log10((before + _FLOOR) / (left + _FLOOR)))
