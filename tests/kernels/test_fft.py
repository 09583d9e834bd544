"""The real FFT against float64: accuracy over sizes, levels and kinds of signal; closed forms; the boundary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.measure import snr_db

SIZES = (64, 128, 256, 512, 1024, 2048)
LEAST_SNR_DB = 120.0
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)

sizes = st.sampled_from(SIZES)
batches = st.integers(1, 5)
amplitudes = st.floats(-30, 33).map(lambda exponent: 10.0**exponent)
seeds = st.integers(0, 2**32 - 1)


def noise(rng, shape):
    return rng.standard_normal(shape)


def impulses(rng, shape):
    return rng.standard_normal(shape) * (rng.random(shape) < 0.02) + np.eye(*shape, int(rng.integers(shape[1] - 8)))


def constant(rng, shape):
    return np.ones(shape)


def alternating(rng, shape):
    return np.ones(shape) * (-1.0) ** np.arange(shape[1])


def tones(rng, shape):
    """One each, anywhere between two bins or on one."""
    k = rng.choice([rng.uniform(0, shape[1] / 2), float(rng.integers(shape[1] // 2))], (shape[0], 1))
    return np.cos(2 * np.pi * k * np.arange(shape[1]) / shape[1] + rng.uniform(0, 7, (shape[0], 1)))


def squares(rng, shape):
    return np.sign(tones(rng, shape) + 1e-9)


def tilted(rng, shape):
    """Levels that span 80 dB within one signal."""
    return rng.standard_normal(shape) * 10.0 ** np.linspace(0, -4, shape[1])


kinds = st.sampled_from([noise, impulses, constant, alternating, tones, squares, tilted])


def test_the_measure_sees_an_error_at_120_db():
    """Else every bound below could pass on a wrong transform."""
    x = np.random.default_rng(1).standard_normal(1000)
    assert 119 < snr_db(x * (1 + 1e-6), x) < 121
    assert snr_db(np.roll(x, 1), x) < 0


@given(size=sizes, batch=batches, amplitude=amplitudes, kind=kinds, seed=seeds)
def test_forward_against_float64(kernels, size, batch, amplitude, kind, seed):
    x = np.float32(amplitude * kind(np.random.default_rng(seed), (batch, size)))
    got = kernels.RealFFT(size, batch).forward(x)
    wanted = np.fft.rfft(x.astype(np.float64))
    assert got.dtype == np.complex64
    assert got.shape == wanted.shape
    for row in range(batch):
        assert snr_db(got[row] / amplitude, wanted[row] / amplitude) >= LEAST_SNR_DB


@given(size=sizes, batch=batches, amplitude=amplitudes, kind=kinds, seed=seeds)
def test_inverse_against_float64(kernels, size, batch, amplitude, kind, seed):
    rng = np.random.default_rng(seed)
    spectra = amplitude * (kind(rng, (batch, size // 2 + 1)) + 1j * kind(rng, (batch, size // 2 + 1)))
    spectra = spectra.astype(np.complex64)
    got = kernels.RealFFT(size, batch).inverse(spectra)
    wanted = np.fft.irfft(spectra.astype(np.complex128), size)
    assert got.dtype == np.float32
    for row in range(batch):
        assert snr_db(got[row] / amplitude, wanted[row] / amplitude) >= LEAST_SNR_DB


@given(size=sizes, batch=batches, amplitude=amplitudes, kind=kinds, seed=seeds)
def test_inverse_undoes_forward(kernels, size, batch, amplitude, kind, seed):
    x = np.float32(amplitude * kind(np.random.default_rng(seed), (batch, size)))
    fft = kernels.RealFFT(size, batch)
    assert snr_db(fft.inverse(fft.forward(x)) / amplitude, x / amplitude) >= LEAST_SNR_DB


@given(size=sizes, amplitude=amplitudes, kind=kinds, seed=seeds)
def test_energy_is_kept(kernels, size, amplitude, kind, seed):
    """Parseval: bins 1 to N/2 - 1 count twice."""
    x = np.float32(amplitude * kind(np.random.default_rng(seed), (1, size)))
    power = np.abs(kernels.RealFFT(size).forward(x).astype(np.complex128)[0] / amplitude) ** 2
    wanted = np.sum((x.astype(np.float64) / amplitude) ** 2)
    assert abs((2 * power.sum() - power[0] - power[-1]) / size / wanted - 1) < 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_every_impulse_is_a_turning_phase(kernels, size):
    """Closed form, and one row for each place: no sample is lost or swapped."""
    got = kernels.RealFFT(size, size).forward(np.eye(size, dtype=np.float32))
    wanted = np.exp(-2j * np.pi * np.outer(np.arange(size), np.arange(size // 2 + 1)) / size)
    assert np.abs(got - wanted).max() < 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_every_bin_is_a_cosine_and_a_sine(kernels, size):
    half = size // 2
    spectra = np.zeros((2 * half + 2, half + 1), np.complex64)
    spectra[np.arange(half + 1), np.arange(half + 1)] = half
    spectra[half + 1 + np.arange(half + 1), np.arange(half + 1)] = 1j * half
    got = kernels.RealFFT(size, len(spectra)).inverse(spectra)
    phase = 2 * np.pi * np.outer(np.arange(half + 1), np.arange(size)) / size
    wanted = np.concatenate([np.cos(phase), -np.sin(phase)])
    wanted[[0, half]] /= 2  # they stand for themselves alone
    wanted[[half + 1, -1]] = 0  # the imaginary parts of the first and the last bin count as 0
    assert np.abs(got - wanted).max() < 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_constant_and_alternating_signals_fill_one_bin(kernels, size):
    x = np.ones((2, size), np.float32)
    x[1, 1::2] = -1
    got = kernels.RealFFT(size, 2).forward(x)
    assert got[0, 0] == size
    assert got[1, -1] == size
    assert np.abs(got[0, 1:]).max() == 0
    assert np.abs(got[1, :-1]).max() == 0


@given(size=sizes, seed=seeds)
def test_denormals_are_kept_within_their_steps(kernels, size, seed):
    """Ten thousand steps of the smallest float: relative accuracy is lost there, not the sound."""
    x = np.float32(np.random.default_rng(seed).uniform(-1e4, 1e4, (1, size)) * SMALLEST)
    got = kernels.RealFFT(size).forward(x)
    wanted = np.fft.rfft(x.astype(np.float64))
    assert np.abs(got - wanted).max() <= 8 * size * SMALLEST
    assert np.abs(got).max() > 0


@given(size=sizes, batch=batches, seed=seeds)
def test_each_signal_of_a_batch_is_transformed_by_itself(kernels, size, batch, seed):
    """Bit for bit, and what is not finite stays in its own row."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, size)).astype(np.float32)
    bad = int(rng.integers(batch))
    x[bad, rng.integers(size)] = rng.choice([np.nan, np.inf, -np.inf])
    together, alone = kernels.RealFFT(size, batch), kernels.RealFFT(size)
    spectra = together.forward(x)
    back = together.inverse(spectra)
    for row in set(range(batch)) - {bad}:
        assert spectra[row].tobytes() == alone.forward(x[row : row + 1]).tobytes()
        assert back[row].tobytes() == alone.inverse(spectra[row : row + 1]).tobytes()


