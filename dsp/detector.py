"""From a front end's signals to wake events: features, scores, smoothing, threshold, refractory time."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from farfield import kernels
from farfield.block import Frame, Rejected, WakeEvent
from farfield.errors import InputError
from farfield.history import heard
from farfield.look import Look, Verifier
from farfield.model import Model, check_second_look
from farfield.owner import Owner
from farfield.profile import RATE

_WINDOW, _HOP = 480, 160
LOOKING_SAMPLES = 32_000  # how long a candidate may wait for a look that agrees: it may open before its word has begun
_UNASKED = Look(None, None, agreed=True, passed=True)


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

    model: the wake word. signals: columns of the frames. threshold: the probability that decides (None: the model's): the
    smoothed one, or with a second look that look's. The word is said where the smoothed probability of any signal exceeds the
    threshold; after that, no event falls for the model's refractory time, nor before the probability has come down again.

    second_look: a larger network for the same word (None: the model's own, where it has one). owner: whose voice alone is let
    through. With a second look, the smoothed probability only opens a candidate, where it exceeds the model's own threshold,
    `opens_above`: the second network looks at the last 1.5 s of the signals that do, and must exceed `threshold` on one of them.
    Until it does, it looks again at each step while the probability stays above `opens_above`, for up to 2 s; a joint look
    (`farfield.joint`) at every second step of the stream, and at the one after it where the word may well be. When it agrees
    (without one: at once), the owner's voice is asked, once, as it was when it was fitted. A candidate that was looked at and
    did not pass is rejected, and there is no other before the probability has come down: `rejected` holds those that the last
    call gave up.

    Start of a stream: a word needs no lead-in, for the features and the network start from silence and the first decision
    can fall as soon as the smoothing window has filled; until then nothing can fire. A gap between frames starts anew.
    """

    def __init__(
        self,
        model: Model,
        signals: int = 1,
        *,
        threshold: float | None = None,
        second_look: Model | None = None,
        owner: Owner | None = None,
    ) -> None:
        self.model = model
        self.signals = signals
        second_look = second_look or model.second_look
        check_second_look(model.word, second_look)
        self.threshold = (second_look or model).threshold if threshold is None else threshold
        self.opens_above = model.threshold if second_look else self.threshold
        for asked in (self.opens_above, threshold or 0.0):
            if not 0.0 <= asked < 1.0:
                raise InputError(f"threshold: got {asked}, wanted 0 or more and less than 1")
        self._verifier = Verifier(model, second_look, owner, self.threshold) if second_look or owner else None
        self._histories = [self._verifier.history() for _ in range(signals)] if self._verifier else []
        self._features = [kernels.Features() for _ in range(signals)]
        self._scorers = [model.scorer() for _ in range(signals)]
        self._step_samples = model.stride * _HOP
        self._full = round(model.smoothing_steps / self._scorers[0].output_scale)
        self.steps = Steps(np.empty(0, np.int64), np.empty(0))
        self.reset()

    def reset(self) -> None:
        """Back to the state of a new object."""
        self._start_anew()
        self.rejected: list[Rejected] = []

    def _start_anew(self) -> None:
        for history in self._histories:
            history.reset()
        for features, scorer in zip(self._features, self._scorers, strict=True):
            features.reset()
            scorer.reset()
        self._next: tuple[int, int] | None = None
        self._recent: NDArray[np.int64] = np.zeros((self.signals, self.model.smoothing_steps - 1), np.int64)
        self._taken = 0
        self._quiet_until = -1
        self._armed = True
        self._opened: int | None = None  # where the candidate that is open opened
        self._candidate: Rejected | None = None  # what it will be if no look agrees, once it has been looked at
        self._near: set[int] = set()  # signals that the last step's looks found it near in

    def process(self, frame: Frame) -> list[WakeEvent]:
        """The events that this frame completes; `steps` and `rejected` then hold what else it completed.

        InputError: another number of signals, or samples that are not int16.
        """
        if frame.beams.dtype != np.int16 or frame.beams.ndim != 2 or frame.beams.shape[1] != self.signals:
            raise InputError(f"frame.beams: got {frame.beams.dtype} {frame.beams.shape}, wanted int16 (frames, {self.signals})")
        self.rejected = []
        if self._next != (frame.epoch, frame.index):
            self._give_up(self._next[1] if self._next else frame.index)
            self._start_anew()
            self._start = frame.index
        self._next = (frame.epoch, frame.index + len(frame.beams))
        features = [self._heard(np.ascontiguousarray(frame.beams[:, n]), n) for n in range(self.signals)]
        scores = [scorer.process(fresh) for scorer, fresh in zip(self._scorers, features, strict=True)]
        self._of_signals = self._smoothed(np.array(scores, np.int64))
        p = self._of_signals.max(axis=0)
        first = self._taken - len(p) + 1
        index = self._start + _WINDOW - _HOP + self._step_samples * np.arange(first, first + len(p), dtype=np.int64)
        self.steps = Steps(index, p)
        return [
            event
            for n, (at, score) in enumerate(zip(index.tolist(), p.tolist(), strict=True))
            if (event := self._decide(frame, n, at, score))
        ]

    def _heard(self, samples: NDArray[np.int16], n: int) -> NDArray[np.uint16]:
        """The features of a signal's next samples; a verifier, where there is one, will see more of them."""
        if not self._histories:
            return self._features[n].process(samples)
        features, energies = heard(samples, self._features[n])
        self._histories[n].take(features, energies)
        return features

    def _smoothed(self, scores: NDArray[np.int64]) -> NDArray[np.float64]:
        """Moving average of each signal's scores over the model's window; 0 while the window fills."""
        window = self.model.smoothing_steps
        history = np.concatenate([self._recent, scores], axis=1)
        sums = np.cumsum(history, axis=1)
        sums[:, window:] = sums[:, window:] - sums[:, :-window]
        p = sums[:, window - 1 :] / self._full
        self._recent = history[:, history.shape[1] - (window - 1) :]
        if self._taken < window - 1:
            p[:, : window - 1 - self._taken] = 0.0
        self._taken += p.shape[1]
        return np.asarray(p)

    def _decide(self, frame: Frame, n: int, index: int, p: float) -> WakeEvent | None:
        """What comes of the call's step `n`."""
        if p <= self.opens_above:
            self._armed = True
            self._near = set()
            self._give_up(index)
            return None
        if not self._armed and self._opened is None:
            return None
        found = self._look(n)  # in the refractory time, too: from what is near it goes on when that is over
        if self._opened is None:
            if index < self._quiet_until:
                return None
            self._armed = False
            self._opened = index
        if found is not None:
            look, candidate = found
            score = p if look.second_look is None else look.second_look  # what decides
            if look.passed:
                self._opened = self._candidate = None
                return self._event(frame, index, score, look, candidate)
            self._candidate = Rejected(self.model.word, score, index, frame.epoch, look.second_look, look.owner)
            if look.agreed:
                self._give_up(index)
                return None
        if index + self._step_samples > self._opened + LOOKING_SAMPLES:
            self._give_up(index)
        return None

    def _look(self, n: int) -> tuple[Look, int] | None:
        """The best look at the signals that open a candidate at the call's step `n`, and at which; None where none was due."""
        p = self._of_signals[:, n]
        if self._verifier is None:
            return _UNASKED, int(np.argmax(p))
        steps = self._taken - len(self._of_signals[0]) + n + 1
        seen = np.flatnonzero(p > self.opens_above).tolist()
        looks = [
            (self._verifier.look(self._histories[signal], steps * self.model.stride, float(p[signal])), signal)
            for signal in seen
            if self._verifier.due(steps, signal in self._near)
        ]
        self._near = {signal for look, signal in looks if look.near}
        return max(looks, key=lambda found: (found[0].passed, found[0].agreed, found[0].second_look or 0.0), default=None)

    def _give_up(self, index: int) -> None:
        if self._candidate is not None:
            self.rejected.append(replace(self._candidate, given_up=index))
        self._opened = self._candidate = None

    def _event(self, frame: Frame, index: int, score: float, look: Look, candidate: int) -> WakeEvent:
        self._quiet_until = index + self.model.refractory_ms * RATE // 1000
        end = max(index - self.model.end_lag_ms * RATE // 1000, self._start)
        start = max(end - self.model.word_ms * RATE // 1000, self._start)
        return WakeEvent(
            self.model.word, score, start, end, index, frame.epoch, frame.host_ns, second_look=look.second_look, owner=look.owner,
            candidate=candidate if self.signals > 1 else None,
        )  # fmt: skip
