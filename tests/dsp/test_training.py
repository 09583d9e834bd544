"""Training: integers that say what the network says, material that is reproducible, runs that can be taken up again."""

import concurrent.futures
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("pyroomacoustics")

from farfield.errors import InputError  # noqa: E402
from farfield.model import load_model  # noqa: E402
from farfield.training import augment, clips, export, fit, material, measure, segments, train, voices  # noqa: E402
from farfield.training import network as design  # noqa: E402
from reference.planted import random_model  # noqa: E402

RATE = 16_000
SETTINGS = {"smoothing_steps": 4, "threshold": 0.5, "refractory_ms": 1000, "end_lag_ms": 0, "word_ms": 600}


@pytest.fixture(autouse=True)
def one_thread():
    """Sums of floats come in the same order every time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- the network and its integers


def wandering(random, frames):
    level = np.abs(np.cumsum(random.normal(0, 12, frames)))[:, None] % 600
    return (level * random.uniform(0.4, 1.1, (frames, 1)) * random.uniform(0.5, 1.2, (frames, 40))).astype(np.uint16)


def seen(raw):
    """Features as the scorer's first layer sees them, plus 128: the nearest, halves up, in whole numbers."""
    return np.minimum((raw.astype(np.int64) * 10 * 255 * 2 + 256 * 26) // (256 * 26 * 2), 255).astype(np.uint8)


def scaled(x):
    return torch.from_numpy(x).permute(0, 2, 1).float() * design.INPUT_SCALE


def settled_network(seed):
    """Random weights; ranges and normalisations as of 80 batches; logits of a few units around 0; quantised."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    net = design.Network()
    with torch.no_grad():
        net.train()
        for _ in range(80):
            net(scaled(seen(wandering(random, 800)).reshape(4, 200, 40)))
        net.eval()
        some = scaled(seen(wandering(random, 800))[None])
        net.last.conv.weight *= 2 / net(some).std()
        net.last.conv.bias -= net(some).mean()
    net.quantise()
    return net, random


@pytest.mark.parametrize("seed", range(4))
def test_the_integers_say_what_the_quantised_network_says(tmp_path, seed):
    """Probabilities within 0.12 at every step and 0.02 in the mean; heard a frame late, they are nowhere near."""
    net, random = settled_network(seed)
    model = export.to_model(net, word="word", detector=SETTINGS, card={"draft": True})
    raw = wandering(random, 1_500)
    scores = model.scorer().process(raw).astype(float) / 256
    skipped = -(-design.receptive_frames() // design.STRIDE) - 1
    first = (skipped + 1) * design.STRIDE - design.receptive_frames()

    def difference(offset):
        with torch.no_grad():
            p = torch.sigmoid(net(scaled(seen(raw)[None, offset:])))[0].numpy()
        return np.abs(scores[skipped : skipped + len(p)] - p[: len(scores) - skipped])

    assert difference(first).max() < 0.12 and difference(first).mean() < 0.02
    assert difference(first + 1).mean() > 0.1
    model.save(tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert again.scorer().process(raw).tobytes() == model.scorer().process(raw).tobytes()
    assert (again.word, dict(again.card)) == ("word", {"draft": True})


def test_a_stricter_model_gives_lower_logits_by_as_much():
    net, random = settled_network(0)
    raw = wandering(random, 600)
    plain, strict = (
        export.to_model(net, word="word", detector=SETTINGS, card={}, stricter=logits).scorer().process(raw) / 256
        for logits in (0.0, 2.0)
    )
    inside = (plain > 0.05) & (plain < 0.95)
    logit = np.log(plain[inside] / (1 - plain[inside]))
    assert inside.sum() > 20 and np.abs(strict[inside] - 1 / (1 + np.exp(2.0 - logit))).max() < 0.06


@pytest.mark.parametrize("seed", range(2))
def test_a_stream_begins_in_training_as_it_does_in_the_scorer(seed):
    """From the first step on, while the buffers still hold nothing; with zeros for features before it, it is not the same."""
    net, random = settled_network(seed)
    scorer = export.to_model(net, word="word", detector=SETTINGS, card={}).scorer()
    raw = wandering(random, 600)
    scores = scorer.process(raw).astype(float) / 256
    with torch.no_grad():
        p = torch.sigmoid(net(scaled(seen(raw)[None]), True))[0].numpy()
        zeros = scaled(np.concatenate([np.zeros((design.receptive_frames() - design.STRIDE, 40), np.uint8), seen(raw)])[None])
        padded = torch.sigmoid(net(zeros))[0].numpy()
    assert len(p) == len(scores) == 200 and np.abs(scores - p).max() < 0.12 and np.abs(scores - p).mean() < 0.02
    assert np.abs(padded[:20] - scores[:20]).max() > 0.05


def test_features_are_quantised_for_training_as_the_scorer_quantises_them():
    """Every uint16 feature, against exact halves and against the exported constants."""
    net, _ = settled_network(0)
    constants = export.to_model(net, word="word", detector=SETTINGS, card={}).network["quantiser"]
    raw = np.arange(65_536)
    scorers = np.minimum((raw * constants["multiplier"] + (1 << constants["shift"] - 1)) >> constants["shift"], 255)
    assert np.array_equal(scorers, seen(raw))
    unit = np.float32(segments.FEATURE_UNIT / segments.INPUT_UNIT)
    assert np.array_equal(np.clip(np.rint(raw.astype(np.float32) * unit), 0, 255), seen(raw))


def test_what_a_logit_depends_on():
    """As many frames as said: the first and the last of them change it, those outside do not."""
    net, random = settled_network(1)
    frames = design.receptive_frames()
    x = scaled(seen(wandering(random, frames + 2))[None]).requires_grad_()
    net.eval()
    (gradient,) = torch.autograd.grad(net(x)[0, 0], x)
    moved = gradient[0].abs().sum(0).nonzero().flatten()
    assert net(x).shape == (1, 1) and (int(moved.min()), int(moved.max())) == (0, frames - 1)
    assert design.weight_count(net) == sum(p.numel() for n, p in net.named_parameters() if n.endswith("conv.weight"))


def test_targets_say_yes_just_after_the_word():
    """For a word that ends at 2 s: yes for a quarter of a second after it, either for a while around it, no elsewhere."""
    steps = (segments.WINDOWS - design.receptive_frames()) // design.STRIDE + 1
    ends = np.array([2 * RATE, segments.NO_WORD], np.int32)
    wanted, counts = (t.numpy() for t in fit._targets(ends, design.receptive_frames(), steps))
    heard = (480 + 160 * (design.receptive_frames() - 1 + design.STRIDE * np.arange(steps))) / RATE - 2
    assert np.array_equal(wanted[0] > 0, (heard >= 0) & (heard <= 0.24)) and wanted[0].sum() in (8, 9)
    assert counts[0][wanted[0] > 0].all() and counts[0][heard > 0.76].all() and counts[0][heard < -0.13].all()
    assert not counts[0][(heard > -0.11) & (heard < -0.01)].any() and not counts[0][(heard > 0.25) & (heard < 0.74)].any()
    assert not wanted[1].any() and counts[1].all()


# --- segments and what happens to them


def tone(hertz, seconds, level=0.3):
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def quiet(seconds, seed=0):
    return (1e-4 * np.random.default_rng(seed).normal(size=int(seconds * RATE))).astype(np.float32)


def simple_material(**changes):
    word = np.concatenate([quiet(0.3), tone(3_000, 0.6), quiet(0.4)])
    given_ = {
        "real": [segments.Word(word, 4_800, 14_400)],
        "synthetic": [],
        "speech": [tone(200, 2.0), tone(300, 1.0)],
        "near": [],
        "noise": [tone(500, 1.5)],
        "rooms": [np.eye(1, 800, 8, dtype=np.float32)[0]],
    }
    return segments.Material(**(given_ | changes))


@pytest.mark.parametrize("positive", [False, True])
def test_a_segment_is_made_of_its_number_and_the_seed(positive):
    one = [segments.segment(simple_material(), positive, number, 5) for number in range(6)]
    other = [segments.segment(simple_material(), positive, number, 5) for number in (5, 4, 3, 2, 1, 0)][::-1]
    for (samples, end), (again, end_again) in zip(one, other, strict=True):
        assert samples.dtype == np.int16 and samples.shape == (segments.FRAMES,)
        assert samples.tobytes() == again.tobytes() and end == end_again
        assert (end == segments.NO_WORD) == (not positive)
        assert segments.features(samples).shape == (segments.WINDOWS, design.FEATURES)
    assert len({samples.tobytes() for samples, _ in one}) == 6
    assert segments.segment(simple_material(), positive, 0, 6)[0].tobytes() != one[0][0].tobytes()


def test_the_word_ends_where_a_segment_says(monkeypatch):
    """A tone stands for the word: where its band falls silent, against the label, without a room's or a codec's echo."""
    monkeypatch.setattr(augment, "codec", lambda samples, random: samples)
    off = []
    for number in range(60):
        samples, end = segments.segment(simple_material(), True, number, 1)
        windows = samples[: len(samples) // 320 * 320].reshape(-1, 320) * np.hanning(320)
        band = np.abs(np.fft.rfft(windows, 1_024))[:, 160:230].max(axis=1)  # 2,500 to 3,600 Hz
        last = np.flatnonzero(band > 0.5 * np.quantile(band, 0.95))[-1]
        off.append((last + 1) * 320 - end)
    assert abs(np.median(off)) <= 480
    assert np.mean(np.abs(off) < 800) > 0.6


class InProcess(concurrent.futures.ThreadPoolExecutor):
    """A pool in this process: workers that were started anew would not know what a test has patched."""

    def __init__(self, initializer=None, initargs=()):
        super().__init__(1, initializer=initializer, initargs=initargs)


@pytest.fixture
def tiny(monkeypatch):
    """Sizes at which a whole run takes seconds."""
    monkeypatch.setattr(fit, "ProcessPoolExecutor", InProcess)
    monkeypatch.setattr(os, "nice", lambda by: 0)
    for name, value in {"PER_FILE": 6, "ROUND": 2, "POSITIVES": 6, "NEGATIVES": 8}.items():
        monkeypatch.setattr(fit, name, value)
    for name, value in {"_TTS_WORDS": 4, "_TTS_NEAR": 4, "_TTS_SENTENCES": 4, "_ROOMS": 2}.items():
        monkeypatch.setattr(material, name, value)

    def spoken(phrases, by):
        return [np.concatenate([quiet(0.1), tone(400 + 50 * n, 0.5), quiet(0.1)]) for n in range(len(by))]

    monkeypatch.setattr(material, "_spoken", spoken)


def silent(*_):
    pass


def test_segments_are_made_once(tiny, tmp_path):
    """A file that is there stays; one that is gone is made again as it was; a half-written one counts for nothing."""
    fit.make_segments(simple_material(), tmp_path, (12, 7), 3, silent)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(made) == ["other-0000.npz", "other-0001.npz", "word-0000.npz", "word-0001.npz"]
    (tmp_path / "other-0001.npz").unlink()
    (tmp_path / "word-0001.part.npz").write_bytes(b"half")
    stamp = (tmp_path / "word-0000.npz").stat().st_mtime_ns
    told = []
    fit.make_segments(simple_material(), tmp_path, (12, 7), 3, lambda *what: told.append(what))
    assert told == [("segments", 4, 4)] and (tmp_path / "word-0000.npz").stat().st_mtime_ns == stamp
    assert np.array_equal(fit.load(tmp_path, "other")[0][6:], load_bytes(made["other-0001.npz"], tmp_path)["features"])
    features, ends = fit.load(tmp_path, "word")
    assert features.shape == (12, segments.WINDOWS, 40) and (ends > 0).all()


def load_bytes(data, folder):
    (folder / "bytes.dat").write_bytes(data)
    with np.load(folder / "bytes.dat") as held:
        return dict(held)


class Killed(Exception):
    pass


def killed_after(times, what):
    """Progress that ends the run at the `times`-th round of fitting."""
    count = 0

    def progress(told, *_):
        nonlocal count
        count += told.startswith(what)
        if count == times:
            raise Killed

    return progress


def test_fitting_resumed_is_fitting_uninterrupted(tiny, tmp_path):
    """Killed after each of its first rounds and taken up again: the same weights to the bit."""
    states = []
    for name, kills in (("straight", ()), ("killed", (1, 1, 1))):
        folder = tmp_path / name
        fit.make_segments(simple_material(), folder, (12, 6), 3, silent)
        for times in kills:
            with pytest.raises(Killed):
                fit.fit(folder, 5, 3, killed_after(times, "fit"))
        net = fit.fit(folder, 5, 3, silent)
        states.append({key: value.numpy().tobytes() for key, value in net.state_dict().items()})
    assert states[0] == states[1]
    other = fit.fit(tmp_path / "straight", 5, 3, silent).state_dict()
    assert {key: value.numpy().tobytes() for key, value in other.items()} == states[0], "a finished one is just read"


# --- folders of clips


def voice(folder, person, count, hertz, seconds=0.9):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        sound = np.concatenate([quiet(0.2, number), tone(hertz + 9 * number, seconds - 0.4), quiet(0.2)])
        soundfile.write(folder / f"{person}-{number}.wav", sound, RATE)


@pytest.fixture
def folders(tmp_path):
    for n, person in enumerate(("ann", "bob", "cat", "dan", "eve")):
        voice(tmp_path / "word", person, 2, 900 + 100 * n)
        voice(tmp_path / "other", person, 2, 300 + 40 * n, 1.5)
        voice(tmp_path / "noise", person, 1, 2_000 + 100 * n, 1.5)
    return tmp_path


def recipe_for(folder, **changes):
    fields = {"word": "word", "positives": (folder / "word",), "negatives": (folder / "other",), "noise": (folder / "noise",),
              "near": ("ward",), "seed": 1, "rounds": 3, "others": 6, "words": 6}  # fmt: skip
    return train.Recipe(**(fields | changes))


def test_a_run_killed_and_taken_up_again_gives_the_same_model(tiny, folders):
    (folders / "word" / "broken.wav").write_bytes(b"RIFF")
    said = []
    straight = train.train(recipe_for(folders), folders / "straight", {"licence": "x"}, said.append, silent)
    for times in (2, 4):
        with pytest.raises(Killed):
            train.train(recipe_for(folders), folders / "killed", {"licence": "x"}, silent, killed_after(times, "fit"))
    resumed = train.train(recipe_for(folders), folders / "killed", {"licence": "x"}, silent, silent)
    straight.save(folders / "a.safetensors")
    resumed.save(folders / "b.safetensors")
    assert (folders / "a.safetensors").read_bytes() == (folders / "b.safetensors").read_bytes()
    assert [line for line in said if line.startswith("skipped: ")] == [line for line in said if "broken.wav" in line] != []
    card = load_model(folders / "a.safetensors").card
    assert card["licence"] == "x" and card["clips"] == {"word": 10, "other_speech": 10, "noise": 5, "synthetic": 12}
    assert card["recipe"]["positives"] == [f"{folders.name}/word"] and str(folders) not in json.dumps(dict(card))
    held = card["figures"]["people_held_out"]
    assert len(held) == 1 and card["figures"]["missed"]["clean"].endswith("of 2")
    assert 450 <= straight.word_ms <= 650


def test_a_work_folder_belongs_to_one_recipe(tiny, folders):
    with pytest.raises(Killed):
        train.train(recipe_for(folders), folders / "work", {}, silent, killed_after(1, "segments"))
    for changes in ({"seed": 2}, {"rounds": 4}, {"near": ("word up",)}, {"word": "sword"}):
        with pytest.raises(InputError, match="work: belongs to another recipe"):
            train.train(recipe_for(folders, **changes), folders / "work", {}, silent, silent)


@given(people=st.lists(st.integers(1, 9), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_nobody_is_on_both_sides_of_a_split(people, seed):
    sound = tone(500, 0.1)
    made = [material.Labelled(f"w/{p}-{n}", f"p{p}", sound) for p, count in enumerate(people) for n in range(count)]
    collection = material.Collection(made, made, made, rooms=[])
    kept, held = collection.split(True, seed)
    for clips_of, left in ((held.positives, kept.real), (held.negatives, kept.speech), (held.noise, kept.noise)):
        away = {clip.person for clip in clips_of}
        assert len(left) == len([clip for clip in made if clip.person not in away]) > 0
        assert len(left) + len(clips_of) == len(made)
        if len(people) > 2 and max(people) <= 0.3 * len(made):
            assert 0.15 * len(made) <= len(clips_of) <= max(0.25 * len(made), 0.15 * len(made) + max(people))
    everything, nobody = collection.split(False, seed)
    assert len(everything.real) == len(made) and not (nobody.positives or nobody.negatives or nobody.noise)
    assert collection.split(True, seed)[1].positives == held.positives


def test_unusable_clips_are_named_and_skipped(tmp_path):
    folder = tmp_path / "word"
    voice(folder, "ann", 1, 800)
    good = (folder / "ann-0.wav").read_bytes()
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(folder / "short.flac", tone(500, 0.04), RATE)
    soundfile.write(folder / "slow.wav", tone(500, 1.0), 4_000)
    soundfile.write(folder / "nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    (folder / "cut.wav").write_bytes(good[: len(good) // 2])
    (folder / "empty.opus").write_bytes(b"")
    (folder / "text.mp3").write_text("no sound")
    (folder / "notes.txt").write_text("not even looked at")
    (folder / "deep").mkdir()
    shutil.copy(folder / "ann-0.wav", folder / "deep" / "ann-0.WAV")
    skipped = []
    assert [clip.name for clip in clips.clips([folder], skipped)] == ["word/ann-0.wav", "word/deep/ann-0.WAV"]
    told = {line.split(": ")[0].split("/")[-1]: line for line in skipped}
    assert sorted(told) == ["cut.wav", "empty.opus", "nan.wav", "short.flac", "silent.wav", "slow.wav", "text.mp3"]
    assert len(skipped) == 7 and all(line.isprintable() for line in skipped)
    assert "holds only silence" in told["silent.wav"] and "holds 640 samples" in told["short.flac"]
    with pytest.raises(InputError, match="nowhere: no such folder"):
        list(clips.clips([tmp_path / "nowhere"], []))


def test_a_clip_is_read_at_16_khz_in_its_first_channel(tmp_path):
    left, right = tone(500, 1.0), tone(900, 1.0)
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], axis=1), RATE)
    assert clips.read(tmp_path / "two.wav") == pytest.approx(left, abs=1 / 32_768)
    assert clips.read(tmp_path / "two.wav").dtype == np.float32
    soundfile.write(tmp_path / "fast.wav", tone(500, 3.0), 48_000)
    assert len(clips.read(tmp_path / "fast.wav")) == RATE


def test_whose_clip_it_is(tmp_path):
    (tmp_path / "alexa").mkdir()
    assert clips.contributors(tmp_path / "alexa") == {}
    (tmp_path / "contributors.json").write_text('{"alexa/7": "alexa-g1", "alexa/8": "alexa-g1"}')
    known = clips.contributors(tmp_path / "alexa")
    assert clips.speaker("alexa/7.flac", known) == clips.speaker("alexa/8.flac", known) == "alexa-g1"
    assert clips.speaker("clean/1743-142912-0000.flac", known) == clips.speaker("clean/1743-142913-0002.flac", known)
    assert clips.speaker("clean/1743-1.flac", known) != clips.speaker("clean/1744-1.flac", known)
    assert clips.speaker("a/1743-1.flac", known) != clips.speaker("b/1743-1.flac", known)
    (tmp_path / "contributors.json").write_text("[]")
    with pytest.raises(InputError, match=r"contributors\.json: got list"):
        clips.contributors(tmp_path / "alexa")


@example(before=1.0, parts=[0.5], pause=0.06, floor_db=-45.0, after=0.125)  # the clip's edge is near, and is no sound
@given(
    before=st.floats(0.1, 1.5),
    parts=st.lists(st.floats(0.08, 0.5), min_size=1, max_size=3),
    pause=st.floats(0.03, 0.1),
    floor_db=st.floats(-90, -45),
    after=st.floats(0.1, 1.0),
)
def test_the_span_of_a_planted_word(before, parts, pause, floor_db, after):
    """Bursts with short pauses between them in a noise floor: the span of all of them to 30 ms, a far knock left out."""
    random = np.random.default_rng(1)
    word = tone(700, parts[0])
    for part in parts[1:]:
        word = np.concatenate([word, np.zeros(int(pause * RATE), np.float32), tone(900, part)])
    knock = np.concatenate([0.5 * tone(300, 0.03), np.zeros(int(0.3 * RATE), np.float32)])
    track = np.concatenate([np.zeros(int(before * RATE)), knock, word, np.zeros(int(after * RATE))])
    noisy = (track + 0.3 * 10 ** (floor_db / 20) * random.normal(size=len(track))).astype(np.float32)
    start, end = clips.word_span(noisy)
    planted = int(before * RATE) + len(knock)
    assert abs(start - planted) <= 480 and abs(end - planted - len(word)) <= 480


@pytest.mark.parametrize("frames", [0, 1, 159, 160, 320, 479, 480, 1_000])
def test_the_span_of_next_to_nothing_is_all_of_it(frames):
    assert clips.word_span(np.full(frames, 0.1, np.float32)) == (0, frames)


# --- what rooms, codecs and levels do


def test_rooms_begin_with_their_direct_sound_and_are_the_same_again():
    made = augment.rooms(3, 4)
    for room, again in zip(made, augment.rooms(3, 4), strict=True):
        assert room.dtype == np.float32 and np.array_equal(room, again)
        assert np.argmax(np.abs(room)) == 8 and np.abs(room).max() == 1.0
        energy = np.cumsum(room[::-1] ** 2)[::-1]
        assert energy[len(energy) // 2] < 0.1 * energy[0]


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_the_colour_of_noise(slope):
    """Power an octave falls by 3 dB times slope; RMS 1."""
    noise = augment.colored(1 << 17, slope, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [power[1 << n : 2 << n].mean() for n in range(10, 16)]
    assert np.diff(10 * np.log10(octaves)) == pytest.approx(-3.01 * slope, abs=0.6)
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_speed_changes_length_and_pitch_together(factor):
    faster = augment.speed(tone(1_000, 1.0), factor)
    assert len(faster) == pytest.approx(RATE / factor, abs=2)
    peak = np.argmax(np.abs(np.fft.rfft(faster * np.hanning(len(faster)), RATE)))
    assert peak == pytest.approx(1_000 * factor, abs=2)


def test_a_codec_leaves_the_sound_where_it_is():
    """Opus and MP3: as long as before, and in step with it."""
    sound = np.concatenate([quiet(0.4), tone(700, 0.3), quiet(0.5)])
    random = np.random.default_rng(0)
    for _ in range(8):
        back = augment.codec(sound, random)
        assert back.shape == sound.shape
        lag = np.argmax(np.correlate(np.abs(back[::8]), np.abs(sound[::8]), "full")) - (len(sound[::8]) - 1)
        assert abs(lag) * 8 <= 80


def test_speech_level_is_that_of_the_louder_half():
    assert augment.speech_level(np.concatenate([tone(500, 1.0), quiet(1.0)])) == pytest.approx(0.3 / np.sqrt(2), rel=1e-3)
    assert augment.speech_level(np.zeros(100, np.float32)) == 1e-9
    assert augment.to_int16(np.array([-2, -1, 0, 0.6 / 32_768, 1], np.float32)).tolist() == [-32_768, -32_768, 0, 1, 32_767]
    room = np.zeros(100, np.float32)
    room[[0, 50]] = 1.0, 0.5
    assert augment.in_room(np.eye(1, 200, dtype=np.float32)[0], room)[[0, 50]] == pytest.approx([1, 0.5], abs=1e-6)


# --- beginnings


def test_streams_that_begin_with_the_word_keep_it_whole():
    """Marks at each word's end move with it; what has no word stays as it was."""
    random = np.random.default_rng(5)
    seen = np.zeros((40, segments.WINDOWS, 40), np.uint8)
    ends = np.full(40, 2 * RATE, np.int32)
    ends[30:] = segments.NO_WORD
    seen[:30, 2 * RATE // 160] = 200
    seen[30:, 7] = 100
    fit._begin_with_the_word(seen, ends, random)
    moved = ends[:30] != 2 * RATE
    assert 10 <= moved.sum() <= 25 and (ends[30:] == segments.NO_WORD).all() and (seen[30:, 7] == 100).all()
    assert all(seen[n, ends[n] // 160].min() == 200 and (seen[n] == 200).sum() == 40 for n in range(30))
    assert ((ends[:30][moved] >= 0.44 * RATE) & (ends[:30][moved] <= 1.01 * RATE)).all()


# --- what wakes it


class Scores:
    """A model whose scorer says 255 at the first of the given steps, 254 at the next and so on, and 10 elsewhere."""

    def __init__(self, *steps):
        self.steps = steps

    def scorer(self):
        return self

    def process(self, features):
        made = np.full(len(features) // design.STRIDE, 10, np.uint8)
        for less, step in enumerate(self.steps):
            made[step] = 255 - less
        return made


def test_a_false_accept_is_where_the_scorer_had_heard_it(monkeypatch):
    """Step s has heard 480 + 160 (3 s + 2) samples, of which the first second is quiet; near it no second one counts."""
    monkeypatch.setattr(fit, "_model", Scores(60, 70, 10, 120))
    assert fit._wakes(tone(500, 4.0)) == [480 + 160 * (3 * step + 2) - RATE for step in (60, 120)]
    monkeypatch.setattr(fit, "_model", Scores())
    assert fit._wakes(tone(500, 4.0)) == []


@given(seed=st.integers(0, 200), at=st.integers(RATE // 5, 5 * RATE))
def test_a_segment_around_a_place_holds_what_led_to_it(seed, at):
    """A burst of 3 kHz that ends there ends 2.0 to 2.9 s into the segment, in whatever voice."""
    sound = quiet(6.0).copy()
    sound[at - 1_600 : at] += tone(3_000, 0.1)
    samples = segments.around(simple_material(), sound, at, np.random.default_rng(seed))
    assert samples.shape == (segments.FRAMES,) and samples.dtype == np.int16
    frames = samples[: len(samples) // 800 * 800].reshape(-1, 800).astype(float)
    band = np.abs(np.fft.rfft(frames * np.hanning(800), axis=1))[:, 115:190].max(axis=1)  # 2.3 to 3.8 kHz
    assert 1.8 <= 0.05 * np.argmax(band) <= 2.95


def test_mined_segments_are_made_once_and_not_where_nothing_woke_it(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "PER_FILE", 4)
    monkeypatch.setattr(fit, "_WOKEN", 0)
    net, _ = settled_network(0)
    places = fit.mine(simple_material(), net, tmp_path, "mined", 6, 1, silent)
    assert places >= 3
    seen, ends = fit.load(tmp_path, "mined")
    assert seen.shape == (8, segments.WINDOWS, 40) and (ends == segments.NO_WORD).all()
    assert len(np.unique(seen[:, 200], axis=0)) > 4
    stamp = (tmp_path / "mined-0001.npz").stat().st_mtime_ns
    assert fit.mine(simple_material(), net, tmp_path, "mined", 6, 1, silent) == places
    assert (tmp_path / "mined-0001.npz").stat().st_mtime_ns == stamp
    monkeypatch.setattr(fit, "_WOKEN", 256)
    assert fit.mine(simple_material(), net, tmp_path / "none", "mined", 6, 1, silent) == 0


# --- measuring


def test_a_hit_lies_between_the_words_start_and_half_a_second_after_it():
    assert [measure.hit([at], 1_000, 5_000) for at in (999, 1_000, 13_000, 13_001)] == [None, 1_000, 13_000, None]
    assert measure.hit([500, 6_000, 7_000], 1_000, 5_000) == 6_000 and measure.hit([], 0, 1) is None


def planted_track(*peaks, steps=100):
    """Tracks in steps of 10 ms: probability at each (step, p), else 0."""
    p = np.zeros(steps)
    for step, value in peaks:
        p[step] = value
    return measure.Track(160 * np.arange(1, steps + 1), p)


def test_figures_count_by_hand():
    said = [
        (measure.Said("clean", np.zeros(0, np.int16), 1_600, 4_800), planted_track((35, 0.8))),
        (measure.Said("clean", np.zeros(0, np.int16), 1_600, 4_800), planted_track((5, 0.8), (95, 0.8))),
        (measure.Said("room", np.zeros(0, np.int16), 1_600, 4_800), planted_track((20, 0.6), (40, 0.9))),
    ]
    found = measure.figures(said, [planted_track((3, 0.9), (50, 0.9)), planted_track((9, 0.7))], 2.0, 0.7, 0)
    assert found.missed == {"clean": 1, "noise at 10 dB": 0, "room": 0}
    assert found.asked == {"clean": 2, "noise at 10 dB": 0, "room": 1}
    assert (found.woken, found.hours, found.late, found.miss) == (2, 2.0, [36 * 160 - 4_800, 41 * 160 - 4_800], 1 / 3)
    assert measure.figures(said, [planted_track((3, 0.9), (50, 0.9))], 2.0, 0.7, 600).woken == 1, "the refractory time"
    card = measure.as_card(found)
    assert card["missed"]["clean"] == "1 of 2" and card["miss_rate"] == 0.3333 and card["false_accepts"] == 2
    assert card["miss_rate_95"] == [0.0084, 0.9057] and card["false_accepts_per_hour_95"] == [0.12, 3.61]
    assert card["latency_ms"] == {"median": 85, "p95": 108}
    assert json.loads(json.dumps(card)) == card


def test_the_threshold_that_misses_least_without_waking(monkeypatch):
    """The word peaks at 0.80 and other speech at 0.60, both only without smoothing beyond 4: between them lies the choice."""

    def track(model, samples):
        level = {1: 0.80, 2: 0.60, 3: 0.45}[int(samples[0])] - 0.05 * abs(model.smoothing_steps - 4)
        return planted_track((50, level))

    monkeypatch.setattr(measure, "track", track)
    word = [measure.Said("clean", np.full(RATE, 1, np.int16), 4_800, 8_000)]
    on = measure.Streams(word, [np.full(RATE, 2, np.int16)])
    _, chosen, found = measure.choose([random_model(0)], on, 0.0)
    assert found.miss == 0 and found.woken == 0
    assert 0.60 - 0.05 * abs(chosen.smoothing_steps - 4) <= chosen.threshold < 0.80 - 0.05 * abs(chosen.smoothing_steps - 4)
    _, chosen, found = measure.choose([random_model(0)], measure.Streams(word, [np.full(RATE, 1, np.int16)]), 0.0)
    assert found.woken == 0 and found.miss == 1, "what cannot be told from the word is not woken to"
    _, chosen, found = measure.choose([random_model(0)], measure.Streams(word, [np.full(3600 * RATE, 1, np.int16)]), 1.0)
    assert found.woken == 1 and found.miss == 0, "one an hour is allowed"
    deaf, good = (replace(random_model(0), word=name) for name in ("deaf", "good"))
    monkeypatch.setattr(measure, "track", lambda model, samples: planted_track((50, 0.9 if model.word == "good" else 0.2)))
    number, chosen, found = measure.choose([deaf, good, deaf], measure.Streams(word, []), 1.0)
    assert number == 1 and chosen.word == "good" and found.miss == 0


def test_a_calibration_falls_as_thresholds_rise(monkeypatch):
    """In two hours, peaks of 0.9, 0.7, and another 0.7 that a wake at 0.65 hides from a low threshold."""
    heard = {1: planted_track((5, 0.9), (350, 0.7), steps=400), 2: planted_track((10, 0.65), (12, 0.7))}
    monkeypatch.setattr(measure, "track", lambda model, samples: heard[int(samples[0])])
    others = [np.full(3600 * RATE, n, np.int16) for n in (1, 2)]
    pairs = measure.calibration(random_model(0), measure.Streams([], others))
    thresholds, rates = zip(*pairs, strict=True)
    assert sorted(thresholds) == list(thresholds) and sorted(rates, reverse=True) == list(rates)
    assert rates == (1.5, 0.5, 0.0) and thresholds[1:] == (0.7, 0.9)


def test_held_out_clips_are_heard_in_every_condition():
    sound = np.concatenate([quiet(0.3), tone(800, 0.5), quiet(0.3)])
    clip = material.Labelled("w/a", "a", sound)
    held = material.HeldOut([clip], [clip, clip], [clip])
    room = np.zeros(400, np.float32)
    room[[8, 300]] = 1.0, 0.4
    on = measure.streams(held, [room], 1)
    assert [word.condition for word in on.words] == list(measure.CONDITIONS)
    clean, noisy, far = (word.samples.astype(float) for word in on.words)
    for word in on.words:
        assert abs(word.start - (8_000 + 4_800)) <= 480 and abs(word.end - (8_000 + 12_800)) <= 480
        assert len(word.samples) == len(sound) + RATE // 2 + 3 * RATE // 4
    snr_db = 20 * np.log10(augment.speech_level(clean) / np.sqrt(np.mean((noisy - clean) ** 2)))
    assert snr_db == pytest.approx(10, abs=0.3)
    assert np.abs(far).max() == pytest.approx(3_277, abs=2)
    assert on.hours * 3600 * RATE == len(sound) * 7 == sum(map(len, on.others))


# --- voices


def test_drawn_voices_are_the_same_again():
    one, other = (voices.voices(60, np.random.default_rng(3)) for _ in range(2))
    assert one == other and {voice.program for voice in one} == {"espeak-ng", "flite", "festival"}
    assert all(0.8 <= voice.speed <= 1.3 and 0.8 <= voice.pitch <= 1.25 for voice in one)


def test_a_missing_program_is_named_with_its_packages(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(InputError, match="flite: not installed; install the voices with: apt-get install espeak-ng flite"):
        voices.speak("hello", voices.Voice("flite", "slt", 1, 1))


VOICES = [("espeak-ng", "en-us+f3"), ("flite", "slt"), ("festival", "kal_diphone")]


@pytest.mark.parametrize(("program", "name"), VOICES)
def test_a_voice_says_the_same_again_and_faster_if_asked(program, name):
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    slow, again, fast = (voices.speak("good morning", voices.Voice(program, name, speed, 1.0)) for speed in (0.8, 0.8, 1.3))
    assert slow.dtype == np.float32 and np.array_equal(slow, again)
    lengths = [np.subtract(*clips.word_span(spoken)[::-1]) for spoken in (slow, fast)]
    assert lengths[0] / lengths[1] == pytest.approx(1.3 / 0.8, rel=0.25)


@pytest.mark.parametrize(("program", "name"), VOICES)
def test_a_phrase_is_said_and_not_obeyed(program, name, tmp_path):
    """Quotes, brackets and dashes are no commands to the programs."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    planted = tmp_path / "planted"
    text = f'-w "one") (system "touch {planted}") (quit'
    assert len(voices.speak(text, voices.Voice(program, name, 1.0, 1.0))) > RATE // 2
    assert not planted.exists()


def test_a_voice_that_there_is_not():
    if shutil.which("espeak-ng") is None:
        pytest.skip("needs espeak-ng")
    with pytest.raises(InputError, match=r"espeak-ng: could not speak 'hello' as xx-nobody: .*does not exist") as caught:
        voices.speak("hello", voices.Voice("espeak-ng", "xx-nobody", 1.0, 1.0))
    assert str(caught.value).isprintable()
