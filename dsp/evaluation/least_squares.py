"""The most that any fixed filter takes out of an echo: the yardstick of a linear stage."""

import math

import numpy as np
from numpy.typing import NDArray

TAPS = 2_048
_RIDGE = 1e-9  # of the references' power: what keeps references that are alike apart


def bound_db(echo: NDArray[np.float32], ref: NDArray[np.float32], since: int, late: int = 0, taps: int = TAPS) -> float:
    """Power of the echo over what the best fixed filter leaves of it, in dB, from sample `since` on.

    echo: (frames,). ref: (frames, references), each through `taps` taps, the first of which is `late` samples late (may be
    below 0). The filter knows the whole recording beforehand: exact least squares over it (the covariance method).
    """
    from scipy.linalg import cho_factor, cho_solve

    frames, references = ref.shape
    y = echo[since:].astype(np.float64)
    if not y.any():
        return 0.0
    shifted = [_late(ref[:, r], late, since, taps, frames) for r in range(references)]
    products = np.block([[_products(a, b, taps) for b in shifted] for a in shifted])
    towards = np.concatenate([_correlation(x, y, taps) for x in shifted])
    products[np.diag_indices_from(products)] += _RIDGE * np.trace(products) / len(products) + 1e-12
    weights = cho_solve(cho_factor(products), towards)
    left = y - sum(_filtered(x, w, len(y)) for x, w in zip(shifted, weights.reshape(references, taps), strict=True))
    return float(np.clip(10 * math.log10((y @ y + 1e-12) / (left @ left + 1e-12)), -100, 100))


def _late(x: NDArray[np.float32], late: int, since: int, taps: int, frames: int) -> NDArray[np.float64]:
    """x from `taps` - 1 before `since` to the end, `late` samples late; silence where there is none."""
    wanted = np.arange(since - taps + 1, frames) - late
    inside = (wanted >= 0) & (wanted < frames)
    made = np.zeros(len(wanted))
    made[inside] = x[wanted[inside]]
    return made


def _products(a: NDArray[np.float64], b: NDArray[np.float64], taps: int) -> NDArray[np.float64]:
    """Sum over n of a[n - i] b[n - j], (taps, taps): its first row and column, and down the diagonals what enters and leaves."""
    made = np.empty((taps, taps))
    made[0] = _correlation(b, a[taps - 1 :], taps)
    made[:, 0] = _correlation(a, b[taps - 1 :], taps)
    into_a, into_b = a[: taps - 1][::-1], b[: taps - 1][::-1]
    gone_a, gone_b = a[: len(a) - taps : -1], b[: len(b) - taps : -1]
    for i in range(1, taps):
        made[i, 1:] = made[i - 1, :-1] + into_a[i - 1] * into_b - gone_a[i - 1] * gone_b
    return made


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64], taps: int) -> NDArray[np.float64]:
    """Sum over n of x[n - i] y[n] for each tap i; x begins taps - 1 samples before y."""
    from scipy.signal import correlate

    return np.asarray(correlate(x, y, "valid")[::-1], np.float64)


def _filtered(x: NDArray[np.float64], weights: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    from scipy.signal import oaconvolve

    return np.asarray(oaconvolve(x, weights, "valid")[:frames], np.float64)