def test_out_is_written_and_returned(kernels):
    x = np.random.default_rng(2).standard_normal((3, 128)).astype(np.float32)
    fft = kernels.RealFFT(128, batch=3)
    assert (fft.size, fft.batch) == (128, 3)
    spectra, signals = np.zeros((3, 65), np.complex64), np.zeros((3, 128), np.float32)
    assert fft.forward(x, out=spectra) is spectra
    assert spectra.tobytes() == fft.forward(x).tobytes()
    before = spectra.copy()
    assert fft.inverse(spectra, out=signals) is signals
    assert signals.tobytes() == fft.inverse(spectra).tobytes()
    assert spectra.tobytes() == before.tobytes(), "the input was written"


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((100,), ValueError, "size: got 100, wanted a power of two"),
        ((32,), ValueError, "size: got 32, wanted 64 to 2048"),
        ((4096,), ValueError, "size: got 4096, wanted 64 to 2048"),
        ((64.0,), TypeError, "size: got float 64.0"),
        ((True,), TypeError, "size: got bool"),
        ((64, 0), ValueError, "batch: got 0"),
        ((64, "2"), TypeError, "batch: got str"),
    ],
)
def test_the_constructor_names_what_is_wrong(kernels, arguments, error, match):
    with pytest.raises(error, match=match):
        kernels.RealFFT(*arguments)


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("x", "out", "error", "match"),
    [
        ([[0.0] * 64], None, TypeError, "x: got list, wanted a numpy array of float32"),
        (np.zeros((2, 64)), None, TypeError, "x: got dtype float64, wanted float32"),
        (np.zeros((2, 64), ">f4"), None, TypeError, "x: got dtype >f4"),
        (np.zeros((1, 64), np.float32), None, ValueError, r"x: got shape \(1, 64\), wanted \(2, 64\)"),
        (np.zeros(128, np.float32), None, ValueError, r"x: got shape \(128,\)"),
        (np.zeros((2, 128), np.float32)[:, ::2], None, ValueError, "x: got a strided view"),
        (np.zeros((2, 64), np.float32, order="F"), None, ValueError, "x: got a strided view"),
        (np.zeros((2, 64), np.float32), np.zeros((2, 33)), TypeError, "out: got dtype float64, wanted complex64"),
        (np.zeros((2, 64), np.float32), np.zeros((2, 32), np.complex64), ValueError, r"out: got shape \(2, 32\)"),
        (np.zeros((2, 64), np.float32), read_only(np.zeros((2, 33), np.complex64)), ValueError, "out: got a read-only"),
        (np.zeros((2, 64), np.float32), np.zeros((2, 66), np.complex64)[:, ::2], ValueError, "out: got a strided"),
    ],
)
def test_forward_names_what_is_wrong(kernels, x, out, error, match):
    with pytest.raises(error, match=match):
        kernels.RealFFT(64, 2).forward(x, out=out)


