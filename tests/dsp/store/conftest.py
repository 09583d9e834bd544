"""What the store's tests share."""

import pytest

from farfield.store import store


@pytest.fixture(autouse=True)
def nobody_is_late(monkeypatch):
    """Who begins waits as long as a command does: a quarter of a second is a listener's, and on a busy machine a test's dice."""
    monkeypatch.setattr(store, "_BEGIN_WAIT_S", 60.0)
