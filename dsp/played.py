"""Words that the device itself plays: where its references hold the wake word, what the microphones hear is no talker."""

from collections import deque
from dataclasses import replace

import numpy as np

from farfield.block import Block, Frame
from farfield.detector import Detector
from farfield.model import Model
from farfield.profile import RATE

_EARLIEST = RATE // 10  # an echo before its reference, and the scores' own steps
_LEAST, _MOST = 0.05, 0.2
_ASKS_EARLY = 0.5  # in place of those, of a listener whose look goes by it, too: it opens at much that is no word
_LATEST = 6 * RATE // 10 + RATE // 2 + RATE // 5  # the longest echo delay, a second look's wait, and the room's tail


class PlayedWords:
    """Where in a stream the references, mixed to one signal, may hold a model's word.

    model: the wake word; its first network alone listens, from the threshold that opens a candidate on, or 0.05 or 0.2 where that
    lies below or above: silence is no word, and a word that is played is clean. With a joint look it is 0.5. A word that is said
    within 1.3 s after the device has played it is taken for the device's. ahead_samples: of the references, after a decision,
    that are sure to have been heard by then, whatever the blocks are; what comes later does not count.
    """

    def __init__(self, model: Model, ahead_samples: int = _EARLIEST) -> None:
        self._early = min(_EARLIEST, ahead_samples)
        joint = model.second_look is not None and model.second_look.joint is not None
        self._threshold = _ASKS_EARLY if joint else min(max(model.threshold, _LEAST), _MOST)
        self._detector = Detector(replace(model, second_look=None) if model.second_look else model)
        self.reset()

    def reset(self) -> None:
        """Back to the state of a new object."""
        self._detector.reset()
        self._found: deque[tuple[int, int]] = deque()

    def hear(self, block: Block, microphones: int) -> None:
        """The references of a block, which lie after its microphones, in time with them."""
        played = np.mean(block.samples[:, microphones:], axis=1, keepdims=True)
        mixed = np.ascontiguousarray(np.rint(played), np.int16)
        self._detector.process(Frame(mixed, block.index, block.epoch, block.host_ns, block.end))
        steps = self._detector.steps
        while self._found and self._found[0] < (block.epoch, block.index - _LATEST - RATE):
            self._found.popleft()
        self._found.extend((block.epoch, index) for index in steps.index[steps.p > self._threshold].tolist())

    def hold(self, epoch: int, decision: int) -> bool:
        """Whether what was decided on at a capture index may be what was played."""
        low, high = decision - _LATEST, decision + self._early
        return any(of == epoch and low <= index <= high for of, index in self._found)
