"""From a front end's signals to wake events: features, scores, smoothing, threshold, refractory time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farfield import kernels
from farfield.block import Frame, WakeEvent
from farfield.errors import InputError
from farfield.model import Model
from farfield.profile import RATE

_WINDOW, _HOP = 480, 160


@dataclass(frozen=True, slots=True)
class Steps:
    """The scorer's steps that a call completed.

    index: int64 (steps,), capture index after the last sample that each had consumed.
    p: float64 (steps,), smoothed probability, the largest over the signals; 0 until the smoothing window has filled.
    """

    index: NDArray[np.int64]
    p: NDArray[np.float64]


class Detector:
    """Scores every signal of the frames with one model, and says when the word was said.

    model: the wake word. signals: columns of the frames. threshold: the smoothed probability that must be exceeded (None:
    the model's). The word is said where the smoothed probability of any signal exceeds the threshold; after that, no event
    falls for the model's refractory time, nor before the probability has come down again.

    Start of a stream: a word needs no lead-in, for the features and the network start from silence and the first decision
    can fall as soon as the smoothing window has filled; until then nothing can fire. A gap between frames starts anew.
    """

    def __init__(self, model: Model, signals: int = 1, *, threshold: float | None = None) -> None:
        self.model = model
        self.signals = signals
        self.threshold = model.threshold if threshold is None else threshold
        if not 0.0 <= self.threshold < 1.0:
            raise InputError(f"threshold: got {self.threshold}, wanted 0 or more and less than 1")
        self._features = [kernels.Features() for _ in range(signals)]
        self._scorers = [model.scorer() for _ in range(signals)]
        self._full = round(model.smoothing_steps / self._scorers[0].output_scale)
        self.steps = Steps(np.empty(0, np.int64), np.empty(0))
        self.reset()

    def reset(self) -> None:
        """Back to the state of a new object."""
        for features, scorer in zip(self._features, self._scorers, strict=True):
            features.reset()
            scorer.reset()
        self._next: tuple[int, int] | None = None
        self._recent: NDArray[np.int64] = np.zeros((self.signals, self.model.smoothing_steps - 1), np.int64)
        self._taken = 0
        self._quiet_until = -1
        self._armed = True

    def process(self, frame: Frame) -> list[WakeEvent]:
        """The events that this frame completes; `steps` then holds the scores that it completed.

        InputError: another number of signals, or samples that are not int16.
        """
        if frame.beams.dtype != np.int16 or frame.beams.ndim != 2 or frame.beams.shape[1] != self.signals:
            raise InputError(
                f"frame.beams: got {frame.beams.dtype} {frame.beams.shape}, wanted int16 (frames, {self.signals})"
            )
        if self._next != (frame.epoch, frame.index):
            self.reset()
            self._start = frame.index
        self._next = (frame.epoch, frame.index + len(frame.beams))
        scores = [
            scorer.process(features.process(np.ascontiguousarray(frame.beams[:, n])))
            for n, (features, scorer) in enumerate(zip(self._features, self._scorers, strict=True))
        ]
        p = self._smoothed(np.array(scores, np.int64))
        first = self._taken - len(p) + 1
        step = self.model.stride * _HOP
        index = self._start + _WINDOW - _HOP + step * np.arange(first, first + len(p), dtype=np.int64)
        self.steps = Steps(index, p)
        return [event for at, score in zip(index.tolist(), p.tolist(), strict=True) if (event := self._decide(frame, at, score))]

    def _smoothed(self, scores: NDArray[np.int64]) -> NDArray[np.float64]:
        """Moving average over the model's window, then the largest over the signals; 0 while the window fills."""
        window = self.model.smoothing_steps
        history = np.concatenate([self._recent, scores], axis=1)
        sums = np.cumsum(history, axis=1)
        sums[:, window:] = sums[:, window:] - sums[:, :-window]
        p = sums[:, window - 1 :].max(axis=0) / self._full
        self._recent = history[:, history.shape[1] - (window - 1) :]
        filling = max(0, min(len(p), window - 1 - self._taken))
        p[:filling] = 0.0
        self._taken += len(p)
        return np.asarray(p)

    def _decide(self, frame: Frame, index: int, p: float) -> WakeEvent | None:
        if p <= self.threshold:
            self._armed = True
            return None
        if not self._armed or index < self._quiet_until:
            return None
        self._armed = False
        self._quiet_until = index + self.model.refractory_ms * RATE // 1000
        end = max(index - self.model.end_lag_ms * RATE // 1000, self._start)
        start = max(end - self.model.word_ms * RATE // 1000, self._start)
        return WakeEvent(self.model.word, p, start, end, index, frame.epoch, frame.host_ns)
