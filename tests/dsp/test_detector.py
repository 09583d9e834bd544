"""The detector: smoothing and decisions held to plain definitions, on planted scores and on published models."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield import kernels, load_model, shipped_models
from farfield.block import Frame
from farfield.detector import Detector
from farfield.errors import InputError
from reference.planted import Planted, random_model

RATE = 16_000
pymicro_wakeword = pytest.importorskip("pymicro_wakeword")
PACKAGED = sorted((Path(pymicro_wakeword.__file__).parent / "models").glob("*.tflite"))
ALEXA = next(path for path in PACKAGED if path.stem == "alexa")
MODELS = [*(str(path) for path in PACKAGED), *shipped_models()]


def detector_of(model):
    return Detector(model, len(model.tracks))


def frame(samples, index=0, epoch=0, host_ns=0):
    samples = samples if samples.ndim == 2 else samples[:, None]
    return Frame(samples, index, epoch, host_ns, index + len(samples))


def hear(detector, samples, cuts=None, index=0, epoch=0):
    """Events, and the steps' indices and probabilities, over the samples cut into frames."""
    events, indices, p, at, turn = [], [], [], 0, 0
    cuts = cuts or [len(samples)]
    while at < len(samples):
        size = cuts[turn % len(cuts)]
        events += detector.process(frame(samples[at : at + size], index + at, epoch))
        indices += detector.steps.index.tolist()
        p += detector.steps.p.tolist()
        at, turn = at + size, turn + 1
    return events, indices, p


def smoothed(tracks, window):
    """The definition, step by step: mean of the last `window` scores of each signal in 256ths, then the largest."""
    return [
        max(sum(track[k - window + 1 : k + 1]) / window / 256 for track in tracks) if k >= window - 1 else 0.0
        for k in range(len(tracks[0]))
    ]


def decided(indices, p, threshold, refractory_samples):
    """The definition: above the threshold, once it has been at or below it since the last event, no sooner than allowed."""
    found, was_below = [], True
    for index, value in zip(indices, p, strict=True):
        if value <= threshold:
            was_below = True
        elif was_below and (not found or index - found[-1] >= refractory_samples):
            found.append(index)
            was_below = False
    return found


tracks = st.integers(1, 3).flatmap(
    lambda signals: st.integers(1, 60).flatmap(
        lambda steps: st.lists(
            st.lists(st.sampled_from([0, 1, 100, 127, 128, 129, 200, 255]), min_size=steps, max_size=steps),
            min_size=signals,
            max_size=signals,
        )
    )
)


@given(
    tracks=tracks,
    window=st.integers(1, 8),
    threshold=st.sampled_from([0.0, 100 / 256, 0.5, 128.5 / 256, 0.9]),
    refractory_ms=st.sampled_from([0, 19, 20, 21, 200, 1_000]),
    stride=st.integers(1, 3),
    cuts=st.lists(st.integers(50, 2_000), min_size=1, max_size=4),
    index=st.integers(0, 2**40),
)
def test_planted_scores_are_smoothed_and_decided_by_the_definition(tracks, window, threshold, refractory_ms, stride, cuts, index):
    model = Planted(
        *tracks, smoothing_steps=window, threshold=threshold, refractory_ms=refractory_ms, stride=stride, end_lag_ms=30
    )
    samples = np.zeros((model.samples(), len(tracks)), np.int16)
    events, indices, p = hear(detector_of(model), samples, cuts, index)
    assert indices == [index + 320 + 160 * stride * (k + 1) for k in range(len(tracks[0]))]
    assert p == pytest.approx(smoothed(tracks, window), abs=1e-12)
    assert [event.decision for event in events] == decided(indices, p, threshold, refractory_ms * 16)
    for event in events:
        assert (event.word, event.score, event.epoch) == ("planted", p[indices.index(event.decision)], 0)
        assert event.end == event.decision - 480 and event.start == max(event.end - 1_600, index)


def decisions(track, **fields):
    """The steps at which a planted track decides."""
    model = Planted(track, stride=1, **fields)
    events, indices, _ = hear(detector_of(model), np.zeros(model.samples(), np.int16))
    return [indices.index(event.decision) for event in events]


