"""What changed between two runs, and whether that is worse."""

import pytest

from farfield.hil.bounds import Bounds
from farfield.hil.compare import compare
from farfield.hil.faults import Faults
from reference.runs import judged, ran

pytestmark = pytest.mark.usefixtures("quick_check")


def test_nothing_changed_between_a_run_and_itself():
    assert compare(ran(), ran()) == []


@pytest.mark.parametrize(
    ("steps", "worse", "told"),
    [
        ([100, 350], True, "was heard and is missed"),
        ([100, 150, 250, 350], False, "was missed and is heard"),
        ([100, 150, 350, 380], True, "false accepts per 24h: 2.16e+04 -> 4.32e+04"),
        ([103, 153, 350], True, "median latency +30.0 ms"),
        ([97, 150, 350], False, "median latency -15.0 ms"),
    ],
)
def test_what_changed_is_told_and_worse_is_worse(steps, worse, told):
    changes = compare(ran(), ran(*steps))
    assert any(told in change.text for change in changes), changes
    assert any(change.is_worse for change in changes) == worse


def test_a_verdict_a_room_and_losses_can_be_worse():
    good, bad = ran(bounds=Bounds(missed_at_most=1)), ran(100, 350, bounds=Bounds(missed_at_most=1))
    assert any("passed -> failed" in change.text and change.is_worse for change in compare(good, bad))
    assert any(change.is_worse for change in compare(good, good | {"entries": []}))
    assert any("lost samples" in c.text and c.is_worse for c in compare(good, ran(faults=Faults(stall_s=0.5))))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (judged("invalid", "gap"), judged("invalid", "gap"), [("still invalid: gap", True)]),
        (judged("failed", "slow"), judged("invalid", "gap"), [("failed -> invalid: gap", True)]),
        (judged("invalid", "gap"), judged("failed", "slow"), [("invalid -> failed: slow", False)]),
        (judged("failed", "missed 2, wanted at most 1"), judged("failed", "missed 3, wanted at most 1"), []),
        (
            judged("failed", "missed 2, wanted at most 1"),
            judged("failed", "missed 2, wanted at most 1", "direction deg 170, wanted at most 20"),
            [("still failed, and now for: direction deg 170, wanted at most 20", True)],
        ),
        (judged("passed"), judged("passed", decides="goals"), [("decides: bounds -> goals", False)]),
    ],
)
def test_what_a_verdict_was_and_is(before, after, told):
    assert [(change.text, change.is_worse) for change in compare(before, after)] == told


def test_latencies_and_directions_are_those_of_the_words_that_both_heard():
    """A word that is heard now, late and from elsewhere, was missed before: that is no growth."""
    before = judged("passed", hits=[(0, 100, 3.0), (9, 300, None)], missed=[20])
    after = judged("passed", hits=[(0, 101, -3.0), (9, 300, None), (20, 900, 170.0)])
    changes = compare(before, after)
    assert [change.is_worse for change in changes] == [False, False] and "median latency +0.5 ms" in changes[1].text
    (change,) = compare(before, judged("passed", hits=[(0, 100, -170.0), (9, 300, None)], missed=[20]))
    assert change.is_worse and change.text == "direction, farthest off: 3 -> 170°"


def test_where_other_words_are_said_all_latencies_and_directions_are_compared():
    before, after = judged("passed", hits=[(0, 100, 3.0)]), judged("passed", hits=[(5, 900, 170.0)])
    assert [change.text for change in compare(before, after) if change.is_worse] == [
        "median latency +800.0 ms", "direction, farthest off: 3 -> 170°"
    ]  # fmt: skip
    assert not any(change.is_worse for change in compare(after, before))


def test_entries_that_are_new_are_told_in_their_order_with_verdict_and_repeat():
    before, after = judged("passed"), judged("passed")
    (entry,) = after["entries"]
    others = [(name, repeat, verdict) for name in "qbzc" for repeat, verdict in enumerate(("failed", "invalid"))]
    after["entries"] += [entry | {"name": name, "repeat": repeat, "verdict": verdict} for name, repeat, verdict in others]
    changes = compare(before, after)
    assert [change.room for change in changes] == ["q", "q #2", "b", "b #2", "z", "z #2", "c", "c #2"]
    assert all(change.is_worse == ("invalid" in change.text) for change in changes)
