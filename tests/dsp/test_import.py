"""The importer of published models, held to the TFLite library inside pymicro-wakeword; skipped where that is absent."""

import ctypes
import os
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from farfield import microwakeword
from farfield.errors import ModelError
from farfield.model import load_model

pymicro_wakeword = pytest.importorskip("pymicro_wakeword")
from pymicro_wakeword.wakeword import TfLiteWakeWord  # noqa: E402

PACKAGE = Path(pymicro_wakeword.__file__).parent
PACKAGED = sorted((PACKAGE / "models").glob("*.tflite"))
# the long run: FARFIELD_LONG=1 pytest tests/dsp/test_import.py
SECONDS = 700 if os.environ.get("FARFIELD_LONG") else 40


class Peer(TfLiteWakeWord):
    """The library's raw interpreter: int8 in, uint8 out, nothing smoothed."""

    def __init__(self, path):
        super().__init__(next((PACKAGE / "lib").glob("*tensorflowlite_c.*")))
        lib = self.lib
        self.model = lib.TfLiteModelCreateFromFile(str(path).encode())
        self.interpreter = lib.TfLiteInterpreterCreate(self.model, None)
        assert lib.TfLiteInterpreterAllocateTensors(self.interpreter) == 0
        self.input = lib.TfLiteInterpreterGetInputTensor(self.interpreter, 0)
        self.output = lib.TfLiteInterpreterGetOutputTensor(self.interpreter, 0)
        self.stride = lib.TfLiteTensorDim(self.input, 1)
        quantisation = lib.TfLiteTensorQuantizationParams(self.input)
        self.scale, self.zero = quantisation.scale, quantisation.zero_point

    def close(self):
        self.lib.TfLiteInterpreterDelete(self.interpreter)
        self.lib.TfLiteModelDelete(self.model)

    def quantise(self, features):
        """As pymicro-wakeword does it: features in the front end's float unit, divided in double, rounded to even."""
        return np.clip(np.round(features * 0.0390625 / self.scale + self.zero), -128, 127).astype(np.int8)

    def scores(self, features):
        lib, quantised = self.lib, self.quantise(features)
        made = np.zeros(len(features) // self.stride, np.uint8)
        for step in range(len(made)):
            one = np.ascontiguousarray(quantised[step * self.stride : (step + 1) * self.stride])
            assert lib.TfLiteTensorCopyFromBuffer(self.input, one.ctypes.data, one.nbytes) == 0
            assert lib.TfLiteInterpreterInvoke(self.interpreter) == 0
            lib.TfLiteTensorCopyToBuffer(self.output, made[step:].ctypes.data_as(ctypes.c_void_p), 1)
        return made


@pytest.fixture
def peer(request):
    made = []

    def open_(path):
        made.append(Peer(path))
        return made[-1]

    yield open_
    for one in made:
        one.close()


def synthetic_features(steps):
    """Frames that move through the whole range: noise of slowly changing level, bursts, silence, single bands, full scale."""
    rng = np.random.default_rng(5)
    level = np.abs(np.cumsum(rng.normal(0, 12, steps)))[:, None] % 600
    x = level * rng.uniform(0.4, 1.1, (steps, 1)) * rng.uniform(0.5, 1.2, (steps, 40))
    x[rng.random(steps) < 0.05] = 0
    x[rng.random(steps) < 0.01] = 65535
    return x.astype(np.uint16)


def livelier(path, folder, features):
    """A copy whose dense layer's bias puts the score in the middle of its range: one unit of any layer then shows in it."""
    data, model = path.read_bytes(), load_model(path)
    bias = int(model.network["layers"][-2]["bias"][0])
    best, kept = 0, folder / path.name
    where = data.find(struct.pack("<i", bias))
    assert where > 0
    for extra in range(0, 120_000, 3000):
        changed = data[:where] + struct.pack("<i", bias + extra) + data[where + 4 :]
        trial = folder / "trial.tflite"
        trial.write_bytes(changed)
        scores = set(load_model(trial).scorer().process(features).tolist())
        if len(scores) > best:
            best = len(scores)
            kept.write_bytes(changed)
    return kept


@pytest.mark.parametrize("path", PACKAGED, ids=lambda p: p.stem)
def test_every_step_equals_tflite_on_synthetic_features(kernels, peer, tmp_path, path):
    features = synthetic_features(3000)
    path = livelier(path, tmp_path, features)
    wanted = peer(path).scores(features)
    assert len(set(wanted.tolist())) > 30, "the features do not move this model's score, so that equality shows nothing"
    assert load_model(path).scorer(kernels.level).process(features).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("path", PACKAGED, ids=lambda p: p.stem)
def test_the_sigmoid_and_the_dense_layer_over_their_range(peer, tmp_path, path):
    """One step of a constant input, with the dense layer's bias swept so that its output takes every int8 value."""
    data, model = path.read_bytes(), load_model(path)
    dense = model.network["layers"][-2]
    where = data.find(struct.pack("<i", int(dense["bias"][0])))
    factor = float(dense["multiplier"][0]) / 2**31 * 2.0 ** float(dense["shift"][0])
    features = synthetic_features(3)[: model.stride]
    seen = set()
    for bias in np.linspace(-160 / factor, 160 / factor, 120).astype(int).tolist():
        (tmp_path / "one.tflite").write_bytes(data[:where] + struct.pack("<i", bias) + data[where + 4 :])
        got = load_model(tmp_path / "one.tflite").scorer().process(features)
        assert got.tobytes() == peer(tmp_path / "one.tflite").scores(features).tobytes()
        seen.add(int(got[0]))
    assert len(seen) > 15
    assert min(seen) < 16 and max(seen) > 240


@pytest.fixture(scope="session")
def recorded_features(recordings):
    """Features of recorded wake words, then of read speech, by pymicro-features."""
    frontend = pytest.importorskip("pymicro_features").MicroFrontend()
    soundfile = pytest.importorskip("soundfile")
    rows = []
    for path in [*sorted(recordings.glob("keywords/alexa/*.flac"))[:12], *sorted(recordings.glob("speech/train-clean/*.flac"))]:
        samples = soundfile.read(path, dtype="int16")[0].tobytes()
        at = 0
        while at + 320 <= len(samples):
            made = frontend.process_samples(samples[at : at + 320])
            at += made.samples_read * 2
            if made.features:
                rows.append(made.features)
        if len(rows) > SECONDS * 100:
            break
    return np.round(np.array(rows) * 25.6).astype(np.uint16)


@pytest.mark.parametrize("name", ["alexa", "okay_nabu", "v2/alexa", "v2/hey_jarvis", "v2/hey_mycroft", "v2/okay_nabu", "v2/vad",
                                  "v2/experiments/choo_choo_homie"])  # fmt: skip
def test_every_step_equals_tflite_on_recorded_speech(recordings, recorded_features, peer, name):
    path = recordings / "models" / f"{name}.tflite"
    got = load_model(path).scorer().process(recorded_features)
    assert got.tobytes() == peer(path).scores(recorded_features).tobytes()
    assert len(got) * load_model(path).stride >= 0.9 * SECONDS * 100


@pytest.mark.parametrize("path", PACKAGED, ids=lambda p: p.stem)
def test_the_input_quantiser_over_every_feature(peer, path):
    """Equal to pymicro-wakeword's on all 65,536 features; one unit from ESPHome's (f * 256 + 333) / 666 - 128 on a few."""
    features = np.arange(65536)
    constants = load_model(path).network["quantiser"]
    got = np.array([min((int(f) * constants["multiplier"] + (1 << constants["shift"] - 1) >> constants["shift"]) - 128, 127)
                    for f in features])  # fmt: skip
    reader = peer(path)
    assert np.array_equal(got, reader.quantise(features))
    exact = [min(int(Fraction(int(f) * 10, 256) / Fraction(reader.scale) + Fraction(1, 2)) - 128, 127) for f in features]
    assert got.tolist() == exact
    esphome = np.minimum((features * 256 + 333) // 666 - 128, 127)
    assert np.abs(got - esphome).max() <= 1


def test_a_model_says_what_its_description_says(recordings):
    model = load_model(recordings / "models" / "v2" / "hey_jarvis.tflite")
    assert (model.word, model.stride, model.smoothing_steps, model.threshold) == ("Hey Jarvis", 3, 5, 0.97)
    assert model.card["author"] == "Kevin Ahrendt"


def test_a_model_without_a_description_is_named_after_its_file(tmp_path):
    (tmp_path / "some_word.tflite").write_bytes(PACKAGED[0].read_bytes())
    model = load_model(tmp_path / "some_word.tflite")
    assert model.word == "some_word"
    assert "guess" in model.card["threshold"]


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"micro": 3}', b'{"micro": {"sliding_window_size": "5"}}', b"[" * 99999,
                                  b'{"wake_word": 7}', b'{"micro": {"probability_cutoff": NaN}}'])  # fmt: skip
