"""A rig's check of itself: four seconds of noise must come out as they went in, none lost, at the right rate."""

from dataclasses import dataclass, replace

import numpy as np

from farfield import InputError, Profile
from farfield.hil.clock import Arrivals
from farfield.hil.ledger import Ledger, stopped_by
from farfield.hil.rigs.base import Rig
from farfield.hil.scene import RATE, Scene

SECONDS = 4
MOST_PPM = 100.0
_LONGER = 3  # times as long, once, where the rate looks wrong: a busy machine's delays blur a short look at it
_PEAK = 9_000


@dataclass(frozen=True)
class Check:
    """rig, microphones, references: what was checked. drift_ppm: None without a clock. problems: none where it may be used."""

    rig: str
    microphones: int
    references: int
    seconds: float
    lost: int
    drift_ppm: float | None
    problems: tuple[str, ...]


def check(rig: Rig, profile: Profile, references: int) -> Check:
    """Send noise of its own on every channel through the rig, and see what comes out."""
    found = _checked(rig, profile, references, SECONDS)
    if found.drift_ppm is not None and abs(found.drift_ppm) > MOST_PPM and not found.lost:
        found = _checked(rig, profile, references, SECONDS * _LONGER)
    if found.drift_ppm is not None and abs(found.drift_ppm) > MOST_PPM:
        told = f"its rate is off by {found.drift_ppm:.0f} ppm, wanted at most {MOST_PPM:.0f}"
        found = replace(found, problems=(*found.problems, told))
    return found


def refuse_unfit(found: Check) -> None:
    """InputError for a rig that did not pass its check."""
    if found.problems:
        raise InputError(f"rig {found.rig}: did not pass its check: {'; '.join(found.problems)}; nothing was run on it")


def _checked(rig: Rig, profile: Profile, references: int, seconds: int) -> Check:
    random = np.random.default_rng(seconds)
    channels = len(profile.microphones) + references
    noise = random.integers(-_PEAK, _PEAK, (seconds * RATE, channels)).astype(np.int16)
    arrivals = Arrivals()
    with rig.play(Scene("check", profile, noise)) as stream:
        ledger = Ledger(stream, rig)
        for block in stream.blocks(stopped_by(ledger, stream.deadline())):
            arrivals.add(block.end, block.host_ns)
            ledger.place(block)
            if ledger.is_done:
                break
        books = ledger.close()
    line = arrivals.line() if rig.clocked else None
    problems = list(books.unexplained)
    if books.lost:
        problems.append(f"{books.lost} of {len(noise)} samples were lost")
    drift_ppm = None if line is None else line.drift_ppm
    return Check(rig.name, len(profile.microphones), references, seconds, books.lost, drift_ppm, tuple(problems))
