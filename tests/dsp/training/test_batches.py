"""Batches: what networks are shown holds what it should, said otherwise but ending where it did."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyroomacoustics")

from farfield.training import batches, segments  # noqa: E402
from farfield.training import network as design  # noqa: E402
from reference.sounds import RATE  # noqa: E402


def test_targets_say_yes_just_after_the_word():
    """For a word that ends at 2 s: yes for a quarter of a second after it, either for a while around it, no elsewhere."""
    shape = design.LISTENER
    steps = (segments.WINDOWS - shape.field) // shape.stride + 1
    ends = np.array([2 * RATE, segments.NO_WORD], np.int32)
    wanted, counts = (t.numpy() for t in batches.targets(ends, np.array([1, 2]), shape.field, (2, 2, steps)))
    heard = (480 + 160 * (shape.field - 1 + shape.stride * np.arange(steps))) / RATE - 2
    assert np.array_equal(wanted[1, 0] > 0, (heard >= 0) & (heard <= 0.24)) and wanted[1, 0].sum() in (8, 9)
    own = counts[1, 0]
    assert own[wanted[1, 0] > 0].all() and own[heard > 0.76].all() and own[heard < -0.13].all()
    assert not own[(heard > -0.11) & (heard < -0.01)].any() and not own[(heard > 0.25) & (heard < 0.74)].any()
    assert not wanted[0].any() and not wanted[1, 1].any(), "another word's end is no end of this one"
    assert counts[0].all() and counts[1, 1].all()


class Planted:
    """A pool of segments, blank but for a mark at a step of some."""

    def __init__(self, marks, count=40, ends=segments.NO_WORD):
        self.seen = np.zeros((count, segments.WINDOWS, 40), np.uint8)
        self.ends = np.full(count, ends, np.int32)
        for segment, frame in marks.items():
            self.seen[segment, frame] = 200

    def __len__(self):
        return len(self.seen)

    def take(self, picks):
        return self.seen[picks], self.ends[picks]


class Judge:
    """A listener whose logit at each step, for both its words, is the brightness of the last frame that the step hears."""

    def __call__(self, seen):
        last = seen[:, design.LISTENER.field - 1 :: design.LISTENER.stride].float().mean(2)
        return torch.stack([last, 2 * last])


def test_the_hardest_are_those_that_sound_most_like_the_word(monkeypatch):
    """The marked ones, from both pools, each with the step at which it is marked; the rest is never drawn."""
    monkeypatch.setattr(batches, "NEGATIVES", 4)
    field, stride = design.LISTENER.field, design.LISTENER.stride
    marks = [{3: field - 1 + 5 * stride, 9: field - 1}, {7: field - 1 + 11 * stride, 20: field - 1 + 2 * stride}]
    pools = [Planted(mark) for mark in marks]
    logits, steps = zip(*(batches.highest(Judge(), pool) for pool in pools), strict=True)
    assert [of.shape for of in logits] == [(2, 40), (2, 40)] and np.array_equal(logits[0][1], 2 * logits[0][0])
    hardest = batches.Hardest(pools, [(of[1], at[1]) for of, at in zip(logits, steps, strict=True)], 0.0)
    seen, at = hardest.take(400, np.random.default_rng(0))
    assert seen.shape == (400, segments.WINDOWS, 40) and set(at.tolist()) == {0, 2, 5, 11}
    assert all(one[field - 1 + stride * step].min() == 200 for one, step in zip(seen, at, strict=True))


def test_a_second_look_hears_what_the_listener_has_just_heard(monkeypatch):
    """Words marked where they end, others where they woke the listener: the mark lies near the end of what is looked at.

    Of a word its own output must say yes, and the other no; of what sounds like it, its own output no, and the other anything.
    What only sounds like a word is marked fainter, and has its share of what sounds like it.
    """
    heard, asked = [], []
    field, stride = design.LISTENER.field, design.LISTENER.stride
    end = 2 * RATE
    words = [Planted({n: end // 160 - 4 for n in range(40)}, ends=end) for _ in range(2)]
    others = Planted({n: field - 1 + 9 * stride for n in range(40)})
    near = [Planted({n: field - 1 + 9 * stride for n in range(40)}) for _ in range(2)]
    for pool in near:
        pool.seen[pool.seen > 0] = 150

    class Network:
        def __call__(self, seen, from_start):
            assert from_start
            heard.append(seen.numpy())
            asked.append(torch.zeros(2, len(seen), 10, requires_grad=True))
            return asked[-1]

    made = batches.LookBatches(batches.Pools(words, near, others), Judge())
    for changes in ("mask", "knock", "elsewhere"):
        monkeypatch.setattr(batches, changes, lambda seen, random: None)
    monkeypatch.setattr(batches, "warped", lambda seen, pivots, random: torch.from_numpy(seen))
    for n in range(12):
        loss = made.loss(Network(), 1.0, np.random.default_rng(n))
        assert float(loss.detach()) == pytest.approx(np.log(2))
        loss.backward()
    lengths = {seen.shape[1] for seen in heard}
    assert max(lengths) == batches.LOOK_FRAMES and min(lengths) >= 60 and len(lengths) > 1
    yes, like = batches.POSITIVES // 2, (batches.NEGATIVES + batches.NEAR) // 2
    of_word = np.r_[:yes, yes + like : 2 * yes + like]
    for seen, logits in zip(heard, asked, strict=True):
        late = seen.shape[1] - 1 - seen[:, :, 0].argmax(1)
        marked = seen.max((1, 2))
        assert (marked[of_word] == 200).all() and (late[of_word] <= 27).all()
        sounding = np.setdiff1d(np.arange(len(seen)), of_word)
        assert (marked[sounding] > 0).mean() > 0.4, "or just after what is looked at"
        assert 0.03 < (marked[sounding] == 150).sum() / (marked[sounding] > 0).sum() < 0.25
        pushed = np.sign(-logits.grad.numpy())
        assert not pushed[:, :, : -batches.LOOK_STEPS].any(), "only the last steps are asked"
        last = pushed[:, :, -1]
        assert (last[0, :yes] == 1).all() and (last[1, :yes] == -1).all()
        assert (last[0, yes : yes + like] == -1).all() and (last[1, yes : yes + like] == 0).all()
        assert (last[1, yes + like : 2 * yes + like] == 1).all() and (last[1, 2 * yes + like :] == -1).all()


def test_a_look_hears_what_did_not_come_as_near_as_well(monkeypatch):
    """Of 40 places that woke the listener less and less, half of what it hears is of the 4 that woke it most, half of 12."""
    monkeypatch.setattr(batches, "POSITIVES", 4)
    monkeypatch.setattr(batches, "NEGATIVES", 4)
    monkeypatch.setattr(batches, "mask", lambda seen, random: None)
    monkeypatch.setattr(batches, "knock", lambda seen, random: knocked.append(len(seen)))
    monkeypatch.setattr(batches, "elsewhere", lambda seen, random: moved.append(len(seen)))
    monkeypatch.setattr(batches, "warped", lambda seen, pivots, random: torch.from_numpy(seen))
    knocked, moved = [], []
    others = Planted({n: design.LISTENER.field - 1 + 9 * design.LISTENER.stride for n in range(40)})
    others.seen[others.seen > 0] = np.repeat(100 + np.arange(40), 40)
    word, near = Planted({}, ends=2 * RATE), Planted({})
    seen = []

    class Network:
        def __call__(self, heard, from_start):
            seen.append(heard.numpy())
            return torch.zeros(1, len(heard), 10)

    class One(Judge):
        def __call__(self, heard):
            return super().__call__(heard)[:1]

    made = batches.LookBatches(batches.Pools([word], [near], others), One())
    for n in range(40):
        made.loss(Network(), 1.0, np.random.default_rng(n))
    marks = {int(mark) for heard in seen for mark in heard.max((1, 2)) if mark}
    assert max(marks) == 139 and min(marks) == 128
    assert len(knocked) == len(moved) == 40


def planted_least(init):
    """Hardest with as few as its share says."""

    def made(self, pools, found, share):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(batches, "NEGATIVES", 1)
            init(self, pools, found, share)

    return made


def test_what_lies_past_the_segment_is_not_looked_at():
    seen = np.arange(segments.WINDOWS, dtype=np.uint8)[None, :, None].repeat(3, 0)
    cut = batches._up_to(seen, np.array([0, 200, 10_000]))
    assert cut.shape == (3, batches.LOOK_FRAMES, 1)
    assert [int(one[-1, 0]) for one in cut] == [batches.LOOK_FRAMES - 1, 199, (segments.WINDOWS - 1) % 256]
