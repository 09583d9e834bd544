"""Fitting: segments made once, courses that can be taken up again, batches that hold what they should."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyroomacoustics")

from farfield.training import fit, segments  # noqa: E402
from farfield.training import network as design  # noqa: E402
from reference.sounds import RATE, quiet, simple_material, tone  # noqa: E402

LISTENER = fit.Task(None)


def silent(*_):
    pass


def two_words():
    second = np.concatenate([quiet(0.3), tone(2_000, 0.5), quiet(0.4)])
    first = simple_material().words[0]
    return simple_material(words=[first, segments.Word([segments.Said(second, 4_800, 12_800)], [])])


def test_segments_are_made_once(tiny, tmp_path):
    """A file that is there stays; one that is gone is made again as it was; a half-written one counts for nothing."""
    materials = [simple_material(), simple_material()]
    counts = fit.Counts(20, 7, 5)
    fit.make_segments(materials, tmp_path, counts, 3, silent)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kinds = ["near0-0-0000", "near0-1-0000", *(f"other-{part}-000{n}" for part in (0, 1) for n in (0, 1))]
    kinds += ["word0-0-0000", "word0-1-0000"]
    assert sorted(made) == [f"{kind}-{what}.npy" for kind in kinds for what in ("ends", "seen")]
    assert made["other-0-0000-seen.npy"] != made["other-1-0000-seen.npy"]
    (tmp_path / "other-1-0001-ends.npy").unlink()
    (tmp_path / "other-1-0001-seen.npy").write_bytes(b"half")
    (tmp_path / "word0-1-0000-seen.part.npy").write_bytes(b"half")
    stamp = (tmp_path / "word0-0-0000-seen.npy").stat().st_mtime_ns
    told = []
    fit.make_segments(materials, tmp_path, counts, 3, lambda *what: told.append(what))
    assert told == [("segments", 8, 8)] and (tmp_path / "word0-0-0000-seen.npy").stat().st_mtime_ns == stamp
    assert (tmp_path / "other-1-0001-seen.npy").read_bytes() == made["other-1-0001-seen.npy"]
    word = fit.Kind("word", 0)
    pool = fit.Pool(tmp_path, word, [0, 1])
    seen, ends = pool.take(np.arange(12))
    assert len(pool) == 12 and seen.shape == (12, segments.WINDOWS, 40) and (ends > 0).all()
    assert (fit.Pool(tmp_path, fit.Kind("near", 0), [0, 1]).take(np.arange(12))[1] == segments.NO_WORD).all()
    assert np.array_equal(fit.Pool(tmp_path, word, [1]).take(np.array([5, 0]))[0], seen[[11, 6]])


class Killed(Exception):
    pass


def killed_after(times):
    """What is told of rounds, and ends the run at the `times`-th."""
    count = 0

    def done(rounds):
        nonlocal count
        count += 1
        if count == times:
            raise Killed

    return done


@pytest.mark.parametrize("task", [LISTENER, fit.Task(1), fit.Task(None, look=True)])
def test_fitting_resumed_is_fitting_uninterrupted(tiny, tmp_path, task):
    """Killed after its first rounds and taken up again: the same weights to the bit."""
    states = []
    for name, kills in (("straight", ()), ("killed", (1, 2))):
        folder = tmp_path / name
        fit.make_segments([two_words(), two_words()], folder, fit.Counts(12, 12, 12), 3, silent)
        if task.look:
            fit.fit(LISTENER, folder, 2, 5, 3, silent)
        for times in kills:
            with pytest.raises(Killed):
                fit.fit(task, folder, 2, 5, 3, killed_after(times))
        fit.fit(task, folder, 2, 5, 3, silent)
        net = fit.load_network(folder, task, 2)
        states.append({key: value.numpy().tobytes() for key, value in net.state_dict().items()})
    assert states[0] == states[1]
    stamp = task.file(tmp_path / "straight").stat().st_mtime_ns
    told = []
    fit.fit(task, tmp_path / "straight", 2, 5, 3, told.append)
    assert task.file(tmp_path / "straight").stat().st_mtime_ns == stamp and told == [task.course(5).rounds]


def test_all_is_fitted_and_told(tiny, tmp_path):
    fit.make_segments([two_words()] * 3, tmp_path, fit.Counts(18, 18, 18), 3, silent)
    told = []
    fit.fit_all(tmp_path, 2, [0, None], 4, 3, lambda *what: told.append(what))
    tasks = [fit.Task(part, look) for part in (0, None) for look in (False, True)]
    assert all(task.file(tmp_path).is_file() for task in tasks)
    assert told[-1] == ("fit", *[sum(task.course(4).rounds for task in tasks)] * 2)
    for task, shape in zip(tasks, (design.LISTENER, design.SECOND_LOOK) * 2, strict=True):
        net = fit.load_network(tmp_path, task, 2)
        assert net.shape == shape and net.last.weight.shape[0] == 2
        assert torch.equal(net.of_word(1).last.weight[0], net.last.weight[1])


def test_what_may_not_be_known_is_not_read(tiny, tmp_path, monkeypatch):
    """A network that leaves a part out is the same whatever lies in that part's files."""
    fit.make_segments([simple_material()] * 3, tmp_path, fit.Counts(18, 18, 18), 3, silent)
    fit.fit(fit.Task(1), tmp_path, 1, 4, 3, silent)
    before = fit.Task(1).file(tmp_path).read_bytes()
    for path in tmp_path.glob("*-1-*-seen.npy"):
        np.save(path, np.zeros_like(np.load(path)))
    for path in (fit.Task(1).file(tmp_path), fit.Task(1).file(tmp_path).with_suffix(".state")):
        path.unlink()
    fit.fit(fit.Task(1), tmp_path, 1, 4, 3, silent)
    assert fit.Task(1).file(tmp_path).read_bytes() == before
    for path in tmp_path.glob("*-0-*-seen.npy"):
        np.save(path, np.zeros_like(np.load(path)))
    for path in (fit.Task(1).file(tmp_path), fit.Task(1).file(tmp_path).with_suffix(".state")):
        path.unlink()
    fit.fit(fit.Task(1), tmp_path, 1, 4, 3, silent)
    assert fit.Task(1).file(tmp_path).read_bytes() != before


