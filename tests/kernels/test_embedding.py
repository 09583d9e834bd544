"""The patch network against its definition in 64-bit integers, however calls cut a stream, saturation, and the boundary."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield import embedding as shipped
from farfield import modelfile
from reference import embedding as reference
from reference import marked
from reference.levels import at_one_level

SHIPPED = Path(shipped.__file__).parent / "backbone" / "embedding.safetensors"
QUANTISER = {"multiplier": (1 << 30) // 160, "shift": 30, "offset": -93, "zero": -128}


def convolution(rng, channels, outputs, rows, columns, gain=0.7, **fields):
    """A random one, whose outputs lie about an int8's range."""
    weights = rng.integers(-128, 128, (outputs, rows, columns, channels)).astype(np.int8)
    exponent = -int(np.ceil(np.log2(74.0 * np.sqrt(rows * columns * channels) / gain)))
    return {
        "kind": "conv", "weights": weights, "bias": rng.integers(-20_000, 20_000, outputs).astype(np.int32),
        "multiplier": rng.integers(1 << 30, 1 << 31, outputs).astype(np.int32),
        "shift": np.full(outputs, exponent, np.int8) + rng.integers(0, 2, outputs).astype(np.int8),
        "zero": int(rng.integers(-128, 128)), "floor": int(rng.integers(-255, 1)), "leak": int(rng.integers(0, 1025)),
        **fields,
    }  # fmt: skip


