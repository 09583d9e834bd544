"""Any executor finds the same: threads, processes, a cluster; and what the evaluation tells of it."""

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from farfield.errors import InputError
from farfield.evaluation import rooms, run, streams
from farfield.model import load_model
from reference.labelled import RATE, paths
from reference.planted import random_model

MOVED = random_model(0, threshold=0.6, refractory_ms=500)  # by all that is heard, words or not


@pytest.fixture(scope="module")
def heard(shared_folders):
    """A function: an executor's evaluation of one small set of streams, as JSON."""
    pytest.importorskip("pyroomacoustics")
    conditions = streams.Conditions((0.0, 20.0), (-12.0,), 0.3, tuple(rooms.rooms(["sim:1"], 3)))
    work = streams.parts(*(paths(shared_folders / kind) for kind in ("word", "speech", "noise")), conditions, 1, 10)

    def evaluated_by(pool):
        return run.as_json(run.evaluate(MOVED, work, [0.1], pool, lambda *_: None))

    return evaluated_by


@pytest.fixture(scope="module")
def by_one(heard):
    with ProcessPoolExecutor(1) as pool:
        return heard(pool)


def test_threads_find_what_processes_find(heard, by_one):
    with ThreadPoolExecutor(2) as pool:
        assert heard(pool) == by_one
    assert by_one["words"] == 12 and len(by_one["curve"]) > 3


def test_a_dask_cluster_that_is_not_there_is_one_line():
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match=r"^--executor: no Dask scheduler answers at 'nowhere'"), run.executor("dask:nowhere"):
        pass


@pytest.mark.filterwarnings("default")  # distributed's own
def test_a_dask_cluster_finds_what_processes_find(heard, by_one):
    """Workers in processes of their own, reached by the address that --executor is given."""
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, run.executor(f"dask:{cluster.scheduler_address}") as pool:
        assert heard(pool) == by_one


def test_groups_say_how_many_of_how_many_were_missed(by_one):
    for name, values in (("snr_db", {"0.0", "20.0"}), ("noise", {"noise/noise0", "noise/noise1"}),
                         ("distance_m", {"1.0", "2.0", "3.0", "4.0"}), ("peak_dbfs", {"-12.0"})):  # fmt: skip
        groups = by_one["own"]["missed_by"][name]
        assert set(groups) == values
        assert sum(group["asked"] for group in groups.values()) == 12
        assert sum(group["missed"] for group in groups.values()) == by_one["own"]["missed"]


def test_a_process_that_dies_is_one_line():
    with pytest.raises(InputError, match="--executor: a process ended"), run.executor("1") as pool:
        pool.submit(os._exit, 1).result()


def test_what_woke_it_is_named(folders):
    """A threshold that noise exceeds: every false accept lies in, or just after, the clip that it names, or in a pause."""
    work = streams.parts(paths(folders / "word"), paths(folders / "speech"), [], streams.Conditions((None,)), 1)
    with ThreadPoolExecutor(1) as pool:
        found = run.evaluate(MOVED, work, [0.1], pool, lambda *_: None)
    spoken = {path: (start, stop) for path, start, stop in streams.stream(work[0]).spoken}
    assert len(found.woke) == len(found.own.false_accepts) > 0
    for woke in found.woke:
        within = [path for path, (start, stop) in spoken.items() if start <= woke.at <= stop + RATE // 2]
        assert woke.clip in (within or [None])
    assert any(woke.clip for woke in found.woke)


@pytest.mark.parametrize(("kind", "told"), [("word", "no clip of the word"), ("speech", "no clip of other speech")])
def test_clips_that_are_not_there_where_streams_are_made_measure_nothing(folders, kind, told):
    """As on a cluster whose machines do not see the folder."""
    work = streams.parts(paths(folders / "word"), paths(folders / "speech"), [], streams.Conditions(), 1)
    for path in paths(folders / kind):
        path.unlink()
    with ThreadPoolExecutor(1) as pool, pytest.raises(InputError, match=f"^{told} could be used, .*no such file"):
        run.evaluate(load_model("alexa"), work, [0.1], pool, lambda *_: None)
