"""The aligner: delays, jumps and drifts that were planted, in sound that was resampled by another hand (soxr)."""

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve, firwin

from reference import align as reference
from reference.levels import at_one_level
from reference.measure import snr_db

RATE = 16_000
seeds = st.integers(0, 2**32 - 1)


def played(rng, frames, references=1):
    """Noise in bursts of 0.1 s, as loud as speech is, with pauses."""
    envelope = np.repeat(rng.choice([0.0, 0.3, 1.0, 1.5], (frames // 1600 + 1, 1)), 1600, axis=0)[:frames]
    return 0.1 * envelope * rng.standard_normal((frames, references))


def echo_of(rng, ref, delay, near=0.002):
    """What a microphone hears, `delay` later (earlier where negative): a path of 50 ms, its first tap the strongest."""
    path = rng.standard_normal((800, ref.shape[1])) * 10.0 ** (-3 * np.arange(800) / 800)[:, None] * 0.3
    path[0] = 1
    heard = fftconvolve(ref, path, axes=0)[: len(ref)].sum(axis=1)
    shifted = np.zeros(len(heard))
    if delay >= 0:
        shifted[delay:] = heard[: len(heard) - delay]
    else:
        shifted[:delay] = heard[-delay:]
    return (0.5 * shifted + near * rng.standard_normal(len(heard)))[:, None]


def band(x):
    """Without what no resampler keeps, above 6.5 kHz."""
    return fftconvolve(x, firwin(255, 6_500, fs=RATE)[:, None], "same", axes=0)


def aligned(aligner, mic, ref, chunk=None):
    mic, ref = (np.ascontiguousarray(x, np.float32) for x in (mic, ref))
    parts = [
        aligner.process(mic[t : t + (chunk or len(mic))], ref[t : t + (chunk or len(mic))])
        for t in range(0, len(mic), chunk or len(mic))
    ]
    return tuple(np.concatenate(side) for side in zip(*parts, strict=True))


@pytest.mark.parametrize("delay", [-800, -160, 0, 40, 320, 1_000, 4_321, 9_600])
def test_a_planted_delay_is_found_and_removed(kernels, delay):
    """From -50 to 600 ms, within 2 s of sound; the echo then lies within the first 20 ms of the canceller's tail."""
    rng = np.random.default_rng(delay + 1_000)
    ref = played(rng, 4 * RATE)
    mic = echo_of(rng, ref, delay)
    aligner = kernels.Aligner(1, 1, late_samples=800 if delay < 0 else 0)
    mics, refs = aligned(aligner, mic[: 2 * RATE], ref[: 2 * RATE])
    assert aligner.echo_samples == pytest.approx(delay, abs=2)
    assert aligner.drift_ppm == 0
    mics, refs = aligned(aligner, mic[2 * RATE :], ref[2 * RATE :])
    correlation = fftconvolve(mics[2_000:-2_000, 0], refs[::-1, 0], "full")[len(refs) - 2_000 - 1 :][:4_000]
    place = np.argmax(np.abs(correlation)) - 0
    assert 8 <= place <= 320


@pytest.mark.parametrize(("delay", "jump", "ppm"), [(700, 0, 0), (2_500, 1_500, 0), (400, 0, -300), (300, 0, 900)])
def test_against_float64(kernels, delay, jump, ppm):
    """The same delays, jumps and drift, and the same references but for what a drift not told alike to 0.1 ppm moves."""
    rng = np.random.default_rng(delay)
    true = band(played(rng, 12 * RATE))
    echoes = [echo_of(np.random.default_rng(1), true, delay + by) for by in (0, jump)]
    mic = np.float32(np.concatenate([echoes[0][: 6 * RATE], echoes[1][6 * RATE :]]))
    ref = np.float32(true if ppm == 0 else soxr.resample(true, 1 + ppm * 1e-6, 1.0, quality="VHQ"))
    mic, ref = mic[: len(ref)], ref[: len(mic)]
    aligner = kernels.Aligner(1, 1)
    mics, refs = aligner.process(mic, ref)
    wanted_mic, wanted_ref, echo, rho, moves = reference.align(mic[:, 0].astype(float), ref[:, 0].astype(float))
    assert aligner.echo_samples == pytest.approx(echo, abs=1e-2)
    assert aligner.drift_ppm == pytest.approx(1e6 * rho, abs=0.1)
    assert aligner.moves == moves == 1 + (jump > 0)
    assert (aligner.drift_ppm == 0) == (ppm == 0)
    assert mics[: len(wanted_mic), 0].tobytes() == np.float32(wanted_mic).tobytes()
    assert snr_db(refs[: len(wanted_ref), 0], wanted_ref) > 50


def test_with_nothing_found_both_leave_delayed_bit_for_bit(kernels):
    """Planted: a microphone that does not hear the loudspeaker gives nothing to align."""
    rng = np.random.default_rng(1)
    mic, ref = (np.float32(0.1 * rng.standard_normal((3 * RATE, channels))) for channels in (2, 3))
    aligner = kernels.Aligner(2, 3)
    late = aligner.delay_samples
    mics, refs = aligner.process(mic, ref)
    assert (late, aligner.echo_samples, aligner.drift_ppm) == (64, None, 0)
    for given_, got in ((mic, mics), (ref, refs)):
        assert not got[:late].any()
        assert got[late:].tobytes() == given_[:-late].tobytes()


def test_a_found_delay_is_removed_bit_for_bit(kernels):
    rng = np.random.default_rng(2)
    ref = np.float32(played(rng, 5 * RATE, 2))
    mic = echo_of(rng, ref.astype(float), 3_000)
    aligner = kernels.Aligner(1, 2)
    _, refs = aligned(aligner, mic, ref)
    assert aligner.drift_ppm == 0
    back = round(aligner.echo_samples) + aligner.delay_samples - 48
    assert refs[-RATE:].tobytes() == ref[-RATE - back : -back].tobytes()


@pytest.mark.parametrize("jump", [-1_280, 1_280, 6_000])
def test_a_jump_is_followed_within_two_seconds(kernels, jump):
    """And by as much as the echo jumped: what a canceller has learnt fits again."""
    rng = np.random.default_rng(jump + 5_000)
    ref = played(rng, 8 * RATE)
    echoes = [echo_of(np.random.default_rng(7), ref, 2_000 + by) for by in (0, jump)]
    at = 4 * RATE
    mic = np.concatenate([echoes[0][:at], echoes[1][at:]])
    aligner = kernels.Aligner(1, 1)
    aligned(aligner, mic[:at], ref[:at])
    before = aligner.echo_samples
    aligned(aligner, mic[at : at + 2 * RATE], ref[at : at + 2 * RATE])
    assert aligner.echo_samples - before == pytest.approx(jump, abs=1)
    assert aligner.drift_ppm == 0


def chords(rng, seconds):
    """Four notes of eight partials at a time, each chord held for 0.4 s: its correlation with itself repeats."""
    t = np.arange(int(0.4 * RATE)) / RATE
    held = []
    for _ in range(int(seconds / 0.4)):
        hertz = np.outer(110 * 2 ** (rng.integers(0, 25, 4) / 12), np.arange(1, 9))
        partials = np.sin(2 * np.pi * hertz[..., None] * t + rng.uniform(0, 6, (4, 8, 1))) / np.arange(1, 9)[:, None]
        held.append(np.exp(-3 * t) * partials.sum((0, 1)))
    return 0.05 * np.concatenate(held)[:, None]


@at_one_level
def test_chords_do_not_look_like_jumps(kernels):
    """Once noise has shown where the echo is, chords do not move it."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        ref = np.concatenate([played(rng, 2 * RATE), chords(rng, 16)])
        aligner = kernels.Aligner(1, 1)
        aligned(aligner, echo_of(rng, ref, 1_000, near=1e-4), ref)
        assert aligner.echo_samples == pytest.approx(1_000, abs=16)
        assert aligner.moves == 1


def test_moves_are_counted_where_updates_end(kernels):
    rng = np.random.default_rng(3)
    ref = played(rng, 3 * RATE)
    mic = echo_of(rng, ref, 3_000)
    aligner = kernels.Aligner(1, 1)
    counted = []
    for at in range(0, len(mic), 64):
        aligned(aligner, mic[at : at + 64], ref[at : at + 64])
        counted.append(aligner.moves)
    at = (counted.index(1) + 1) * 64
    assert counted[-1] == 1
    assert at % aligner.update_samples == 0
    aligner.reset()
    assert aligner.moves == 0


@at_one_level
@pytest.mark.parametrize("ppm", [-1_500, -500, -50, 50, 500, 1_500])
def test_a_planted_drift_is_estimated_and_removed(kernels, ppm):
    """soxr makes the reference of the other clock; in the end a canceller takes out what it takes out without drift."""
    rng = np.random.default_rng(abs(ppm))
    true = band(played(rng, 32 * RATE))
    mic = echo_of(rng, true, 1_500, near=0.003)
    ref = soxr.resample(true, 1 + ppm * 1e-6, 1.0, quality="VHQ")[: len(true)]
    ref = np.pad(ref, ((0, len(true) - len(ref)), (0, 0)))
    erle = {}
    for name, given_ in (("still", true), ("drifting", ref)):
        aligner, canceller = kernels.Aligner(1, 1), kernels.EchoCanceller(1, 1)
        mics, refs = aligned(aligner, mic, given_)
        left = canceller.process(mics, refs)
        window = slice(27 * RATE, 31 * RATE)
        erle[name] = 10 * np.log10(np.mean(mics[window] ** 2) / np.mean(left[canceller.delay_samples :][window] ** 2))
    assert aligner.drift_ppm == pytest.approx(ppm, abs=20)
    assert erle["still"] > 25
    assert erle["drifting"] > erle["still"] - 1


@at_one_level
@pytest.mark.parametrize("ppm", [-1_500, -600, 600, 1_500])
def test_a_drift_is_found_within_8_s_of_sound_with_pauses(kernels, ppm):
    """Within 10 %, and within 10 ppm after 16 s; a quarter of the sound is silence, the rest white: such an echo smears."""
    rng = np.random.default_rng(abs(ppm) + 1)
    true = band(played(rng, 17 * RATE))
    mic = echo_of(rng, true, 1_500)
    ref = soxr.resample(true, 1 + ppm * 1e-6, 1.0, quality="VHQ")
    mic, ref = mic[: 16 * RATE], ref[: 16 * RATE]
    aligner = kernels.Aligner(1, 1)
    aligned(aligner, mic[: 8 * RATE], ref[: 8 * RATE])
    assert aligner.drift_ppm == pytest.approx(ppm, rel=0.1)
    aligned(aligner, mic[8 * RATE :], ref[8 * RATE :])
    assert aligner.drift_ppm == pytest.approx(ppm, abs=10)


def test_without_drift_compensation_the_drift_stays(kernels):
    """Planted: the test above would see it."""
    rng = np.random.default_rng(500)
    true = played(rng, 12 * RATE)
    ref = soxr.resample(true, 1 + 500e-6, 1.0, quality="VHQ")[: len(true)]
    aligner = kernels.Aligner(1, 1, drift=False)
    aligned(aligner, echo_of(rng, true, 1_500)[: len(ref)], ref)
    assert aligner.drift_ppm == 0


@settings(max_examples=10)
@given(cuts=st.lists(st.integers(1, 3_000), min_size=1, max_size=8), ppm=st.sampled_from([0, 700]), seed=seeds)
def test_any_chunking_gives_the_same_sound(kernels, cuts, ppm, seed):
    rng = np.random.default_rng(seed)
    true = played(rng, 5 * RATE, 2)
    mic = np.float32(np.repeat(echo_of(rng, true, 700), 2, axis=1))
    ref = np.float32(true if ppm == 0 else soxr.resample(true, 1 + ppm * 1e-6, 1.0)[: len(true)])
    mic, ref = mic[: len(ref)], ref[: len(mic)]
    aligner = kernels.Aligner(2, 2)
    whole = aligner.process(mic, ref)
    told = aligner.echo_samples, aligner.drift_ppm
    aligner.reset()
    assert (aligner.echo_samples, aligner.drift_ppm) == (None, 0)
    at, parts = 0, []
    while at < len(mic):
        size = cuts[len(parts) % len(cuts)]
        parts.append(aligner.process(mic[at : at + size], ref[at : at + size]))
        at += size
    for side in range(2):
        assert np.concatenate([part[side] for part in parts]).tobytes() == whole[side].tobytes()
    assert (aligner.echo_samples, aligner.drift_ppm) == told


POISON = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 1e-38, 8.5, -0.0], np.float32)


@settings(max_examples=10)
@given(share=st.floats(0, 1), seed=seeds)
def test_poisoned_input_is_cleaned_and_never_leaves(kernels, share, seed):
    rng = np.random.default_rng(seed)
    ref = np.float32(played(rng, RATE))
    mic = np.float32(echo_of(rng, ref.astype(float), 500))
    for x in (mic, ref):
        bad = rng.random(x.shape) < share
        x[bad] = rng.choice(POISON, int(bad.sum()))
    for got in kernels.Aligner(1, 1).process(mic, ref):
        assert np.isfinite(got).all()
        assert np.abs(got).max() <= 8


@pytest.mark.parametrize("sound", ["silence", "constant", "square", "denormal"])
def test_extreme_sound_finds_nothing_wrong(kernels, sound):
    n = 3 * RATE
    x = np.float32({"silence": np.zeros(n), "constant": np.ones(n), "denormal": np.full(n, 1e-40),
                    "square": np.where(np.arange(n) // 40 % 2, 1.0, -1.0)}[sound])[:, None]  # fmt: skip
    for got in kernels.Aligner(1, 1).process(x, x):
        assert np.isfinite(got).all()
        assert np.abs(got).max() <= 8


def test_it_finds_the_echo_after_poison(kernels):
    rng = np.random.default_rng(6)
    ref = played(rng, 6 * RATE)
    mic = np.float32(echo_of(rng, ref, 900))
    mic[: 2 * RATE], ref[:RATE] = np.nan, np.inf
    aligner = kernels.Aligner(1, 1)
    aligned(aligner, mic, ref)
    assert aligner.echo_samples == pytest.approx(900, abs=2)


def test_reading_between_samples_is_exact_to_60_db(kernels):
    """A drift of the clocks is removed from tones below 7 kHz; the tones that a faster clock would have taken are known."""
    rng = np.random.default_rng(9)
    true = played(rng, 20 * RATE)
    mic, ppm = echo_of(rng, true, 1_000, near=0), 400
    ref = soxr.resample(true, 1 + ppm * 1e-6, 1.0, quality="VHQ")
    mic, ref = mic[: len(ref)], ref[: len(mic)]
    aligner = kernels.Aligner(1, 1)
    aligned(aligner, mic, ref)
    low = np.zeros((RATE, 1), np.float32)
    _, refs = aligner.process(low, np.float32(0.5 * np.sin(2 * np.pi * 1_000 * np.arange(RATE) / RATE))[:, None])
    tail = refs[RATE // 2 :, 0].astype(float)
    at = np.arange(len(tail))
    hertz = 1_000 * (1 - aligner.drift_ppm * 1e-6)
    basis = np.stack([np.sin(2 * np.pi * hertz * at / RATE), np.cos(2 * np.pi * hertz * at / RATE)], axis=1)
    fitted = basis @ np.linalg.lstsq(basis, tail, rcond=None)[0]
    assert snr_db(tail, fitted) > 60


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"microphones": 0}, ValueError, "microphones: got 0, wanted 1 to 16"),
        ({"references": 5}, ValueError, "references: got 5, wanted 1 to 4"),
        ({"late_samples": 801}, ValueError, "late_samples: got 801, wanted 0 to 800"),
        ({"longest_samples": 9_601}, ValueError, "longest_samples: got 9601, wanted 0 to 9600"),
        ({"drift": 1}, TypeError, "drift: got int, wanted bool"),
    ],
)
def test_the_constructor_names_what_is_wrong(kernels, arguments, error, match):
    with pytest.raises(error, match=match):
        kernels.Aligner(**({"microphones": 1, "references": 1} | arguments))


def test_the_boundary_names_what_is_wrong(kernels):
    aligner = kernels.Aligner(2, 1)
    mic, ref = np.zeros((9, 2), np.float32), np.zeros((9, 1), np.float32)
    for arguments, error, match in (
        ((mic.astype(float), ref), TypeError, "mic: got dtype float64"),
        ((mic, ref[:8]), ValueError, r"ref: got shape \(8, 1\)"),
        ((mic, ref, mic), ValueError, "mic_out: shares memory with an input"),
        ((mic, ref, None, ref), ValueError, "ref_out: shares memory with an input"),
        ((mic, ref, None, np.zeros((9, 1))), TypeError, "ref_out: got dtype float64"),
    ):
        with pytest.raises(error, match=match):
            aligner.process(*arguments)
