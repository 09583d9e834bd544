"""Several signals that are scored at once: the front end's candidates, the quietest microphone, and which of them decided."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farfield import kernels, load_model, load_profile
from farfield.block import Block, Frame
from farfield.detector import Detector
from farfield.frontend import Frontend, taps
from farfield.hil.room import demo_room, load_room
from farfield.quietest import Quietest
from farfield.source import FileSource
from reference import fields
from reference.beam import plane_wave
from reference.measure import in_chunks

RATE = 16_000
PROFILE = load_profile("respeaker-6mic")
FULL = replace(PROFILE, adaptive=True, best_microphone=True)
DRY = replace(PROFILE, adaptive=True, dry_beam=True, best_microphone=True)


def noise(frames, channels, seed=1, level=2_000):
    return np.random.default_rng(seed).normal(0, level, (frames, channels)).astype(np.int16)


def beams(frontend, samples, size=512):
    return np.concatenate([frontend.process(Block(samples[at : at + size], at)).beams for at in range(0, len(samples), size)])


def test_without_the_switches_nothing_changes():
    samples = noise(2 * RATE, 6)
    plain, full = Frontend(PROFILE, 0), Frontend(FULL, 0)
    assert plain.candidates == ("beam 0", "beam 60", "beam 120", "beam 180", "beam 240", "beam 300")
    assert full.candidates == (*plain.candidates, "adaptive", "microphone")
    assert (plain.signals, full.signals, full.delay_samples) == (6, 8, plain.delay_samples)
    got = beams(full, samples)
    assert got[:, :6].tobytes() == beams(plain, samples).tobytes()
    assert Frontend(load_profile("single")).candidates == ("microphone 0",)
    assert Frontend(FULL, 0, azimuths_deg=(90.0,)).signals == 1, "who is told where to look asks for one beam"


def test_each_candidate_is_what_its_kernel_gives_aligned_in_time():
    samples = noise(2 * RATE, 6)
    frontend = Frontend(FULL, 0)
    got = beams(frontend, samples)
    steering = np.stack([frontend.array.steering_vector(15.0 * n) for n in range(24)]).astype(np.complex64)
    adaptive = kernels.MVDR(steering, frontend.array.diffuse_coherence()).process(samples)[512:, 0]
    assert np.abs(got[:, 6] - np.rint(adaptive * 32_768)).max() <= 1
    assert any(np.array_equal(got[: RATE // 10, 7], samples[: RATE // 10, m]) for m in range(6))


def test_the_dry_beam_is_an_adaptive_one_of_dereverberated_microphones():
    """One more, and the others stay as they are; with no delay of its own."""
    samples = noise(3 * RATE, 6)
    frontend = Frontend(DRY, 0)
    assert frontend.candidates == (*Frontend(PROFILE, 0).candidates, "adaptive", "dry", "microphone")
    assert frontend.delay_samples == Frontend(PROFILE, 0).delay_samples
    got = beams(frontend, samples)
    steering = np.stack([frontend.array.steering_vector(15.0 * n) for n in range(24)]).astype(np.complex64)
    dried = kernels.WPE(6, taps=taps(6)).process(samples)
    wanted = kernels.MVDR(steering, frontend.array.diffuse_coherence()).process(dried)[512:, 0]
    assert np.abs(got[:, 7] - np.rint(wanted * 32_768)).max() <= 1
    assert np.delete(got, 7, axis=1).tobytes() == beams(Frontend(FULL, 0), samples).tobytes()
    assert Frontend(DRY, 0, azimuths_deg=(90.0,)).signals == 1
    frontend.reset()
    assert beams(frontend, samples, 700).tobytes() == got.tobytes()


def test_a_gap_and_reset_start_the_candidates_anew():
    samples = noise(RATE, 6)
    frontend = Frontend(FULL, 0)
    first = beams(frontend, samples)
    frontend.process(Block(samples, 10 * RATE))
    frontend.reset()
    assert beams(frontend, samples).tobytes() == first.tobytes()


@pytest.mark.parametrize("kind", [np.int16, np.float32])
@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 9_000), max_size=9), seed=st.integers(0, 99))
def test_the_quietest_microphone_for_any_cutting(kind, cuts, seed):
    heard = noise(9_000, 3, seed)
    heard[4_000:, 0] //= 8
    heard = heard if kind == np.int16 else heard / np.float32(32_768)
    whole = Quietest(3, 512).process(heard)
    assert in_chunks(Quietest(3, 512).process, cuts, heard).tobytes() == whole.tobytes()


def test_a_noisy_a_dead_and_a_louder_microphone_are_not_the_best():
    """0 is dead, 1 has noise of its own, 2 hears 6 dB more of everything: 3 is left. Planted: while all live, 0 is."""
    heard = np.tile(noise(3 * RATE, 1), (1, 4)).astype(np.int16)
    same = Quietest(4, 0)
    same.process(heard)
    assert same.chosen == 0
    heard[:, 0] = 0
    heard[:, 1] += noise(3 * RATE, 1, 2)[:, 0] * 2
    heard[:, 2] *= 2
    quietest = Quietest(4, 0)
    made = quietest.process(heard)
    assert quietest.chosen == 3
    assert np.array_equal(np.rint(made[RATE:, 0] * 32_768), heard[RATE:, 3])


def test_the_event_says_which_candidate_decided():
    """The recorded room that ships, one of its beams as column 2 of four; None where there is one."""
    room = load_room(demo_room())
    profile = load_profile(room.profile) if isinstance(room.profile, str) else room.profile
    source = FileSource(str(demo_room() / "mics.flac"), profile, str(demo_room() / "ref.flac"))
    frontend = Frontend(profile, source.references)
    heard = np.concatenate([frontend.process(block).beams for block in source.blocks()])
    model = load_model("alexa")

    def decided(columns):
        return [event.candidate for event in Detector(model, columns.shape[1]).process(Frame(columns, 0, 0, 0, len(columns)))]

    beam = next(beam for beam in heard.T if decided(np.ascontiguousarray(beam[:, None])))
    alone = decided(np.ascontiguousarray(beam[:, None]))
    silence = np.zeros_like(beam)
    assert alone == [None] * len(alone)
    assert decided(np.stack([silence, silence, beam, silence], axis=1)) == [2] * len(alone)


@pytest.mark.parametrize("gain_db", [-10.0, 10.0])
def test_a_microphone_whose_gain_is_far_off_is_taken_by_the_adaptive_beams(gain_db):
    """As the profile says it, and as it is found while listening."""
    board = replace(load_profile("respeaker-4mic"), adaptive=True, dry_beam=True)
    frontend = Frontend(replace(board, gains=(gain_db, 0.0, 0.0, 0.0)), 0)
    assert beams(frontend, noise(RATE, 4))[:, frontend.candidates.index("dry")].any()
    x = fields.talkers(board.positions_mm, 5, 3)
    x[:, 0] *= 10 ** (gain_db / 20)
    frontend = Frontend(board, 0)
    got = beams(frontend, fields.int16(x))[4 * RATE :].astype(float)
    assert [(fault.microphone, fault.kind) for fault in frontend.faults] == [(0, "gain")]
    assert np.std(got, axis=0).min() > 20


def test_the_adaptive_candidate_hears_a_word_s_talker_over_noise():
    """5 dB and more over the best fixed beam and the best microphone, for somebody who begins after ten seconds of a wave."""
    rng = np.random.default_rng(3)
    frames = 12 * RATE
    wanted = 1_500 * rng.standard_normal(frames) * (np.arange(frames) > 10.4 * RATE)
    waves = plane_wave(wanted, PROFILE.positions_mm, 100.0) + plane_wave(
        3_000 * rng.standard_normal(frames), PROFILE.positions_mm, 220.0
    )
    samples = np.rint(waves + 20 * rng.standard_normal((frames, 6))).clip(-32_768, 32_767).astype(np.int16)
    got = beams(Frontend(FULL, 0), samples)[round(10.8 * RATE) :].astype(float)
    wanted = wanted[round(10.8 * RATE) :][: len(got)]
    ratios = []
    for signal in got.T:
        spectrum, original = np.fft.rfft(signal), np.fft.rfft(wanted)
        powers = np.vdot(original, original).real * np.vdot(spectrum, spectrum).real
        coherence = np.abs(np.vdot(original, spectrum)) ** 2 / powers
        ratios.append(10 * np.log10(coherence / (1 - coherence)))
    assert ratios[6] > max(ratios[:6] + ratios[7:]) + 3


def test_a_dead_microphone_is_left_out_of_the_candidates_too():
    """The adaptive beam goes on with five; where one is left it is silent, and the beams still hear."""
    rng = np.random.default_rng(4)
    wave = plane_wave(1_000 * rng.standard_normal(8 * RATE), PROFILE.positions_mm, 60.0)
    samples = np.rint(wave + 20 * rng.standard_normal(wave.shape)).astype(np.int16)
    dead = samples.copy()
    dead[:, 0] = 0
    dry = beams(Frontend(DRY, 0), dead)[5 * RATE :, 7].astype(float)
    assert np.std(dry) > 20
    frontend = Frontend(FULL, 0)
    got = beams(frontend, dead)[5 * RATE :].astype(float)
    assert [fault.microphone for fault in frontend.faults] == [0]
    assert got.shape[1] == 8
    assert np.std(got[:, 7]) > 500, "the first microphone is not the best any more"
    assert np.std(got[:, 6]) > 20
    dead[:, 1:5] = 0
    frontend = Frontend(DRY, 0)
    assert not beams(frontend, dead)[6 * RATE :, 6:8].any()