def test_a_bad_description_is_one_line(tmp_path, text):
    (tmp_path / "x.tflite").write_bytes(PACKAGED[0].read_bytes())
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(ModelError, match=r"x\.(json|tflite): ") as caught:
        load_model(tmp_path / "x.tflite")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", PACKAGED, ids=lambda p: p.stem)
def test_imported_saved_and_loaded_it_scores_the_same(tmp_path, path):
    model = load_model(path)
    model.save(tmp_path / "saved.safetensors")
    again = load_model(tmp_path / "saved.safetensors")
    features = synthetic_features(600)
    assert again.scorer().process(features).tobytes() == model.scorer().process(features).tobytes()
    assert (again.word, again.card, again.threshold) == (model.word, dict(model.card), model.threshold)


def test_a_variable_assigned_other_frames_is_refused():
    """The importer's claim that a variable is a slot's history is checked, not assumed: an older slice is planted."""
    data = PACKAGED[0].read_bytes()
    graph = microwakeword.Graph(microwakeword.Buffer(data))
    original = graph.assign

    def older(op):
        view = graph.view(op.inputs[1])
        graph.values[op.inputs[1]] = microwakeword.replace(view, age=1)
        original(op)

    graph.assign = older
    with pytest.raises(ValueError, match="a variable is given something but the newest frames"):
        graph.network()