def test_the_threshold_must_be_exceeded():
    assert decisions([127, 128, 129], threshold=0.5) == [2]
    assert decisions([0, 1], threshold=0.0) == [1]
    assert decisions([255] * 9, threshold=255 / 256) == []
    assert decisions([127, 128, 129, 130], threshold=0.5, smoothing_steps=4) == [3], "128.5 is more than 128"
    assert decisions([127, 128, 128, 129], threshold=0.5, smoothing_steps=4) == [], "128 is not"


def test_nothing_fires_before_the_window_has_filled():
    assert decisions([255] * 9, smoothing_steps=5) == [4]
    assert decisions([255] * 4, smoothing_steps=5) == []


def test_after_an_event_it_must_come_down_first():
    high, low = [255] * 3, [0]
    assert decisions(high * 20) == [0]
    assert decisions((high + low) * 3) == [0, 4, 8]
    assert decisions([*high, 128, *high], threshold=0.5) == [0, 4], "at the threshold is down"
    assert decisions([*high, 129, *high], threshold=0.5) == [0]


def test_the_refractory_time():
    """40 ms are four steps of 10 ms; what comes up meanwhile is taken when the time is over, if it is still up."""
    assert decisions([255, 0, 255, 0, 255, 0], refractory_ms=40) == [0, 4]
    assert decisions([255, 0, 255, 255, 0, 0], refractory_ms=40) == [0]
    assert decisions([255, 0, 255, 255, 255, 255, 0], refractory_ms=40) == [0, 4]
    assert decisions([255, 0, 0, 255, 0], refractory_ms=31) == [0]
    assert decisions([255, 0, 0, 255, 0], refractory_ms=30) == [0, 3]


def test_the_largest_of_several_signals_counts_and_they_do_not_add_up():
    window = {"smoothing_steps": 2, "stride": 1, "threshold": 0.6}
    model = Planted([200, 0, 0, 0], [0, 200, 0, 0], **window)
    events, _, p = hear(detector_of(model), np.zeros((model.samples(), 2), np.int16))
    assert p == pytest.approx([0, 100 / 256, 100 / 256, 0]) and events == []
    model = Planted([0, 0, 0, 0], [0, 200, 200, 0], **window)
    events, indices, p = hear(detector_of(model), np.zeros((model.samples(), 2), np.int16))
    assert p == pytest.approx([0, 100 / 256, 200 / 256, 100 / 256])
    assert [indices.index(event.decision) for event in events] == [2]


@pytest.mark.parametrize(("index", "epoch"), [(1, 0), (-1, 0), (0, 1)])
def test_a_gap_starts_anew(index, epoch):
    """The scores before it are forgotten, and with them the window, the refractory time and the arming."""
    model = Planted([255] * 10, smoothing_steps=4, refractory_ms=60_000, stride=1)
    detector = detector_of(model)
    samples = np.zeros(model.samples(), np.int16)
    assert len(hear(detector, samples)[0]) == 1
    at = len(samples) + index
    events, indices, p = hear(detector, samples, index=at, epoch=epoch)
    assert p[:3] == [0.0] * 3 and indices[0] == at + 480
    assert [(event.decision, event.epoch) for event in events] == [(at + 480 + 3 * 160, epoch)]
    assert all(event.start >= at for event in events), "a word does not begin before its stream"


