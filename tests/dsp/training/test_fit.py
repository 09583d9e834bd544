"""Fitting: courses that can be taken up again, and know only what they may."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyroomacoustics")

from farfield.training import files, fit, segments  # noqa: E402
from farfield.training import network as design  # noqa: E402
from reference.sounds import quiet, silent, simple_material, tone  # noqa: E402

LISTENER = fit.Task(None)


def two_words():
    second = np.concatenate([quiet(0.3), tone(2_000, 0.5), quiet(0.4)])
    first = simple_material().words[0]
    return simple_material(words=[first, segments.Word([segments.Said(second, 4_800, 12_800)], [])])


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


def before(task):
    """What must have been fitted before it."""
    known = [fit.Task(task.left_out)] if task.look or task.word is not None else []
    if task.look and task.word is not None:
        known += [fit.Task(task.left_out, look=True), fit.Task(task.left_out, word=task.word)]
    return known


@pytest.mark.parametrize(
    "task", [LISTENER, fit.Task(1), fit.Task(None, look=True), fit.Task(1, word=1), fit.Task(None, look=True, word=0)]
)
def test_fitting_resumed_is_fitting_uninterrupted(tiny, tmp_path, task):
    """Killed after its first rounds and taken up again: the same weights to the bit."""
    states = []
    for name, kills in (("straight", ()), ("killed", (1, 2))):
        folder = tmp_path / name
        files.make_segments([two_words(), two_words()], folder, files.Counts(12, 12, 12), 3, silent)
        for known in before(task):
            fit.fit(known, folder, 2, 5, 3, silent)
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
    files.make_segments([two_words()] * 3, tmp_path, files.Counts(18, 18, 18), 3, silent)
    told = []
    fit.fit_all(tmp_path, 2, [0, None], 4, 3, lambda *what: told.append(what))
    tasks = [fit.Task(part, look, word) for part in (0, None) for look in (False, True) for word in (None, 0, 1)]
    assert all(task.file(tmp_path).is_file() for task in tasks)
    assert told[-1] == ("fit", *[sum(task.course(4).rounds for task in tasks)] * 2)
    for task in tasks:
        net = fit.load_network(tmp_path, task, 2)
        assert net.shape == (design.SECOND_LOOK if task.look else design.LISTENER)
        assert net.last.weight.shape[0] == (2 if task.word is None else 1)
        assert torch.equal(net.of_word(0).last.weight[0], net.last.weight[0])


def test_a_words_own_network_begins_with_what_all_have_taught(tiny, tmp_path, monkeypatch):
    """Before its first step it is the word's part of the joint one."""
    files.make_segments([two_words()] * 2, tmp_path, files.Counts(12, 12, 12), 3, silent)
    fit.fit(LISTENER, tmp_path, 2, 4, 3, silent)
    began = []
    monkeypatch.setattr(fit, "go_over", lambda net, *rest: began.append(net) or net)
    fit.fit(fit.Task(None, word=1), tmp_path, 2, 4, 3, silent)
    joint = fit.load_network(tmp_path, LISTENER, 2)
    assert torch.equal(began[0].last.weight[0], joint.last.weight[1])
    assert torch.equal(began[0].first.weight, joint.first.weight)


def test_what_may_not_be_known_is_not_read(tiny, tmp_path, monkeypatch):
    """A network that leaves a part out is the same whatever lies in that part's files."""
    files.make_segments([simple_material()] * 3, tmp_path, files.Counts(18, 18, 18), 3, silent)
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
        for course in (fit.listener_course(rounds), fit.look_course(rounds), fit.word_course(rounds)):
            assert 0 < int(course.rounds * course.average_from) < course.rounds, "something is averaged, and not all"
            assert course.quantise_from <= course.average_from, "only what is quantised is averaged"
            assert replace(course, rounds=1) != course
