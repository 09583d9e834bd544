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
COUNTS = files.Counts(18, 12, 12)


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


TASKS = [fit.Task(part, kind) for kind in ("listener", "look", "head") for part in (None, 1)]
TASKS += [fit.Task(1, "look", 2), fit.Task(1, "head", 2)]


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


def test_all_is_fitted_and_told(tiny, tmp_path):
    files.make_segments([two_words()] * 3, tmp_path, COUNTS, 3, silent)
    told = []
    fit.fit_all(tmp_path, 2, [0, None], 4, 3, lambda *what: told.append(what))
    kinds = [("listener", 0), *(("look", n) for n in range(fit.LOOKS)), *(("head", n) for n in range(fit.HEADS))]
    tasks = [fit.Task(part, *kind) for part in (0, None) for kind in kinds]
    assert sorted(tmp_path.glob("*.pt")) == sorted(task.file(tmp_path) for task in tasks)
    assert told[-1] == ("fit", *[sum(task.course(4).rounds for task in tasks)] * 2)
    shapes = {"listener": design.LISTENER, "look": design.SECOND_LOOK}
    fitted = [fit.load_network(tmp_path, task, 2) for task in tasks]
    assert [getattr(net, "shape", None) for net in fitted] == [shapes.get(task.kind) for task in tasks]
    assert {net.last.weight.shape[0] for net in fitted} == {2}
    assert len({net.last.weight.detach().numpy().tobytes() for net in fitted}) == len(tasks), "each is another"


@pytest.mark.parametrize(("kind", "what"), [("listener", "seen"), ("head", "heard")])
def test_what_may_not_be_known_is_not_read(tiny, tmp_path, kind, what):
    """A network that leaves a part out is the same whatever lies in that part's files."""
    task = fit.Task(1, kind)
    files.make_segments([simple_material()] * 3, tmp_path, files.Counts(18, 18, 18), 3, silent)

    def fitted_after_losing(part):
        for path in tmp_path.glob(f"*-{part}-*-{what}.npy"):
            np.save(path, np.zeros_like(np.load(path)))
        for path in (task.file(tmp_path), task.file(tmp_path).with_suffix(".state")):
            path.unlink(missing_ok=True)
        fit.fit(task, tmp_path, 1, 4, 3, silent)
        return task.file(tmp_path).read_bytes()

    before = fitted_after_losing("none")
    assert fitted_after_losing(1) == before != fitted_after_losing(0)


def test_courses_ramp_quantise_and_average():
    for rounds in (4, 24, 500):
        for course in (fit.listener_course(rounds), fit.look_course(rounds), fit.head_course(rounds)):
            assert 0 < int(course.rounds * course.average_from) < course.rounds, "something is averaged, and not all"
            assert course.quantise_from <= course.average_from, "only what is quantised is averaged"
            assert replace(course, rounds=1) != course
