"""The adaptive beam: against float64, against closed forms, and what it must do to a talker who begins over noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farfield import load_profile
from farfield.geometry import Array
from reference import mvdr as reference
from reference.beam import HOP, plane_wave, spectra
from reference.levels import at_one_level
from reference.measure import in_chunks, power_db, si_sdr_db, snr_db

LEAST_SNR_DB = 80.0
RATE, DELAY = 16_000, 512
POSITIONS = load_profile("respeaker-6mic").positions_mm
CIRCLE = Array(POSITIONS)
EVERYWHERE = CIRCLE.spread(24)
seeds = st.integers(0, 2**32 - 1)


def steering(azimuths_deg, array=CIRCLE):
    return np.stack([array.steering_vector(azimuth) for azimuth in azimuths_deg]).astype(np.complex64)


def made(kernels, azimuths_deg, array=CIRCLE, **options):
    return kernels.MVDR(steering(azimuths_deg, array), array.diffuse_coherence(), **options)


def scene(seconds, azimuths_deg, begins_s, seed=1, noise=0.003, positions=POSITIONS):
    """White waves of 0.1 from each direction, each from its own time on, and sensor noise; and the waves by themselves."""
    rng = np.random.default_rng(seed)
    frames = int(seconds * RATE)
    waves = []
    for azimuth, begins in zip(azimuths_deg, begins_s, strict=True):
        source = 0.1 * rng.standard_normal(frames) * (np.arange(frames) >= begins * RATE)
        waves.append(plane_wave(source, positions, azimuth))
    sensors = noise * rng.standard_normal((frames, len(positions)))
    return (sum(waves) + sensors).astype(np.float32), waves


@pytest.mark.parametrize("microphones", [2, 3, 6, 16])
@pytest.mark.parametrize(
    ("azimuths", "deferral", "postfilter_db"),
    [([200.0], 0, 0), ([200.0], 16, 25), (list(range(0, 360, 45)), 16, 6)],
)
def test_against_float64(kernels, microphones, azimuths, deferral, postfilter_db):
    """A level that jumps by 60 dB, and silence, within."""
    rng = np.random.default_rng(microphones)
    positions = rng.uniform(-60, 60, (microphones, 3))
    array = Array(positions)
    x, _ = scene(3.6, [70.0, 200.0], [0, 3.2], seed=microphones, positions=positions)
    x[:4_000] *= 0.001
    x[20_000:24_000] = 0
    options = {"deferral_hops": deferral, "postfilter_db": postfilter_db}
    got = made(kernels, azimuths, array, **options)
    beam = got.process(x)
    wanted, look, present = reference.beam(steering(azimuths, array), array.diffuse_coherence(), x, **options)
    assert beam.dtype == np.float32 and beam.shape == wanted.shape == (len(x), 1)
    assert snr_db(beam, wanted) >= LEAST_SNR_DB
    assert snr_db(beam[DELAY:4_000], wanted[DELAY:4_000]) >= LEAST_SNR_DB
    assert (got.look, got.present) == (look, present)


def test_the_bound_sees_a_step_that_is_a_thousandth_off(monkeypatch):
    """Planted."""
    x, _ = scene(1, [70.0], [0])
    one, other = (
        reference.MVDR(steering([200.0]), CIRCLE.diffuse_coherence(), forgetting=f, deferral_hops=0).process(x)
        for f in (0.99, 0.99001)
    )
    assert snr_db(one, other) < LEAST_SNR_DB


@pytest.mark.parametrize("apart", [60.0, 120.0, 180.0])
def test_the_gain_against_a_plane_wave_is_capons(kernels, apart):
    """Interferer a, sensor noise 30 dB below it: R = a a^H + 0.001 I, w = R^-1 d / (d^H R^-1 d), 0.5 to 7.5 kHz."""
    x, _ = scene(12, [30.0], [0], noise=0.1 * 10**-1.5)
    beam = made(kernels, [30.0 + apart], loading=0.001, gated=False, postfilter_db=0).process(x)[8 * RATE :]
    d, a = steering([30.0 + apart])[0].astype(complex), steering([30.0])[0].astype(complex)
    heard = a[:, :, None] * a[:, None].conj() + 0.001 * np.eye(6)
    solved = np.linalg.solve(heard + 0.001 * np.eye(6), d[..., None])[..., 0]
    best = solved / np.sum(d.conj() * solved, axis=1, keepdims=True)
    shrunk = np.sqrt(np.minimum(1, (10**1.2 - 1 / 6) / np.sum(np.abs(best - d / 6) ** 2, axis=1)))[:, None]
    band = slice(16, 241)

    def gain_db(w):
        return 10 * np.log10(1.001 * 225 / np.einsum("km,kmn,kn->", w.conj()[band], heard[band], w[band]).real)

    capon, fixed = gain_db(d / 6 + shrunk * (best - d / 6)), gain_db(d / 6)
    left, came = (np.sum(np.abs(spectra(sound)[2:, band]) ** 2) for sound in (beam, x[8 * RATE :, :1]))
    gain = 10 * np.log10(came / left)
    assert gain == pytest.approx(capon, abs=1.0)
    assert gain > fixed + 6, "else delay and sum would pass too"


def test_the_target_passes_as_it_is(kernels):
    """Noise learnt for 3 s, then the target over it: at its level, and 10 dB cleaner than any microphone."""
    x, (_, target) = scene(5, [70.0, 190.0], [0, 3])
    beam = made(kernels, [190.0], deferral_hops=0).process(x)[DELAY:, 0]
    both = slice(3 * RATE + 2_000, len(beam) - 100)
    centre = plane_wave_at_centre(target, 190.0)[: len(beam)]
    assert si_sdr_db(beam[both], centre[both]) > 12
    assert abs(si_sdr_db(x[:-DELAY, 0][both], target[:-DELAY, 0][both])) < 0.5
    assert (beam[both] @ centre[both]) / (centre[both] @ centre[both]) == pytest.approx(1, abs=0.03)


@at_one_level
@pytest.mark.parametrize("most_db", [6.0, 10.0, 20.0])
def test_the_postfilter_takes_noise_down_so_far_and_no_further(kernels, most_db):
    """What lies across the target's direction, but where it is like it by chance; and whoever comes from there passes."""
    x, _ = scene(6, [70.0], [0])
    plain, filtered = (made(kernels, [190.0], postfilter_db=db).process(x)[3 * RATE :] for db in (0, most_db))
    assert -most_db <= power_db(filtered) - power_db(plain) < -2.5
    x, _ = scene(6, [70.0, 190.0], [0, 3])
    x[3 * RATE :] -= scene(6, [70.0], [0], noise=0)[0][3 * RATE :]
    plain, filtered = (made(kernels, [190.0], postfilter_db=db).process(x)[4 * RATE :] for db in (0, most_db))
    assert power_db(filtered) - power_db(plain) == pytest.approx(0, abs=0.2)


