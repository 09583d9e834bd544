"""The echo canceller: against its equations in float64, on poisoned input, and at its boundary."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import echo as reference
from reference.echoes import RATE, bursts, scene
from reference.measure import in_chunks, power_db, snr_db

LEAST_SNR_DB = 94.0  # of what is left, itself 34 dB below the echo that was rounded to 24 bits
seeds = st.integers(0, 2**32 - 1)
hops = st.sampled_from([64, 128, 256])


@pytest.mark.parametrize("play", [None, bursts], ids=["white", "bursts"])
@pytest.mark.parametrize("hop", [64, 128, 256])
@pytest.mark.parametrize(("microphones", "references"), [(1, 1), (3, 2), (2, 4)])
def test_against_float64(kernels, hop, microphones, references, play):
    mic, ref, _ = scene(hop, 2 * RATE + 77, microphones, references, play=play)
    got = kernels.EchoCanceller(microphones, references, hop=hop).process(mic, ref)
    wanted = reference.cancel(mic, ref, hop=hop)
    assert got.dtype == np.float32
    for m in range(microphones):
        assert snr_db(got[:, m], wanted[:, m]) >= LEAST_SNR_DB


@pytest.mark.parametrize("hop", [64, 128, 256])
def test_levels_that_are_matched_again_against_float64(kernels, hop):
    """One microphone hears the loudspeaker from the first sample on, another one after 0.8 s, and not before."""
    mic, ref, _ = scene(hop, 2 * RATE, 2, 1)
    mic[: 8 * RATE // 10, 1] *= 0.002
    got, wanted = kernels.EchoCanceller(2, 1, hop=hop).process(mic, ref), reference.cancel(mic, ref, hop=hop)
    for m in range(2):
        assert snr_db(got[:, m], wanted[:, m]) >= LEAST_SNR_DB
    assert power_db(mic[-RATE // 2 :, 1]) - power_db(got[-RATE // 2 :, 1]) > 15, "or they were not"


@settings(max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    level_db=st.floats(-50, 10),
    near_db=st.floats(-60, 0),
    parameters=st.fixed_dictionaries({
        "hop": hops,
        "tail_samples": st.integers(1, 3000),
        "memory_s": st.floats(0.1, 1000),
        "noise_smoothing": st.floats(0, 0.99),
        "initial": st.floats(-3, 2).map(lambda exponent: 10.0**exponent),
        "repair": st.integers(1, 128),
    }),
    seed=seeds,
)  # fmt: skip
def test_any_parameters_against_float64(kernels, shape, level_db, near_db, parameters, seed):
    mic, ref, _ = scene(seed, 6000, *shape, near=0.1 * 10 ** (near_db / 20), play=bursts if seed % 2 else None)
    scale = np.float32(10 ** (level_db / 20))
    mic, ref = mic * scale, ref * scale
    got = kernels.EchoCanceller(*shape, **parameters).process(mic, ref)
    wanted = reference.cancel(mic, ref, **parameters)
    for m in range(shape[0]):
        assert snr_db(got[:, m], wanted[:, m]) >= LEAST_SNR_DB


@pytest.mark.parametrize(
    "changed", [{"noise_smoothing": 0.51}, {"memory_s": 3.1}, {"initial": 2.6}, {"repair": 2}, {"tail_samples": 1920}]
)
def test_the_bound_sees_each_parameter(changed):
    """Planted: the equations with one parameter a little off are not within the bound of the right ones."""
    mic, ref, _ = scene(1, RATE, 1, 1)
    parameters = {"noise_smoothing": 0.5, "memory_s": 3.0, "initial": 2.5, "repair": 1, "tail_samples": 2048}
    right = reference.cancel(mic, ref, **parameters)
    assert snr_db(reference.cancel(mic, ref, **(parameters | changed)), right) < LEAST_SNR_DB - 20


@settings(max_examples=25)
@given(
    hop=hops,
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
    seed=seeds,
)
def test_any_chunking_gives_the_same_sound(kernels, hop, shape, cuts, seed):
    mic, ref, _ = scene(seed, 3000, *shape)
    canceller = kernels.EchoCanceller(*shape, hop=hop, tail_samples=1000)
    whole = canceller.process(mic, ref)
    canceller.reset()
    assert in_chunks(canceller.process, cuts, mic, ref).tobytes() == whole.tobytes()


def test_single_samples_give_the_same_sound(kernels):
    mic, ref, _ = scene(3, 1500, 2, 1)
    got = in_chunks(kernels.EchoCanceller(2, 1, hop=64).process, range(1500), mic, ref)
    assert got.tobytes() == kernels.EchoCanceller(2, 1, hop=64).process(mic, ref).tobytes()


@settings(max_examples=25)
@given(hop=hops, before=st.integers(0, 3000), repair=st.integers(1, 20), seed=seeds)
def test_reset_is_the_state_after_construction(kernels, hop, before, repair, seed):
    mic, ref, _ = scene(seed, 3000, 2, 2)
    arguments = {"hop": hop, "tail_samples": 1000, "repair": repair}
    used, fresh = kernels.EchoCanceller(2, 2, **arguments), kernels.EchoCanceller(2, 2, **arguments)
    used.process(mic[:before] * 3, ref[:before])
    used.reset()
    assert used.erle_db.tolist() == fresh.erle_db.tolist() == [0.0, 0.0]
    assert used.process(mic, ref).tobytes() == fresh.process(mic, ref).tobytes()
    assert used.erle_db.tolist() == fresh.erle_db.tolist()


def test_two_objects_share_no_state(kernels):
    (mic, ref, _), (mic2, ref2, _) = scene(1, 2000, 1, 1), scene(2, 2000, 1, 1)
    one, other = kernels.EchoCanceller(1, 1), kernels.EchoCanceller(1, 1)
    turns = [
        (one.process(mic[t : t + 100], ref[t : t + 100]), other.process(mic2[t : t + 100], ref2[t : t + 100]))
        for t in range(0, 2000, 100)
    ]
    alone = kernels.EchoCanceller(1, 1).process(mic, ref)
    assert np.concatenate([a for a, _ in turns]).tobytes() == alone.tobytes()


@pytest.mark.parametrize("hop", [64, 128, 256])
def test_with_a_silent_loudspeaker_the_microphones_come_out_delayed_bit_for_bit(kernels, hop):
    rng = np.random.default_rng(hop)
    mic = (rng.standard_normal((4000, 3)) * 10.0 ** rng.uniform(-30, 0.5, (4000, 1))).astype(np.float32)
    canceller = kernels.EchoCanceller(3, 2, hop=hop)
    assert canceller.hop == hop
    assert canceller.delay_samples == 2 * hop
    got = canceller.process(mic, np.zeros((4000, 2), np.float32))
    assert not got[: 2 * hop].any()
    assert got[2 * hop :].tobytes() == mic[: -2 * hop].tobytes()


@pytest.mark.parametrize("hop", [64, 128, 256])
def test_erle_is_the_power_taken_out_averaged_over_64_hops(kernels, hop):
    mic, ref, _ = scene(5, 100 * hop, 2, 1)
    canceller = kernels.EchoCanceller(2, 1, hop=hop)
    more = canceller.delay_samples
    out = canceller.process(np.concatenate([mic, mic[:more]]), np.concatenate([ref, ref[:more]]))[more : more + 100 * hop]
    canceller.reset()
    canceller.process(np.concatenate([mic, mic[:hop]]), np.concatenate([ref, ref[:hop]]))  # what has left, and no more
    weights = (63 / 64) ** np.arange(99, -1, -1)  # of each hop, the last one first
    before, after = (weights @ np.sum(x.astype(np.float64).reshape(100, hop, 2) ** 2, axis=1) for x in (mic, out))
    assert canceller.erle_db == pytest.approx(10 * np.log10(before / after), abs=1e-3)
    assert canceller.erle_db.min() > 6


@pytest.mark.parametrize("hop", [64, 128, 256])
def test_recall_against_float64(kernels, hop):
    """Levels are far apart: the covariance that is put back must be scaled. The last recall finds what the one before it did."""
    mic, ref, _ = scene(hop, 7 * RATE, 2, 1, taps=900, play=bursts)
    mic[3 * RATE :] = np.roll(mic[3 * RATE :], 900, axis=0)
    mic *= np.float32(8)
    recalls = [n * RATE // 256 * 256 // hop for n in (1, 5, 6)]
    canceller, got, at = kernels.EchoCanceller(2, 1, hop=hop, tail_samples=1000), [], 0
    for n in (*recalls, None):
        end = len(mic) if n is None else n * hop
        got.append(canceller.process(mic[at:end], ref[at:end]))
        if n is not None:
            canceller.recall()
        at = end
    wanted = reference.cancel(mic, ref, recalls, hop=hop, tail_samples=1000)
    forgotten = reference.cancel(mic, ref, recalls[:2], hop=hop, tail_samples=1000)
    for m in range(2):
        assert snr_db(np.concatenate(got)[:, m], wanted[:, m]) >= LEAST_SNR_DB
        assert snr_db(forgotten[:, m], wanted[:, m]) < LEAST_SNR_DB - 40, "planted: a recall left out is seen"


POISON = np.array(
    [np.nan, -np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e20, 8.5, -1e6, 1e-45, -1e-45, 1e-38, 1e-20, -0.0, 8.0],
    np.float32,
)


def cleaned(x):
    """What the head of the kernel says of input: 0 where it is not finite, else within 8."""
    return np.clip(np.where(np.isfinite(x), x, np.float32(0)), -8, 8)


@settings(max_examples=25)
@given(hop=hops, share=st.floats(0, 1), level=st.floats(-45, 38), seed=seeds)
def test_poisoned_input_is_cleaned_and_never_leaves(kernels, hop, share, level, seed):
    rng = np.random.default_rng(seed)
    mic, ref = (np.float32(np.clip(rng.standard_normal((2500, 2)) * 10.0**level, -3e38, 3e38)) for _ in range(2))
    for x in (mic, ref):
        bad = rng.random(x.shape) < share * rng.choice([0.001, 0.1, 1])
        x[bad] = rng.choice(POISON, int(bad.sum()))
    canceller = kernels.EchoCanceller(2, 2, hop=hop, tail_samples=1000)
    got = canceller.process(mic, ref)
    assert np.isfinite(got).all()
    assert np.isfinite(canceller.erle_db).all()
    canceller.reset()
    assert got.tobytes() == canceller.process(cleaned(mic), cleaned(ref)).tobytes()


LOUD = {
    "square": lambda n: np.where(np.arange(n) // 40 % 2, 1.0, -1.0),
    "constant": np.ones,
    "alternating": lambda n: (-1.0) ** np.arange(n),
    "silence": np.zeros,
    "impulses": lambda n: (np.arange(n) % 997 == 0) * 1.0,
    "denormal": lambda n: np.full(n, 1e-40),
    "on and off": lambda n: (np.arange(n) // 4000 % 2) * np.sin(np.arange(n)),
}


@pytest.mark.parametrize("level", [1.0, 8.0, 3e38])
@pytest.mark.parametrize("played", sorted(LOUD))
@pytest.mark.parametrize("heard", sorted(LOUD))
def test_extreme_sound_stays_finite_and_bounded(kernels, heard, played, level):
    """Three seconds of each against each; what leaves stays within what a wrong filter could add."""
    n = 3 * RATE
    with np.errstate(over="ignore"):
        mic = np.float32(level * LOUD[heard](n))[:, None]
        ref = np.float32(level * LOUD[played](n))[:, None]
    out = kernels.EchoCanceller(1, 1, initial=10.0).process(mic, ref)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 100 * 8


@pytest.mark.parametrize(("tail", "hop", "rounded"), [(1, 64, 64), (129, 128, 256), (8192, 256, 8192), (8100, 64, 8128)])
def test_the_tail_is_rounded_up_to_whole_hops(kernels, tail, hop, rounded):
    assert kernels.EchoCanceller(1, 1, hop=hop, tail_samples=tail).tail_samples == rounded


def test_the_largest_canceller_runs(kernels):
    mic, ref, _ = scene(14, 700, 16, 4)
    got = kernels.EchoCanceller(16, 4, hop=64, tail_samples=8192, repair=128).process(mic, ref)
    wanted = reference.cancel(mic, ref, hop=64, tail_samples=8192, repair=128)
    assert snr_db(got, wanted) >= LEAST_SNR_DB


def test_each_microphone_is_cancelled_by_itself(kernels):
    mic, ref, _ = scene(15, 5000, 3, 2)
    together = kernels.EchoCanceller(3, 2).process(mic, ref)
    for m in range(3):
        alone = kernels.EchoCanceller(1, 2).process(np.ascontiguousarray(mic[:, m : m + 1]), ref)
        assert alone[:, 0].tobytes() == together[:, m].tobytes()


def test_out_is_written_and_returned(kernels):
    mic, ref, _ = scene(16, 1000, 2, 1)
    wanted, out = kernels.EchoCanceller(2, 1).process(mic, ref), np.ones((1000, 2), np.float32)
    before = mic.copy(), ref.copy()
    assert kernels.EchoCanceller(2, 1).process(mic, ref, out=out) is out
    assert out.tobytes() == wanted.tobytes()
    assert (mic.tobytes(), ref.tobytes()) == (before[0].tobytes(), before[1].tobytes()), "an input was written"


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"microphones": 0}, ValueError, "microphones: got 0, wanted 1 to 16"),
        ({"microphones": 17}, ValueError, "microphones: got 17"),
        ({"microphones": 1.0}, TypeError, "microphones: got float"),
        ({"references": 0}, ValueError, "references: got 0, wanted 1 to 4"),
        ({"references": 5}, ValueError, "references: got 5"),
        ({"hop": 100}, ValueError, "hop: got 100, wanted 64, 128 or 256"),
        ({"hop": 512}, ValueError, "hop: got 512"),
        ({"tail_samples": 0}, ValueError, "tail_samples: got 0, wanted 1 to 8192"),
        ({"tail_samples": 8193}, ValueError, "tail_samples: got 8193"),
        ({"memory_s": 0.0}, ValueError, "memory_s: got 0.0"),
        ({"memory_s": float("nan")}, ValueError, "memory_s: got nan"),
        ({"noise_smoothing": 1.0}, ValueError, "noise_smoothing: got 1.0"),
        ({"noise_smoothing": "0.5"}, TypeError, "noise_smoothing: got str"),
        ({"initial": 0}, ValueError, "initial: got 0"),
        ({"initial": float("inf")}, ValueError, "initial: got inf"),
        ({"repair": 0}, ValueError, "repair: got 0"),
        ({"repair": True}, TypeError, "repair: got bool"),
    ],
)
def test_the_constructor_names_what_is_wrong(kernels, arguments, error, match):
    with pytest.raises(error, match=match):
        kernels.EchoCanceller(**({"microphones": 1, "references": 1} | arguments))


def floats(*shape):
    return np.zeros(shape, np.float32)


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("mic", "ref", "out", "error", "match"),
    [
        ([[0.0, 0.0]], floats(1, 1), None, TypeError, "mic: got list"),
        (np.zeros((9, 2)), floats(9, 1), None, TypeError, "mic: got dtype float64, wanted float32"),
        (np.zeros((9, 2), np.int32), floats(9, 1), None, TypeError, "mic: got dtype int32"),
        (floats(9, 3), floats(9, 1), None, ValueError, r"mic: got shape \(9, 3\), wanted \(any, 2\)"),
        (floats(18), floats(9, 1), None, ValueError, r"mic: got shape \(18,\)"),
        (floats(9, 4)[:, ::2], floats(9, 1), None, ValueError, "mic: got a strided view"),
        (floats(9, 2), floats(8, 1), None, ValueError, r"ref: got shape \(8, 1\), wanted \(9, 1\)"),
        (floats(9, 2), floats(9), None, ValueError, r"ref: got shape \(9,\)"),
        (floats(9, 2), np.zeros((9, 1)), None, TypeError, "ref: got dtype float64"),
        (floats(9, 2), None, None, TypeError, "ref: got NoneType"),
        (floats(9, 2), floats(9, 1), np.zeros((9, 2)), TypeError, "out: got dtype float64"),
        (floats(9, 2), floats(9, 1), floats(10, 2), ValueError, r"out: got shape \(10, 2\), wanted \(9, 2\)"),
        (floats(9, 2), floats(9, 1), read_only(floats(9, 2)), ValueError, "out: got a read-only array"),
    ],
)
def test_the_boundary_names_what_is_wrong_and_changes_nothing(kernels, mic, ref, out, error, match):
    heard, played, _ = scene(17, 600, 2, 1)
    canceller = kernels.EchoCanceller(2, 1)
    head = canceller.process(heard[:200], played[:200])
    with pytest.raises(error, match=match):
        canceller.process(mic, ref, out=out)
    rest = canceller.process(heard[200:], played[200:])
    whole = kernels.EchoCanceller(2, 1).process(heard, played)
    assert np.concatenate([head, rest]).tobytes() == whole.tobytes()


def test_out_must_not_be_an_input(kernels):
    mic, ref = floats(9, 1), floats(9, 1)
    for shared in (mic, ref):
        with pytest.raises(ValueError, match="out: shares memory with an input"):
            kernels.EchoCanceller(1, 1).process(mic, ref, out=shared)


@pytest.mark.parametrize(("microphones", "references"), [(1, 1), (3, 2)])
def test_int16_is_the_same_sound_as_its_floats(kernels, microphones, references):
    heard, played, _ = scene(18, 2_000, microphones, references)
    heard, played = (np.clip(x * 32_768, -32_768, 32_767).astype(np.int16) for x in (heard, played))
    whole = kernels.EchoCanceller(microphones, references).process(heard, played)
    real = [np.ascontiguousarray(x, np.float32) / np.float32(32_768) for x in (heard, played)]
    assert np.abs(whole).max() > 0
    assert whole.tobytes() == kernels.EchoCanceller(microphones, references).process(*real).tobytes()
    mixed = kernels.EchoCanceller(microphones, references).process(heard, real[1])
    assert mixed.tobytes() == whole.tobytes()