@st.composite
def networks(draw):
    """(bins, layers): a few layers, then a pool that leaves one column."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    bins = columns = draw(st.integers(1, 7))
    layers, channels = [], 1
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.integers(0, 3)) == 0:
            layers.append({"kind": "pool", "rows": draw(st.integers(1, 3)), "columns": draw(st.integers(1, min(2, columns)))})
            columns //= layers[-1]["columns"]
            continue
        outputs = draw(st.sampled_from([1, 2, 5, 31, 32, 33, 64, 70]))
        gain = draw(st.sampled_from([0.1, 0.7, 8.0]))
        layers.append(convolution(rng, channels, outputs, draw(st.integers(1, 7)), draw(st.sampled_from([1, 3])), gain))
        channels = outputs
    if columns > 1:
        layers.append({"kind": "pool", "rows": 1, "columns": columns})
    return bins, layers


def energies(seed, frames, bins):
    return np.random.default_rng(seed).integers(0, 45_000, (frames, bins)).astype(np.uint16)


@given(network=networks(), more=st.integers(0, 13), seed=st.integers(0, 999), offset=st.integers(-128, 127),
       zero=st.integers(-128, 127), cuts=st.lists(st.integers(0, 15), max_size=12))  # fmt: skip
def test_it_is_its_definition(kernels, network, more, seed, offset, zero, cuts):
    """In one call, after a reset, and cut into calls."""
    bins, layers = network
    quantiser = QUANTISER | {"offset": offset, "zero": zero}
    embedder = kernels.Embedder(bins, quantiser, layers, most_frames=200)
    given = energies(seed, embedder.field + more, bins)
    wanted = reference.run(quantiser, layers, given)
    assert wanted.shape == (1 + more // embedder.hop, embedder.outputs)
    np.testing.assert_array_equal(embedder.process(given), wanted)
    embedder.process(given[: more // 2])
    embedder.reset()
    made, at = [], 0
    for count in [*cuts, len(given)]:
        made.append(embedder.process(given[at : at + count]))
        at += count
        known = reference.run(quantiser, layers, given[:at]) if at >= embedder.field else wanted[:0]
        np.testing.assert_array_equal(np.concatenate(made), known)


def test_streams_through_one_network_do_not_meet(kernels):
    """Another stream hears what it would alone, and outlives the one that it shares its weights with."""
    one, given, other = small(kernels), energies(1, 20, 4), energies(2, 20, 4)
    beside = one.another()
    told = [one.process(given[:9]), beside.process(other[:12]), one.process(given[9:]), beside.process(other[12:])]
    del one
    wanted = [small(kernels).process(sound) for sound in (given, other)]
    np.testing.assert_array_equal(np.concatenate(told[::2]), wanted[0])
    np.testing.assert_array_equal(np.concatenate(told[1::2]), wanted[1])
    again = beside.another()
    np.testing.assert_array_equal(again.process(given), wanted[0])
    assert (again.most_frames, again.outputs, again.field, again.hop) == (150, 40, 8, 2)


def test_the_network_that_ships_is_its_definition(kernels):
    arguments = shipped.assemble(*modelfile.parse(SHIPPED.read_bytes(), shipped.FORMAT))
    embedder = kernels.Embedder(**arguments)
    assert (embedder.field, embedder.hop, embedder.outputs) == (76, 8, 96)
    given = energies(7, 86, 32) // 2 + np.arange(0, 16_000, 500, np.uint16)
    wanted = reference.run(arguments["quantiser"], arguments["layers"], given)
    assert wanted.shape == (2, 96) and len(np.unique(wanted)) > 40
    np.testing.assert_array_equal(embedder.process(given), wanted)


def small(kernels, **options):
    """Three rows, a pool of two, three rows: a field of 8 frames, a hop of 2."""
    rng = np.random.default_rng(5)
    layers = [
        convolution(rng, 1, 6, 3, 3, floor=-255),
        {"kind": "pool", "rows": 2, "columns": 2},
        convolution(rng, 6, 40, 3, 1, floor=-255),
        {"kind": "pool", "rows": 1, "columns": 2},
    ]
    return kernels.Embedder(4, QUANTISER, layers, **options)


def test_which_frames_count(kernels):
    embedder = small(kernels)
    assert (embedder.bins, embedder.field, embedder.hop, embedder.outputs) == (4, 8, 2, 40)
    given = energies(1, 13, 4)
    whole = embedder.process(given)
    assert whole.shape == (3, 40) and whole.dtype == np.int8
    for step in range(3):
        embedder.reset()
        np.testing.assert_array_equal(whole[step : step + 1], embedder.process(given[2 * step : 8 + 2 * step]))
    later = given.copy()
    later[11] = 45_000 - later[11]
    embedder.reset()
    changed = embedder.process(later)
    np.testing.assert_array_equal(changed[:2], whole[:2])
    assert (changed[2] != whole[2]).any()


def test_a_reset_forgets_all(kernels):
    """What a longer call left in the patches, and in the rows that are kept, adds nothing."""
    embedder = small(kernels)
    embedder.process(np.full((149, 4), 65535, np.uint16))
    embedder.reset()
    given = energies(2, 8, 4)
    np.testing.assert_array_equal(embedder.process(given), small(kernels).process(given))


HEARS = """
import sys
import numpy as np
from importlib import import_module
from farfield import embedding, modelfile
arguments = embedding.assemble(*modelfile.parse(open(sys.argv[2], "rb").read(), embedding.FORMAT))
embedder = import_module(f"farfield.kernels.{sys.argv[1]}.embedding").Embedder(**arguments)
given = np.frombuffer(sys.stdin.buffer.read(100 * 32 * 2), np.uint16).reshape(100, 32)
embedder.process(given)
for step in (lambda: None, embedder.reset):
    step()
    print("now", flush=True)
    sys.stdin.buffer.read(1)
