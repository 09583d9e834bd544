"""Dereverberation: against float64, that against nara_wpe, and what it must do to a room and leave to a voice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farfield.evaluation.array import syllables
from reference import wpe as reference
from reference.measure import in_chunks, power_db, si_sdr_db, snr_db

LEAST_SNR_DB = 100.0
RATE = 16_000
seeds = st.integers(0, 2**32 - 1)


def reverberant(source, microphones, rt60_s=0.5, seed=1, late_db=3.0):
    """Each microphone hears the source at once, and after 30 ms noise of its own that decays; that, and the first sound."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(rt60_s * RATE)) / RATE
    tail = rng.standard_normal((len(t), microphones)) * 10 ** (-3 * t / rt60_s)[:, None] * (t >= 0.03)[:, None]
    tail *= np.sqrt(10 ** (late_db / 10) / np.sum(tail**2, axis=0))
    padded = len(source) + len(t)
    heard = np.fft.irfft(np.fft.rfft(source, padded)[:, None] * np.fft.rfft(tail, padded, axis=0), padded, axis=0)
    return np.float32(heard[: len(source)] + source[:, None])


@pytest.mark.parametrize(("microphones", "options"), [
    (1, {"taps": 8}), (2, {"late_hops": 4}), (6, {}), (16, {"taps": 2, "load": 0.01, "forgetting": 0.99}),
])  # fmt: skip
def test_against_float64(kernels, microphones, options):
    """A level that jumps by 60 dB, and silence, within."""
    x = reverberant(0.1 * np.random.default_rng(microphones).standard_normal(9_000), microphones)
    x[:3_000] *= 0.001
    x[5_000:6_000] = 0
    got, wanted = kernels.WPE(microphones, **options).process(x), reference.WPE(microphones, **options).process(x)
    assert got.dtype == np.float32 and got.shape == x.shape
    assert power_db(x - wanted) > power_db(x) - 20, "nothing predicted, nothing compared"
    assert snr_db(got, wanted) >= LEAST_SNR_DB
    assert snr_db(got[:3_000], wanted[:3_000]) >= LEAST_SNR_DB
    other = reference.WPE(microphones, **({"load": 0.3} | options | {"forgetting": 0.9981})).process(x)
    assert snr_db(other, wanted) < LEAST_SNR_DB, "planted"


def test_the_recursion_is_nara_wpes():
    """Frame by frame, on spectra whose bins are predictable; both are given the same power, for theirs is of what comes in."""
    nara = pytest.importorskip("nara_wpe.wpe")
    rng = np.random.default_rng(3)
    microphones, taps, hops = 3, 4, 150
    ours = reference.WPE(microphones, taps, 2, 0.99, loaded=False)
    inverse, filters = ours.P.copy(), ours.G.copy()
    buffer = 1j * rng.standard_normal((taps + 2, reference.BINS, microphones))  # before a sound, theirs forgets and ours waits
    ours.frames = buffer[::-1]
    mixing = 0.8 * np.linalg.qr(rng.standard_normal((microphones, microphones)))[0]
    foretold = 0.0
    for _ in range(hops):
        fresh = rng.standard_normal((2, reference.BINS, microphones))
        frame = fresh[0] + 1j * fresh[1] + buffer[-2] @ mixing
        buffer = np.concatenate([buffer[1:], frame[None]])
        left, _ = ours.hop(frame)
        wanted, inverse, filters = nara.online_wpe_step(buffer, ours.power, inverse, filters, 0.99, taps, 1)
        assert snr_db(left, wanted) > 200
        foretold = power_db(np.abs(frame)) - power_db(np.abs(left))
    assert foretold > 0.5, "nothing predicted, nothing compared"


def test_the_loading_is_added_to_one_axis_of_the_covariance():
    """Of two recursions that differ in nothing else the inverses differ by v on the diagonal."""
    rng = np.random.default_rng(4)
    slow = reference.WPE(2, 3)
    for hop in range(40):
        before = slow.P.copy()
        x = rng.standard_normal((reference.BINS, 2)) + 1j * rng.standard_normal((reference.BINS, 2))
        slow.hop(x)
        u = slow.before(0)
        if hop % 4 or hop < 8:
            continue
        plain = 0.998 * np.linalg.inv(before) + 0.998 / (0.998 * slow.power)[:, None, None] * u[:, :, None] * u[:, None].conj()
        added = np.linalg.inv(slow.P) - plain
        axis = hop // 4 % 6
        assert added[:, axis, axis].real == pytest.approx(4 * 6 * 0.002 * 0.3 * slow.heard, rel=1e-6)
        added[:, axis, axis] = 0
        assert np.abs(added).max() < 1e-9 * np.abs(plain).max()


