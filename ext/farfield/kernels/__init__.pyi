from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

def cpu_level() -> str: ...
def levels() -> tuple[str, ...]: ...
def at_level(level: str) -> SimpleNamespace: ...

# --- fft.pyx: RealFFT


# --- end of fft.pyx

# --- echo.pyx: EchoCanceller


# --- end of echo.pyx

# --- beam.pyx: Beamformer


# --- end of beam.pyx

# --- direction.pyx: DirectionFinder


# --- end of direction.pyx

# --- features.pyx: Features


# --- end of features.pyx

# --- scorer.pyx: Scorer
class Scorer:
    stride: int
    channels: int
    output_scale: float
    def __init__(
        self,
        stride: int,
        quantiser: Mapping[str, int],
        slots: Sequence[Mapping[str, int]],
        layers: Sequence[Mapping[str, Any]],
    ) -> None: ...
    def process(self, features: NDArray[np.uint16], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]: ...
    def reset(self) -> None: ...

# --- end of scorer.pyx