def test_without_a_gap_it_goes_on():
    model = Planted([255] * 40, smoothing_steps=4, stride=1)
    detector = detector_of(model)
    half = np.zeros(model.samples() // 2, np.int16)
    assert len(hear(detector, half)[0]) == 1
    events, _, p = hear(detector, half, index=len(half))
    assert events == [] and min(p) == 255 / 256


def test_reset_is_a_new_one():
    model = Planted([255] * 10, smoothing_steps=4, refractory_ms=60_000, stride=1)
    detector = detector_of(model)
    samples = np.zeros(model.samples(), np.int16)
    first = hear(detector, samples)
    detector.reset()
    assert hear(detector, samples) == first and len(first[0]) == 1


def test_an_event_tells_the_blocks_clock():
    model = Planted([0, 255], stride=1)
    (event,) = detector_of(model).process(frame(np.zeros(model.samples(), np.int16), 7, 3, 123_456))
    assert (event.epoch, event.host_ns) == (3, 123_456)
    assert event.direction_deg is event.direction_confidence is event.ambiguous_deg is None


def test_a_word_ends_after_it_starts():
    """A model may say that it decides up to 5 s after the word, which then ends no sooner than the stream began."""
    model = Planted([0, 255], stride=1, end_lag_ms=5_000)
    (event,) = detector_of(model).process(frame(np.zeros(model.samples(), np.int16), 1_000))
    assert 1_000 <= event.start <= event.end <= event.decision


@pytest.mark.parametrize(
    ("samples", "got"),
    [
        (np.zeros((64, 2), np.float32), "float32 (64, 2)"),
        (np.zeros((64, 1), np.int16), "int16 (64, 1)"),
        (np.zeros((64, 3), np.int16), "int16 (64, 3)"),
        (np.zeros(64, np.int16), "int16 (64,)"),
    ],
)
def test_frames_of_another_kind(samples, got):
    with pytest.raises(InputError) as caught:
        Detector(load_model(ALEXA), 2).process(Frame(samples, 0, 0, 0, 64))
    assert str(caught.value) == f"frame.beams: got {got}, wanted int16 (frames, 2)"


@pytest.mark.parametrize("threshold", [-0.01, 1.0, 7.0, float("nan"), float("inf")])
def test_thresholds_out_of_range(threshold):
    with pytest.raises(InputError, match=r"threshold: got .*, wanted 0 or more and less than 1"):
        Detector(load_model(ALEXA), threshold=threshold)


def busy(seconds, seed=0):
    """Noise whose level wanders over the whole range, so that scores move."""
    random = np.random.default_rng(seed)
    level = np.repeat(10.0 ** random.uniform(0, 4.5, seconds * 8), RATE // 8)
    return np.clip(level * random.normal(0, 1, len(level)), -32_768, 32_767).astype(np.int16)


def expected(model, samples):
    """What a detector should make of one signal, put together from the kernels and a moving average by convolution."""
    scores = model.scorer().process(kernels.Features().process(samples)).astype(float) / 256
    window = model.smoothing_steps
    p = np.convolve(scores, np.ones(window) / window)[: len(scores)]
    p[: window - 1] = 0.0
    return p, [320 + 160 * model.stride * (k + 1) for k in range(len(p))]


@given(seed=st.integers(0, 2**32 - 1), window=st.integers(1, 9))
def test_a_models_scores_are_a_moving_average_of_its_scorers(seed, window):
    model = random_model(seed, smoothing_steps=window)
    samples = busy(2, seed)
    _, indices, p = hear(Detector(model), samples)
    wanted, where = expected(model, samples)
    assert p == pytest.approx(wanted.tolist(), abs=1e-12) and indices == where


def test_random_networks_scores_move():
    spread = [len(set(hear(Detector(random_model(seed)), busy(2, seed))[2])) for seed in range(20)]
    assert np.median(spread) > 20, "or the comparisons with them show nothing"


@given(cuts=st.lists(st.integers(1, 3_000), min_size=1, max_size=6), seed=st.integers(0, 2**32 - 1))
def test_any_cutting_into_frames_gives_the_same(cuts, seed):
    """Random networks, whose scores move with every input, on two signals."""
    model = random_model(seed, smoothing_steps=3, refractory_ms=50)
    samples = np.stack([busy(1, seed), busy(1, seed + 1)], axis=1)
    whole = hear(Detector(model, 2, threshold=0.4), samples)
    assert hear(Detector(model, 2, threshold=0.4), samples, cuts) == whole


def spoken(recordings, count):
    """Clips of `alexa` cut so that the word begins at their first sample, and half a second of quiet after each."""
    from farfield.training.clips import read, word_span

    random = np.random.default_rng(0)
    for path in sorted((recordings / "keywords" / "alexa").glob("*.flac"))[:count]:
        samples = read(path)
        start, _ = word_span(samples)
        tail = random.normal(0, 1e-4, RATE // 2)
        yield np.rint(32_767 * np.concatenate([samples[start:], tail])).astype(np.int16)


ALEXAS = [str(ALEXA), *(name for name in shipped_models() if name == "alexa")]


@pytest.mark.parametrize("name", ALEXAS, ids=lambda name: Path(name).name)
def test_a_word_at_the_very_start_is_found_as_often_as_later(recordings, name):
    """120 clips: with a second of quiet before the word, and with the word's first sample the stream's first."""
    model = load_model(name)
    quiet = np.rint(np.random.default_rng(1).normal(0, 3, RATE)).astype(np.int16)
    counts = np.zeros(2, int)
    for word in spoken(recordings, 120):
        counts += [bool(hear(Detector(model), word)[0]), bool(hear(Detector(model), np.concatenate([quiet, word]))[0])]
    at_once, later = counts
    assert at_once >= later - 3
    assert later >= 96, "too few are found at all for this to show anything"


def test_recorded_words_are_decided_by_the_definition(recordings):
    """Ten clips in one stream: the events are those that the definitions give from the kernels' own scores."""
    model = load_model(ALEXA)
    samples = np.concatenate([*spoken(recordings, 10)])
    events, indices, p = hear(Detector(model), samples, [512])
    wanted, where = expected(model, samples)
    assert p == pytest.approx(wanted.tolist(), abs=1e-12) and indices == where
    assert [event.decision for event in events] == decided(where, wanted.tolist(), model.threshold, model.refractory_ms * 16)
    assert len(events) >= 8


def abrupt_starts():
    """A second each that is there from the first sample on: noises, tones, steps, clicks, trills, at five levels."""
    random = np.random.default_rng(2)
    t = np.arange(RATE) / RATE
    for level in (30, 300, 3_000, 12_000, 32_767):
        for slope in (0.0, 1.0, 2.0):
            spectrum = np.fft.rfft(random.normal(0, 1, (4, RATE)))
            colored = np.fft.irfft(spectrum / np.maximum(1, np.arange(spectrum.shape[1])) ** (slope / 2))
            yield from level * colored / colored.std(axis=1, keepdims=True)
        for hertz in (60, 150, 300, 440, 1_000, 2_500, 4_000, 6_000, 7_500):
            tone = level * np.sin(2 * np.pi * hertz * t)
            yield from (tone, level * np.sign(tone), tone * (np.sin(2 * np.pi * 4 * t) > 0))
        yield from (np.full(RATE, level), np.where(t < 0.3, -level, 0.0), np.where(t == 0, level, 0.0))
        yield level * np.sin(2 * np.pi * (100 * t + 3_500 * t**2))


@pytest.mark.parametrize("name", MODELS, ids=lambda name: Path(name).name)
def test_an_abrupt_start_does_not_fire_within_the_first_second(name):
    detector = Detector(load_model(name))
    count = 0
    for sound in abrupt_starts():
        detector.reset()
        samples = np.clip(np.rint(sound), -32_768, 32_767).astype(np.int16)
        events, indices, _ = hear(detector, samples)
        assert events == [] and indices[-1] > 0.95 * RATE
        count += 1
    assert count == 215


@pytest.mark.parametrize("name", MODELS, ids=lambda name: Path(name).name)
def test_speech_cut_in_at_any_place_hardly_ever_fires_within_the_first_second(recordings, name):
    """Of 160 cuts a published model wakes at none; one of ours at up to two (measured: 0 to 2), an honest shortfall."""
    from farfield.training.clips import read

    detector, random = Detector(load_model(name)), np.random.default_rng(3)
    heard = woken = 0
    for path in sorted((recordings / "speech" / "train-clean").glob("*.flac"))[:40]:
        samples = read(path)
        for _ in range(4):
            at = random.integers(0, len(samples) - RATE)
            gain = 32_767 * random.uniform(0.02, 1) / np.abs(samples).max()
            detector.reset()
            woken += bool(hear(detector, np.rint(gain * samples[at : at + RATE]).astype(np.int16))[0])
            heard += 1
    assert heard == 160 and woken <= (2 if name in shipped_models() else 0)
