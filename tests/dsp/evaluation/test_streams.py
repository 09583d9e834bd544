"""Labelled streams: what is in them, how often, how loud, how long."""

from collections import Counter

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from farfield.errors import InputError
from farfield.evaluation import rooms, streams
from reference.labelled import RATE, paths, peak


def test_every_clip_is_in_one_part_and_a_part_is_the_same_each_time(folders):
    sounds = [paths(folders / kind) for kind in ("word", "speech", "noise")]
    work = streams.parts(*sounds, streams.Conditions(), 3, 10)
    assert len(work) == 5
    assert sorted(clip for part in work for clip in part.words) == [str(path) for path in paths(folders / "word")]
    assert sorted(clip for part in work for clip in part.others) == [str(path) for path in paths(folders / "speech")]
    once, twice = streams.stream(work[1]), streams.stream(work[1])
    assert once.samples.tobytes() == twice.samples.tobytes() and once.said == twice.said
    other = streams.parts(paths(folders / "word"), paths(folders / "speech"), [], streams.Conditions(), 4, 10)
    assert streams.stream(other[1]).samples.tobytes() != once.samples.tobytes()


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_speech_takes_its_share_of_the_time_and_words_lie_where_it_says(folders, share):
    conditions = streams.Conditions((None,), (-12.0,), share)
    (part,) = streams.parts(paths(folders / "word"), paths(folders / "speech"), [], conditions, 1)
    made = streams.stream(part)
    clips = sum(soundfile.info(path).frames for path in (*part.words, *part.others))
    assert clips / len(made.samples) == pytest.approx(share, rel=0.15)
    assert len(made.said) == 12
    for word in made.said:
        heard = made.samples[word.start : word.end].astype(float)
        spectrum = np.abs(np.fft.rfft(heard))
        assert 2_990 < np.argmax(spectrum) * RATE / len(heard) < 3_020
        assert abs((word.end - word.start) / RATE - 0.6) < 0.03


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_utterances_lie_over_the_noise_as_asked(folders, snr_db):
    """By the energies of the loudest frames, as the stream's words and its pauses have them."""
    conditions = streams.Conditions((snr_db,), (-15.0,), 0.2)
    (part,) = streams.parts(paths(folders / "word"), paths(folders / "speech"), paths(folders / "noise"), conditions, 1)
    made = streams.stream(part)
    words = np.median([peak(made.samples[word.start - 500 : word.end + 500]) for word in made.said])
    noise = peak(made.samples[: RATE // 2])
    expected = 10 * np.log10(1 + 10 ** (snr_db / 10))  # a word's frame holds the noise too
    assert 10 * np.log10(words / noise) == pytest.approx(expected, abs=1.5)


def test_words_lie_over_the_noise_that_is_under_them(folders):
    """A steady noise is not made quieter by a click in another: each clip of noise is as loud as its loudest frame."""
    clicks = 1e-3 * np.random.default_rng(1).standard_normal(4 * RATE)
    clicks[RATE : RATE + 200] = 0.9
    soundfile.write(folders / "noise" / "noise1-0.wav", clicks, RATE)
    conditions = streams.Conditions((10.0,), (-15.0,), 0.2)
    (part,) = streams.parts(paths(folders / "word"), paths(folders / "speech"), paths(folders / "noise"), conditions, 1)
    made = streams.stream(part)
    steady = [word for word in made.said if "noise0" in word.noise]
    assert 0 < len(steady) < len(made.said)
    for word in steady:
        before = made.samples[word.start - RATE // 4 : word.start - RATE // 16].astype(float) / 32_768
        assert 10 * np.log10(np.mean(before**2)) == pytest.approx(-25.0, abs=1.0)


def test_levels_and_rooms_are_gone_through(folders, tmp_path):
    response = np.zeros(4_000)
    response[100], response[2_100] = 0.5, 0.25
    soundfile.write(tmp_path / "echoing.wav", response, RATE)
    (room,) = rooms.rooms([str(tmp_path / "echoing.wav")], 1)
    conditions = streams.Conditions((None,), (-30.0, -10.0), 0.3, (room,))
    for part, peak_dbfs in zip(streams.parts(paths(folders / "word"), [], [], conditions, 1), (-30.0, -10.0), strict=True):
        made = streams.stream(part)
        assert {(word.peak_dbfs, word.room) for word in made.said} == {(peak_dbfs, room)} and len(made.said) == 6
        for word in made.said:
            heard = made.samples[word.start : word.end]
            assert 10 * np.log10(peak(heard)) == pytest.approx(word.peak_dbfs, abs=2.0)  # the echo adds to it or takes from it
            late = made.samples[word.end + 200 : word.end + 1_800].astype(float)  # the echo, 125 ms after
            assert np.mean(late**2) > 0.02 * np.mean(heard.astype(float) ** 2)


def test_levels_are_those_over_noise_too(folders):
    conditions = streams.Conditions((20.0,), (-40.0, -10.0), 0.3)
    for part in streams.parts(paths(folders / "word"), [], paths(folders / "noise"), conditions, 1):
        made = streams.stream(part)
        found = [peak(made.samples[word.start - 500 : word.end + 500]) for word in made.said]
        assert 10 * np.log10(np.median(found)) == pytest.approx(part.peak_dbfs, abs=1.5)


def test_words_meet_every_room_as_often_at_every_ratio_and_level(folders):
    heard = (rooms.Measured("a", 1.0, "a.wav"), rooms.Measured("b", 2.0, "b.wav"), rooms.Measured("c", None, "c.wav"))
    conditions = streams.Conditions((0.0, 10.0), (-30.0, -10.0), 0.3, heard)
    sounds = [paths(folders / kind) for kind in ("word", "speech", "noise")]
    met = Counter()
    for part in streams.parts(*sounds, conditions, 1, hours=4.0):
        met.update((part.snr_db, part.peak_dbfs, heard[(part.turn + n) % 3].name) for n in range(len(part.words)))
    assert len(met) == 12 and max(met.values()) - min(met.values()) <= max(2, 0.35 * max(met.values())), met


@given(hours=st.floats(0.02, 6.0), share=st.sampled_from([0.1, 0.2, 0.5, 1.0]), seed=st.integers(0, 9))
def test_asked_hours_go_through_all_clips_evenly(long_lived, hours, share, seed):
    sounds = [paths(long_lived / kind) for kind in ("word", "speech", "noise")]
    work = streams.parts(*sounds, streams.Conditions(speech_share=share), seed, hours=hours)
    words, others = (Counter(clip for part in work for clip in clips(part)) for clips in (lambda p: p.words, lambda p: p.others))
    assert set(words) == {str(path) for path in sounds[0]}, "every word at least once"
    for times in (words, others):
        assert not times or max(times.values()) - min(times[str(path)] for path in sounds[times is others]) <= 1
    in_parts = [len(part.words) for part in work]
    assert max(in_parts) - min(in_parts) <= 1
    assert sum(part.least for part in work) / RATE / 3600 == pytest.approx(hours, abs=1e-6 * len(work) + 1e-4)
    assert all(part.least <= 1_200 * RATE for part in work), "a part's memory is bounded"


def test_a_stream_is_as_long_as_asked_and_speech_has_its_share(folders):
    sounds = [paths(folders / kind) for kind in ("word", "speech", "noise")]
    work = streams.parts(*sounds, streams.Conditions(), 2, hours=0.5)
    made = [streams.stream(part) for part in work]
    assert [len(stream.samples) for stream in made] == [part.least for part in work]
    assert sum(len(stream.samples) for stream in made) / RATE / 3600 == pytest.approx(0.5, rel=1e-4)
    spoken = sum(stop - start for stream in made for _, start, stop in stream.spoken)
    assert spoken / RATE / 3600 == pytest.approx(0.1, rel=0.05)
    assert max(Counter(word.clip for stream in made for word in stream.said).values()) > 1
    assert made[0].samples.tobytes() != made[1].samples.tobytes()


def test_too_few_hours_for_the_words_are_refused(folders):
    with pytest.raises(InputError, match=r"hours: got 0\.01, wanted 0\.02 or more"):
        streams.parts(paths(folders / "word"), paths(folders / "speech"), [], streams.Conditions(), 1, hours=0.01)


def test_a_share_that_is_none_is_refused():
    for share in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(InputError, match="speech share: got"):
            streams.Conditions(speech_share=share)
