"""Which utterances reviewers may get: a uniform sample of those that were consented to, capped a day and for the device.

Each is selected by itself with the probability `sample_share`. Of a day's selected ones at most `sample_a_day` stay, by reservoir
sampling (Vitter, "Random Sampling with a Reservoir", 1985, algorithm R): the n-th takes the place of a random one with
probability cap / n, so that early and late ones are equally likely. Whoever loses their place loses their wrap. A day is closed
when anything of it leaves; nothing leaves before the day is over. Days are those of the store's age (see `ageing`), so that a
clock that is set back begins none anew. What was said before the clock was set is left out: its hour would tell whose it was.
"""

import random

from farfield.store.records import Change
from farfield.store.settings import Settings

DAY = 86_400


def draw(change: Change, age: int, settings: Settings, chance: random.Random) -> int | None:
    """The place that an utterance of this age of the store gets in its day's sample; None where it is not in it.

    The place may be taken already: whoever had it loses it (see `taken_by`).
    """
    if chance.random() >= settings.sample_share:
        return None
    day = age // DAY
    found = change.execute("SELECT selected, places, closed FROM draws WHERE day = ?", (day,)).fetchone()
    selected, places, closed = found or (0, 0, 0)
    if closed:
        return None
    cap = min(settings.sample_a_day, settings.sample_on_device - places_had(change, but=day))
    place: int | None = selected if selected < cap else chance.randrange(selected + 1)
    place = place if place is not None and place < cap else None
    places = places if place is None else max(places, place + 1)
    change.execute("INSERT OR REPLACE INTO draws VALUES (?, ?, ?, 0)", (day, selected + 1, places))
    return place


def taken_by(change: Change, age: int, place: int) -> str | None:
    """The utterance that has a place in the sample of the day of this age."""
    found = change.execute("SELECT utterance FROM wraps WHERE day = ? AND slot = ?", (age // DAY, place)).fetchone()
    return found[0] if found else None


def close(change: Change, before: int) -> None:
    """Nothing joins the samples of the days before that of the age `before` any more."""
    change.execute("UPDATE draws SET closed = 1 WHERE day < ?", (before // DAY,))


def places_had(change: Change, but: int | None = None) -> int:
    """How many places the samples have had, those of the day `but` left out, as if nothing had been deleted since."""
    (places,) = change.execute("SELECT coalesce(sum(places), 0) FROM draws WHERE day IS NOT ?", (but,)).fetchone()
    return int(places)
