"""The kernels of farfield, at the best instruction level that this processor runs.

The same sources are built once per level into sibling packages (`farfield.kernels.v3.echo` and so on). This module picks
one at import: `cpu_level()` names it, `FARFIELD_CPU_LEVEL` forces another, `levels()` lists those that can run here and
`at_level(name)` gives one of them.
"""

import os
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

from farfield.kernels import _cpu

# class -> the module that defines it, at every level
_MODULES = {
    "RealFFT": "fft",
    "Aligner": "align",
    "EchoCanceller": "echo",
    "Suppressor": "suppress",
    "WPE": "wpe",
    "Beamformer": "beam",
    "MVDR": "mvdr",
    "DirectionFinder": "direction",
    "Features": "features",
    "Scorer": "scorer",
    "Embedder": "embedding",
}
# from the plainest to the fastest; `checked` is for tests and is never picked by itself
_ORDER = ("base", "v3", "v4", "neon", "dotprod")

__all__ = [*_MODULES, "at_level", "cpu_level", "levels"]


def _is_built(level: str) -> bool:
    return find_spec(f"farfield.kernels.{level}") is not None


def levels() -> tuple[str, ...]:
    """The levels that were built and that this processor runs, the plainest first, `checked` last."""
    return tuple(level for level in (*_ORDER, "checked") if _is_built(level) and _cpu.runs(level))


def _pick() -> str:
    here = levels()
    if not here:
        raise ImportError("farfield.kernels: no compiled level found; install a wheel, or build with 'pip install .'")
    forced = os.environ.get("FARFIELD_CPU_LEVEL")
    if not forced:
        return [level for level in here if level != "checked" or len(here) == 1][-1]
    if forced not in here:
        raise ImportError(f"FARFIELD_CPU_LEVEL: got {forced!r}, this build on this processor has {', '.join(here)}")
    return forced


_LEVEL = _pick()


def cpu_level() -> str:
    """The instruction level in use, for example `v3`."""
    return _LEVEL


def at_level(level: str) -> SimpleNamespace:
    """Every kernel class built for `level`, as attributes; ValueError where it cannot run here."""
    if level not in levels():
        raise ValueError(f"level: got {level!r}, this build on this processor has {', '.join(levels())}")
    package = f"farfield.kernels.{level}"
    classes = {name: getattr(import_module(f"{package}.{module}"), name) for name, module in _MODULES.items()}
    return SimpleNamespace(level=level, **classes)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"farfield.kernels.{_LEVEL}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