def test_targets_say_yes_just_after_the_word():
    """For a word that ends at 2 s: yes for a quarter of a second after it, either for a while around it, no elsewhere."""
    shape = design.LISTENER
    steps = (segments.WINDOWS - shape.field) // shape.stride + 1
    ends = np.array([2 * RATE, segments.NO_WORD], np.int32)
    wanted, counts = (t.numpy() for t in fit.targets(ends, np.array([1, 2]), shape.field, (2, 2, steps)))
    heard = (480 + 160 * (shape.field - 1 + shape.stride * np.arange(steps))) / RATE - 2
    assert np.array_equal(wanted[1, 0] > 0, (heard >= 0) & (heard <= 0.24)) and wanted[1, 0].sum() in (8, 9)
    own = counts[1, 0]
    assert own[wanted[1, 0] > 0].all() and own[heard > 0.76].all() and own[heard < -0.13].all()
    assert not own[(heard > -0.11) & (heard < -0.01)].any() and not own[(heard > 0.25) & (heard < 0.74)].any()
    assert not wanted[0].any() and not wanted[1, 1].any(), "another word's end is no end of this one"
    assert counts[0].all() and counts[1, 1].all()


@pytest.mark.parametrize("pivot", [0, 100, segments.WINDOWS - 1])
def test_what_is_said_otherwise_ends_where_it_did(pivot):
    """A bright band and a bright frame at the pivot: the frame stays, the band moves by no more than a throat does."""
    seen = np.zeros((60, segments.WINDOWS, 40), np.uint8)
    seen[:, pivot] = 200
    seen[:, :, 20] = 200
    said = fit.warped(seen, np.full(60, pivot), np.random.default_rng(1)).numpy()
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
    said = fit.warped(seen, np.full(200, 201), np.random.default_rng(2)).numpy()
    before = 201 - said[:, :, 10:30].mean(2).argmax(1)
    assert ((before >= 40) & (before <= 85)).mean() > 0.95 and len(set(before.tolist())) > 12


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
    monkeypatch.setattr(fit, "NEGATIVES", 4)
    field, stride = design.LISTENER.field, design.LISTENER.stride
    marks = [{3: field - 1 + 5 * stride, 9: field - 1}, {7: field - 1 + 11 * stride, 20: field - 1 + 2 * stride}]
    pools = [Planted(mark) for mark in marks]
    logits, steps = zip(*(fit.highest(Judge(), pool) for pool in pools), strict=True)
    assert [of.shape for of in logits] == [(2, 40), (2, 40)] and np.array_equal(logits[0][1], 2 * logits[0][0])
    hardest = fit.Hardest(pools, [(of[1], at[1]) for of, at in zip(logits, steps, strict=True)], 0.0)
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

    batches = fit.LookBatches(fit.Pools(words, near, others), Judge())
    monkeypatch.setattr(fit, "_mask", lambda seen, random: None)
    monkeypatch.setattr(fit, "warped", lambda seen, pivots, random: torch.from_numpy(seen))
    for n in range(12):
        loss = batches.loss(Network(), 1.0, np.random.default_rng(n))
        assert float(loss.detach()) == pytest.approx(np.log(2))
        loss.backward()
    lengths = {seen.shape[1] for seen in heard}
    assert max(lengths) == fit.LOOK_FRAMES and min(lengths) >= 60 and len(lengths) > 1
    yes, like = fit.POSITIVES // 2, (fit.NEGATIVES + fit.NEAR) // 2
    of_word = np.r_[:yes, yes + like : 2 * yes + like]
    for seen, logits in zip(heard, asked, strict=True):
        late = seen.shape[1] - 1 - seen[:, :, 0].argmax(1)
        marked = seen.max((1, 2))
        assert (marked[of_word] == 200).all() and (late[of_word] <= 27).all()
        sounding = np.setdiff1d(np.arange(len(seen)), of_word)
        assert (marked[sounding] > 0).mean() > 0.4, "or just after what is looked at"
        assert 0.03 < (marked[sounding] == 150).sum() / (marked[sounding] > 0).sum() < 0.25
        pushed = np.sign(-logits.grad.numpy())
        assert not pushed[:, :, : -fit.LOOK_STEPS].any(), "only the last steps are asked"
        last = pushed[:, :, -1]
        assert (last[0, :yes] == 1).all() and (last[1, :yes] == -1).all()
        assert (last[0, yes : yes + like] == -1).all() and (last[1, yes : yes + like] == 0).all()
        assert (last[1, yes + like : 2 * yes + like] == 1).all() and (last[1, 2 * yes + like :] == -1).all()


def test_what_lies_past_the_segment_is_not_looked_at():
    seen = np.arange(segments.WINDOWS, dtype=np.uint8)[None, :, None].repeat(3, 0)
    cut = fit._up_to(seen, np.array([0, 200, 10_000]))
    assert cut.shape == (3, fit.LOOK_FRAMES, 1)
    assert [int(one[-1, 0]) for one in cut] == [fit.LOOK_FRAMES - 1, 199, (segments.WINDOWS - 1) % 256]


def test_courses_ramp_quantise_and_average():
    for rounds in (4, 24, 500):
        for course in (fit.listener_course(rounds), fit.look_course(rounds)):
            assert 0 < int(course.rounds * course.average_from) < course.rounds, "something is averaged, and not all"
            assert course.quantise_from <= course.average_from, "only what is quantised is averaged"
            assert replace(course, rounds=1) != course
