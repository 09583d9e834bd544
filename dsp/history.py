"""What is kept of a signal for what looks again at it: features and energies of its last 1.5 s, and embeddings of these."""

import numpy as np
from numpy.typing import NDArray

from farfield import kernels
from farfield.joint import EMBEDDINGS, WIDTH
from farfield.model import FEATURES

LOOK_FRAMES = 150  # 10 ms feature frames that a look sees
FIELD, HOP = 76, 8  # frames of energies that an embedding is of, and from one to the next
HEARD = FIELD + (EMBEDDINGS - 1) * HOP  # that all embeddings of a look are of
ENERGIES = 32


def heard(samples: NDArray[np.int16], front: kernels.Features | None = None) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Features, uint16 (frames, 40), and energies, uint16 (frames, 32), of a signal's next samples, int16 (samples,).

    front: what has heard those before them; None: there were none.
    """
    front = front or kernels.Features()
    energies = np.empty((front.max_frames(len(samples)), ENERGIES), np.uint16)
    features = front.process(samples, None, energies)
    return features, energies[: len(features)]


class History:
    """What looks are shown of a signal: its last feature frames, and embeddings of its energies.

    embedder: ready for HEARD frames, or None where no look asks for embeddings. They are of every HOP-th frame from the stream's
    first on, so that looks that follow each other share them, and it goes on from one to the next; before the first frame
    energies are 0. Memory is constant.
    """

    def __init__(self, embedder: kernels.Embedder | None = None) -> None:
        self._embedder = embedder
        self._features = _Last(LOOK_FRAMES, FEATURES)
        self._energies = _Last(HEARD + HOP, ENERGIES)
        self._known: dict[int, NDArray[np.int8]] = {}  # embeddings by the number of their first frame / HOP
        self._embedded = 0  # how far the embedder has heard the stream, in frames
        self._shown: NDArray[np.int8] = np.zeros((EMBEDDINGS, WIDTH), np.int8)

    def reset(self) -> None:
        """Back to the state of a new object."""
        self._features.reset()
        self._energies.reset()
        self._known.clear()
        self._shown.flags.writeable = True
        self._shown.fill(0)  # in place, for whoever looked may hold it still
        if self._embedder is not None:
            self._embedder.reset()

    def take(self, features: NDArray[np.uint16], energies: NDArray[np.uint16]) -> None:
        """What a call made of a signal's next samples, as of `heard`."""
        self._features.take(features)
        self._energies.take(energies)

    def until(self, frame: int) -> NDArray[np.uint16]:
        """Features of the newest LOOK_FRAMES of the stream's first `frame`, of which the call has the last; all where there are
        fewer."""
        return self._features.until(frame, LOOK_FRAMES)

    def embeddings(self, frame: int) -> NDArray[np.int8]:
        """The newest of the stream's first `frame` frames, of which the call has the last: int8 (EMBEDDINGS, WIDTH), read-only.

        The same array as long as none is newer. Frames may not go back.
        """
        assert self._embedder is not None
        newest = (frame - FIELD) // HOP
        if newest in self._known:
            return self._shown
        stop = newest * HOP + FIELD
        if not self._known or stop - self._embedded >= HEARD:  # to go on would take longer than to begin where all wanted begin
            self._embedder.reset()
            self._known.clear()
            self._embedded = stop - HEARD
        count = stop - self._embedded
        kept = self._energies.until(stop, count)
        padded = np.concatenate([np.zeros((count - len(kept), ENERGIES), np.uint16), kept])
        made = self._embedder.process(padded)
        self._embedded = stop
        self._known |= dict(zip(range(newest - len(made) + 1, newest + 1), made, strict=True))
        wanted = range(newest - EMBEDDINGS + 1, newest + 1)
        self._known = {at: self._known[at] for at in wanted}
        self._shown = np.stack(list(self._known.values()))
        self._shown.flags.writeable = False
        return self._shown


class _Last:
    """The newest `count` rows of a stream before a call's, and the call's own.

    The rows lie in one piece of memory with as much room behind them; when it is used up, they move back to the front.
    """

    def __init__(self, count: int, width: int) -> None:
        self._count = count
        self._kept: NDArray[np.uint16] = np.zeros((2 * count, width), np.uint16)
        self.reset()

    def reset(self) -> None:
        """Back to the state of a new object."""
        self._kept.fill(0)
        self._fresh: NDArray[np.uint16] = self._kept[:0]
        self._end = 0  # one past the newest row that is kept
        self._first = 0  # rows of the stream before the fresh ones

    def take(self, fresh: NDArray[np.uint16]) -> None:
        """A call's rows."""
        self._first += len(self._fresh)
        known = self._fresh[-self._count :]
        if self._end + len(known) > 2 * self._count:
            self._kept[: self._count] = self._kept[self._end - self._count : self._end]
            self._end = self._count
        self._kept[self._end : self._end + len(known)] = known
        self._end += len(known)
        self._fresh = fresh

    def until(self, row: int, count: int) -> NDArray[np.uint16]:
        """The newest `count` of the stream's first `row`; fewer where it is younger."""
        stop = max(0, row - self._first)
        fresh = self._fresh[max(0, stop - count) : stop]
        end = self._end + min(0, row - self._first)
        return np.concatenate([self._kept[max(0, end - (count - len(fresh))) : max(0, end)], fresh])
