"""Model files: what is written is read back; what is damaged or hostile is refused in one line."""

import json
import struct
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield import modelfile
from farfield.errors import ModelError
from farfield.model import Model, from_bytes, load_model, shipped_models
from reference.networks import random_network

SETTINGS = {"word": "alexa", "smoothing_steps": 5, "threshold": 0.9, "refractory_ms": 1000, "end_lag_ms": -40, "word_ms": 600}
CARD = {"author": "someone", "licence": "Apache-2.0", "figures": {"misses": 0.04, "false_accepts_per_hour": 0.1}, "word": "ä"}


def model(seed=0, **changes):
    return Model(network=random_network(seed, features=40), **(SETTINGS | {"card": CARD} | changes))


def saved(folder, seed=0) -> bytes:
    model(seed).save(folder / "m.safetensors")
    return (folder / "m.safetensors").read_bytes()


def test_thresholds_are_found_by_false_accepts_an_hour():
    one = model(card={"calibration": [[0.5, 3.0], [0.8, 0.4], [0.95, 0.0]]})
    asked = [one.threshold_for(rate) for rate in (5.0, 3.0, 2.99, 0.4, 0.1, 0.0)]
    assert asked == [0.5, 0.5, 0.8, 0.8, 0.95, 0.95]
    with pytest.raises(ModelError, match=r"got 0\.1 false accepts an hour, wanted at least 0\.4"):
        model(card={"calibration": [[0.5, 3.0], [0.8, 0.4]]}).threshold_for(0.1)
    for wrong in (None, [], {}, "x", [1, 2], [[1]], [["0.5", 1]], [[0.5, 1, 2]]):
        with pytest.raises(ModelError, match="holds no calibration"):
            model(card={"calibration": wrong}).threshold_for(1.0)
    with pytest.raises(ModelError, match="holds no calibration"):
        model().threshold_for(1.0)