"""


@at_one_level
def test_a_reset_leaves_nothing_in_memory(kernels):
    """Of frames, and of what layers made of them: patches as int16 less the zero point, looked for in a process that heard."""
    arguments = shipped.assemble(*modelfile.parse(SHIPPED.read_bytes(), shipped.FORMAT))
    given = energies(7, 100, 32)
    x, zero = reference.quantise(given, arguments["quantiser"])[:, :, None], arguments["quantiser"]["zero"]
    made = {"frames": x - zero}
    for number, layer in enumerate(arguments["layers"][:3]):
        x, zero = (reference.pool(layer, x), zero) if layer["kind"] == "pool" else (reference.conv(layer, x, zero), layer["zero"])
        made[f"layer {number}"] = x - zero
    rows = {name: values[-1].astype(np.int16).tobytes() for name, values in made.items()}
    with subprocess.Popen(
        [sys.executable, "-c", HEARS, kernels.level, SHIPPED], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as hears:
        hears.stdin.write(given.tobytes())
        heard, left = (in_memory(hears, rows) for _ in range(2))
    assert heard == set(rows) and not left, (heard, left)


def in_memory(process, texts):
    """Those of the texts, by name, that are in its memory when it says so; then it goes on."""
    process.stdin.flush()
    assert process.stdout.readline() == b"now\n"
    with open(f"/proc/{process.pid}/mem", "rb") as memory, open(f"/proc/{process.pid}/maps") as maps:
        found = {name for data, _ in marked.written(memory, maps.read()) for name, text in texts.items() if text in data}
    process.stdin.write(b"\n")
    return found


def test_out_is_written_and_returned(kernels):
    embedder, given = small(kernels), energies(3, 11, 4)
    out = np.zeros((2, 40), np.int8)
    assert embedder.process(given, out) is out
    np.testing.assert_array_equal(out, small(kernels).process(given))


def test_how_many_frames_a_call_may_bring(kernels):
    assert small(kernels).most_frames == 150
    embedder = small(kernels, most_frames=5)
    assert [len(embedder.process(energies(4, frames, 4))) for frames in (5, 0, 3, 1, 5)] == [0, 0, 1, 0, 3]
    with pytest.raises(ValueError, match="energies: got 6 frames, wanted at most 5"):
        embedder.process(energies(4, 6, 4))
    assert len(embedder.process(energies(4, 1, 4))) == 0, "and nothing of it was taken"
    assert len(embedder.process(energies(4, 1, 4))) == 1


def one(weights=None, **fields):
    """A single convolution of one value."""
    weights = np.array([[[[64]]]], np.int8) if weights is None else weights
    n = len(weights)
    return {
        "kind": "conv", "weights": weights, "bias": np.zeros(n, np.int32), "multiplier": np.full(n, 1 << 30, np.int32),
        "shift": np.full(n, -5, np.int8), "zero": 0, "floor": -255, "leak": 1024, **fields,
    }  # fmt: skip


def told(kernels, energy, layer, **quantiser):
    plain = {"multiplier": 1, "shift": 1, "offset": 0, "zero": 0} | quantiser
    return int(kernels.Embedder(1, plain, [layer]).process(np.full((1, 1), energy, np.uint16))[0, 0])


def test_closed_forms(kernels):
    assert [told(kernels, energy, one()) for energy in (0, 1, 2, 3, 253, 254, 65535)] == [0, 1, 1, 2, 127, 127, 127]
    assert told(kernels, 0, one(), offset=-128) == -128
    assert told(kernels, 65535, one(), multiplier=(1 << 31) - 1, shift=1) == 127
    assert told(kernels, 0, one(), offset=-40, zero=10) == -50
    assert told(kernels, 0, one(), offset=-128, zero=127) == -128  # saturates
    assert told(kernels, 65535, one(zero=100)) == 127
    negative = {"offset": -100}
    assert told(kernels, 0, one(leak=205), **negative) == -20  # (-100 * 205 + 512) >> 10
    assert told(kernels, 0, one(leak=205, floor=-13), **negative) == -13
    assert told(kernels, 0, one(leak=205, floor=-13, zero=-120), **negative) == -128
    assert told(kernels, 0, one(leak=0), **negative) == 0
    shift = np.full(1, -6, np.int8)
    halves = [told(kernels, 0, one(shift=shift), offset=x) for x in (-3, -2, -1, 1, 3)]
    assert halves == [-1, -1, 0, 1, 2]  # ties go up


@pytest.mark.parametrize("leak", [0, 1, 205, 1023, 1024])
@pytest.mark.parametrize("acc", [-(2**31) + 33_000, -(2**30), -(2**20) * 32, -(2**20) * 32 - 40, 2**31 - 33_000])
def test_the_largest_accumulators(kernels, acc, leak):
    layer = one(bias=np.full(1, acc, np.int32), leak=leak, shift=np.zeros(1, np.int8))
    plain = {"multiplier": 1, "shift": 1, "offset": 0, "zero": 0}
    given = np.full((1, 1), 9, np.uint16)
    wanted = reference.run(plain, [layer], given)
    np.testing.assert_array_equal(kernels.Embedder(1, plain, [layer]).process(given), wanted)


def test_the_widest_values_reach_the_bound_and_no_further(kernels):
    """Every value as far from its zero point as can be, in the largest sum that is not refused."""
    weights = np.full((1, 7, 3, 96), -128, np.int8)
    total = 255 * 128 * weights.size
    first = one(np.full((96, 1, 1, 1), 127, np.int8), zero=127, bias=np.full(96, -(1 << 24), np.int32))
    bias, shift = np.full(1, 2**31 - 1 - total, np.int32), np.zeros(1, np.int8)
    with pytest.raises(ValueError, match=r"layers\[1\].shift: an accumulator of 2147483647 could leave 32 bits"):
        kernels.Embedder(1, QUANTISER, [first, one(weights, bias=bias, shift=shift)])
    layers = [first, one(weights, bias=bias - 2, shift=shift)]
    given = np.zeros((7, 1), np.uint16)
    wanted = reference.run(QUANTISER, layers, given)
    np.testing.assert_array_equal(kernels.Embedder(1, QUANTISER, layers).process(given), wanted)
    with pytest.raises(ValueError, match=r"layers\[1\].weights: an accumulator could reach 2147483648, wanted less than 2\^31"):
        kernels.Embedder(1, QUANTISER, [first, one(weights, bias=-bias - 1)])


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"kind": "dense"}, ValueError, r"kind: got 'dense', wanted conv or pool"),
        ({"kind": ["conv"]}, ValueError, r"kind: got \['conv'\]"),
        ({"stride": 1}, ValueError, r": got the unknown field 'stride'"),
        ({"weights": [[1]]}, TypeError, r"weights: got list"),
        ({"weights": np.ones((1, 1, 1, 1), np.int16)}, TypeError, r"weights: got dtype int16"),
        ({"weights": np.ones((1, 1, 1), np.int8)}, ValueError, r"weights: got shape \(1, 1, 1\)"),
        ({"weights": np.ones((1, 1, 1, 2), np.int8)}, ValueError, r"weights: got shape \(1, 1, 1, 2\)"),
        ({"weights": np.ones((1, 1, 2, 1), np.int8)}, ValueError, r"weights: got shape .*1 or 3 columns"),
        ({"weights": np.ones((1, 8, 1, 1), np.int8)}, ValueError, r"weights: got shape .*1 to 7 rows"),
        ({"weights": np.ones((1, 0, 1, 1), np.int8)}, ValueError, r"weights: got shape .*1 to 7 rows"),
        ({"weights": np.ones((0, 1, 1, 1), np.int8)}, ValueError, r"weights: got shape .*1 to 1024 outputs"),
        ({"bias": np.zeros(2, np.int32)}, ValueError, r"bias: got shape \(2,\)"),
        ({"bias": np.zeros(1, np.int64)}, TypeError, r"bias: got dtype int64"),
        ({"multiplier": np.full(1, 1 << 29, np.int32)}, ValueError, r"multiplier: got 536870912"),
        ({"multiplier": None}, TypeError, r"multiplier: got NoneType"),
        ({"shift": np.full(1, -31, np.int8)}, ValueError, r"shift: got -31"),
        ({"shift": np.full(1, 15, np.int8), "bias": np.full(1, 1 << 17, np.int32)}, ValueError, r"shift: an accumulator"),
        ({"zero": 128}, ValueError, r"zero: got 128, wanted -128 to 127"),
        ({"zero": 1.0}, TypeError, r"zero: got float"),
        ({"floor": 1}, ValueError, r"floor: got 1, wanted -255 to 0"),
        ({"floor": -256}, ValueError, r"floor: got -256"),
        ({"leak": 1025}, ValueError, r"leak: got 1025, wanted 0 to 1024"),
        ({"leak": True}, TypeError, r"leak: got bool"),
    ],
)
def test_what_is_no_convolution_is_refused(kernels, fields, error, words):
    with pytest.raises(error, match=r"layers\[0\](\.|)" + words):
        kernels.Embedder(1, QUANTISER, [one() | fields])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"bins": 0}, ValueError, "bins: got 0"),
        ({"bins": "1"}, TypeError, "bins: got str"),
        ({"quantiser": 1}, TypeError, "quantiser: got int, wanted a mapping"),
        ({"quantiser": QUANTISER | {"scale": 1}}, ValueError, "quantiser: got the unknown field 'scale'"),
        ({"quantiser": {"multiplier": 1, "shift": 1, "zero": 1}}, TypeError, "quantiser.offset: got NoneType"),
        ({"quantiser": QUANTISER | {"multiplier": 1 << 31}}, ValueError, "quantiser.multiplier: got 2147483648"),
        ({"quantiser": QUANTISER | {"shift": 0}}, ValueError, "quantiser.shift: got 0, wanted 1 to 47"),
        ({"quantiser": QUANTISER | {"offset": -129}}, ValueError, "quantiser.offset: got -129"),
        ({"quantiser": QUANTISER | {"zero": 128}}, ValueError, "quantiser.zero: got 128"),
        ({"layers": one()}, TypeError, "layers: got dict, wanted a list"),
        ({"layers": []}, ValueError, "layers: got 0, wanted 1 to 128"),
        ({"layers": [one()] * 129}, ValueError, "layers: got 129"),
        ({"layers": [one(), 3]}, TypeError, r"layers\[1\]: got int, wanted a mapping"),
        ({"layers": [{"kind": "pool", "rows": 0, "columns": 1}]}, ValueError, r"layers\[0\].rows: got 0, wanted 1 to 7"),
        ({"layers": [{"kind": "pool", "rows": 1, "columns": 2}]}, ValueError, r"layers\[0\].columns: got 2, wanted 1 to 1"),
        ({"layers": [{"kind": "pool", "rows": 1}]}, TypeError, r"layers\[0\].columns: got NoneType"),
        ({"layers": [{"kind": "pool", "rows": 1, "columns": 1, "zero": 0}]}, ValueError, r"layers\[0\]: got the unknown field"),
        ({"layers": [{"kind": "pool", "rows": 7, "columns": 1}] * 5}, ValueError, "layers: an output needs 16807 frames"),
        ({"bins": 2}, ValueError, "layers: got 2 columns after the last one, wanted 1"),
        ({"most_frames": 0}, ValueError, "most_frames: got 0, wanted 1 to 4096"),
        ({"most_frames": None}, TypeError, "most_frames: got NoneType"),
    ],
)  # fmt: skip
def test_what_is_no_network_is_refused(kernels, arguments, error, words):
    whole = {"bins": 1, "quantiser": QUANTISER, "layers": [one()]} | arguments
    with pytest.raises(error, match=words):
        kernels.Embedder(**whole)


def test_a_network_too_large_is_refused(kernels):
    deep = one(np.ones((1024, 7, 3, 1024), np.int8), shift=np.full(1024, -10, np.int8))
    with pytest.raises(ValueError, match=r"layers\[1\]: the weights so far are 220.*, wanted at most 4194304"):
        kernels.Embedder(1, QUANTISER, [one(np.ones((1024, 1, 1, 1), np.int8)), deep])
    wide = one(np.ones((1024, 1, 1, 1), np.int8))
    with pytest.raises(ValueError, match="most_frames: 4096 need 12582912 values between two layers, wanted at most 4194304"):
        kernels.Embedder(1, QUANTISER, [wide], most_frames=4096)


@pytest.mark.parametrize(
    ("energies", "error", "words"),
    [
        ([[0] * 4] * 8, TypeError, "energies: got list"),
        (np.zeros((8, 4), np.int16), TypeError, "energies: got dtype int16, wanted uint16"),
        (np.zeros((8, 5), np.uint16), ValueError, "energies: got shape"),
        (np.zeros((8, 8), np.uint16)[:, ::2], ValueError, "strided"),
        (np.zeros((151, 4), np.uint16), ValueError, "energies: got 151 frames, wanted at most 150"),
    ],
)
def test_what_are_no_energies_is_refused(kernels, energies, error, words):
    with pytest.raises(error, match=words):
        small(kernels).process(energies)


def test_what_cannot_be_written_is_refused(kernels):
    embedder, given = small(kernels), energies(6, 20, 4)
    with pytest.raises(ValueError, match="out: shares memory with an input"):
        embedder.process(given[:8], given.view(np.int8).reshape(-1)[:40].reshape(1, 40))
    with pytest.raises(ValueError, match="out: got shape"):
        embedder.process(given[:8], np.zeros((2, 40), np.int8))
    with pytest.raises(TypeError, match="out: got dtype uint8"):
        embedder.process(given[:8], np.zeros((1, 40), np.uint8))
    frozen = np.zeros((1, 40), np.int8)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out: got a read-only array"):
        embedder.process(given[:8], frozen)
