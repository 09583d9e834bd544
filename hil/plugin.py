"""pytest plugin: rigs and rooms as parameters, so that a device's own suite can hold it against the bench.

def test_wakes(hil_pass):                    # once for each rig and each room of the set
    assert hil_pass.missed == () and hil_pass.false_accepts == ()

    pytest --hil-set demo --hil-rig file --hil-rig board --hil-model alexa

hil_rig     a rig that has passed its check for the room that it is used for; --hil-rig, repeatable
hil_scene   a room of --hil-set, by its name; rooms of an entry that stands for several are parameters of their own
hil_models  what --hil-model names, else the set's models; at --hil-fa-per-hour or --hil-threshold, else at the set's rate
hil_listen  a function of a scene (and faults): what the rig and the chain made of it, as farfield.hil.Pass
hil_pass    hil_listen(hil_scene), which skips nothing: a pass with an unexplained gap is an error, neither passed nor failed
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from farfield import InputError, Model
from farfield.hil.faults import Faults
from farfield.hil.material import Material
from farfield.hil.passes import Pass
from farfield.hil.rigs import Rig, rig
from farfield.hil.roomset import Entry, RoomSet, load_set
from farfield.hil.run import Checks
from farfield.hil.scene import Scene

_CHECKS = pytest.StashKey[dict[Rig, Checks]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the bench."""
    group = parser.getgroup("farfield", "farfield's bench")
    group.addoption("--hil-rig", action="append", metavar="NAME|DEVICE.toml", help="rig to play rooms through [default: file]")
    group.addoption("--hil-set", default="demo", metavar="SET", help="set of rooms, or a recorded room's folder [default: demo]")
    group.addoption("--hil-model", action="append", metavar="NAME_OR_PATH", help="what listens [default: the set's]")
    group.addoption(
        "--hil-fa-per-hour",
        type=float,
        metavar="X",
        help="their false accepts an hour, by their cards [default: the set's, else their own thresholds]",
    )
    group.addoption("--hil-threshold", type=float, metavar="P", help="the probability at which they decide, instead")
    group.addoption("--hil-clips", metavar="DIR", help="recorded clips that rooms are made of [default: synthetic voices]")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes a rig or a room runs for each that was asked for."""
    options = metafunc.config.option
    names = metafunc.fixturenames
    if "hil_rig" in names:
        metafunc.parametrize("hil_rig", options.hil_rig or ["file"], indirect=True, scope="session")
    if "hil_scene" in names:
        rooms = _set(metafunc.config)
        asked = [(entry, number) for entry in rooms.entries for number in range(entry.count)]
        ids = [entry.name if entry.count == 1 else f"{entry.name} {number + 1}" for entry, number in asked]
        metafunc.parametrize("hil_scene", asked, indirect=True, ids=ids, scope="session")


@pytest.fixture(scope="session")
def hil_rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A rig, by its name or its TOML file."""
    made = rig(request.param)
    yield made
    made.close()


@pytest.fixture(scope="session")
def hil_scene(request: pytest.FixtureRequest, hil_models: list[Model]) -> Scene:
    """A room of the set."""
    entry, number = cast(tuple[Entry, int], request.param)
    clips = request.config.option.hil_clips
    return entry.scene(hil_models[0].word, number, Material(Path(clips) if clips else None))


@pytest.fixture(scope="session")
def hil_models(request: pytest.FixtureRequest) -> list[Model]:
    """What listens."""
    options = request.config.option
    rooms = _set(request.config)
    return rooms.listeners(options.hil_model or (), fa_per_hour=options.hil_fa_per_hour, threshold=options.hil_threshold)


@pytest.fixture
def hil_listen(hil_rig: Rig, hil_models: list[Model], request: pytest.FixtureRequest) -> Callable[..., Pass]:
    """A function (scene, faults): one pass over the scene. An unexplained gap, or a rig that is unfit, is an error."""
    checks = request.config.stash.setdefault(_CHECKS, {})
    within_s = _set(request.config).within_s

    def listened(scene: Scene, faults: Faults | None = None) -> Pass:
        checks.setdefault(hil_rig, Checks(hil_rig)).pass_for(scene)
        return Pass.over(hil_rig, scene, hil_models, within_s, faults)

    return listened


@pytest.fixture
def hil_pass(hil_listen: Callable[..., Pass], hil_scene: Scene) -> Pass:
    """One pass over the room."""
    return hil_listen(hil_scene)


def _set(config: pytest.Config) -> RoomSet:
    try:
        return load_set(config.option.hil_set)
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
