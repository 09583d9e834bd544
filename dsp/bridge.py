"""Short gaps bridged, so that the stages behind need not start anew in the middle of a word for one lost frame."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from farfield.block import Block
from farfield.profile import RATE

LONGEST = RATE // 25  # samples: longer than this nothing can be said of what was there


class Bridge:
    """Blocks in, blocks out: one that follows a gap of up to 40 ms is preceded by what may have been in it.

    What came before is continued by its mirror image, which keeps level and spectrum, tilted so that it ends where the sound
    goes on: nothing clicks, and it is the same for any cut into blocks. It is for the stages of a chain alone: the blocks that a
    caller sees keep their gaps. `bridged` counts the samples. Longer gaps, gaps before 40 ms were heard, and new epochs pass.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Back to the state of a new object."""
        self.bridged = 0
        self._tail: NDArray[np.int16] | None = None
        self._epoch = self._index = 0

    def over(self, block: Block) -> Block:
        """The block, with the gap before it bridged."""
        if not len(block.samples):
            return block
        gap = block.index - self._index
        tail = self._tail
        follows = tail is not None and block.epoch == self._epoch
        if tail is not None and follows and len(tail) == LONGEST and 0 < gap <= LONGEST:
            fill = _continued(tail[-gap:], block.samples[0])
            self.bridged += gap
            gap = 0
            block = replace(block, samples=np.concatenate([fill, block.samples]), index=self._index)
        heard = block.samples
        if tail is not None and follows and gap == 0 and len(heard) < LONGEST:
            heard = np.concatenate([tail, heard])
        self._tail = heard[-LONGEST:].copy()
        self._epoch, self._index = block.epoch, block.end
        return block


def _continued(before: NDArray[np.int16], after: NDArray[np.int16]) -> NDArray[np.int16]:
    """As many samples again, the last of which lies a step before `after` (channels,)."""
    mirror = before[::-1].astype(np.float64)
    steps = np.arange(1, len(mirror) + 1)[:, None] / (len(mirror) + 1)
    tilted = mirror + steps * (after - mirror[-1])
    return np.asarray(np.clip(np.rint(tilted), -32_768, 32_767).astype(np.int16))
