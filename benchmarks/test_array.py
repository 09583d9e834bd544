"""The array's kernels against the clock and against pyroomacoustics' own methods, and how their cost grows with microphones."""

import numpy as np
import pytest
from ratio import RATE, against_real_time, cpu_seconds, figures, ratios, report, sound

from farfield import kernels, load_profile
from farfield.geometry import Array

SECONDS = 10
CLOCK_BAR, PEER_BAR = 100, 5  # a real-time factor of 0.01; times less than the peer
POSITIONS = load_profile("respeaker-6mic").positions_mm


def ours(positions_mm):
    """Six superdirective beams, direction, and one adaptive beam that finds its own; a call for blocks of 512."""
    array = Array(positions_mm)
    beams = kernels.Beamformer(array.superdirective(array.spread(6)))
    finder = kernels.DirectionFinder(array.positions_m * 1000)
    steering = np.stack([array.steering_vector(azimuth) for azimuth in array.spread(24)]).astype(np.complex64)
    adaptive = kernels.MVDR(steering, array.diffuse_coherence())
    heard = sound(SECONDS, len(positions_mm))
    blocks = [np.ascontiguousarray(heard[at : at + 512]) for at in range(0, len(heard), 512)]

    def work():
        for block in blocks:
            beams.process(block)
            finder.process(block)
            adaptive.process(block)

    return work


def circle(microphones):
    turn = 2 * np.pi * np.arange(microphones) / microphones
    return np.stack([46.0 * np.cos(turn), 46.0 * np.sin(turn), 0 * turn], axis=1)


def test_array_against_the_clock(benchmark):
    work = ours(POSITIONS)
    measured = against_real_time(work, SECONDS)
    report(benchmark, "6 beams, direction, adaptive beam, 6 microphones", "the clock", measured, SECONDS, CLOCK_BAR)
    benchmark.extra_info["note"] = f"real-time factor {figures(1 / measured.median)}"
    benchmark.pedantic(work, rounds=1)
    assert measured.median >= CLOCK_BAR


def test_array_against_pyroomacoustics(benchmark):
    """Its SRP-PHAT at our grid and rate, its MVDR (`max_sinr`) weights once a second, and seven beams by its own filters."""
    room = pytest.importorskip("pyroomacoustics", reason="needs pyroomacoustics: pip install pyroomacoustics")
    positions_m = (POSITIONS - POSITIONS.mean(axis=0)).T / 1000
    heard = sound(SECONDS, 6).astype(np.float64)
    grid = np.radians(np.arange(0, 360, 5.0))
    finder = room.doa.SRP(positions_m, RATE, 512, c=343.0, num_src=1, azimuth=grid)
    sides = [room.soundsource.SoundSource([2 * np.cos(a), 2 * np.sin(a), 0.0]) for a in np.radians([0, 60, 120, 180, 240, 300])]
    beams = room.Beamformer(positions_m, RATE, N=512, Lg=512)
    beams.signals = heard.T
    window = room.hann(512)

    def theirs():
        spectra = room.transform.stft.analysis(heard, 512, 256, win=window).transpose(2, 1, 0)
        for at in range(0, spectra.shape[2] - 3, 4):
            finder.locate_sources(spectra[:, :, at : at + 4], freq_range=[300.0, 6800.0])
        for side in sides:
            beams.rake_delay_and_sum_weights(side, attn=False)
            beams.filters_from_weights()
            beams.process()
        for _ in range(SECONDS):
            beams.rake_max_sinr_weights(sides[0], sides[2], R_n=1e-3 * np.eye(6), attn=False)
        beams.filters_from_weights()
        beams.process()

    measured = ratios(ours(POSITIONS), theirs, rounds=3)
    report(benchmark, "the same in pyroomacoustics", "pyroomacoustics", measured, SECONDS, PEER_BAR)
    benchmark.pedantic(lambda: None, rounds=1)
    assert measured.median >= PEER_BAR


def test_growth_with_microphones(benchmark):
    """4, 8 and 16: sixteen times the cost for four times the microphones, or less."""
    works = {microphones: ours(circle(microphones)) for microphones in (4, 8, 16)}
    spent = {}
    for microphones, work in works.items():
        work()
        spent[microphones] = min(cpu_seconds(work) for _ in range(5))
    told = ", ".join(f"{microphones}: {figures(1000 * least / SECONDS)}" for microphones, least in spent.items())
    benchmark.extra_info["count"] = f"array by microphones, ms a second of sound: {told}"
    benchmark.pedantic(lambda: None, rounds=1)
    assert spent[16] <= 16 * spent[4]


def test_dereverberation_against_nara_wpe(benchmark):
    """6 microphones of 5 taps, int16, blocks of 512; the peer's online recursion at our frames, its transforms included."""
    nara = pytest.importorskip("nara_wpe.wpe", reason="needs nara_wpe: pip install nara_wpe")
    seconds, taps = 2, 5
    heard = sound(seconds, 6)
    blocks = [np.ascontiguousarray(heard[at : at + 512]) for at in range(0, len(heard), 512)]
    wpe, theirs = kernels.WPE(6, taps=taps), nara.OnlineWPE(taps, 0, 0.998, channel=6)
    window = np.sin(np.pi * (np.arange(512) + 0.5) / 512)[:, None]

    def ours():
        for block in blocks:
            wpe.process(block)

    def peer():
        for at in range(0, len(heard) - 511, 256):
            spectrum = np.fft.rfft(window * heard[at : at + 512] / 32_768, axis=0)
            np.fft.irfft(theirs.step_frame(spectrum), axis=0)

    measured = ratios(ours, peer, rounds=3)
    report(benchmark, "dereverberation, 6 microphones of 5 taps", "nara_wpe (online)", measured, seconds, PEER_BAR)
    benchmark.pedantic(lambda: None, rounds=1)
    assert measured.median >= PEER_BAR
