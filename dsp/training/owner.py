"""An owner's voice: embeddings of clips of the word, and L2-regularised logistic regression between one person and others.

The regression minimises, over weights w and bias b, with x standardised and s = +1 for the owner's clips, -1 for the others',
    sum over clips of c log(1 + exp(-s (w x + b))) + PENALTY / 2 |w|^2
c weighs both sides alike however many clips each has. Newton's method, the step halved until the sum falls (Boyd and
Vandenberghe, Convex Optimization, 9.5); with fewer clips than channels it works on the clips' own span, where w lies.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farfield import kernels
from farfield.block import Frame
from farfield.detector import Detector
from farfield.errors import InputError
from farfield.history import LOOK_FRAMES
from farfield.look import Afresh, trunk
from farfield.model import Model
from farfield.owner import Owner
from farfield.profile import RATE
from farfield.training.clips import clips

LEAST_CLIPS = 3  # of each side
PENALTY = 10.0
THRESHOLD = 0.5
_AROUND = RATE // 2  # of quiet around a clip
_QUIET = 1e-4  # full scale 1
_FLAT = 1e-3  # of the mean spread: channels that hardly move are not blown up

Vector = NDArray[np.float64]


class Embedder:
    """Where a model hears its word, the embedding of what its verifier would be shown there."""

    def __init__(self, model: Model) -> None:
        network = model.second_look or model
        self._detector = Detector(model)
        self._afresh = Afresh(network, trunk(network))
        self._stride = model.stride

    def embedding(self, clip: NDArray[np.float32]) -> Vector | None:
        """Of a clip at 16 kHz, full scale 1, heard with quiet around it; None where the model does not hear its word."""
        quiet = _QUIET * np.random.default_rng(0).standard_normal(2 * _AROUND)
        sound = np.concatenate([quiet[:_AROUND], clip, quiet[_AROUND:]])
        samples = np.clip(np.rint(32_768 * sound), -32_768, 32_767).astype(np.int16)
        self._detector.reset()
        events = self._detector.process(Frame(samples[:, None], 0, 0, 0, len(samples)))
        if not events:
            return None
        step = int(np.searchsorted(self._detector.steps.index, events[0].decision))
        end = (step + 1) * self._stride
        self._afresh.hear(kernels.Features().process(samples)[max(0, end - LOOK_FRAMES) : end])
        return self._afresh.embedding()


def fit(
    model: Model,
    owners: Sequence[Path],
    others: Sequence[Path],
    threshold: float,
    note: Callable[[str], None],
    progress: Callable[[str, int, int], None],
) -> Owner:
    """The owner of the clips below `owners`, told apart from who speaks the word in the clips below `others`.

    note: is told each clip that could not be used. InputError: fewer than LEAST_CLIPS of either in which the model hears the
    word. `figures` holds the outcome of leaving each clip out in turn and judging it by the rest.
    """
    embedder = Embedder(model)
    own, rest = (_embeddings(embedder, folders, what, note) for folders, what in ((owners, "--owner"), (others, "--others")))
    x = np.array([*own, *rest])
    is_owner = np.arange(len(x)) < len(own)
    fingerprint = (model.second_look or model).fingerprint

    def fitted(to: NDArray[np.bool_]) -> Owner:
        return Owner(model.word, fingerprint, *regression(x[to], is_owner[to]), threshold)

    let_through = []
    for clip in range(len(x)):
        let_through.append(fitted(np.arange(len(x)) != clip).p(x[clip]) > threshold)
        progress("leaving one out", clip + 1, len(x))
    figures = {
        "owner_let_through": f"{sum(let_through[: len(own)])} of {len(own)}",
        "others_let_through": f"{sum(let_through[len(own) :])} of {len(rest)}",
    }
    return replace(fitted(np.ones(len(x), bool)), figures={"leave_one_out": figures})


def _embeddings(embedder: Embedder, folders: Sequence[Path], option: str, note: Callable[[str], None]) -> list[Vector]:
    skipped: list[str] = []
    found: list[Vector] = []
    for clip in clips(folders, skipped):
        embedding = embedder.embedding(clip.samples)
        if embedding is None:
            skipped.append(f"{clip.name}: the model does not hear its word in it")
        else:
            found.append(embedding)
    for line in skipped:
        note(f"skipped: {line}")
    if len(found) < LEAST_CLIPS:
        raise InputError(
            f"{option}: got {len(found)} clips in which the model hears its word, wanted {LEAST_CLIPS} or more, better ten"
        )
    return found


def regression(x: Vector, is_owner: NDArray[np.bool_]) -> tuple[Vector, Vector, Vector, float]:
    """Mean and scale that standardise, weights and bias, of embeddings float64 (clips, channels), both sides among them."""
    mean, spread = x.mean(axis=0), x.std(axis=0)
    scale = spread + _FLAT * spread.mean() + np.finfo(float).tiny
    standard = (x - mean) / scale
    span = np.linalg.svd(standard, full_matrices=False)[2]
    weights, bias = _newton(standard @ span.T, is_owner)
    return mean, scale, span.T @ weights, bias


def _newton(x: Vector, is_owner: NDArray[np.bool_]) -> tuple[Vector, float]:
    clips, channels = x.shape
    design = np.column_stack([x, np.ones(clips)])
    penalty = np.append(np.full(channels, PENALTY), 0.0)
    weight = clips / 2 / np.where(is_owner, is_owner.sum(), clips - is_owner.sum())
    sign = np.where(is_owner, 1.0, -1.0)

    def cost(b: Vector) -> float:
        return float(weight @ np.logaddexp(0.0, -sign * (design @ b)) + b @ (penalty * b) / 2)

    b = np.zeros(channels + 1)
    for _ in range(100):
        p = np.exp(-np.logaddexp(0.0, -(design @ b)))
        gradient = design.T @ (weight * (p - is_owner)) + penalty * b
        if np.abs(gradient).max() < 1e-9 * clips:
            break
        curvature = (design.T * (weight * p * (1 - p))) @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        before = cost(b)
        while cost(b - step) > before and np.abs(step).max() > 1e-12:
            step /= 2
        b = b - step
    return b[:-1], float(b[-1])
