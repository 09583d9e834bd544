"""What every test shares: the kernels at each level, and the recordings where they are."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from farfield import kernels as farfield_kernels

# Deadlines are off: the machine's speed is a benchmark's business, and never a test's.
# The suite draws the same examples each time, so that a red run means the change and never the dice; FARFIELD_HYPOTHESIS=long
# searches anew each time, and what it finds becomes an @example.
settings.register_profile("suite", deadline=None, max_examples=60, derandomize=True, suppress_health_check=list(HealthCheck))
settings.register_profile("long", settings.get_profile("suite"), derandomize=False, max_examples=2000)
settings.register_profile("random", settings.get_profile("suite"), derandomize=False)
settings.load_profile(os.environ.get("FARFIELD_HYPOTHESIS", "suite"))


# What goes by the clock: it stays on one processor, and leaves the other to the rest.
BY_THE_CLOCK = ("hil", "dsp/capture", "dsp/test_alsa", "dsp/test_board", "dsp/test_ticks", "dsp/test_realtime")


def pytest_collection_modifyitems(config, items):
    """On several processors a file's tests stay together, for they share what is slow to make."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            file = item.path.relative_to(Path(__file__).parent).as_posix()
            item.add_marker(pytest.mark.xdist_group("clock" if file.startswith(BY_THE_CLOCK) else file))


@pytest.fixture(scope="session", params=farfield_kernels.levels())
def kernels(request):
    """The kernel classes at one instruction level; a test that takes it runs at every level that can run here."""
    return farfield_kernels.at_level(request.param)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings; the test is skipped where there is none."""
    folder = Path(os.environ.get("FARFIELD_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("needs the real recordings: set FARFIELD_DATA to their folder")
    return folder
