"""Clocks that drift apart in the demo room: words are heard, and point at their talkers and not at the loudspeaker's echo."""

import pytest

from farfield import load_model
from farfield.hil import FileRig, Scene, demo_room, listen, load_room, match, of_room
from farfield.hil.faults import Faults
from farfield.hil.scene import RATE


@pytest.fixture(scope="module")
def room() -> Scene:
    return of_room(load_room(demo_room()))


@pytest.mark.parametrize("ppm", [-500.0, -100.0, -50.0, 100.0])
def test_every_word_is_heard_and_points_at_its_talker(room, ppm):
    """The drift is not known yet when the second word comes, 3 s into the music: what is left of the echo pulls it."""
    heard = listen(FileRig(), room, [load_model("alexa")], Faults(drift_ppm=ppm))
    score = match([timed.event for timed in heard.events], room.words, RATE)
    errors = [abs(hit.direction_error_deg) for hit in score.hits]
    assert score.is_clean and max(errors) < 25.0, errors
    assert errors[0] < 2.0 and errors[3] < 10.0, "before the music, and once the drift has been known for long"


def test_an_echo_that_is_not_taken_out_would_be_seen(room):
    """The planted case: with a reference that has nothing to do with what is played, a word is missed or points elsewhere."""
    samples = room.samples.copy()
    samples[:, -1] = samples[::-1, -1]
    other = Scene(room.name, room.profile, samples, room.words)
    score = match([timed.event for timed in listen(FileRig(), other, [load_model("alexa")]).events], room.words, RATE)
    errors = [abs(hit.direction_error_deg) for hit in score.hits]
    assert score.missed or max(errors) > 25.0
