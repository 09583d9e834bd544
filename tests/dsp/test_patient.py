"""The patient canceller's candidate: what it is, that it changes nothing else, and what it hears that the other does not."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import fftconvolve

from farfield import kernels, load_model, load_profile
from farfield.block import Block, Frame
from farfield.cancel import PATIENT_MEMORY_S
from farfield.detector import Detector
from farfield.evaluation.run import scored
from farfield.evaluation.streams import Stream
from farfield.frontend import Frontend
from farfield.hil.room import demo_room, load_room
from farfield.source import FileSource
from reference.measure import power_db, si_sdr_db

RATE = 16_000
SINGLE = replace(load_profile("single"), patient_echo=True)
CIRCLE = replace(load_profile("respeaker-6mic"), patient_echo=True)


def playing(microphones, seconds=4, seed=1):
    """int16 (frames, microphones + 1): noise that a loudspeaker plays, through paths of 900 samples, and the reference."""
    rng = np.random.default_rng(seed)
    played = 3_000 * rng.standard_normal(seconds * RATE)
    heard = []
    for _ in range(microphones):
        path = np.concatenate([np.zeros(60), rng.standard_normal(900) * np.exp(-np.arange(900) / 130)])
        heard.append(fftconvolve(played, 0.5 * path / np.sqrt(np.sum(path**2)))[: len(played)])
    noise = 3 * rng.standard_normal((len(played), microphones))
    return np.rint(np.column_stack([np.array(heard).T + noise, played])).clip(-32_768, 32_767).astype(np.int16)


def signals(frontend, samples, size=512):
    return np.concatenate([frontend.process(Block(samples[at : at + size], at)).beams for at in range(0, len(samples), size)])


@pytest.mark.parametrize("suppress", [False, True])
@pytest.mark.parametrize(("profile", "first"), [(SINGLE, ("microphone 0",)), (CIRCLE, ("beam 0", "beam 60"))])
def test_it_is_one_more_and_the_others_stay_as_they_are(profile, first, suppress):
    profile = replace(profile, suppress_echo=suppress)
    plain, more = Frontend(replace(profile, patient_echo=False), 1), Frontend(profile, 1)
    assert more.candidates == (*plain.candidates, "patient") and more.candidates[: len(first)] == first
    assert (more.signals, more.delay_samples) == (plain.signals + 1, plain.delay_samples)
    samples = playing(len(profile.microphones))
    got = signals(more, samples)
    assert got[:, :-1].tobytes() == signals(plain, samples).tobytes()
    for without in (Frontend(profile, 0), Frontend(profile, 1, stages="echo"), Frontend(profile, 1, azimuths_deg=(90.0,))):
        assert "patient" not in without.candidates


@pytest.mark.parametrize("profile", [SINGLE, CIRCLE, replace(CIRCLE, suppress_echo=True, adaptive=True)])
def test_it_is_what_its_kernel_gives_aligned_in_time(profile):
    """Of the first microphone, though five others stand by; as late as the beams are."""
    profile = replace(profile, align=False)
    samples = playing(len(profile.microphones))
    frontend = Frontend(profile, 1)
    canceller = kernels.EchoCanceller(1, 1, tail_samples=profile.tail_ms * 16, memory_s=PATIENT_MEMORY_S)
    wanted = canceller.process(np.ascontiguousarray(samples[:, :1]), np.ascontiguousarray(samples[:, -1:]))[:, 0]
    wanted = wanted[canceller.delay_samples :]  # the front end's signals begin with the first captured sample
    got = signals(frontend, samples)[:, -1]
    assert len(got) == len(samples) - frontend.delay_samples
    assert np.array_equal(got, np.rint(wanted[: len(got)] * 32_768).clip(-32_768, 32_767))


def test_any_cutting_gives_the_same_and_a_gap_starts_it_anew():
    samples = playing(6, seconds=3)
    samples[:, -1] = np.roll(samples[:, -1], -900)  # an echo that is found late: the aligner moves the reference
    frontend = Frontend(CIRCLE, 1)
    whole = signals(frontend, samples)
    assert frontend.echo_delay_ms is not None, "or nothing is moved"
    for size in (77, 4_096):
        frontend.reset()
        assert signals(frontend, samples, size).tobytes() == whole.tobytes()
    frontend.process(Block(samples, 20 * RATE))
    assert signals(frontend, samples).tobytes() == whole.tobytes()


def test_where_the_first_microphone_is_dead_it_hears_the_next():
    samples = playing(6, seconds=8)
    near = np.random.default_rng(3).normal(0, 1_000, RATE)
    samples[-RATE:, 1] += np.rint(near).astype(np.int16)
    samples[:, 0] = 0
    frontend = Frontend(CIRCLE, 1)
    got = signals(frontend, samples)[:, -1].astype(float)
    assert [fault.microphone for fault in frontend.faults] == [0]
    assert not got[: RATE // 2].any(), "until it is known"
    assert si_sdr_db(got[-RATE // 2 :], near[RATE - RATE // 2 - frontend.delay_samples :][: RATE // 2]) > 6


def test_it_keeps_a_talker_over_a_loud_echo():
    """24 dB below it: 10 dB clearer than the canceller that expects the room to change. A change is followed by both."""
    rng = np.random.default_rng(5)
    frames = 16 * RATE
    syllables = np.clip(np.sin(2 * np.pi * 2.5 * np.arange(frames) / RATE), 0, 1)
    talker = 100 * rng.standard_normal(frames) * syllables * (np.arange(frames) > 6 * RATE) * (np.arange(frames) < 12 * RATE)
    captured, other = (playing(1, seconds=16, seed=seed) for seed in (1, 2))
    taps = path(other)
    echo = np.where(np.arange(frames) < 12 * RATE, captured[:, 0], fftconvolve(captured[:, 1].astype(float), taps)[:frames])
    samples = np.rint(np.column_stack([echo + talker, captured[:, 1]])).clip(-32_768, 32_767).astype(np.int16)
    got = signals(Frontend(SINGLE, 1), samples).astype(float)
    talks = slice(9 * RATE, 12 * RATE)
    quick, patient = (si_sdr_db(signal[talks], talker[talks]) for signal in got.T)
    assert patient > max(quick + 10, 5)
    changed = slice(13 * RATE, 15 * RATE)
    for signal in got.T:
        assert power_db(signal[changed]) < power_db(echo[changed]) - 25


def path(captured):
    """Of the echo in `captured`, as `playing` draws it from seed 2."""
    rng = np.random.default_rng(2)
    rng.standard_normal(len(captured))
    taps = np.concatenate([np.zeros(60), rng.standard_normal(900) * np.exp(-np.arange(900) / 130)])
    return 0.5 * taps / np.sqrt(np.sum(taps**2))


def test_an_evaluation_of_several_signals_decides_as_the_detector_does():
    """The demo's beams: scored one by one and put together, or all at once."""
    room = load_room(demo_room())
    profile = load_profile(room.profile) if isinstance(room.profile, str) else room.profile
    source = FileSource(str(demo_room() / "mics.flac"), profile, str(demo_room() / "ref.flac"))
    frontend = Frontend(profile, source.references)
    heard = np.concatenate([frontend.process(block).beams for block in source.blocks()])[:, :3]
    model = load_model("alexa")
    events = Detector(model, 3).process(Frame(np.ascontiguousarray(heard), 0, 0, 0, len(heard)))
    made = Stream(heard[:, 0], (), (), ())
    found = scored(0, made, heard, model)
    assert found.decisions(model.deciding_threshold, model.refractory_ms) == [event.decision for event in events]
    assert len(events) >= 1
