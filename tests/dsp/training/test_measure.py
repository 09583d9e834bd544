"""Measuring: what is counted, what is chosen, what goes into a card."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyroomacoustics")

from farfield import history, kernels, look
from farfield.block import Frame
from farfield.detector import Detector
from farfield.training import augment, material, measure
from reference.planted import random_model
from reference.sounds import RATE, quiet, tone

NONE = np.zeros((0, 40), np.uint16), np.zeros((0, 32), np.uint16)


def test_a_hit_lies_between_the_words_start_and_half_a_second_after_it():
    assert [measure.hit([at], 1_000, 5_000) for at in (999, 1_000, 13_000, 13_001)] == [None, 1_000, 13_000, None]
    assert measure.hit([500, 6_000, 7_000], 1_000, 5_000) == 6_000 and measure.hit([], 0, 1) is None


@pytest.mark.parametrize("window", measure._WINDOWS)
def test_a_track_is_what_the_detector_smooths(window):
    """From the same sound, to the bit, while the window fills and after."""
    model = replace(random_model(0), smoothing_steps=window)
    samples = augment.to_int16(0.3 * augment.colored(3 * RATE, 1.0, np.random.default_rng(0)))
    detector = Detector(model)
    detector.process(Frame(samples[:, None], 0, 0, 0, len(samples)))
    scores = model.scorer().process(kernels.Features().process(samples))
    heard = measure.track(scores, model.stride, window)
    assert np.array_equal(heard.index, detector.steps.index) and np.array_equal(heard.p, detector.steps.p)
    assert len(set(heard.p.tolist())) > 5


def planted(*peaks, steps=100):
    """Scores in steps of 10 ms: 256 times p at each (step, p), else 0. Step s is known at 480 + 160 s samples."""
    scores = np.zeros(steps, np.uint8)
    for step, p in peaks:
        scores[step] = round(256 * p)
    return scores


def test_figures_count_by_hand():
    """Three recordings in two parts; with one step a window and decisions at 480 + 160 s."""
    model = replace(random_model(0), refractory_ms=0)
    model = replace(model, network=model.network | {"stride": 1})
    said = [measure.Said("clean", NONE, 1_600, 4_800), measure.Said("clean", NONE, 1_600, 4_800),
            measure.Said("room", NONE, 1_600, 4_800)]  # fmt: skip
    words = [planted((33, 0.8)), planted((5, 0.8), (93, 0.8)), planted((18, 0.6), (38, 0.9))]
    others = [planted((3, 0.9), (50, 0.9)), planted((9, 0.75))]
    of = [measure.Scored(measure.Streams(said[:2], [NONE], 1.5), words[:2], others[:1]),
          measure.Scored(measure.Streams(said[2:], [NONE], 0.5), words[2:], others[1:])]  # fmt: skip
    found = measure.figures(of, model, measure.Setting(1, 0.7))
    assert found.missed == {"clean": 1, "noise at 10 dB": 0, "room": 0}
    assert found.asked == {"clean": 2, "noise at 10 dB": 0, "room": 1}
    assert (found.woken, found.hours, found.late, found.miss) == (3, 2.0, [36 * 160 - 4_800, 41 * 160 - 4_800], 1 / 3)
    assert measure.figures(of, replace(model, refractory_ms=600), measure.Setting(1, 0.7)).woken == 2, "the refractory time"
    assert measure.figures(of, model, measure.Setting(3, 0.7)).woken == 0, "three steps a window"
    found = replace(found, woken=2)
    card = measure.as_card(found)
    assert card["missed"]["clean"] == "1 of 2" and card["miss_rate"] == 0.3333 and card["false_accepts"] == 2
    assert card["miss_rate_95"] == [0.0016, 0.9601] and card["false_accepts_per_hour_95"] == [0.01, 7.47], "of 2 clips, 2/3 h"
    assert card["latency_ms"] == {"median": 85, "p95": 108}
    assert json.loads(json.dumps(card)) == card


def heard(word, other, hours=1.0):
    """A part where the word and the other speech reach these levels, for five steps each."""
    model = random_model(0)
    at = 20
    end = 320 + 160 * model.stride * at
    said = measure.Said("clean", NONE, end - 4_800, end)
    return model, measure.Scored(
        measure.Streams([said], [NONE], hours),
        [planted(*((at + n, word) for n in range(5)))],
        [planted(*((30 + n, other) for n in range(5)))] if other else [],
    )


def test_the_setting_that_misses_least_without_waking():
    """The word reaches 0.8 and other speech 0.6: a threshold between them; where other speech is as like, it is not woken."""
    model, part = heard(0.8, 0.6)
    setting, found = measure.choose([part], model, 0.0)
    assert (found.miss, found.woken) == (0, 0) and 0.59 <= setting.threshold < 0.8 and setting.smoothing_steps < 6
    model, part = heard(0.8, 0.8)
    assert (lambda found: (found.miss, found.woken))(measure.choose([part], model, 0.0)[1]) == (1, 0)
    model, part = heard(0.8, 0.8)
    assert (lambda found: (found.miss, found.woken))(measure.choose([part], model, 1.0)[1]) == (0, 1), "one an hour is allowed"
    _, good = heard(0.8, 0.2)
    _, apart = heard(0.7, 0.75)
    setting, found = measure.choose([good, apart], model, 0.5)
    assert (found.miss, found.woken, found.hours) == (0, 1, 2.0), "one threshold for all parts"


def test_a_setting_that_decides_late_is_taken_only_where_no_other_keeps_to_the_rate():
    """A long window finds both words, one 300 ms after its end; a short one is prompt and misses that one."""
    model = replace(random_model(0), network=random_model(0).network | {"stride": 1})
    prompt, late = planted(*((20 + n, 0.9) for n in range(3))), planted(*((50 + n, 0.5) for n in range(8)))
    said = measure.Said("clean", NONE, 480, 480 + 160 * 20)
    part = measure.Scored(
        measure.Streams([said, said], [NONE], 1.0), [prompt, late], [planted(*((30 + n, 0.6) for n in range(3)))]
    )
    setting, found = measure.choose([part], model, 0.0)
    assert setting.smoothing_steps == 3 and found.miss == 0.5 and max(found.late) <= RATE // 4
    quiet_part = replace(part, words=[late, late], others=[planted()])
    assert measure.choose([quiet_part], model, 0.0)[1].miss == 0, "where every window is late, late it is"


def test_a_second_look_lets_the_threshold_be_lower():
    """The word reaches 0.6 and other speech 0.8; the look tells them apart by 0.7 to 0.3."""
    model, part = heard(0.6, 0.8)
    part = replace(part, words_looked=[np.full(100, 0.7)], others_looked=[np.full(100, 0.3)])
    alone = measure.Setting(3, 0.5)
    assert measure.choose([part], model, 0.0)[1].miss == 1, "without it"
    setting, found = measure.choose_look([part], [0.7, 0.5, 0.3], model, 0.0)
    assert (found.miss, found.woken) == (0, 0) and setting.threshold < 0.6 and 0.3 <= setting.look_threshold < 0.7
    pairs = measure.calibration([part], model, setting)
    assert [rate for _, rate in pairs] == [1.0, 0.0] and pairs[1][0] == pytest.approx(0.3, abs=0.005), "of the look's threshold"
    assert measure.calibration([part], model, alone)[0][1] == 1.0


@pytest.mark.parametrize("look", [False, True])
def test_caution_takes_what_clean_words_can_spare(look):
    """200 clean words that reach 0.9 down to 0.5 in steps of 0.002: two of them are given up, and no more; noise may cost."""
    model = random_model(0)
    said = [measure.Said(kind, NONE, 480, 480 + 160 * 60) for kind in ("clean",) * 200 + ("room",) * 50]
    peaks = [0.9 - 0.002 * n for n in range(200)] + [0.3] * 50
    words = [planted(*((20 + n, 0.95 if look else peak) for n in range(5))) for peak in peaks]
    part = measure.Scored(measure.Streams(said, [NONE], 1.0), words, [planted()],
                          [np.full(100, peak) for peak in peaks], [np.zeros(100)])  # fmt: skip
    low = measure.Setting(3, 0.5, 0.2) if look else measure.Setting(3, 0.2)
    chosen, found = measure.cautious([part], model, low)
    threshold = chosen.look_threshold if look else chosen.threshold
    assert 0.502 <= threshold < 0.508 if look else threshold == 0.5
    assert found.missed["clean"] <= 2 and found.missed["room"] == 50
    assert found == measure.figures([part], model, chosen)
    again, _ = measure.cautious([part], model, chosen)
    assert (again.look_threshold if look else again.threshold) >= threshold, "never lower"
    strict = measure.Setting(3, 0.5, 0.99) if look else measure.Setting(3, 0.99)
    assert measure.cautious([replace(part, words=[planted()] * 250)], model, strict)[1].missed["clean"] == 200


def test_looks_are_those_of_the_verifier_where_the_listener_asks():
    model = random_model(0)
    sound = augment.to_int16(0.3 * augment.colored(4 * RATE, 1.0, np.random.default_rng(0)))
    on = measure.Streams([measure.Said("clean", history.heard(sound), 0, 100)], [history.heard(sound)], 1.0)
    of = measure.scored(model, on)
    p = measure.track(of.words[0], model.stride, measure.LOOK_WINDOW).p
    both = measure.looked(of, replace(model, second_look=random_model(3)), 0.3)
    verifier = look.Verifier(model, random_model(3))
    kept = verifier.history()
    kept.take(*history.heard(sound))
    wanted = [verifier.look(kept, (step + 1) * model.stride, p[step]).second_look for step in range(len(p))]
    asked = p > 0.3
    assert 0 < asked.sum() < len(asked) and any(wanted)
    assert np.array_equal(both.words_looked[0], np.where(asked, wanted, 0.0))
    assert np.array_equal(both.others_looked[0], both.words_looked[0])


def test_a_look_is_asked_as_early_as_is_not_too_often(monkeypatch):
    """In two hours 3 steps lie above 0.2, 8 above 0.1 and 15 above 0.05; the first threshold stays however often it asks."""
    peaks = [planted(*((at + n, p) for n in range(5))) for at, p in ((10, 0.25), (10, 0.15), (40, 0.07))]
    parts = [measure.Scored(measure.Streams([], [NONE], 1.0), [], [peaks[0]]),
             measure.Scored(measure.Streams([], [NONE] * 2, 1.0), [], peaks[1:])]  # fmt: skip
    for an_hour, lows in ((7.5, [0.2, 0.1, 0.05]), (7.4, [0.2, 0.1]), (4, [0.2, 0.1]), (3.9, [0.2]), (0.1, [0.2])):
        monkeypatch.setattr(measure, "_MOST_OPEN", an_hour)
        monkeypatch.setattr(measure, "_OPENING", (0.2, 0.1, 0.05))
        monkeypatch.setattr(measure, "LOOK_WINDOW", 3)
        assert measure.openings(parts, random_model(0)) == lows


def test_a_calibration_falls_as_thresholds_rise():
    """In two hours, peaks of 0.9, 0.7, and another 0.7 that a wake at 0.65 hides from a low threshold."""
    model = random_model(0)
    parts = [
        measure.Scored(measure.Streams([], [NONE], 1.0), [], [planted((5, 0.9), (350, 0.7), steps=400)]),
        measure.Scored(measure.Streams([], [NONE], 1.0), [], [planted((10, 0.65), (12, 0.7))]),
    ]
    pairs = measure.calibration(parts, model, measure.Setting(1, 0.0))
    thresholds, rates = zip(*pairs, strict=True)
    assert sorted(thresholds) == list(thresholds) and sorted(rates, reverse=True) == list(rates)
    assert measure.calibration(parts, model, measure.Setting(1, 0.0), lowest=0.75)[0][1] == 0.5, "none of a lower threshold"
    assert rates == (1.5, 0.5, 0.0) and thresholds[1] == pytest.approx(0.7, abs=0.011) and thresholds[2] >= 0.89


def test_held_out_clips_are_heard_in_every_condition(monkeypatch):
    sound = np.concatenate([quiet(0.3), tone(800, 0.5), quiet(0.3)])
    clip = material.Labelled("w/a", "a", sound)
    held = material.HeldOut([clip], [clip, clip], [clip])
    room = np.zeros(400, np.float32)
    room[[8, 300]] = 1.0, 0.4
    kept = []

    def heard(samples):
        kept.append(samples)
        return NONE

    monkeypatch.setattr(measure, "heard", heard)
    on = measure.streams(held, [sound], [room], 1)
    assert [word.condition for word in on.words] == list(measure.CONDITIONS)
    clean, noisy, far = (samples.astype(float) for samples in kept[:3])
    for word, samples in zip(on.words, kept, strict=False):
        assert abs(word.start - (8_000 + 4_800)) <= 480 and abs(word.end - (8_000 + 12_800)) <= 480
        assert len(samples) == len(sound) + RATE // 2 + 3 * RATE // 4
    noise = noisy - clean * (noisy @ clean) / (clean @ clean)

    def loudest(sound):
        return max(np.mean(sound[at : at + 2_048] ** 2) for at in range(0, len(sound), 2_048))

    assert 10 * np.log10(loudest(noisy - noise) / loudest(noise)) == pytest.approx(10, abs=0.5)
    assert np.abs(noisy).max() == pytest.approx(16_384, abs=2)
    assert np.abs(far).max() == pytest.approx(3_277, abs=2)
    assert len(kept[3]) == len(sound) * 8 and len(on.others) == 1
    assert on.hours * 3600 * RATE * 0.2 == pytest.approx(len(sound) * 7), "the noise among them is no speech"
