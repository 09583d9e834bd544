"""What kernels say of arguments that do not fit. For what comes with every block, boundary.pxd looks first, and faster."""

from typing import Any

import numpy as np


def array(name: str, value: Any, dtype: Any, shape: tuple[int | None, ...], *, writable: bool = False) -> np.ndarray:
    """`value` itself, if it is a C-contiguous array of `dtype` and `shape` (None: any length); else raises.

    TypeError: not an array, or another dtype. ValueError: another shape, not contiguous, or not writable.
    """
    dtype = np.dtype(dtype)
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name}: got {type(value).__name__}, wanted a numpy array of {dtype}")
    if value.dtype != dtype:
        raise TypeError(f"{name}: got dtype {value.dtype}, wanted {dtype}; convert it with .astype(numpy.{dtype})")
    if value.ndim != len(shape) or any(w is not None and g != w for g, w in zip(value.shape, shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name}: got shape {value.shape}, wanted ({wanted})")
    if not value.flags.c_contiguous:
        raise ValueError(f"{name}: got a strided view, wanted C-contiguous memory; use numpy.ascontiguousarray")
    if not value.flags.aligned or not value.dtype.isnative:
        raise ValueError(f"{name}: got memory that is not aligned to {dtype}; use numpy.require(..., requirements='A')")
    if writable and not value.flags.writeable:
        raise ValueError(f"{name}: got a read-only array, wanted one that can be written")
    return value


def count(name: str, value: Any, low: int, high: int) -> int:
    """`value` as an int between `low` and `high`; TypeError or ValueError that names it otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: got {type(value).__name__} {value!r}, wanted a whole number")
    if not low <= value <= high:
        raise ValueError(f"{name}: got {value}, wanted {low} to {high}")
    return int(value)


def number(name: str, value: Any, low: float, high: float) -> float:
    """`value` as a finite float between `low` and `high`; TypeError or ValueError that names it otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name}: got {type(value).__name__} {value!r}, wanted a number")
    if not low <= value <= high:  # NaN fails this too
        raise ValueError(f"{name}: got {value}, wanted {low} to {high}")
    return float(value)
