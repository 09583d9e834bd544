"""Which utterances reviewers may get: a uniform sample of those that were consented to, capped a day and for the device.

Each is selected by itself with the probability `sample_share`. Of a day's selected ones at most `sample_a_day` stay, by reservoir
sampling (Vitter, "Random Sampling with a Reservoir", 1985, algorithm R): the n-th takes the place of a random one with
probability cap / n, so that early and late ones are equally likely. Whoever loses their place loses their wrap. A day is closed
when anything of it leaves; nothing leaves before the day is over.
"""

import random

from farfield.store.records import Change
from farfield.store.settings import Settings

DAY = 86_400


def draw(change: Change, at: int, settings: Settings, chance: random.Random) -> int | None:
    """The place that an utterance of the time `at` gets in its day's sample; None where it is not in it.

    The place may be taken already: whoever had it loses it (see `taken_by`).
    """
    if chance.random() >= settings.sample_share:
        return None
    day = at // DAY
    selected, closed = change.execute("SELECT selected, closed FROM draws WHERE day = ?", (day,)).fetchone() or (0, 0)
    if closed:
        return None
    change.execute("INSERT OR REPLACE INTO draws VALUES (?, ?, 0)", (day, selected + 1))
    cap = min(settings.sample_a_day, settings.sample_on_device - _places_elsewhere(change, day, settings))
    place = selected if selected < cap else chance.randrange(selected + 1)
    return place if place < cap else None


def taken_by(change: Change, at: int, place: int) -> str | None:
    """The utterance that has a place in the sample of the day of `at`."""
    found = change.execute("SELECT utterance FROM wraps WHERE day = ? AND slot = ?", (at // DAY, place)).fetchone()
    return found[0] if found else None


def close(change: Change, before: int) -> None:
    """Nothing joins the samples of the days before that of the time `before` any more."""
    change.execute("UPDATE draws SET closed = 1 WHERE day < ?", (before // DAY,))


def _places_elsewhere(change: Change, day: int, settings: Settings) -> int:
    """How many places the other days' samples have had, as if nothing had been deleted."""
    (places,) = change.execute(
        "SELECT coalesce(sum(min(selected, ?)), 0) FROM draws WHERE day != ?", (settings.sample_a_day, day)
    ).fetchone()
    return int(places)
