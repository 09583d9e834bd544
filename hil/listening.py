"""One scene through one rig into one chain: every event with its two latencies, the scores, and the books of the samples."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farfield import Block, Chain, Model, WakeEvent
from farfield.hil.clock import Arrivals, Line
from farfield.hil.faults import LATEST_S, STALL_AT, Faults
from farfield.hil.ledger import Books, Ledger, stopped_by
from farfield.hil.rigs.base import NO_FAULTS, Rig
from farfield.hil.scene import RATE, Scene, drifted

FLUSH = RATE // 2  # of silence after the scene's end: a word that ends with it is still decided on
_NO_STEPS, _NO_SCORES = np.empty(0, np.int64), np.empty(0)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Timed:
    """An event, in samples of the scene. event_host_ns: the host's monotonic time at which it left the chain.

    system_s: that, less the arrival of its decision sample; None without a clock, and for what the stream's end brought out.
    """

    event: WakeEvent
    event_host_ns: int
    system_s: float | None


@dataclass(frozen=True)
class Track:
    """Every step of one model's scorer: the scene's sample that it ended at, and its smoothed probability."""

    word: str
    opens_above: float
    index: NDArray[np.int64]
    p: NDArray[np.float64]


@dataclass(frozen=True)
class Heard:
    """What one pass over a scene found.

    scene: as it was played, the faults of its clocks included, with what the rig leaves of its truth. system_s: for every step of
    the scorers, float64: how long after its decision sample had arrived a decision there would have left; empty without a clock.
    drift_ppm: of the capture clock against the host's; None without one.
    """

    scene: Scene
    events: tuple[Timed, ...]
    tracks: tuple[Track, ...]
    books: Books
    system_s: NDArray[np.float64]
    drift_ppm: float | None


class _Clocks:
    """When samples arrived and steps were done, epoch by epoch."""

    def __init__(self) -> None:
        self._arrivals: dict[int, Arrivals] = {}
        self._steps: list[tuple[int, NDArray[np.int64], int]] = []

    def block(self, block: Block) -> None:
        self._arrivals.setdefault(block.epoch, Arrivals()).add(block.end, block.host_ns)

    def steps(self, epoch: int, decisions: NDArray[np.int64], done_ns: int) -> None:
        if len(decisions):
            self._steps.append((epoch, decisions, done_ns))

    def lines(self) -> dict[int, Line]:
        lines = {epoch: arrivals.line() for epoch, arrivals in self._arrivals.items()}
        return {epoch: line for epoch, line in lines.items() if line is not None}

    def latencies_s(self, lines: dict[int, Line]) -> NDArray[np.float64]:
        found = [
            (done_ns - line.ns - (decisions - line.index) * line.ns_a_sample) / 1e9
            for epoch, decisions, done_ns in self._steps
            if (line := lines.get(epoch)) is not None
        ]
        return np.concatenate(found) if found else np.empty(0)


def listen(
    rig: Rig,
    scene: Scene,
    models: Sequence[Model],
    faults: Faults = NO_FAULTS,
    *,
    threshold: float | None = None,
    progress: Progress = lambda done, of: None,
) -> Heard:
    """Play the scene through the rig, and listen for the models. threshold: for every model (None: each its own).

    progress: called with the samples heard and their number. InputError: a rig that cannot be used.
    """
    scene = drifted(scene, faults.drift_ppm)
    profile, references = rig.layout(scene)
    chain = Chain(profile, list(models), references=references, threshold=threshold)
    # What is done once, at the first sound, is none of the first word's delay.
    chain.process(Block(np.zeros((RATE // 10, len(profile.microphones) + references), np.int16), 0))
    chain.reset()
    found: list[tuple[WakeEvent, int, int | None]] = []
    indices: list[list[NDArray[np.int64]]] = [[] for _ in models]
    scores: list[list[NDArray[np.float64]]] = [[] for _ in models]
    clocks = _Clocks()
    with rig.play(scene, faults) as stream:
        ledger = Ledger(stream, rig)
        for raw in _lagging(stream.blocks(stopped_by(ledger, stream.deadline())), scene, faults if rig.clocked else NO_FAULTS):
            if raw.host_ns:
                clocks.block(raw)
            block = ledger.place(raw)
            if block is not None:
                events = chain.process(block)
                done_ns = time.monotonic_ns()
                origin = ledger.origin(raw.epoch)
                found += [(event, done_ns, event.decision - origin) for event in events]
                for detector, index, p in zip(chain.detectors, indices, scores, strict=True):
                    index.append(detector.steps.index)
                    p.append(detector.steps.p)
                    if rig.clocked:
                        clocks.steps(raw.epoch, detector.steps.index + chain.frontend.delay_samples - origin, done_ns)
                progress(block.end, scene.frames)
            if ledger.is_done:
                break
        books = ledger.close()
    found += [(event, time.monotonic_ns(), None) for event in chain.flush(FLUSH)]
    lines = clocks.lines()

    def timed(event: WakeEvent, left_ns: int, decision: int | None) -> Timed:
        line = lines.get(event.epoch) if rig.clocked and decision is not None else None
        return Timed(event, left_ns, None if line is None else (left_ns - line.at_ns(decision or 0)) / 1e9)

    return Heard(
        scene=stream.scene,
        events=tuple(timed(*one) for one in found),
        tracks=tuple(
            Track(
                detector.model.word, detector.opens_above, np.concatenate([_NO_STEPS, *index]), np.concatenate([_NO_SCORES, *p])
            )
            for detector, index, p in zip(chain.detectors, indices, scores, strict=True)
        ),
        books=books,
        system_s=clocks.latencies_s(lines),
        drift_ppm=lines[0].drift_ppm if 0 in lines else None,
    )


def _lagging(blocks: Iterator[Block], scene: Scene, faults: Faults) -> Iterator[Block]:
    """The blocks, read by somebody who is late now and then, and stalls once, where that was asked for."""
    random = np.random.default_rng(1)
    stalls = scene.frames * STALL_AT if faults.stall_s else None
    heard = 0
    for block in blocks:
        yield block
        heard += len(block.samples)
        if faults.late and random.random() < faults.late:
            time.sleep(float(random.uniform(0, LATEST_S)))  # the fault itself
        if stalls is not None and heard >= stalls:
            stalls = None
            time.sleep(faults.stall_s)
