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


# --- end of scorer.pyx