@pytest.mark.parametrize(
    ("spectra", "out", "error", "match"),
    [
        (np.zeros((2, 33)), None, TypeError, "spectra: got dtype float64, wanted complex64"),
        (np.zeros((2, 64), np.complex64), None, ValueError, r"spectra: got shape \(2, 64\), wanted \(2, 33\)"),
        (np.zeros((2, 33), np.complex64), np.zeros((2, 64)), TypeError, "out: got dtype float64, wanted float32"),
        (np.zeros((2, 33), np.complex64), read_only(np.zeros((2, 64), np.float32)), ValueError, "out: got a read-only"),
    ],
)
def test_inverse_names_what_is_wrong(kernels, spectra, out, error, match):
    with pytest.raises(error, match=match):
        kernels.RealFFT(64, 2).inverse(spectra, out=out)


def test_out_must_not_be_the_input(kernels):
    memory = np.zeros(2 * 2 * 66, np.float32)
    x, spectra = memory[:128].reshape(2, 64), memory[:132].view(np.complex64).reshape(2, 33)
    fft = kernels.RealFFT(64, 2)
    with pytest.raises(ValueError, match="out: shares memory with an input"):
        fft.forward(x, out=spectra)
    with pytest.raises(ValueError, match="out: shares memory with an input"):
        fft.inverse(spectra, out=x)
    fft.forward(x, out=memory[132:].view(np.complex64).reshape(2, 33))  # beside it is allowed


def test_a_read_only_input_is_read(kernels):
    x = read_only(np.ones((1, 64), np.float32))
    assert kernels.RealFFT(64).forward(x)[0, 0] == 64