@at_one_level
@pytest.mark.parametrize("microphones", [2, 4, 6])
def test_the_postfilter_leaves_a_voice_among_voices_cleaner(kernels, microphones):
    """Syllables of one and, from all the walls of a room, of another, of which each is at times the louder."""
    rng = np.random.default_rng(microphones)
    frames, positions = 9 * RATE, POSITIONS[:: 6 // microphones][:microphones]
    target = syllables(rng, frames) * (np.arange(frames) >= 4 * RATE)
    wave = plane_wave(target, positions, 190.0)
    other, echoes = syllables(rng, frames), zip(rng.integers(0, 1_600, 30), rng.uniform(0, 360, 30), strict=True)
    x = wave + 2 * sum(plane_wave(np.roll(other, late), positions, azimuth) for late, azimuth in echoes) / 30**0.5
    plain, filtered = (
        made(kernels, [190.0], Array(positions), postfilter_db=db).process(x.astype(np.float32))[4 * RATE + DELAY :, 0]
        for db in (0, 6)
    )
    angle = np.radians(190.0)
    lead_s = (positions[0] - positions.mean(axis=0)) @ [np.cos(angle), np.sin(angle), 0] / 343_000
    centre = np.fft.irfft(np.fft.rfft(wave[:, 0]) * np.exp(-2j * np.pi * np.fft.rfftfreq(frames, 1 / RATE) * lead_s), frames)
    centre = centre[4 * RATE : -DELAY]
    assert si_sdr_db(filtered, centre) > si_sdr_db(plain, centre) + 0.5


@given(seed=seeds, microphones=st.integers(2, 6), db=st.floats(0, 40))
@settings(max_examples=15)
def test_the_postfilter_never_amplifies(seed, microphones, db):
    """Of any sound: between its floor and 1. The kernel is held to it above."""
    array = Array(POSITIONS[:microphones])
    rng = np.random.default_rng(seed)
    slow = reference.MVDR(steering([40.0], array), array.diffuse_coherence(), deferral_hops=0, postfilter_db=db)
    for _ in range(30):
        sound = rng.standard_normal((2, 257, microphones)) * 10 ** rng.uniform(-6, 1)
        slow.hop(sound[0] + 1j * sound[1])
        assert slow.gain.min() >= 10 ** (-db / 20) and slow.gain.max() <= 1


def plane_wave_at_centre(heard, azimuth):
    """The wave at the array's centre, from what the first microphone heard of it."""
    angle = np.radians(azimuth)
    lead_s = (POSITIONS[0] - POSITIONS.mean(axis=0)) @ [np.cos(angle), np.sin(angle), 0] / 343_000
    hertz = np.fft.rfftfreq(len(heard), 1 / RATE)
    return np.fft.irfft(np.fft.rfft(heard[:, 0]) * np.exp(-2j * np.pi * hertz * lead_s), len(heard))


def test_without_the_gate_it_does_worse_than_a_fixed_beam(kernels):
    """Both from the start, looked at from 5 degrees off: planted, a gate that never shuts."""
    x, (_, target) = scene(4, [70.0, 195.0], [0, 0])
    centre = plane_wave_at_centre(target, 195.0)[2 * RATE : -DELAY]

    def left_db(beam):
        return si_sdr_db(beam[2 * RATE + DELAY :, 0], centre)

    fixed = left_db(kernels.Beamformer(CIRCLE.superdirective([190.0])).process(x))
    assert left_db(made(kernels, [190.0], deferral_hops=0).process(x)) > fixed + 0.5
    assert left_db(made(kernels, [190.0], deferral_hops=0, gated=False).process(x)) < fixed - 1


@at_one_level
@pytest.mark.parametrize("azimuth", [3.0, 98.0, 193.0, 288.0])
def test_a_newcomer_is_found_and_heard(kernels, azimuth):
    """Nobody is told anything: 10 s of noise, of which it is sure after 8, then somebody, off the grid."""
    x, (_, target) = scene(11.5, [azimuth + 100.0, azimuth], [0, 10])
    mvdr = made(kernels, EVERYWHERE)
    mvdr.process(x[: 10 * RATE])
    assert not mvdr.present
    mvdr.process(x[10 * RATE : 10 * RATE + 4_800])
    assert mvdr.present, "0.3 s after he began"
    beam = mvdr.process(x[10 * RATE + 4_800 :])[DELAY:, 0]
    assert abs((EVERYWHERE[mvdr.look] - azimuth + 180) % 360 - 180) <= 15
    assert si_sdr_db(beam, plane_wave_at_centre(target, azimuth)[10 * RATE + 4_800 : -DELAY]) > 8


def syllables(rng, frames):
    """White noise four times a second, each as loud as it happens to be within 20 dB."""
    level = 10 ** (rng.uniform(-20, 0, frames // 4_000 + 1) / 20)
    swell = np.abs(np.sin(np.pi * np.arange(frames) / 4_000))
    return 0.1 * rng.standard_normal(frames) * np.repeat(level, 4_000)[:frames] * swell


@at_one_level
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_known_voice_is_nobody_new_however_loud_it_gets(kernels, seed):
    """In its loudest syllables it fits its own direction alone, and is far above its mean; another voice is new at once."""
    rng = np.random.default_rng(seed)
    frames, begins = 13 * RATE, 12 * RATE
    known, other = rng.uniform(0, 360), rng.uniform(60, 300)
    late = syllables(rng, frames) * (np.arange(frames) >= begins)
    waves = plane_wave(syllables(rng, frames), POSITIONS, known) + plane_wave(late, POSITIONS, known + other)
    x = (waves + 0.001 * rng.standard_normal((frames, len(POSITIONS)))).astype(np.float32)
    mvdr = made(kernels, EVERYWHERE)
    mvdr.process(x[: 8 * RATE])
    before = []
    for at in range(8 * RATE, begins, 1_600):
        mvdr.process(x[at : at + 1_600])
        before.append(mvdr.present)
    assert np.mean(before) <= 0.1
    mvdr.process(x[begins : begins + 8_000])
    assert mvdr.present
    assert abs((EVERYWHERE[mvdr.look] - known - other + 180) % 360 - 180) <= 15


def test_what_is_learnt_serves_soon(kernels):
    """A second after the noise began the beam cancels some of it, although a filter is deferred by a second later on."""
    x, _ = scene(1.2, [70.0], [0])
    fixed = kernels.Beamformer(CIRCLE.superdirective([190.0])).process(x)
    last = slice(RATE, None)
    assert power_db(made(kernels, [190.0]).process(x)[last]) < power_db(fixed[last]) - 3


@at_one_level
def test_who_stays_is_noise_in_the_end(kernels):
    x, (_, _) = scene(15, [70.0, 190.0], [0, 4])
    mvdr = made(kernels, EVERYWHERE)
    mvdr.process(x[: 6 * RATE])
    assert mvdr.present
    mvdr.process(x[6 * RATE :])
    assert not mvdr.present


@given(positions=st.lists(st.tuples(*[st.integers(-100, 100)] * 3), min_size=2, max_size=6, unique=True), seed=seeds)
@settings(max_examples=15)
def test_the_white_noise_gain_keeps_its_floor_and_the_target_its_level(positions, seed):
    """Of any geometry and any noise: -12 dB, and w^H d = 1. The kernel is held to these weights above."""
    array = Array(np.array(positions, float))
    rng = np.random.default_rng(seed)
    slow = reference.MVDR(steering([40.0], array), array.diffuse_coherence(), deferral_hops=0, loading=0.001)
    shape = (len(positions), len(positions))
    mixed = rng.standard_normal((257, *shape)) + 1j * rng.standard_normal((257, *shape))
    for _ in range(40):
        slow.hop(np.einsum("kmn,kn->km", mixed, rng.standard_normal((257, len(positions)))))
        assert np.sum(np.abs(slow.w) ** 2, axis=1).max() <= 10**1.2 * 1.0001
        assert np.abs(np.sum(slow.w.conj() * slow.d[0], axis=1) - 1).max() < 1e-6


@settings(max_examples=10)
@given(cuts=st.lists(st.integers(0, 6_000), max_size=12), several=st.booleans(), seed=seeds)
def test_any_chunking_gives_the_same_sound(kernels, cuts, several, seed):
    x, _ = scene(0.375, [70.0], [0], seed=seed)
    mvdr = made(kernels, EVERYWHERE if several else [190.0], deferral_hops=4)
    whole = mvdr.process(x)
    mvdr.reset()
    assert in_chunks(mvdr.process, cuts, x).tobytes() == whole.tobytes()


@pytest.mark.parametrize("azimuths", [[190.0], EVERYWHERE])
def test_reset_is_the_state_after_construction(kernels, azimuths):
    x, _ = scene(3.5, [70.0, 190.0], [0, 3.2])
    used = made(kernels, azimuths, deferral_hops=4)
    used.process(x * 5)
    used.reset()
    assert (used.look, used.present) == (0, len(azimuths) == 1)
    assert used.process(x).tobytes() == made(kernels, azimuths, deferral_hops=4).process(x).tobytes()


POISON = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 8.5, 1e-45, -1e-45, 1e-38, -0.0], np.float32)


def cleaned(x):
    return np.clip(np.where(np.isfinite(x), x, np.float32(0)), -8, 8)


@settings(max_examples=15)
@given(
    share=st.sampled_from([0.0, 0.001, 0.1, 1.0]),
    levels=st.lists(st.floats(-45, 38), min_size=1, max_size=6),
    several=st.booleans(),
    loading=st.sampled_from([0.001, 0.02, 1.0]),
    alike=st.booleans(),
    seed=seeds,
)
def test_nothing_but_numbers_leaves(kernels, share, levels, several, loading, alike, seed):
    """Levels that jump by any number of decades, poison, channels that are all the same."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((len(levels) * 3_000, 6)) * np.repeat(10.0 ** np.array(levels), 3_000)[:, None]
    x = np.float32(np.clip(x[:, :1] if alike else x, -3e38, 3e38) * np.ones((1, 6)))
    bad = rng.random(x.shape) < share
    x[bad] = rng.choice(POISON, int(bad.sum()))
    mvdr = made(kernels, EVERYWHERE if several else [190.0], loading=loading, deferral_hops=4)
    got = mvdr.process(x)
    assert np.isfinite(got).all()
    assert np.abs(got).max(initial=0) <= 8 * 4 * 6 * 4, "12 dB of noise gain, and no more"
    mvdr.reset()
    assert got.tobytes() == mvdr.process(cleaned(x)).tobytes()


def test_silence_and_direct_current(kernels):
    for value in (0.0, 1.0, 1e-40, -8.0):
        got = made(kernels, EVERYWHERE).process(np.full((3 * RATE, 6), value, np.float32))
        assert np.isfinite(got).all()
        assert np.abs(got).max() <= abs(value) * 24


@pytest.mark.parametrize("spread", ["alike", "apart"])
def test_a_stream_that_begins_in_digital_silence_begins_with_its_first_sound(kernels, spread):
    """Noise of the microphones, or from one place, after 5 s of nothing is nobody, and is learnt as from a stream's beginning."""
    noise = 0.01 * np.random.default_rng(5).standard_normal((8 * RATE, 6)).astype(np.float32)
    x = noise if spread == "apart" else np.repeat(noise[:, :1], 6, axis=1)
    late, soon = made(kernels, EVERYWHERE), made(kernels, EVERYWHERE)
    silence = np.zeros((5 * RATE // HOP * HOP, 6), np.float32)
    assert not late.process(silence).any()
    for start in range(0, len(x), 1_600):
        assert late.process(x[start : start + 1_600]).tobytes() == soon.process(x[start : start + 1_600]).tobytes()
        assert not late.present


def test_it_works_on_after_minutes_of_noise(kernels):
    """Single precision does not wear out: seven minutes of noise leave the beam as it is after ten seconds, to 0.5 dB."""
    x, _ = scene(10, [70.0], [0])
    mvdr = made(kernels, [190.0], deferral_hops=0, postfilter_db=0)
    first = power_db(mvdr.process(x)[5 * RATE :])
    for _ in range(40):
        last = mvdr.process(x)
    assert power_db(last[5 * RATE :]) == pytest.approx(first, abs=0.5)


def test_int16_and_out(kernels):
    rng = np.random.default_rng(19)
    heard = rng.integers(-32_768, 32_768, (9_000, 6), dtype=np.int16)
    out = np.ones((9_000, 1), np.float32)
    mvdr = made(kernels, [190.0], deferral_hops=0)
    assert (mvdr.hop, mvdr.delay_samples, mvdr.microphones, mvdr.directions) == (256, DELAY, 6, 1)
    assert mvdr.process(heard, out=out) is out
    assert np.abs(out).max() > 0
    assert out.tobytes() == made(kernels, [190.0], deferral_hops=0).process(heard / np.float32(32_768)).tobytes()
    x = np.zeros((9, 6), np.float32)
    with pytest.raises(ValueError, match="out: shares memory with an input"):
        mvdr.process(x, out=x.reshape(-1)[:9].reshape(9, 1))


GOOD = steering([0.0, 90.0])
FIELD = CIRCLE.diffuse_coherence()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        (([1.0], FIELD), {}, TypeError, "steering: got list"),
        ((GOOD.astype(np.complex128), FIELD), {}, TypeError, "steering: got dtype complex128, wanted complex64"),
        ((GOOD[:, :100].copy(), FIELD), {}, ValueError, r"steering: got shape \(2, 100, 6\), wanted \(any, 257, any\)"),
        ((GOOD[:0], FIELD), {}, ValueError, "directions in steering: got 0, wanted 1 to 72"),
        ((GOOD[:, :, :1].copy(), FIELD), {}, ValueError, "microphones in steering: got 1, wanted 2 to 16"),
        ((0 * GOOD, FIELD), {}, ValueError, "steering: got values that are no plane wave's"),
        ((np.nan * GOOD, FIELD), {}, ValueError, "steering: got values that are no plane wave's"),
        ((GOOD, FIELD.astype(np.float32)), {}, TypeError, "coherence: got dtype float32"),
        ((GOOD, FIELD[:, :5, :5].copy()), {}, ValueError, r"coherence: got shape \(257, 5, 5\)"),
        ((GOOD, -FIELD), {}, ValueError, "coherence: got no covariance"),
        ((GOOD, np.nan * FIELD), {}, ValueError, "coherence: got no covariance"),
        ((GOOD, FIELD), {"forgetting": 1.0}, ValueError, r"forgetting: got 1.0, wanted 0.5 to 0.9999"),
        ((GOOD, FIELD), {"loading": 0.0}, ValueError, r"loading: got 0.0, wanted 0.001 to 1"),
        ((GOOD, FIELD), {"deferral_hops": 63}, ValueError, "deferral_hops: got 63, wanted a multiple of 4"),
        ((GOOD, FIELD), {"deferral_hops": 260}, ValueError, "deferral_hops: got 260, wanted 0 to 256"),
        ((GOOD, FIELD), {"deferral_hops": 4.0}, TypeError, "deferral_hops: got float"),
        ((GOOD, FIELD), {"postfilter_db": -1.0}, ValueError, r"postfilter_db: got -1.0, wanted 0 to 40"),
    ],
)
def test_the_constructor_names_what_is_wrong(kernels, arguments, options, error, match):
    with pytest.raises(error, match=match):
        kernels.MVDR(*arguments, **options)


@pytest.mark.parametrize(
    ("x", "out", "error", "match"),
    [
        ([[0.0] * 6], None, TypeError, "x: got list"),
        (np.zeros((9, 6)), None, TypeError, "x: got dtype float64, wanted float32"),
        (np.zeros((9, 5), np.float32), None, ValueError, r"x: got shape \(9, 5\), wanted \(any, 6\)"),
        (np.zeros((9, 6), np.float32), np.zeros((9, 2), np.float32), ValueError, r"out: got shape \(9, 2\), wanted \(9, 1\)"),
    ],
)
def test_the_boundary_names_what_is_wrong_and_changes_nothing(kernels, x, out, error, match):
    stream, _ = scene(0.25, [70.0], [0])
    mvdr = made(kernels, [190.0], deferral_hops=4)
    head = mvdr.process(stream[:700])
    with pytest.raises(error, match=match):
        mvdr.process(x, out=out)
    joined = np.concatenate([head, mvdr.process(stream[700:])])
    assert joined.tobytes() == made(kernels, [190.0], deferral_hops=4).process(stream).tobytes()
