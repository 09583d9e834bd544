"""The embedding that ships: against openWakeWord's own, from sound to vectors; its file, and what is refused of one."""

import json
import struct
from importlib import resources

import numpy as np
import pyopen_wakeword
import pytest
import soundfile

from farfield import embedding, kernels, modelfile
from farfield.errors import ModelError
from farfield.profile import RATE

BINS, OUTPUTS, FIELD, HOP = 32, 96, 76, 8
BEHIND = -12  # frames that the peer holds back: it gives the first vector of what is new


@pytest.fixture(scope="module")
def speech():
    """The first microphone of the demo's room: four synthetic words over noise, 20 s."""
    path = resources.files("farfield.hil") / "rooms" / "demo" / "mics.flac"
    samples, rate = soundfile.read(str(path), dtype="int16")
    assert rate == RATE
    return np.ascontiguousarray(samples[:, 0])


def energies(samples):
    features = kernels.Features()
    made = np.zeros((features.max_frames(len(samples)), BINS), np.uint16)
    return made[: len(features.process(samples, energies=made))]


def by_the_peer(samples):
    """openWakeWord's embeddings (n, 96), float32: one each 1,280 samples, its own 8 s of silence before left out."""
    peer, made = pyopen_wakeword.OpenWakeWordFeatures.from_builtin(), []
    for at in range(0, len(samples) - 1279, 1280):
        made.append([one.reshape(-1, OUTPUTS) for one in peer.process_streaming(samples[at : at + 1280].tobytes())][-1][-1])
    return np.array(made)


def test_sound_comes_out_as_openwakeword_embeds_it(speech):
    """Through another window, in whole numbers: the same direction of 96 values all the same, and the same one every 80 ms."""
    theirs = by_the_peer(speech)
    network, heard = embedding.load_embedding(), energies(speech)
    zero = embedding.description()["layers"][-1]["zero"]
    steps = np.arange(14, len(theirs) - 1)  # of what is heard whole

    def alike(late):
        """Cosines, of ours so many frames after the end of what the peer has taken."""
        ends = HOP * (steps + 1) + late
        network.reset()
        first = network.process(heard[ends[0] - FIELD : ends[0]])
        after = [network.process(heard[end - HOP : end]) for end in ends[1:].tolist()]
        ours = np.concatenate([first, *after]).astype(np.float64) - zero
        return (ours * theirs[steps]).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs[steps], axis=1)

    found = alike(BEHIND)
    assert np.median(found) > 0.985 and np.quantile(found, 0.05) > 0.95, (np.median(found), np.quantile(found, 0.05))
    assert all(np.median(alike(BEHIND + moved)) < np.median(found) for moved in (-12, -2, -1, 1, 2)), "and it is that frame"


def test_every_level_finds_the_same(speech):
    heard = energies(speech)[400:550]
    for level in kernels.levels():
        network = kernels.at_level(level).Embedder(**arguments())
        made = network.process(heard)
        assert (network.field, network.hop, network.outputs, network.bins) == (FIELD, HOP, OUTPUTS, BINS)
        assert made.shape == ((150 - FIELD) // HOP + 1, OUTPUTS)
        assert np.array_equal(made, embedding.load_embedding().process(heard)), level


def test_it_says_where_it_comes_from_and_under_which_licence():
    told = embedding.description()
    assert told["licence"] == "Apache-2.0" and "speech_embedding" in told["source"]


def shipped():
    return (resources.files("farfield") / "backbone" / "embedding.safetensors").read_bytes()


def arguments():
    return embedding.assemble(*modelfile.parse(shipped(), embedding.FORMAT))


def changed(change):
    """The shipped file's bytes, its description changed by a function."""
    data = shipped()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    told = json.loads(header["__metadata__"]["farfield"])
    change(told)
    header["__metadata__"]["farfield"] = json.dumps(told)
    written = json.dumps(header).encode()
    written += b" " * (-len(written) % 8)
    return struct.pack("<Q", len(written)) + written + data[8 + length :]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.pop("licence"), "licence: is missing"),
        (lambda d: d.update(rate=8000), "rate: got 8000, wanted 16000"),
        (lambda d: d.update(format="1"), "format: got"),
        (lambda d: d.update(layers={}), "layers: wanted a list of objects"),
        (lambda d: d["layers"].pop(), "is a tensor of no layer"),
        (lambda d: d["layers"][0].update(bias=[0]), r"layers\[0\].bias: is in the metadata"),
        (lambda d: d["layers"][0].update(zero=200), r"layers\[0\].zero: got 200"),
        (lambda d: d["layers"].insert(1, {"kind": "code"}), r"tensor of no layer|wanted"),
        (lambda d: d.update(bins=16), "columns"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line_that_names_it(change, told):
    with pytest.raises(ModelError, match=told) as caught:
        embedding.from_bytes(changed(change), "mine.safetensors")
    assert str(caught.value).startswith("mine.safetensors: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [0, 8, 1000, -1])
def test_a_file_that_is_cut_short_is_refused(length):
    with pytest.raises(ModelError, match=r"mine\.safetensors: "):
        embedding.from_bytes(shipped()[:length], "mine.safetensors")