@pytest.mark.parametrize("microphones", [2, 6])
def test_a_room_is_taken_off_a_voice(kernels, microphones):
    """What is left of the reverberation after 3 s is less by 3 dB or more."""
    dry = 0.05 * syllables(6, 1)
    x = reverberant(dry, microphones)
    left = kernels.WPE(microphones).process(x)
    late = slice(3 * RATE, None)
    assert si_sdr_db(left[late, 0], dry[late]) > si_sdr_db(x[late, 0], dry[late]) + 3


def test_an_echo_of_noise_is_taken_off_and_noise_is_left(kernels):
    """Of white noise nothing can be foretold: it passes. An echo of it after 40 ms, 6 dB below, is mostly gone."""
    noise = 0.1 * np.random.default_rng(5).standard_normal(12 * RATE)
    echo = np.concatenate([np.zeros(640), 0.5 * noise[:-640]])
    late = slice(8 * RATE, None)
    plain = kernels.WPE(2).process(np.float32(np.stack([noise, noise[::-1]], axis=1)))
    assert si_sdr_db(plain[late, 0], noise[late]) > 14
    both = np.float32(np.stack([noise + echo, noise - echo], axis=1))
    left = kernels.WPE(2).process(both)
    assert si_sdr_db(both[late, 0], noise[late]) == pytest.approx(6, abs=0.2)
    assert si_sdr_db(left[late, 0], noise[late]) > 9


def test_nothing_is_held_back(kernels):
    """The first two hops pass bit for bit, and a click is where it was, as loud."""
    rng = np.random.default_rng(6)
    x = np.float32(0.01 * rng.standard_normal((RATE, 3)))
    x[12_345] = 1
    wpe = kernels.WPE(3)
    got = wpe.process(x)
    assert wpe.delay_samples == 0
    assert got[:512].tobytes() == x[:512].tobytes()
    assert np.argmax(np.abs(got), axis=0).tolist() == [12_345] * 3 and np.abs(got[12_345] - 1).max() < 0.05


@settings(max_examples=10)
@given(cuts=st.lists(st.integers(0, 6_000), max_size=12), microphones=st.integers(1, 4), seed=seeds)
def test_any_chunking_gives_the_same_sound(kernels, cuts, microphones, seed):
    x = reverberant(0.1 * np.random.default_rng(seed).standard_normal(6_000), microphones)
    wpe = kernels.WPE(microphones, taps=3)
    whole = wpe.process(x)
    wpe.reset()
    assert in_chunks(wpe.process, cuts, x).tobytes() == whole.tobytes()


def test_reset_is_the_state_after_construction(kernels):
    x = reverberant(0.1 * np.random.default_rng(7).standard_normal(RATE), 3)
    used = kernels.WPE(3)
    used.process(x[:9_999] * 5)
    used.reset()
    assert used.process(x).tobytes() == kernels.WPE(3).process(x).tobytes()


def test_the_frames_before_the_newest_are_forgotten(kernels):
    """Against float64; what leaves with the hop that is under way stays as it was, and so does what was learnt."""
    dry = 0.05 * syllables(6, 1)
    x = reverberant(dry, 2)
    hop, more = 200, 77
    at, late, soon = 256 * hop + more, slice(256 * hop, None), slice(256 * (hop + 1), 256 * (hop + 9))
    wpe = kernels.WPE(2)
    wanted = wpe.process(x)
    wpe.reset()
    before = wpe.process(x[:at])
    wpe.forget()
    got = np.concatenate([before, wpe.process(x[at:])])
    assert snr_db(got[soon], reference.WPE(2).process(x, forgets=(hop,))[soon]) >= LEAST_SNR_DB
    assert got[: soon.start].tobytes() == wanted[: soon.start].tobytes()
    assert snr_db(got[soon], wanted[soon]) < 40, "planted: nothing forgotten"
    learnt_db, new_db = (si_sdr_db(made[:, 0], dry[late]) for made in (wanted[late], kernels.WPE(2).process(x[late])))
    assert si_sdr_db(got[late, 0], dry[late]) > learnt_db - 0.1 > new_db + 0.5


POISON = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 8.5, 1e-45, -1e-45, 1e-38, -0.0], np.float32)


