"""Features heard otherwise: each change does what it says, to as many segments as it says, and to the rest nothing."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyroomacoustics")

from farfield.training import hearing, segments  # noqa: E402


@pytest.mark.parametrize("pivot", [0, 100, segments.WINDOWS - 1])
def test_what_is_said_otherwise_ends_where_it_did(pivot):
    """A bright band and a bright frame at the pivot: the frame stays, the band moves by no more than a throat does."""
    seen = np.zeros((60, segments.WINDOWS, 40), np.uint8)
    seen[:, pivot] = 200
    seen[:, :, 20] = 200
    said = hearing.warped(seen, np.full(60, pivot), np.random.default_rng(1)).numpy()
    same = (said == seen).all((1, 2))
    assert 15 <= same.sum() <= 45 and np.array_equal(said, np.rint(said)) and said.max() <= 200
    assert (said[:, pivot, 8:32] >= 190).all(), "the frame at the pivot stays"
    other = said[~same]
    bands = other[:, (pivot + 150) % segments.WINDOWS].argmax(1)
    heard = other.max((1, 2)) > 0
    assert heard.all() and (np.abs(bands - 20) <= 4).all() and len(set(bands.tolist())) > 3


def test_what_is_said_otherwise_keeps_its_pace_within_reason():
    """Marks 60 frames before the pivot come 40 to 85 frames before it, and not all at the same."""
    seen = np.zeros((200, segments.WINDOWS, 40), np.uint8)
    seen[:, 140:143] = 200
    said = hearing.warped(seen, np.full(200, 201), np.random.default_rng(2)).numpy()
    before = 201 - said[:, :, 10:30].mean(2).argmax(1)
    assert ((before >= 40) & (before <= 85)).mean() > 0.95 and len(set(before.tolist())) > 12


def only(monkeypatch, kind):
    """Every segment changed in that way, and in no other."""
    for name in ("_RINGING", "_COLOURED", "_GATED", "_HISSING"):
        monkeypatch.setattr(hearing, name, 1.0 if name == kind else 0.0)


def heard_elsewhere(before, seed=1):
    after = before.copy()
    hearing.elsewhere(after, np.random.default_rng(seed))
    return after


def test_elsewhere_a_room_rings_after_what_was_loud(monkeypatch):
    """A burst falls by 2 to 9 steps a frame, in a straight line; before it there is silence, and nothing gets fainter."""
    only(monkeypatch, "_RINGING")
    before = np.zeros((100, 150, 40), np.uint8)
    before[:, 50] = 200
    after = heard_elsewhere(before)
    assert not after[:, :50].any() and (after[:, 50] == 200).all()
    falls = 200.0 - after[:, 51:72]
    slope = falls[:, -1] / 21
    assert (slope >= 1.9).all() and (slope <= 9.1).all() and slope.std() > 1
    assert np.abs(falls - slope[:, None] * np.arange(1, 22)[:, None]).max() <= 1


def test_elsewhere_another_microphone_colours_what_there_is(monkeypatch):
    """The same change at every frame, smooth over the channels, none to silence."""
    only(monkeypatch, "_COLOURED")
    before = np.full((200, 20, 40), 100, np.uint8)
    before[:, 10:] = 0
    after = heard_elsewhere(before)
    assert not after[:, 10:].any() and (after[:, :10] == after[:, :1]).all()
    changed = after[:, 0].astype(float) - 100
    assert 4 < changed.std() < 14 and np.abs(np.diff(changed, axis=1)).max() < 20 and len(np.unique(changed.mean(1))) > 100


def test_elsewhere_what_is_soft_is_taken_out(monkeypatch):
    """All is less by one amount up to 45 steps, and what was less than that is silence."""
    only(monkeypatch, "_GATED")
    before = np.tile(np.arange(0, 160, 4, dtype=np.uint8), (100, 20, 1))
    after = heard_elsewhere(before)
    taken = 156 - after[:, 0, -1].astype(int)
    assert taken.min() >= 0 and taken.max() <= 45 and len(set(taken.tolist())) > 20
    assert np.abs(after - np.maximum(before.astype(int) - taken[:, None, None], 0)).max() <= 1


def test_elsewhere_a_hiss_fills_the_silence_alone(monkeypatch):
    """What is louder stays as it was; silence is filled by what varies from frame to frame around a floor."""
    only(monkeypatch, "_HISSING")
    before = np.zeros((100, 60, 40), np.uint8)
    before[:, 30:] = 250
    after = heard_elsewhere(before)
    assert (after[:, 30:] == 250).all()
    floors = after[:, :30].mean((1, 2))
    assert floors.max() < 100 and floors.std() > 10 and 4 < after[:, :30].std(1).mean() < 12


def test_elsewhere_some_segments_are_as_they_were():
    """Shares as stated: 0.75 * 0.5 * 0.75 * 0.7 of the segments are heard as before."""
    before = np.random.default_rng(0).integers(0, 150, (2000, 30, 40)).astype(np.uint8)
    same = (heard_elsewhere(before) == before).all((1, 2)).mean()
    assert abs(same - 0.75 * 0.5 * 0.75 * 0.7) < 0.04
    assert np.array_equal(heard_elsewhere(before), heard_elsewhere(before))
    assert not np.array_equal(heard_elsewhere(before), heard_elsewhere(before, 2))


def test_knocks_are_laid_over_some_and_hide_nothing():
    """Nothing gets fainter; a third of the segments hear them, each otherwise, and hear silence in between."""
    before = np.full((300, 150, 40), 20, np.uint8)
    after = before.copy()
    hearing.knock(after, np.random.default_rng(1))
    assert (after >= before).all()
    louder = (after > before).any((1, 2))
    assert 0.25 < louder.mean() < 0.45
    assert len({one.tobytes() for one in after[louder]}) == louder.sum()
    assert 0.05 < (after[louder] > before[louder]).mean() < 0.6
