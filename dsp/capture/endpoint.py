"""Where speech ends: levels of 50 ms, each held against the quietest of the last four seconds.

Steps of 10 ms are squared and summed in whole numbers, so that the result does not depend on how the sound is cut, nor on the
machine. A step is speech where the 50 ms that it ends are more than 6 dB above the quietest 50 ms of the last 4 s, its own
included, and above -72 dB of full scale. Talk that goes on dips by more than 6 dB several times a second; noise that begins and
stays is taken for speech until it fills the 4 s. Tracking a minimum is Martin's idea: "Noise power spectral density estimation
based on optimal smoothing and minimum statistics", IEEE Trans. Speech and Audio Processing 9 (2001).
"""

import numpy as np
from numpy.typing import NDArray

STEP = 160
SPAN = 5  # steps whose level is taken together
REMEMBERED = 400  # steps
ABOVE = 4  # times the quietest power
LEAST = 8 * 8 * SPAN * STEP  # a root mean square of 8


class Endpointer:
    """Tells speech from what is not, one signal. Memory is constant; it holds levels, and no sound.

    index: of the first sample that it will hear. `judged`: index after the last whole step; `speech_end`: index after the last
    step that was speech, or `index` where none was.
    """

    def __init__(self) -> None:
        self._steps: NDArray[np.int64] = np.zeros(SPAN, np.int64)  # the last steps' sums of squares, in turn
        self._spans: NDArray[np.int64] = np.zeros(REMEMBERED, np.int64)  # the last spans' sums, in turn
        self.reset(0)

    def reset(self, index: int) -> None:
        """Begin anew at a sample; nothing is remembered."""
        self._steps.fill(0)
        self._spans.fill(0)
        self._count = self._filled = self._sum = 0
        self.judged = self.speech_end = index

    def process(self, samples: NDArray[np.int16]) -> None:
        """What follows, int16 (n,)."""
        at = 0
        while at < len(samples):
            part = samples[at : at + STEP - self._filled].astype(np.int64)
            self._sum += int(np.dot(part, part))
            self._filled += len(part)
            at += len(part)
            part.fill(0)
            if self._filled == STEP:
                self._step()

    def skip(self, samples: int) -> None:
        """So many are missing: what follows comes later by as many. A step that had begun is not judged."""
        self.judged += self._filled + samples
        self._filled = self._sum = 0

    def _step(self) -> None:
        self._steps[self._count % SPAN] = self._sum
        self._count += 1
        self._filled = self._sum = 0
        self.judged += STEP
        if self._count < SPAN:
            return
        level = int(self._steps.sum())
        spans = self._count - SPAN
        self._spans[spans % REMEMBERED] = level
        quietest = int(self._spans[: spans + 1].min())
        if level > max(LEAST, ABOVE * quietest):
            self.speech_end = self.judged
