"""Fixed-point features, bit for bit: against the package pymicro-features, and against whole numbers in Python."""

import os
from pathlib import Path

import numpy as np
import pymicro_features
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import farfield
from farfield import kernels as farfield_kernels
from farfield.kernels import _feature_tables as tables
from reference import features as reference
from reference.measure import in_chunks

WINDOW, HOP, CHANNELS = 480, 160, 40
UNIT = 0.0390625  # of the peer's float scale
LONG = os.environ.get("FARFIELD_LONG") == "1"
SAMPLED_CLIPS = 150

in_integers = reference.Features()


def frames_of(samples):
    return max(0, (samples - WINDOW) // HOP + 1)


def peer_features(samples):
    """Every row that the peer gives, as whole units; it takes 10 ms at a time."""
    data, frontend, rows, at = samples.tobytes(), pymicro_features.MicroFrontend(), [], 0
    while at + 2 * HOP <= len(data):
        made = frontend.process_samples(data[at : at + 2 * HOP])
        at += 2 * made.samples_read
        if made.features:
            rows.append(made.features)
    units = np.array(rows, np.float64).reshape(-1, CHANNELS) / UNIT
    assert np.array_equal(units, np.round(units)), "the peer's floats are not whole units"
    return units.astype(np.int64)


def full_scale_square(rng, n, amplitude):
    return np.where(np.arange(n) // int(rng.integers(1, 200)) % 2, 32_767, -32_768)


def sparse(rng, n, amplitude):
    return (rng.random(n) < 0.003) * rng.choice([-32_768, -1, 1, 32_767], n)


def steps(rng, n, amplitude):
    return np.repeat(rng.normal(0, amplitude, n // 50 + 1), 50)[:n]


KINDS = {
    "noise": lambda rng, n, amplitude: rng.normal(0, amplitude, n),
    "tone": lambda rng, n, amplitude: amplitude * np.sin(rng.uniform(0, np.pi) * np.arange(n) + rng.uniform(0, 7)),
    "chirp": lambda rng, n, amplitude: amplitude * np.sin(np.cumsum(np.linspace(*rng.uniform(0, np.pi, 2), n))),
    "constant": lambda rng, n, amplitude: np.full(n, rng.normal(0, amplitude)),
    "lowest": lambda rng, n, amplitude: np.full(n, -32_768),
    "highest": lambda rng, n, amplitude: np.full(n, 32_767),
    "silence": lambda rng, n, amplitude: np.zeros(n),
    "extremes": lambda rng, n, amplitude: rng.choice([-32_768, -32_767, -1, 0, 1, 32_767], n),
    "square": full_scale_square,
    "sparse": sparse,
    "steps": steps,
}


def stream(parts, seed):
    """One after another: kind, samples, amplitude in octaves."""
    rng = np.random.default_rng(seed)
    made = [KINDS[kind](rng, n, 2.0**octaves) for kind, n, octaves in parts]
    return np.concatenate([np.zeros(0), *made]).clip(-32_768, 32_767).astype(np.int16)


part = st.tuples(st.sampled_from(sorted(KINDS)), st.integers(1, 3000), st.floats(-1, 17))
streams = st.builds(stream, st.lists(part, max_size=6), st.integers(0, 2**32 - 1))


@given(x=streams)
def test_any_stream_equals_the_peer(kernels, x):
    got = kernels.Features().process(x)
    assert got.dtype == np.uint16
    assert got.shape == (frames_of(len(x)), CHANNELS)
    assert np.array_equal(got, peer_features(x))


@given(x=streams)
def test_any_stream_equals_the_integer_reference(kernels, x):
    assert np.array_equal(kernels.Features().process(x), in_integers(x))


def with_energies(features, x):
    energies = np.zeros((features.max_frames(len(x)), 32), np.uint16)
    made = features.process(x, energies=energies)
    return made, energies[: len(made)]


@given(x=streams)
def test_the_energies_of_any_stream_equal_the_integer_reference(kernels, x):
    features, energies = with_energies(kernels.Features(), x)
    assert np.array_equal(energies, in_integers.log_energies(x))
    assert np.array_equal(features, kernels.Features().process(x)), "the same whether energies are asked for or not"


@given(x=streams, cuts=st.lists(st.integers(1, 2000), max_size=8))
def test_any_chunking_gives_the_same_energies(kernels, x, cuts):
    whole, features = with_energies(kernels.Features(), x)[1], kernels.Features()
    parts = [with_energies(features, part)[1] for part in np.split(x, np.minimum(np.cumsum(cuts), len(x)))]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("level_db", [0, -20, -40])
def test_energies_are_those_of_a_float_spectrum_at_any_level(kernels, level_db):
    """White noise, against the equation in float64: within a tenth of an octave of energy, a tenth of that in the mean."""
    x = np.random.default_rng(5).normal(0, 8000 * 10 ** (level_db / 20), 16_000).round().clip(-32_768, 32_767).astype(np.int16)
    energies = with_energies(kernels.Features(), x)[1] / 1024
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), WINDOW)[::HOP]
    spectra = np.abs(np.fft.rfft(windows * np.sin(np.pi * (np.arange(WINDOW) + 0.5) / WINDOW) ** 2, 512)) ** 2
    wanted = np.log2(spectra @ (reference.energy_bands() / 2**18).T)
    assert np.abs(energies - wanted).max() < 0.1 and abs((energies - wanted).mean()) < 0.01


@pytest.mark.parametrize(
    ("energies", "error", "match"),
    [
        (np.zeros((2, 32), np.int16), TypeError, "energies: got dtype int16"),
        (np.zeros((2, 40), np.uint16), ValueError, "energies: got shape"),
        (np.zeros((1, 32), np.uint16), ValueError, "energies: got 1 rows, wanted at least 2"),
        ("features", ValueError, "energies: shares memory"),
    ],
)
def test_a_place_for_energies_that_does_not_fit_is_refused_before_anything_is_heard(kernels, energies, error, match):
    features, x, shared = kernels.Features(), np.full(WINDOW + HOP, 1000, np.int16), np.zeros((4, 40), np.uint16)
    energies = shared.reshape(-1)[:128].reshape(4, 32) if isinstance(energies, str) else energies
    with pytest.raises(error, match=match):
        features.process(x, shared, energies)
    assert np.array_equal(features.process(x), kernels.Features().process(x))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_long_streams_of_one_kind_equal_the_peer(kernels, kind):
    """Ten seconds: the noise estimate settles, and is then shaken by the next level."""
    rng = np.random.default_rng(sum(map(ord, kind)))
    x = np.concatenate([KINDS[kind](rng, 32_000, 2.0**octaves) for octaves in (15, 3, 12, 0, 8)])
    x = x.clip(-32_768, 32_767).astype(np.int16)
    assert np.array_equal(kernels.Features().process(x), peer_features(x))


def test_every_block_scaling_equals_the_peer(kernels):
    """Largest magnitudes from 1 to 32,768, each power of two and its neighbours."""
    rng = np.random.default_rng(4)
    peaks = sorted({min(max((1 << bits) + d, 1), 32_768) for bits in range(16) for d in (-1, 0, 1)})
    x = np.concatenate([rng.integers(-peak, min(peak, 32_767) + 1, 960) for peak in peaks]).astype(np.int16)
    assert np.array_equal(kernels.Features().process(x), peer_features(x))


def test_loud_then_silent_equals_the_peer(kernels):
    x = stream([("noise", 16_000, 14), ("silence", 40_000, 0), ("noise", 8_000, 5), ("square", 4_000, 0)], 8)
    got = kernels.Features().process(x)
    assert np.array_equal(got, peer_features(x))
    assert got[:90].max() > 500, "the loud part left no features, so that equality shows nothing"
    assert got[120:340].max() == 0


@pytest.mark.parametrize(("seed", "row"), [(12, 374), (13, 307)])
def test_a_root_that_would_round_to_17_bits_stays_within_16(kernels, monkeypatch, seed, row):
    """Windows with a band whose power lies between 65,535.5^2 and 2^32, found by search; the feature shows the root."""
    x = np.random.default_rng(seed).integers(-12, 13, (500, WINDOW))[row].astype(np.int16)
    assert np.array_equal(kernels.Features().process(x), peer_features(x))
    right = reference.square_root

    def unbounded(power):
        return 65_536 if 65_535 * 65_536 < power < 1 << 32 else right(power)

    monkeypatch.setattr(reference, "square_root", unbounded)
    assert not np.array_equal(in_integers(x), peer_features(x)), "planted: without the bound this window differs"


def test_the_streams_do_move_the_features():
    """Else equality would compare constants: bursts of every level leave many values in every channel."""
    x = stream([part for octaves in range(4, 15) for part in (("noise", 3_000, octaves), ("silence", 3_000, 0))], 3)
    got = in_integers(x)
    assert min(len(set(got[:, c].tolist())) for c in range(CHANNELS)) > 60


@pytest.mark.parametrize("value", [4, -4, 300])
def test_one_changed_sample_is_seen(kernels, value):
    """A planted difference: a few units in one quiet sample change the features, and only from its window on."""
    x = stream([("noise", 16_000, 3)], 1)
    changed = x.copy()
    changed[8_000] += value
    before, after = kernels.Features().process(x), kernels.Features().process(changed)
    first = (8_000 - WINDOW) // HOP + 1  # the first window that holds it
    assert np.array_equal(before[:first], after[:first])
    assert not np.array_equal(before, after)
    assert np.array_equal(after, in_integers(changed))


@given(x=streams, cuts=st.lists(st.integers(0, 4000), max_size=12))
def test_any_chunking_gives_the_same_features(kernels, x, cuts):
    features = kernels.Features()
    whole = features.process(x)
    features.reset()
    assert in_chunks(features.process, cuts, x).tobytes() == whole.tobytes()


@pytest.mark.parametrize("size", [1, 7, 159, 160, 161, 319, 320, 321, 479, 480, 481, 640, 1000])
def test_chunks_of_one_size_give_the_same_features(kernels, size):
    x = stream([("noise", 5_000, 10)], size)
    got = in_chunks(kernels.Features().process, range(0, len(x), size), x)
    assert got.tobytes() == kernels.Features().process(x).tobytes()


@given(first=streams, x=streams)
def test_reset_is_the_state_after_construction(kernels, first, x):
    features = kernels.Features()
    features.process(first)
    features.reset()
    assert features.process(x).tobytes() == kernels.Features().process(x).tobytes()


def test_two_objects_share_no_state(kernels):
    x, y = stream([("noise", 4_000, 12)], 1), stream([("tone", 4_000, 9)], 2)
    one, other = kernels.Features(), kernels.Features()
    turns = [(one.process(x[t : t + 100]), other.process(y[t : t + 100])) for t in range(0, 4_000, 100)]
    assert np.array_equal(np.concatenate([a for a, _ in turns]), in_integers(x))
    assert np.array_equal(np.concatenate([b for _, b in turns]), in_integers(y))


@given(held=st.integers(0, 1000), samples=st.integers(0, 5000))
def test_max_frames_is_enough_whatever_is_held(kernels, held, samples):
    features = kernels.Features()
    features.process(np.zeros(held, np.int16))
    assert len(features.process(np.zeros(samples, np.int16))) <= features.max_frames(samples)


@pytest.mark.parametrize("samples", [1, 159, 161, 479, 1000])
def test_max_frames_is_reached(kernels, samples):
    """With one sample less than a window held, the bound is the number itself."""
    features = kernels.Features()
    features.process(np.zeros(WINDOW - 1, np.int16))
    assert len(features.process(np.zeros(samples, np.int16))) == features.max_frames(samples)


def test_out_is_filled_from_the_front_and_returned(kernels):
    x = stream([("noise", 3_000, 10)], 5)
    features, out = kernels.Features(), np.full((30, CHANNELS), 7, np.uint16)
    made = features.process(x, out=out)
    assert len(made) == frames_of(3_000) == 16
    assert np.shares_memory(made, out)
    assert np.array_equal(made, in_integers(x))
    assert (out[16:] == 7).all()
    assert features.process(x[:10], out=out[:0]).shape == (0, CHANNELS)


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("samples", "out", "error", "match"),
    [
        ([1, 2], None, TypeError, "samples: got list, wanted a numpy array of int16"),
        (b"\0\0", None, TypeError, "samples: got bytes"),
        (np.zeros(480, np.float32), None, TypeError, "samples: got dtype float32, wanted int16"),
        (np.zeros(480, np.uint16), None, TypeError, "samples: got dtype uint16"),
        (np.zeros(480, ">i2"), None, TypeError, "samples: got dtype >i2"),
        (np.zeros((480, 1), np.int16), None, ValueError, r"samples: got shape \(480, 1\), wanted \(any\)"),
        (np.zeros(960, np.int16)[::2], None, ValueError, "samples: got a strided view"),
        (np.zeros(480, np.int16), np.zeros((2, 40), np.uint16), ValueError, "out: got 2 rows, wanted at least 3"),
        (np.zeros(480, np.int16), np.zeros((1, 40), np.int16), TypeError, "out: got dtype int16, wanted uint16"),
        (np.zeros(480, np.int16), np.zeros((1, 41), np.uint16), ValueError, r"out: got shape \(1, 41\)"),
        (np.zeros(480, np.int16), read_only(np.zeros((1, 40), np.uint16)), ValueError, "out: got a read-only array"),
    ],
)
def test_the_boundary_names_what_is_wrong_and_changes_nothing(kernels, samples, out, error, match):
    x = stream([("noise", 2_000, 10)], 6)
    features = kernels.Features()
    head = features.process(x[:900])
    with pytest.raises(error, match=match):
        features.process(samples, out=out)
    rest = features.process(x[900:])
    assert np.array_equal(np.concatenate([head, rest]), in_integers(x))


def test_out_must_not_be_the_input(kernels):
    memory = np.zeros(480, np.int16)
    with pytest.raises(ValueError, match="out: shares memory with an input"):
        kernels.Features().process(memory, out=memory[:40].view(np.uint16).reshape(1, 40))


@pytest.mark.parametrize("samples", [-1, True, 2.0])
def test_max_frames_names_what_is_wrong(kernels, samples):
    with pytest.raises((TypeError, ValueError), match="samples: got"):
        kernels.Features().max_frames(samples)


def test_a_read_only_input_is_read(kernels):
    x = stream([("noise", 2_000, 10)], 7)
    assert np.array_equal(kernels.Features().process(read_only(x.copy())), in_integers(x))


def test_the_tables_are_those_that_single_precision_gives():
    first, ends, falling, rising = tables.filterbank()
    bins = [bin_ for band in reference.bands() for bin_ in band]
    assert tables.window().tolist() == reference.window()
    assert [k for k, _, _ in bins] == list(range(first, first + len(falling)))
    assert ends.tolist() == [band[-1][0] + 1 for band in reference.bands()]
    assert falling.tolist() == [f for _, f, _ in bins]
    assert rising.tolist() == [r for _, _, r in bins]
    assert tables.pcan_gains().tolist() == [*reference.gain_table(), 0, 0]
    assert tables.log2_residue().tolist() == reference.log2_residues()


def test_the_filterbank_covers_125_to_7500_hz_once(kernels):
    """A tone moves the features most in the channel whose mel centre it has: closed form, no table.

    Odd and even channels differ in how fast noise is learnt, so each is compared with its like.
    """
    centers = np.linspace(1127 * np.log1p(125 / 700), 1127 * np.log1p(7500 / 700), CHANNELS + 2)[1:-1]
    for channel in range(6, CHANNELS):  # the lowest channels are narrower than a bin
        hz = 700 * np.expm1(centers[channel] / 1127)
        x = (3000 * np.sin(2 * np.pi * hz * np.arange(1600) / 16_000)).astype(np.int16)
        first = kernels.Features().process(x)[0]
        assert np.argmax(first[channel % 2 :: 2]) == channel // 2


def clips(folder):
    found = sorted(p for p in folder.rglob("*") if p.suffix in {".flac", ".opus", ".wav"} and "echo" not in p.parts)
    return found if LONG else found[:: max(1, len(found) // SAMPLED_CLIPS)]


def as_int16(path: Path):
    """Every channel of a recording at 16 kHz."""
    file = farfield.SoundFile(path)
    chunks = list(file.chunks(1 << 16))
    file.close()
    return np.ascontiguousarray(np.concatenate(chunks).T)


def test_recordings_equal_the_peer(recordings, record_property):
    """About 150 clips of every folder; with FARFIELD_LONG=1 all of them."""
    frames = differences = 0
    wrong = []
    chosen = clips(recordings)
    assert len(chosen) >= SAMPLED_CLIPS
    features = farfield_kernels.Features()
    for path in chosen:
        for channel in as_int16(path):
            features.reset()
            got, wanted = features.process(channel), peer_features(channel)
            frames += len(wanted)
            differences += int(np.count_nonzero(got[: len(wanted)] != wanted))
            if got.shape != wanted.shape or not np.array_equal(got, wanted):
                wrong.append(path.name)
    for name, value in (("clips", len(chosen)), ("frames", frames), ("differences", differences)):
        record_property(name, value)
    print(f"{len(chosen)} clips, {frames} frames, {differences} differences")
    assert not wrong
    assert frames > 15_000


def test_soundfile_and_farfield_read_the_same_samples(recordings):
    """So that what is compared above is the clip and not something that a reader made of it."""
    path = next(iter(sorted((recordings / "keywords" / "alexa").glob("*.flac"))))
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    assert rate == 16_000
    assert np.array_equal(as_int16(path), samples.T)
