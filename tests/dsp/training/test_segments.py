"""Segments: reproducible, and labelled where the word ends."""

import numpy as np
import pytest

pytest.importorskip("pyroomacoustics")

from farfield.training import augment, segments
from reference.sounds import quiet, simple_material, tone


def made(number, word, seed=5, **changes):
    return segments.segment(simple_material(**changes), word, np.random.default_rng([seed, number]))


@pytest.mark.parametrize("word", [None, 0])
def test_a_segment_is_made_of_what_is_drawn(word):
    one = [made(number, word) for number in range(6)]
    for (samples, end), (again, end_again) in zip(one, [made(number, word) for number in range(6)], strict=True):
        assert samples.dtype == np.int16 and samples.shape == (segments.FRAMES,)
        assert samples.tobytes() == again.tobytes() and end == end_again
        assert (end == segments.NO_WORD) == (word is None)
    assert len({samples.tobytes() for samples, _ in one}) == 6
    assert made(0, word, seed=6)[0].tobytes() != one[0][0].tobytes()


def test_a_segment_is_heard_from_a_streams_start():
    """Whatever was heard before it."""
    samples, hearing = [made(number, 0)[0] for number in range(3)], segments.Hearing()
    seen, embedded = hearing.of(samples[0])
    other = hearing.of(samples[1])
    again = hearing.of(samples[0])
    assert seen.shape == (segments.WINDOWS, 40) and embedded.shape == (segments.EMBEDDED, 96)
    assert np.array_equal(again[0], seen) and np.array_equal(again[1], embedded)
    assert not np.array_equal(other[0], seen) and not np.array_equal(other[1], embedded)


def test_no_noise_but_what_can_be_made(monkeypatch):
    assert all(np.abs(made(number, None, noise=[])[0]).max() > 0 for number in range(20))


def test_the_word_ends_where_a_segment_says(monkeypatch):
    """A tone stands for the word: where its band falls silent, against the label, without a room's or a codec's echo."""
    monkeypatch.setattr(augment, "codec", lambda samples, random: samples)
    off = []
    for number in range(60):
        samples, end = made(number, 0)
        windows = samples[: len(samples) // 320 * 320].reshape(-1, 320) * np.hanning(320)
        band = np.abs(np.fft.rfft(windows, 1_024))[:, 155:235].max(axis=1)  # 2,400 to 3,700 Hz
        last = np.flatnonzero(band > 0.5 * np.quantile(band, 0.95))[-1]
        off.append((last + 1) * 320 - end)
    assert abs(np.median(off)) <= 480
    assert np.mean(np.abs(off) < 800) > 0.6


def test_people_are_heard_more_often_than_voices():
    said = segments.Said(quiet(1.0), 0, 100), segments.Said(tone(500, 1.0), 0, 100)
    word = segments.Word([said[0]], [said[1]])
    random = np.random.default_rng(0)
    share = np.mean([word.said(random) is said[0] for _ in range(2_000)])
    assert share == pytest.approx(0.7, abs=0.05)
    assert segments.Word([], [said[1]]).said(random) is said[1] and segments.Word([said[0]], []).said(random) is said[0]


def distance_to(whole, heard):
    """How far a stretch is from holding the whole: 1 minus the largest normalised correlation."""
    products = np.correlate(heard, whole, "valid")
    levels = np.sqrt(np.convolve(heard**2, np.ones(len(whole)), "valid") * np.sum(whole**2)) + 1e-9
    return 1 - float(np.max(np.abs(products) / levels))


def test_what_sounds_like_a_word_is_never_the_word():
    """A sweep stands for the word: of all that is made of it, nothing holds it whole; half is what synthetic voices say."""
    t = np.arange(6_400) / 16_000
    sweep = (0.3 * np.sin(2 * np.pi * (300 * t + 4_000 * t**2))).astype(np.float32)
    said = segments.Said(np.concatenate([quiet(0.2), sweep, quiet(0.2)]), 3_200, 9_600)
    material = simple_material(words=[segments.Word([said], [])], near=[[tone(1_234, 0.5)]])
    voices = 0
    for number in range(60):
        clip = segments._like(material, 0, np.random.default_rng(number))
        if np.abs(np.fft.rfft(clip, 16_000)).argmax() == 1_234:
            voices += 1
        else:
            assert distance_to(sweep, clip) > 0.2, number
    assert 18 <= voices <= 42
    assert distance_to(sweep, np.concatenate([quiet(0.1), sweep])) < 0.01, "planted: the word itself would be seen"


def test_segments_of_what_sounds_like_a_word_are_reproducible():
    made_twice = [
        [segments.sounding_like(simple_material(), 0, np.random.default_rng(number)) for number in range(8)] for _ in range(2)
    ]
    assert all(one.tobytes() == other.tobytes() for one, other in zip(*made_twice, strict=True))
    assert all(one.dtype == np.int16 and one.shape == (segments.FRAMES,) and np.abs(one).max() > 0 for one in made_twice[0])
    assert len({one.tobytes() for one in made_twice[0]}) == 8
