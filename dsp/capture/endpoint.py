"""Where speech ends: levels of 50 ms, whole and by band, each held against the quietest of the last four seconds.

Steps of 10 ms are split into octaves by the Haar wavelet (4 to 8 kHz, 2 to 4, 1 to 2, and what is below), squared and summed in
whole numbers, so that the result does not depend on how the sound is cut, nor on the machine. A step is speech where the 50 ms
that it ends are more than 6 dB above the quietest 50 ms of the last 4 s, its own included, or more than 8 dB in one of the bands,
where noise is less even; and above -72 dB of full scale. Bands tell weak speech from noise that covers it as a whole: over white
noise a vowel's end by its low band, a fricative by its high one. Talk that goes on dips by more than 6 dB several times a second;
noise that begins and stays is taken for speech until it fills the 4 s. Tracking a minimum is Martin's idea: "Noise power spectral
density estimation based on optimal smoothing and minimum statistics", IEEE Trans. Speech and Audio Processing 9 (2001).
"""

import numpy as np
from numpy.typing import NDArray

STEP = 160
SPAN = 5  # steps whose level is taken together
REMEMBERED = 400  # steps
ABOVE: NDArray[np.int64] = np.array([4, 6, 6, 6, 6], np.int64)  # times the quietest power, as a whole and by band
_OCTAVES = 3  # that are split off; STEP is a multiple of 2 to the power of it
# A root mean square of 8; a tone in a band counts there for as often as samples are summed.
LEAST: NDArray[np.int64] = np.array([1, 2, 4, 8, 8], np.int64) * (8 * 8 * SPAN * STEP)


class Endpointer:
    """Tells speech from what is not, one signal. Memory is constant; of sound it holds the step that has begun.

    index: of the first sample that it will hear. `judged`: index after the last whole step; `speech_end`: index after the last
    step that was speech, or `index` where none was.
    """

    def __init__(self) -> None:
        self._samples: NDArray[np.int64] = np.zeros(STEP, np.int64)
        self._sums = [np.zeros(STEP >> octave, np.int64) for octave in range(1, _OCTAVES + 1)]
        self._differences = [np.zeros_like(one) for one in self._sums]
        self._steps: NDArray[np.int64] = np.zeros((SPAN, len(LEAST)), np.int64)  # the last steps' sums of squares, in turn
        self._spans: NDArray[np.int64] = np.zeros((REMEMBERED, len(LEAST)), np.int64)  # the last spans' sums, in turn
        self.reset(0)

    def reset(self, index: int) -> None:
        """Begin anew at a sample; nothing is remembered."""
        self._forget()
        self._steps.fill(0)
        self._spans.fill(0)
        self._count = 0
        self.judged = self.speech_end = index

    def process(self, samples: NDArray[np.int16]) -> None:
        """What follows, int16 (n,)."""
        at = 0
        while at < len(samples):
            part = samples[at : at + STEP - self._filled]
            self._samples[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            at += len(part)
            if self._filled == STEP:
                self._step()

    def skip(self, samples: int) -> None:
        """So many are missing: what follows comes later by as many. A step that had begun is not judged."""
        self.judged += self._filled + samples
        self._forget()

    def _forget(self) -> None:
        self._filled = 0
        for held in (self._samples, *self._sums, *self._differences):
            held.fill(0)

    def _measure(self, levels: NDArray[np.int64]) -> None:
        """The step's energy, as a whole and by band, from the highest down; at most 2 to the 44th."""
        low = self._samples
        levels[0] = np.dot(low, low)
        for octave, (sums, differences) in enumerate(zip(self._sums, self._differences, strict=True), 1):
            np.subtract(low[::2], low[1::2], out=differences)
            np.add(low[::2], low[1::2], out=sums)
            levels[octave] = np.dot(differences, differences)
            low = sums
        levels[-1] = np.dot(low, low)

    def _step(self) -> None:
        self._measure(self._steps[self._count % SPAN])
        self._forget()
        self._count += 1
        self.judged += STEP
        if self._count < SPAN:
            return
        level = self._steps.sum(axis=0)
        spans = self._count - SPAN
        self._spans[spans % REMEMBERED] = level
        quietest = self._spans[: spans + 1].min(axis=0)
        if np.any(level > np.maximum(LEAST, ABOVE * quietest)):
            self.speech_end = self.judged