@given(seed=st.integers(0, 2**32 - 1))
def test_saved_and_loaded_it_is_the_same(tmp_path, seed):
    one = model(seed)
    one.save(tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    x = np.random.default_rng(seed).integers(0, 700, (30, 40)).astype(np.uint16)
    assert again.scorer().process(x).tobytes() == one.scorer().process(x).tobytes()
    assert {name: getattr(again, name) for name in SETTINGS} == SETTINGS
    assert (again.card, again.stride) == (CARD, one.stride)


def test_saving_fails_whole(tmp_path, monkeypatch):
    """Nothing half-written is left behind, and what was there stays."""
    before = saved(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(modelfile.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        model(1).save(tmp_path / "m.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
    assert (tmp_path / "m.safetensors").read_bytes() == before


def altered(data: bytes, change) -> bytes:
    """The file with its description changed and its lengths right."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    description = json.loads(header["__metadata__"]["farfield"])
    change(description, header)
    header["__metadata__"]["farfield"] = json.dumps(description)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def put(*path, value):
    def change(description, header):
        place = description
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (put("format", value=2), r"format: got 2, wanted 1"),
        (put("rate", value=8000), r"rate: got 8000, wanted 16000"),
        (put("word", value=""), r"word: got ''"),
        (put("word", value="a\nb"), r"word: got 'a\\nb'"),
        (put("word", value=["a"]), r"word: got"),
        (put("stride", value=0), r"stride: got 0"),
        (put("slots", value={}), r"slots: got dict"),
        (put("slots", 0, "frames", value=1 << 40), r"slots\[0\].frames: got"),
        (put("slots", 0, "channels", value=41), r"."),
        (put("layers", value=[3]), r"layers: wanted a list of objects"),
        (put("layers", 0, "kind", value=["conv"]), r"layers\[0\].kind"),
        (put("layers", 0, "weights", value=[1]), r"layers\[0\].weights: is in the metadata, wanted a tensor"),
        (put("detector", "threshold", value=float("nan")), r"metadata.farfield: not JSON \(got the number NaN"),
        (put("detector", "threshold", value=1.5), r"detector.threshold: got 1.5, wanted a number from 0.0 to 1.0"),
        (put("detector", "smoothing_steps", value=2.5), r"detector.smoothing_steps: got 2.5, wanted a whole number"),
        (put("detector", "extra", value=1), r"detector: wanted an object of"),
        (put("card", value=[]), r"card: got list"),
        (lambda d, h: d.pop("quantiser"), r"quantiser: is missing"),
        (lambda d, h: d["layers"].pop(), r"is a tensor of no layer|wanted 1, the score"),
        (lambda d, h: h["layers.0.bias"].update(dtype="F32"), r"got dtype F32, wanted I8 or I32|tensors: "),
    ],
)
def test_a_wrong_field_is_named(tmp_path, change, match):
    data = altered(saved(tmp_path, seed=8), change)
    (tmp_path / "m.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match=match) as caught:
        load_model(tmp_path / "m.safetensors")
    assert str(caught.value).startswith(str(tmp_path / "m.safetensors") + ": ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\xff" * 8, struct.pack("<Q", 1 << 62) + b"{}", struct.pack("<Q", 2) + b"{}", b"\x80\x04]q\x00." * 40,
     struct.pack("<Q", 100_000) + b"[" * 100_000],
    ids=["empty", "short", "huge header", "huge length", "no metadata", "pickle", "deep JSON"],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["safetensors", "tflite"])
def test_what_is_no_model_is_refused(tmp_path, data, suffix):
    (tmp_path / f"m.{suffix}").write_bytes(data)
    with pytest.raises(ModelError, match=rf"m.{suffix}: "):
        load_model(tmp_path / f"m.{suffix}")


def test_every_truncation_is_refused(tmp_path):
    data = saved(tmp_path)
    for end in range(0, len(data), max(1, len(data) // 300)):
        with pytest.raises(ModelError):
            from_bytes(data[:end])


def test_a_file_too_large_is_refused_unread(tmp_path):
    with open(tmp_path / "m.safetensors", "wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(ModelError, match="got more than 8388608 bytes"):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("name", ["nothing", "missing.safetensors", "missing.tflite", b"bytes", "../models/alexa"])
def test_a_name_of_nothing_is_one_line(name):
    with pytest.raises(ModelError) as caught:
        load_model(name)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_model(tmp_path):
    (tmp_path / "m.tflite").mkdir()
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(tmp_path / "m.tflite")


def test_six_words_ship():
    assert shipped_models() == ["alexa", "computer", "jarvis", "smart_mirror", "snowboy", "view_glass"]
    assert load_model("smart mirror").fingerprint == load_model("smart_mirror").fingerprint


@pytest.mark.parametrize("name", shipped_models())
def test_the_shipped_models_say_where_they_come_from_and_are_small(name):
    """The listener within 48 KB, 25,000 to 45,000 weights and 1.3 million multiply-adds a second."""
    model = load_model(name)
    for one in (model, model.second_look) if model.second_look else (model,):
        assert {"licence", "training_data", "command", "figures", "calibration", "weights"} <= set(one.card)
        figures = one.card["figures"]
        assert {"missed", "miss_rate_95", "false_accepts_per_hour_95", "people", "on"} <= set(figures)
        thresholds, rates = zip(*one.card["calibration"], strict=True)
        assert list(thresholds) == sorted(thresholds) and list(rates) == sorted(rates, reverse=True)
        assert len(one.card["training_data"]) >= 4 and one.card["command"].startswith("farfield train")
    file = resources.files("farfield") / "models" / f"{name}.safetensors"
    weights = sum(layer["weights"].size for layer in model.network["layers"] if "weights" in layer)
    assert len(file.read_bytes()) <= 48 * 1024
    assert 25_000 <= weights == model.card["weights"] <= 45_000 and weights * 100 / model.stride <= 1.3e6
    assert 0 <= model.threshold_for(max(rates)) <= model.threshold_for(min(rates)) < 1


def test_mutated_files_raise_nothing_but_model_error(tmp_path):
    """The short form of `python tests/fuzz_models.py --count 20000`."""
    pytest.importorskip("pymicro_wakeword")
    import fuzz_models

    figures = fuzz_models.run(fuzz_models.sources(tmp_path), tmp_path, count=1600, seed=20)
    assert figures["failures"] == []
    assert figures["refused"] > 800 and figures["loaded"] > 30


def test_the_fuzzer_catches_a_planted_crash(tmp_path, monkeypatch):
    import fuzz_models

    saved(tmp_path)

    def crash(path):
        raise IndexError("planted")

    monkeypatch.setattr(fuzz_models, "load_model", crash)
    figures = fuzz_models.run([Path(tmp_path / "m.safetensors")], tmp_path, count=3, seed=1)
    assert len(figures["failures"]) == 3
