"""The second look: what it is shown, when it is asked, and what comes of it, held to plain definitions and to recordings."""

import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield import kernels, load_model, load_second_look, shipped_models
from farfield.block import Frame
from farfield.chain import Chain
from farfield.detector import Detector
from farfield.errors import ModelError
from farfield.evaluation import curve, run, streams
from farfield.look import LOOK_EVERY, Look
from farfield.profile import load_profile
from reference.planted import Planted, PlantedLook, random_model

RATE = 16_000
YES, NO = [255], [0]


def hear(detector, samples, cuts=None, index=0, epoch=0):
    """Events and rejected candidates, over the samples cut into frames."""
    samples = samples if samples.ndim == 2 else samples[:, None]
    events, rejected, at, turn = [], [], 0, 0
    cuts = cuts or [len(samples)]
    while at < len(samples):
        part = samples[at : at + cuts[turn % len(cuts)]]
        events += detector.process(Frame(part, index + at, epoch, 0, index + at + len(part)))
        rejected += detector.rejected
        at, turn = at + len(part), turn + 1
    return events, rejected


def busy(samples, seed=0):
    """Noise whose level wanders over the whole range, so that no two stretches of features are the same."""
    random = np.random.default_rng(seed)
    level = np.repeat(10.0 ** random.uniform(1, 4.5, samples // 1_000 + 1), 1_000)[:samples]
    return np.clip(level * random.normal(0, 1, samples), -32_768, 32_767).astype(np.int16)


def defined(indices, p, agrees, threshold, refractory_samples):
    """The definition, step by step: (events, rejected) as indices.

    A candidate opens at a step above the threshold, if it has been at or below since the last one and the refractory time is
    over. It is an event at the first step at which the look agrees, 2 s after it opened at the latest and with no step at or
    below the threshold since; else it is rejected, at its last look.
    """
    events, rejected, quiet_until, step = [], [], -1, 0
    while step < len(p):
        if p[step] <= threshold or indices[step] < quiet_until:
            step += 1
            continue
        opened = step
        while step < len(p) and p[step] > threshold:
            step += 1
        looked = [k for k in range(opened, step) if indices[k] - indices[opened] <= 2 * RATE]
        agreed = [k for k in looked if agrees[k]]
        if agreed:
            events.append(indices[agreed[0]])
            quiet_until = events[-1] + refractory_samples
        elif step < len(p) or indices[looked[-1]] + indices[1] - indices[0] > indices[opened] + 2 * RATE:
            rejected.append(indices[looked[-1]])
    return events, rejected


@given(
    track=st.lists(st.sampled_from([0, 0, 200, 255, 255, 255]), min_size=2, max_size=120),
    agreeing=st.lists(st.integers(0, 119), max_size=12),
    threshold=st.sampled_from([0.3, 0.9]),
    refractory_ms=st.sampled_from([0, 100, 700]),
    stride=st.integers(1, 3),
    cuts=st.lists(st.integers(50, 4_000), min_size=1, max_size=4),
    index=st.integers(0, 2**40),
)
def test_candidates_become_events_by_the_definition(track, agreeing, threshold, refractory_ms, stride, cuts, index):
    """And each look is shown the last 150 frames of features, up to the newest of its step and no further."""
    fields = {"threshold": threshold, "refractory_ms": refractory_ms, "stride": stride}
    model = Planted(track, **fields)
    samples = busy(model.samples(), 1)
    features = kernels.Features().process(samples)
    shown = {features[max(0, end - 150) : end].tobytes(): k for k, end in enumerate(range(stride, len(features) + 1, stride))}
    assert len(shown) == len(track), "or the looks could not be told apart"
    agrees = [k in agreeing for k in range(len(track))]
    look = PlantedLook(lambda seen: YES if agrees[shown[seen.tobytes()]] else NO)
    events, rejected = hear(Detector(model, second_look=look), samples, cuts, index)
    indices = [index + 320 + 160 * stride * (k + 1) for k in range(len(track))]
    wanted = defined(indices, [score / 256 for score in track], agrees, threshold, refractory_ms * 16)
    assert ([event.decision for event in events], [one.decision for one in rejected]) == wanted
    assert all(event.second_look == 255 / 256 and event.owner is None for event in events)
    assert all((one.second_look, one.owner, one.word) == (0.0, None, "planted") for one in rejected)
    found = curve.decisions(np.array(indices), np.array(track) / 256, threshold, refractory_ms, np.array(agrees))
    assert found == wanted[0], "the evaluation decides as the detector does"


def test_it_looks_again_for_two_seconds_and_then_not_until_it_has_come_down():
    """Steps of 10 ms: 201 looks, the first at step 0."""
    for agrees_at, decided in ((0, [0]), (200, [200]), (201, []), (230, [])):
        model = Planted([255] * 250, stride=1)
        verdicts = iter([NO] * agrees_at + [YES] + [NO] * 250)
        look = PlantedLook(lambda seen, verdicts=verdicts: next(verdicts))
        detector = Detector(model, second_look=look)
        events, rejected = hear(detector, np.zeros(model.samples(), np.int16))
        assert [(event.decision - 480) // 160 for event in events] == decided
        assert len(rejected) == 1 - len(decided) and len(look.seen) == (decided[0] + 1 if decided else 201)


def test_a_rejected_candidate_does_not_start_the_refractory_time():
    model = Planted([255, 0, 255, 0], stride=1, refractory_ms=60_000)
    look = PlantedLook(lambda seen: YES if len(seen) == 3 else NO)
    events, rejected = hear(Detector(model, second_look=look), np.zeros(model.samples(), np.int16))
    assert ([event.decision for event in events], [one.decision for one in rejected]) == ([480 + 320], [480])


@given(track=st.lists(st.sampled_from([0, 255, 255, 255]), min_size=40, max_size=40), near=st.sets(st.integers(1, 40)))
def test_every_second_step_is_looked_at_and_the_next_where_the_word_is_near(track, near):
    """Looks that find it near at the steps that are told, counted from 1, and never agree."""
    model = Planted(track, stride=1)
    detector = Detector(model, second_look=PlantedLook(lambda seen: NO))
    looked = []

    def look(history, frame, listener):
        looked.append(frame)
        return Look(0.0, None, agreed=False, passed=False, near=frame in near)

    detector._verifier.look, detector._verifier.every = look, LOOK_EVERY  # as of a joint look
    hear(detector, np.zeros(model.samples(), np.int16))
    wanted = []
    for step, score in enumerate(track, 1):
        if score and (step % 2 == 0 or (step - 1 in near and wanted[-1:] == [step - 1])):
            wanted.append(step)
    assert looked == wanted


def test_a_word_ends_before_the_decision_by_the_models_lag():
    """However long it took to agree: a candidate opens early, and the look decides."""
    for verdict, steps in ((lambda seen: YES, 1), (lambda seen: YES if len(seen) == 9 else NO, 8)):
        model = Planted([0, *[255] * 20], stride=1, end_lag_ms=10, word_ms=20)
        (event,), _ = hear(Detector(model, second_look=PlantedLook(verdict)), np.zeros(model.samples(), np.int16))
        assert event.decision == 480 + 160 * steps
        assert (event.start, event.end) == (event.decision - 480, event.decision - 160)


def test_only_the_signals_that_exceed_the_threshold_are_looked_at():
    model = Planted([255, 0], [0, 255], [0, 0], stride=1)
    look = PlantedLook(lambda seen: NO)
    samples = np.stack([busy(model.samples(), seed) for seed in range(3)], axis=1)
    hear(Detector(model, 3, second_look=look), samples)
    features = [kernels.Features().process(np.ascontiguousarray(samples[:, n])) for n in range(2)]
    assert [seen.tobytes() for seen in look.seen] == [features[0][:1].tobytes(), features[1][:2].tobytes()]
    model = Planted([255], [255], stride=1)
    look = PlantedLook(lambda seen: YES if seen.tobytes() == features[1][:1].tobytes() else NO)
    (event,), rejected = hear(Detector(model, 2, second_look=look), samples[: model.samples(), :2])
    assert event.second_look == 255 / 256 and rejected == [], "one that agrees is enough"


@given(seed=st.integers(0, 2**32 - 1), signals=st.integers(1, 4))
def test_an_evaluation_looks_where_a_detector_does(seed, signals):
    """Random networks on several signals: what is scored as a whole decides as what is streamed."""
    model = random_model(seed, smoothing_steps=2, refractory_ms=50, threshold=0.4)
    model = replace(model, second_look=random_model(seed + 1, smoothing_steps=3, threshold=0.6))
    samples = np.stack([busy(2 * RATE, seed + n) for n in range(signals)], axis=1)
    events, _ = hear(Detector(model, signals), samples, [1_600])
    scored = run.scored(0, SimpleNamespace(said=(), skipped=(), spoken=()), samples, model)
    assert scored.decisions(0.6, model.refractory_ms) == [event.decision for event in events]


@pytest.mark.parametrize(("index", "epoch"), [(1, 0), (0, 1)])
def test_a_gap_gives_up_what_was_open_and_forgets_what_was_heard(index, epoch):
    model = Planted([255] * 20, stride=1)
    look = PlantedLook(lambda seen: NO)
    detector = Detector(model, second_look=look)
    samples = np.zeros(model.samples(), np.int16)
    assert hear(detector, samples) == ([], []) and len(look.seen) == 20
    _, rejected = hear(detector, samples[:480], index=len(samples) + index, epoch=epoch)
    assert [(one.decision, one.epoch) for one in rejected] == [(480 + 19 * 160, 0)]
    assert len(look.seen[-1]) == 1, "nothing from before the gap"
    detector.reset()
    assert detector.rejected == []


def test_without_a_second_look_nothing_is_rejected():
    model = Planted([255, 0, 255], stride=1)
    events, rejected = hear(Detector(model), np.zeros(model.samples(), np.int16))
    assert [event.second_look for event in events] == [None, None] and rejected == []


# --- real networks


@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(1, 5_000), min_size=1, max_size=6))
def test_any_cutting_into_frames_gives_the_same(seed, cuts):
    """Random networks for both, of strides of their own, on two signals: events and rejections, every field of them."""
    model = random_model(seed, smoothing_steps=2, refractory_ms=50, threshold=0.4)
    look = random_model(seed + 1, smoothing_steps=3, threshold=0.6)
    samples = np.stack([busy(2 * RATE, seed), busy(2 * RATE, seed + 1)], axis=1)
    whole = hear(Detector(model, 2, second_look=look), samples)
    assert hear(Detector(model, 2, second_look=look), samples, cuts) == whole


def test_the_random_networks_agree_and_disagree():
    """Else the test above would compare nothing."""
    found = [
        hear(
            Detector(random_model(seed, smoothing_steps=2, refractory_ms=50, threshold=0.4),
                     second_look=random_model(seed + 1, smoothing_steps=3, threshold=0.6)),
            busy(2 * RATE, seed),
        )
        for seed in range(30)
    ]  # fmt: skip
    assert sum(bool(events) for events, _ in found) >= 5 and sum(bool(rejected) for _, rejected in found) >= 5


@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 60), seconds=st.sampled_from([0.1, 1.0, 2.0]))
def test_its_probability_is_the_largest_of_its_last_scores(seed, steps, seconds):
    """Of a scorer fresh over the last 150 frames, of which those that make no whole step are the oldest."""
    look = random_model(seed, smoothing_steps=steps, threshold=0.0)
    model = Planted([0] * (round(100 * seconds) - 3) + [255], stride=1)
    samples = busy(model.samples(), seed)
    events, rejected = hear(Detector(model, second_look=replace(look, word="planted")), samples)
    seen = kernels.Features().process(samples)[-150:]
    scores = [*look.scorer().process(seen[len(seen) % look.stride :])][-steps:]
    (candidate,) = events or rejected or [None]
    if candidate is None:  # still open at the end
        assert max(scores, default=0) == 0
    else:
        assert candidate.second_look == max(scores) / 256


