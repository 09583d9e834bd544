"""What the benchmarks share: sound to work on, CPU time of two sides in turn, and the row of the table that comes of it."""

import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
ROUNDS = 9


def sound(seconds: int, channels: int | None = None, seed: int = 1) -> NDArray[np.int16]:
    """Noise in bursts of 0.1 s, int16 (frames,) or (frames, channels): no side's cost depends on what is said."""
    rng = np.random.default_rng(seed)
    envelope = np.repeat(rng.uniform(0, 8000, seconds * 10), RATE // 10)
    shape = (len(envelope),) if channels is None else (len(envelope), channels)
    envelope = envelope.reshape(-1, *[1] * (len(shape) - 1))
    return (envelope * rng.standard_normal(shape)).clip(-32_768, 32_767).astype(np.int16)


@dataclass(frozen=True)
class Measured:
    """CPU seconds of both sides, a round each; where the peer is real time, `theirs` is the length of the sound."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        """How many times less ours took than theirs, round by round."""
        return [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one call, all threads of the process together."""
    begun = time.process_time_ns()
    work()
    return (time.process_time_ns() - begun) / 1e9


def ratios(ours: Callable[[], object], theirs: Callable[[], object], rounds: int = ROUNDS) -> Measured:
    """Both sides once a round, warmed up, and the order changed every round so that a drift of the machine favours none."""
    ours(), theirs()
    measured = Measured([], [])
    sides = [(ours, measured.ours), (theirs, measured.theirs)]
    for number in range(rounds):
        for work, spent in sides if number % 2 == 0 else reversed(sides):
            spent.append(cpu_seconds(work))
    return measured


def against_real_time(ours: Callable[[], object], seconds: float, rounds: int = ROUNDS) -> Measured:
    """The peer is the clock: `seconds` of sound take `seconds`."""
    ours()
    return Measured([cpu_seconds(ours) for _ in range(rounds)], [seconds] * rounds)


def report(benchmark, name: str, peer: str, measured: Measured, seconds: float, bar: float | None = None) -> None:
    """Puts the comparison into the benchmark's extra_info, from which the table at the end is made.

    seconds: of sound that a round worked on. bar: the ratio that the median must reach, or None where none is asked for.
    """
    ms = 1000 / seconds
    benchmark.extra_info.update(
        name=name,
        peer=peer,
        ours_ms_per_s=figures(statistics.median(measured.ours) * ms),
        peer_ms_per_s=figures(statistics.median(measured.theirs) * ms),
        ratio_median=figures(measured.median),
        ratio_least=figures(min(measured.ratios)),
        ratio_most=figures(max(measured.ratios)),
        bar=bar,
        met=None if bar is None else measured.median >= bar,
    )


def figures(value: float, digits: int = 3) -> float:
    """`value` rounded to so many significant digits."""
    return round(value, digits - 1 - math.floor(math.log10(value))) if value > 0 else 0.0


def instructions(seconds: int, level: str, folder: Path, script: Path) -> int:
    """What callgrind counts of `script SECONDS`, kernels at `level`, start and all."""
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder / 'out'}", sys.executable,
               str(script), str(seconds)]  # fmt: skip
    environment = os.environ | {"FARFIELD_CPU_LEVEL": level, "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr[-2_000:]
    counted = re.search(r"Collected : (\d+)", ran.stderr)
    assert counted, ran.stderr[-2_000:]
    return int(counted[1])