@settings(max_examples=15)
@given(
    share=st.sampled_from([0.0, 0.001, 0.1, 1.0]),
    levels=st.lists(st.floats(-45, 38), min_size=1, max_size=6),
    tone=st.booleans(),
    load=st.sampled_from([0.001, 0.3, 10.0]),
    forgetting=st.sampled_from([0.9, 0.998, 0.9999]),
    seed=seeds,
)
def test_nothing_but_numbers_leaves(kernels, share, levels, tone, load, forgetting, seed):
    """Levels that jump by any number of decades, poison, one tone on all channels, of which all can be foretold."""
    rng = np.random.default_rng(seed)
    frames, taps, microphones = 4_000 * len(levels), 4, 4
    x = rng.standard_normal((frames, microphones))
    if tone:
        x[:] = np.sin(np.arange(frames) * rng.uniform(0, np.pi))[:, None]
    x = np.float32(np.clip(x * np.repeat(10.0 ** np.array(levels), 4_000)[:, None], -3e38, 3e38))
    bad = rng.random(x.shape) < share
    x[bad] = rng.choice(POISON, int(bad.sum()))
    wpe = kernels.WPE(microphones, taps=taps, load=load, forgetting=forgetting)
    got = wpe.process(x)
    assert np.isfinite(got).all()
    # by Parseval a predicted frame has at most 4 times the energy of all before it together, and two overlap
    assert np.abs(got).max(initial=0) <= 8 + 2 * 2 * 8 * np.sqrt(512 * taps * microphones)
    wpe.reset()
    assert got.tobytes() == wpe.process(np.clip(np.where(np.isfinite(x), x, np.float32(0)), -8, 8)).tobytes()


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-40, -8.0])
def test_silence_and_direct_current(kernels, value):
    got = kernels.WPE(4).process(np.full((3 * RATE, 4), value, np.float32))
    assert np.isfinite(got).all() and np.abs(got).max() <= 3 * abs(value)


def test_single_precision_does_not_wear_out(kernels):
    """Minutes of a voice in a room, with pauses of digital silence, leave it as good as the first: to 0.5 dB."""
    dry = 0.05 * syllables(10, 2) * (np.arange(10 * RATE) % (7 * RATE) < 6 * RATE)
    x = reverberant(dry, 2)
    wpe = kernels.WPE(2)
    wpe.process(x)
    first = wpe.process(x)
    for _ in range(12):
        last = wpe.process(x)
    assert si_sdr_db(last[:, 0], dry) == pytest.approx(si_sdr_db(first[:, 0], dry), abs=0.5)


def test_int16_and_out(kernels):
    heard = np.random.default_rng(19).integers(-32_768, 32_768, (9_000, 2), dtype=np.int16)
    out = np.ones((9_000, 2), np.float32)
    wpe = kernels.WPE(2)
    assert (wpe.hop, wpe.delay_samples, wpe.microphones, wpe.taps) == (256, 0, 2, 5)
    assert wpe.process(heard, out=out) is out
    assert out.tobytes() == kernels.WPE(2).process(heard / np.float32(32_768)).tobytes()
    x = np.zeros((9, 2), np.float32)
    with pytest.raises(ValueError, match="out: shares memory with an input"):
        wpe.process(x, out=x)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        ((2.0,), {}, TypeError, "microphones: got float"),
        ((0,), {}, ValueError, "microphones: got 0, wanted 1 to 16"),
        ((17,), {}, ValueError, "microphones: got 17, wanted 1 to 16"),
        ((16,), {"taps": 9}, ValueError, "taps: got 9, wanted 1 to 8"),
        ((2,), {"taps": 33}, ValueError, "taps: got 33, wanted 1 to 32"),
        ((2,), {"late_hops": 1}, ValueError, "late_hops: got 1, wanted 2 to 8"),
        ((2,), {"forgetting": 1.0}, ValueError, r"forgetting: got 1.0, wanted 0.9 to 0.9999"),
        ((2,), {"load": 0.0}, ValueError, r"load: got 0.0, wanted 0.001 to 10"),
        ((2,), {"load": float("nan")}, ValueError, "load: got nan"),
    ],
)
def test_the_constructor_names_what_is_wrong(kernels, arguments, options, error, match):
    with pytest.raises(error, match=match):
        kernels.WPE(*arguments, **options)


@pytest.mark.parametrize(
    ("x", "out", "error", "match"),
    [
        ([[0.0] * 2], None, TypeError, "x: got list"),
        (np.zeros((9, 2)), None, TypeError, "x: got dtype float64, wanted float32"),
        (np.zeros((9, 3), np.float32), None, ValueError, r"x: got shape \(9, 3\), wanted \(any, 2\)"),
        (np.zeros((9, 2), np.float32), np.zeros((9, 1), np.float32), ValueError, r"out: got shape \(9, 1\), wanted \(9, 2\)"),
    ],
)
def test_the_boundary_names_what_is_wrong_and_changes_nothing(kernels, x, out, error, match):
    stream = reverberant(0.1 * np.random.default_rng(8).standard_normal(4_000), 2)
    wpe = kernels.WPE(2)
    head = wpe.process(stream[:700])
    with pytest.raises(error, match=match):
        wpe.process(x, out=out)
    assert np.concatenate([head, wpe.process(stream[700:])]).tobytes() == kernels.WPE(2).process(stream).tobytes()
