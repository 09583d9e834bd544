"""From the published float network to the shipped integers: read from the peer's own file, layer by layer."""

from importlib import resources

import numpy as np
import pyopen_wakeword
import pytest

from farfield import embedding, modelfile
from farfield.errors import InputError
from farfield.training import backbone

PUBLISHED = resources.files(pyopen_wakeword) / "models" / "embedding_model.tflite"


@pytest.fixture(scope="module")
def published():
    return backbone.convert(PUBLISHED)


@pytest.fixture(scope="module")
def shipped():
    data = (resources.files("farfield") / "backbone" / "embedding.safetensors").read_bytes()
    return embedding.assemble(*modelfile.parse(data, embedding.FORMAT))


def test_the_shipped_weights_are_the_published_ones_rounded(published, shipped):
    assert [layer["kind"] for layer in shipped["layers"]] == [layer["kind"] for layer in published["layers"]]
    assert [layer["kind"] for layer in published["layers"]].count("conv") == 20
    for real, whole in zip(published["layers"], shipped["layers"], strict=True):
        if real["kind"] == "pool":
            assert (real["rows"], real["columns"]) == (whole["rows"], whole["columns"])
            continue
        largest = np.abs(real["weights"]).max(axis=(1, 2, 3), keepdims=True)
        assert np.abs(real["weights"] / largest * 127 - whole["weights"]).max() <= 0.5 + 1e-3
        assert real["active"] == (whole["leak"] == 205) == (whole["floor"] > -255)


def test_the_quantiser_gives_what_the_network_was_trained_on(shipped):
    """log10 of the energy, plus 2, less what the two front ends differ by; steps of 0.055."""
    scaling, step = backbone.quantiser()
    assert scaling == shipped["quantiser"]
    energies = np.arange(0, 40 * 1024, 7, dtype=np.int64)
    got = ((energies * scaling["multiplier"] + (1 << (scaling["shift"] - 1))) >> scaling["shift"]) + scaling["offset"]
    wanted = energies / 1024 * np.log10(2) + 2 - 0.085
    assert got.max() <= 127 and np.abs((got - scaling["zero"]) * step - wanted).max() <= 0.5 * step + 1e-6


def test_rounding_keeps_what_is_said(published):
    """On made-up energies, of which half showed the ranges: the cosine of the two networks' vectors on the others."""
    pytest.importorskip("torch")
    random = np.random.default_rng(3)
    slopes = np.cumsum(random.normal(0, 600, (16, 90, 32)), axis=1) + random.normal(0, 1500, (16, 1, 32)) + 20_000
    energies = slopes.clip(0, 40_000).astype(np.uint16)
    whole = backbone.quantise(published, energies[:8])
    alike = backbone.agreement(published, whole, energies[8:])
    assert np.median(alike) > 0.99
    third = whole["layers"][2]
    halved = whole | {"layers": [layer | {"shift": layer["shift"] - 1} if layer is third else layer for layer in whole["layers"]]}
    assert "shift" in third
    assert np.median(backbone.agreement(published, halved, energies[8:])) < 0.99, "wrong constants are seen"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data[:4] + b"XXXX" + data[8:], "no TFL3 mark"),
        (lambda data: data[: len(data) // 2], "."),
        (lambda data: (resources.files(pyopen_wakeword) / "models" / "melspectrogram.tflite").read_bytes(), "."),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path, damage, told):
    path = tmp_path / "other.tflite"
    path.write_bytes(damage(PUBLISHED.read_bytes()))
    with pytest.raises(InputError, match=told) as caught:
        backbone.convert(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
