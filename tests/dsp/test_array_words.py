"""Words over noise across a room: what is counted, and planted networks that hear everything or nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from farfield import InputError, load_model, load_profile
from farfield.evaluation import array_words
from farfield.evaluation.array_words import Heard
from farfield.evaluation.curve import Scored
from farfield.evaluation.held_out import HeldOut
from farfield.evaluation.streams import Said

PROFILE = replace(load_profile("respeaker-2mic"), references=(), adaptive=True, best_microphone=True)


@pytest.fixture
def group(tmp_path, monkeypatch):
    """One burst of noise as the word, another as the noise; one room, no tail."""
    pytest.importorskip("pyroomacoustics")
    monkeypatch.setattr(array_words, "RT60_S", (0.2,))
    monkeypatch.setattr(array_words, "_ROOMS", 1)
    monkeypatch.setattr(array_words, "DISTANCES_M", (1.0,))
    monkeypatch.setattr(array_words, "RATIOS_DB", (5.0,))
    rng = np.random.default_rng(1)
    for name, seconds in (("word", 0.8), ("noise", 5)):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(int(seconds * 16_000)), 16_000)
    model = load_model("alexa", second_look=False)
    return HeldOut(model, (tmp_path / "word.wav",), (), (tmp_path / "noise.wav",))


def measured(group, **more):
    return array_words.measure([group], PROFILE, 2, 1, lambda *_: None, **more)


def test_a_network_that_hears_nothing_misses_everything(group):
    """A burst of noise is no word."""
    (found,) = measured(group).conditions()
    assert (found.distance_m, found.ratio_db, found.words) == (1.0, 5.0, 2)
    assert found.missed == {"candidates": 2, "beams": 2, "microphone 0": 2, "microphone 1": 2}
    assert found.best_microphone == "microphone 0"


def test_one_that_hears_everything_misses_by_its_false_accepts(group):
    """Planted: a threshold of 0 opens at once, wakes on the noise and not again before the word; all of it counts as false."""
    (found,) = measured(replace(group, model=replace(group.model, threshold=0.0))).conditions()
    assert sum(found.false_accepts.values()) > 0


def test_other_speech_is_heard_across_the_same_rooms(group, monkeypatch):
    """Two streams of four seconds; a network that hears everything wakes in each, at any threshold that it exceeds."""
    monkeypatch.setattr(array_words, "_SPEECH_S", 4)
    everything = replace(group, model=replace(group.model, threshold=0.0), others=group.words)
    heard = measured(everything, speech_hours=8 / 3600)
    assert [one.samples for one in heard.others["beams"]] == [(6 + 4) * 16_000] * 2
    assert heard.hours == pytest.approx(5 * 8 / 3600), "the noise before it is no speech"
    assert all(heard.woken(name) >= 2 for name in heard.others), "they open at once"
    deaf = measured(replace(group, others=group.words), speech_hours=8 / 3600)
    assert deaf.others.keys() == {"candidates", "beams", "microphone 0", "microphone 1"}
    assert not any(deaf.woken(name) for name in deaf.others)


def planted(*peaks, said=()):
    """A tenth of an hour of scores after 6 s, zero but at these steps of a second: (step, p)."""
    p = np.zeros(360)
    for step, value in peaks:
        p[step] = value
    return Scored(0, 16_000 * np.arange(1, 361), p, said, (), 366 * 16_000)


@pytest.mark.parametrize(("per_hour", "threshold", "missed"), [(7, 0.3, 0), (5, 0.5, 1), (3, 0.7, 2), (1, 0.9, 3)])
def test_each_has_the_lowest_threshold_at_which_it_wakes_as_seldom_as_asked(per_hour, threshold, missed):
    """Four scores in a tenth of an hour of speech, which is half an hour of streams; what nothing wakes has the lowest of all."""
    words = [planted((50, p), said=(Said("a", 49 * 16_000, 51 * 16_000, 5.0, 0.0, None),)) for p in (0.4, 0.6, 0.8)]
    others = [planted((20, 0.3), (60, 0.5), (100, 0.7), (140, 0.9))]
    heard = Heard(
        {(1.0, 5.0): {"beams": words, "microphone 0": words}}, {"beams": others, "microphone 0": [planted()]}, 1_000, 0.55
    )
    assert heard.hours == pytest.approx(0.5) and heard.woken("beams") == 2 and heard.woken("microphone 0") == 0
    asked = heard.thresholds(per_hour)
    assert asked == {"beams": threshold, "microphone 0": 0.02}
    (one,) = heard.conditions(asked)
    assert one.missed == {"beams": missed, "microphone 0": 0} and one.words == 3
    assert heard.conditions()[0].missed == {"beams": 1, "microphone 0": 1}, "at the model's own"


def test_the_word_is_where_it_is_said_to_be(group):
    """Word and noise through the room: the first microphone grows louder at the word's first sample."""
    random = np.random.default_rng(3)
    samples, start, end = array_words._stream(PROFILE, group.words[0], group.noise, 1.0, 20.0, random)
    level = [np.mean(samples[a:b, 0].astype(float) ** 2) for a, b in ((start - 4_000, start - 160), (start + 160, end - 160))]
    assert level[1] > 30 * level[0]
    assert start == pytest.approx(6 * 16_000 + 47, abs=400)
    assert samples.dtype == np.int16 and np.abs(samples.astype(int)).max() <= 16_384


def test_what_cannot_be_measured(group, tmp_path):
    with pytest.raises(InputError, match="--profile: 'single' has one microphone"):
        array_words.measure([group], load_profile("single"), 1, 1, lambda *_: None)
    with pytest.raises(InputError, match="--negatives: got none"):
        measured(group, speech_hours=0.1)
    with pytest.raises(InputError, match="--noise: got none"):
        measured(replace(group, noise=()))
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    with pytest.raises(InputError, match="holds only silence"):
        measured(replace(group, noise=(Path(tmp_path / "silent.wav"),)))
