"""Fitting: courses that can be taken up again, and know only what they may."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyroomacoustics")

from farfield.training import batches, files, fit, segments  # noqa: E402
from farfield.training import network as design  # noqa: E402
from reference.sounds import quiet, silent, simple_material, tone  # noqa: E402

LISTENER = fit.Task(None)
COUNTS = files.Counts(18, 12, 12, 18)


def two_words():
    second = np.concatenate([quiet(0.3), tone(2_000, 0.5), quiet(0.4)])
    first = simple_material().words[0]
    told = [segments.Told(second, (1, 2)), segments.Told(tone(200, 1.0), (3,))]
    return simple_material(words=[first, segments.Word([segments.Said(second, 4_800, 12_800)], [])], told=told)


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


TASKS = [
    LISTENER,
    fit.Task(1),
    *(fit.Task(part, kind) for kind in ("look", *fit.PHONE_KINDS) for part in (None, 1)),
    fit.Task(1, "look", 2),
    fit.Task(1, "look", 3),
]


@pytest.mark.parametrize("task", TASKS)
def test_fitting_resumed_is_fitting_uninterrupted(tiny, tmp_path, task):
    """Killed after its first rounds and taken up again: the same weights to the bit."""
    states = []
    for name, kills in (("straight", ()), ("killed", (1, 2))):
        folder = tmp_path / name
        files.make_segments([two_words(), two_words()], folder, COUNTS, 3, silent)
        if task.kind == "look":  # for its listener says what is hard
            fit.fit(fit.Task(task.left_out), folder, 2, 5, 3, silent)
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


@pytest.mark.parametrize("known", [True, False])
def test_all_is_fitted_and_told(tiny, tmp_path, known):
    """Where no phones are known, nothing learns to tell them apart."""
    material = two_words() if known else replace(two_words(), told=[])
    files.make_segments([material] * 3, tmp_path, COUNTS, 3, silent)
    assert fit.knows_phones(tmp_path) == known
    told = []
    fit.fit_all(tmp_path, 2, [0, None], 4, 3, lambda *what: told.append(what))
    kinds = {"listener": (design.LISTENER, 2), "look": (design.SECOND_LOOK, 2)}
    telling = {"phones": design.SPELLER, "sounds": design.SHORT_SPELLER} if known else {}
    kinds |= {kind: (shape, batches.PHONE_OUTPUTS) for kind, shape in telling.items()}
    more = range(1, fit.LOOKS if known else 1)
    tasks = [fit.Task(part, kind) for part in (0, None) for kind in kinds] + [
        fit.Task(p, "look", n) for p in (0, None) for n in more
    ]
    assert sorted(tmp_path.glob("*.pt")) == sorted(task.file(tmp_path) for task in tasks)
    assert told[-1] == ("fit", *[sum(task.course(4).rounds for task in tasks)] * 2)
    for task in tasks:
        net = fit.load_network(tmp_path, task, 2)
        assert (net.shape, net.last.weight.shape[0]) == kinds[task.kind]


@pytest.mark.parametrize("kind", fit.PHONE_KINDS)
def test_phones_are_learnt(tiny, tmp_path, monkeypatch, kind):
    """Two tones that stand for two phones: after a short course the likeliest outputs are what was played, in its order."""
    monkeypatch.setattr(fit, "ROUND", 40)
    monkeypatch.setattr(batches, "TOLD", 16)
    low, high = (np.concatenate([quiet(0.1), tone(hertz, 0.4), quiet(0.1)]) for hertz in (400, 2_500))
    both = simple_material(told=[segments.Told(low, (3,)), segments.Told(high, (9,)), segments.Told(np.r_[low, high], (3, 9))])
    files.make_segments([both] * 2, tmp_path, files.Counts(12, 12, 12, 120), 3, silent)
    task = fit.Task(None, kind)
    fit.fit(task, tmp_path, 1, 8, 3, silent)
    seen, phones = files.Pool(tmp_path, files.Kind("told"), [0, 1]).take(np.arange(24))
    with torch.no_grad():
        best = fit.load_network(tmp_path, task, 1)(torch.from_numpy(seen), True).argmax(0).numpy()
    blank = batches.PHONE_OUTPUTS - 1
    heard = [[int(x) for n, x in enumerate(row) if x != blank and (n == 0 or x != row[n - 1])] for row in best]
    wanted = [[int(x) for x in row if x != segments.NO_WORD] for row in phones]
    assert {phone for row in wanted for phone in row} == {3, 9}
    assert sum(got == said for got, said in zip(heard, wanted, strict=True)) >= 12, (heard, wanted)


def test_what_may_not_be_known_is_not_read(tiny, tmp_path, monkeypatch):
    """A network that leaves a part out is the same whatever lies in that part's files."""
    files.make_segments([simple_material()] * 3, tmp_path, files.Counts(18, 18, 18, 18), 3, silent)
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


def test_courses_ramp_quantise_and_average():
    for rounds in (4, 24, 500):
        for course in (
            fit.listener_course(rounds),
            fit.look_course(rounds),
            fit.phones_course(rounds),
            fit.short_phones_course(rounds),
        ):
            assert 0 < int(course.rounds * course.average_from) < course.rounds, "something is averaged, and not all"
            assert course.quantise_from <= course.average_from, "only what is quantised is averaged"
            assert replace(course, rounds=1) != course
