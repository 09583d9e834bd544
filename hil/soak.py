"""One room over and over through one rig and one chain, for hours: memory, descriptors, lost samples and latency over time."""

import gc
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farfield import InputError, Model
from farfield.hil.faults import Faults
from farfield.hil.listening import listen
from farfield.hil.rigs.base import NO_FAULTS, Rig
from farfield.hil.scene import Scene

SETTLED = 3  # passes: what a process takes for itself at first is no leak
_MOST_TOLD = 8  # gaps that nobody accounted for; more are counted


@dataclass(frozen=True)
class Sample:
    """One pass. hours: since the start. rss_mb, descriptors, threads: of this process after it. unexplained: gaps."""

    hours: float
    passes: int
    rss_mb: float
    descriptors: int
    threads: int
    lost_samples: int
    events: int
    system_p99_ms: float | None
    drift_ppm: float | None
    unexplained: tuple[str, ...]


def soak(
    rig: Rig,
    scene: Scene,
    models: Sequence[Model],
    hours: float,
    faults: Faults = NO_FAULTS,
    *,
    clock: Callable[[], int] = time.monotonic_ns,
) -> Iterator[Sample]:
    """Passes over the scene until the time is over, at least one; a sample after each. clock: in ns."""
    begun = clock()
    passes = lost = 0
    while True:
        heard = listen(rig, scene, models, faults)
        passes += 1
        lost += heard.books.lost
        p99 = float(1000 * np.percentile(heard.system_s, 99)) if len(heard.system_s) else None
        events, drift, unexplained = len(heard.events), heard.drift_ppm, heard.books.unexplained
        del heard
        gc.collect()
        spent_h = (clock() - begun) / 3.6e12
        yield Sample(spent_h, passes, _rss_mb(), _count("fd"), _count("task"), lost, events, p99, drift, unexplained)
        if spent_h >= hours:
            return


def complaints(samples: Iterable[Sample], most_mb: float, *, lossy: bool) -> list[str]:
    """What went wrong over the passes. most_mb: by how much memory may grow. lossy: losses were asked for.

    Of the samples, gone through once, no more is kept than is told: days of them would be a leak of the soak's own.
    """
    found: list[str] = []
    unexplained = 0
    events: set[int] = set()
    first = last = None
    for passes, sample in enumerate(samples, 1):
        found += [f"pass {sample.passes}: {text}" for text in sample.unexplained[: max(0, _MOST_TOLD - unexplained)]]
        unexplained += len(sample.unexplained)
        events.add(sample.events)
        first = sample if passes == SETTLED else first
        last = sample
    if last is None:
        return found
    if unexplained > _MOST_TOLD:
        found.append(f"{unexplained - _MOST_TOLD} more gaps that were not accounted for")
    if last.lost_samples and not lossy:
        found.append(f"{last.lost_samples} samples were lost, all counted; wanted none")
    if not lossy and len(events) > 1:
        found.append(f"{sorted(events)} events in a pass over the same room; wanted one number")
    if first is None:
        return found
    if last.rss_mb - first.rss_mb > most_mb:
        found.append(f"memory grew from {first.rss_mb:.1f} to {last.rss_mb:.1f} MB; wanted at most {most_mb:g} MB more")
    for name in ("descriptors", "threads"):
        was, has = getattr(first, name), getattr(last, name)
        if has > was:
            found.append(f"{name}: {was} at first, {has} at the end; wanted no more")
    return found


def _rss_mb() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError as error:
        raise InputError(f"/proc/self/statm: cannot be read ({error.strerror}); wanted Linux's /proc") from None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _count(kind: str) -> int:
    return len(os.listdir(f"/proc/self/{kind}"))