@pytest.fixture(scope="module")
def published():
    folder = Path(pytest.importorskip("pymicro_wakeword").__file__).parent
    return load_model(folder / "models" / "alexa.tflite")


def test_a_published_model_looks_again_at_what_ours_found(recordings, published):
    """60 clips of the word, and speech at a threshold at which ours alone wakes often."""
    from farfield.training.clips import read

    def wakes(detector, paths):
        events = rejected = 0
        for path in paths:
            detector.reset()
            sound = np.concatenate([np.zeros(RATE // 2), 32_767 * read(path), np.zeros(RATE // 2)]).astype(np.int16)
            found = hear(detector, sound)
            events, rejected = events + bool(found[0]), rejected + len(found[1])
        return events, rejected

    model = load_model("alexa")
    alone = Detector(replace(model, second_look=None), threshold=0.05)
    both = Detector(replace(model, threshold=0.05), second_look=replace(published, threshold=0.8, smoothing_steps=5))
    words = sorted((recordings / "keywords" / "alexa").glob("*.flac"))[:60]
    speech = sorted((recordings / "speech" / "train-clean").glob("*.flac"))[:150]
    found, passed = wakes(alone, words), wakes(both, words)
    assert found[0] >= 58 and passed[0] >= 52
    woken, let_through = wakes(alone, speech), wakes(both, speech)
    assert woken[0] >= 5 and let_through[0] <= woken[0] // 5 and let_through[1] >= woken[0] // 2


def test_a_stream_is_scored_as_a_detector_hears_it(recordings, published):
    """Decisions from the stored scores and looks are the detector's events, at the look's threshold and at others."""
    model = replace(load_model("alexa"), second_look=replace(published, threshold=0.9, smoothing_steps=1), threshold=0.05)
    words = sorted((recordings / "keywords" / "alexa").glob("*.flac"))[:25]
    speech = sorted((recordings / "speech" / "train-clean").glob("*.flac"))[:20]
    (part,) = streams.parts(words, speech, [], streams.Conditions((None,), (-20.0,), 0.9), 5)
    scored, samples = run.score(part, model), streams.stream(part).samples
    alone = run.score(part, replace(model, second_look=None))
    assert alone.looks is None and set(scored.p.tolist()) <= set(alone.p.tolist()) and scored.opens_above == 0.05
    counts = []
    for threshold in (0.1, 0.5, 0.9):
        events, rejected = hear(Detector(model, threshold=threshold), samples, [4_096])
        found = scored.decisions(threshold, model.refractory_ms)
        assert found == [event.decision for event in events] and len(found) >= 5
        counts.append((len(events), len(rejected)))
        plain, _ = hear(Detector(replace(model, second_look=None), threshold=threshold), samples, [4_096])
        assert alone.decisions(threshold, model.refractory_ms) == [event.decision for event in plain]
    assert counts[0][1] < counts[-1][1], "the stricter the look, the more candidates it rejects"
    points = [curve.point([scored], 0.5, model.refractory_ms), curve.point([alone], 0.05, model.refractory_ms)]
    looked, plain = (dict(zip(point.hits, point.late, strict=True)) for point in points)
    both = looked.keys() & plain.keys()
    assert both and all(looked[word] >= plain[word] for word in both), "a look that waits makes no decision earlier"
    assert any(looked[word] > plain[word] for word in both)


# --- files


def saved(folder, word="random", name="one", look_word=None):
    random_model(1, word=word).save(folder / f"{name}.safetensors")
    if look_word:
        random_model(2, word=look_word, threshold=0.25).save(folder / f"{name}.look.safetensors")
    return folder / f"{name}.safetensors"


def test_a_second_look_comes_with_the_model_beside_which_it_lies(tmp_path):
    path = saved(tmp_path)
    assert load_model(path).second_look is None and load_second_look(path) is None
    saved(tmp_path, look_word="Random")
    model = load_model(path)
    assert model.second_look.threshold == load_second_look(path).threshold == 0.25
    assert model.second_look.fingerprint == random_model(2).fingerprint
    assert pickle.loads(pickle.dumps(model)).second_look.fingerprint == model.second_look.fingerprint, "to other processes"
    chain = Chain(load_profile("single"), [model])
    assert chain.detectors[0]._verifier is not None, "on by default"
    model.save(tmp_path / "copy.safetensors")
    assert load_model(tmp_path / "copy.safetensors").second_look is None


def test_a_second_look_for_another_word_is_refused(tmp_path):
    path = saved(tmp_path, look_word="other")
    told = r"second look: got one for 'other', wanted one for 'random', the model's word"
    with pytest.raises(ModelError, match=told) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(ModelError, match=told):
        Detector(random_model(1), second_look=random_model(2, word="other"))
    with pytest.raises(ModelError, match=told):
        replace(random_model(1), second_look=random_model(2, word="other"))


def test_a_damaged_second_look_is_named_and_not_left_out(tmp_path):
    path = saved(tmp_path)
    (tmp_path / "one.look.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(ModelError, match=r"one\.look\.safetensors: "):
        load_model(path)


def test_second_looks_are_no_models_of_their_own():
    assert not [name for name in shipped_models() if "look" in name]
    with pytest.raises(ModelError, match="is no model that ships"):
        load_second_look("nothing")
    for name in shipped_models():
        look = load_second_look(name)
        assert look is None or look.word == load_model(name).word


def test_a_fingerprint_is_the_networks():
    one = random_model(1)
    assert one.fingerprint == random_model(1, threshold=0.1, word="x").fingerprint != random_model(2).fingerprint
    network = dict(one.network, layers=[dict(layer) for layer in one.network["layers"]])
    layer = next(layer for layer in network["layers"] if "bias" in layer)
    layer["bias"] = layer["bias"] + np.int32(1)
    assert replace(one, network=network).fingerprint != one.fingerprint
