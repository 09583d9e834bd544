"""The ring against a list that keeps everything, and that it forgets what it should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield.capture.ring import PIECE, Ring


def read(ring, start, end, signal):
    return np.concatenate([piece.copy() for piece in ring.read(start, end, signal)] or [np.zeros(0, np.int16)])


operations = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 500)),
        st.tuples(st.just("zero"), st.just(0)),
        st.tuples(st.just("restart"), st.integers(0, 2**40)),
        st.tuples(st.just("read"), st.integers(0, 1000)),
    ),
    max_size=30,
)


@given(capacity=st.integers(1, 300), signals=st.integers(1, 3), asked=operations, seed=st.integers(0, 99))
def test_it_holds_the_newest_of_each_signal(capacity, signals, asked, seed):
    rng = np.random.default_rng(seed)
    ring, first, kept = Ring(capacity, signals), 0, np.zeros((0, signals), np.int16)
    for what, n in asked:
        if what == "write":
            samples = rng.integers(-32_768, 32_768, (n, signals)).astype(np.int16)
            ring.write(samples)
            kept = np.concatenate([kept, samples])
        elif what == "zero":
            ring.zero()
            first, kept = first + len(kept), kept[:0]
        elif what == "restart":
            ring.restart(n)
            first, kept = n, kept[:0]
        assert ring.end == first + len(kept) and ring.start == max(first, ring.end - capacity)
        start = ring.start + n % (ring.end - ring.start + 1)
        for signal in range(signals):
            assert np.array_equal(read(ring, start, ring.end, signal), kept[start - first :, signal])
        powers = (kept[start - first :].astype(np.float64) ** 2).sum(axis=0)
        assert powers[ring.loudest(start, ring.end)] == powers.max()
    ring.close()


def test_what_it_handed_out_is_zeroed_when_the_next_is_asked_for():
    """And so is all that it holds by `zero`: looked at in its own memory."""
    ring = Ring(3 * PIECE, 2)
    ring.write(np.full((3 * PIECE, 2), 7, np.int16))
    pieces = ring.read(0, 2 * PIECE, 1)
    first = next(pieces)
    assert first.all() and len(first) == PIECE
    held = first
    assert next(pieces).all() and held is not None
    assert not list(pieces) and not held.any()
    raw = np.frombuffer(ring._memory, np.int16)
    assert (raw == 7).sum() == 6 * PIECE
    ring.zero()
    assert not raw.any() and ring.start == ring.end == 3 * PIECE


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (0, 11), (6, 5)])
def test_what_it_does_not_hold_cannot_be_read(start, end):
    ring = Ring(10, 1)
    ring.write(np.ones((10, 1), np.int16))
    with pytest.raises(AssertionError, match="of 0 to 10"):
        next(ring.read(start, end, 0))
