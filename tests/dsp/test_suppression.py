"""The front end with its suppressor: its delay, what it takes away more than the canceller, and input that is out of order.

Each odd input is held against the same scene as it should be: a bound of its own, and how much it may cost.
"""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from scipy.signal import fftconvolve

from farfield import Frontend, load_profile
from farfield.block import Block
from reference.measure import power_db, si_sdr_db

RATE = 16_000
SECONDS = 9
TALKS = slice(6 * RATE, 8 * RATE)
ALONE = slice(4 * RATE, 6 * RATE)  # the device alone, once all is learnt


def scene(seed=1):
    """What is played, what a microphone hears of it through a loudspeaker that distorts, and a talker from 6 to 8 s; floats."""
    rng = np.random.default_rng(seed)
    frames = SECONDS * RATE
    t = np.arange(frames) / RATE
    loud = np.repeat(rng.uniform(0, 1, frames // 1600), 1600)
    notes = np.repeat(rng.uniform(150, 900, frames // 3200), 3200)
    phase = 2 * np.pi * np.cumsum(notes) / RATE
    played = 0.12 * loud * (sum(np.sin(k * phase) / k for k in range(1, 9)) + rng.standard_normal(frames))
    path = np.concatenate([np.zeros(60), rng.standard_normal(900) * np.exp(-np.arange(900) / 130)])
    echo = fftconvolve(np.tanh(1.5 * played) / 1.5, 0.3 * path / np.sqrt(np.sum(path**2)))[:frames]
    pitch = 2 * np.pi * np.cumsum(130 + 25 * np.sin(2 * np.pi * 0.9 * t)) / RATE
    talker = 0.02 * sum(np.cos(k * pitch) / k for k in range(1, 25)) * np.clip(np.sin(2 * np.pi * 2.5 * t), 0, 1)
    talker[: TALKS.start] = talker[TALKS.stop :] = 0
    return played, echo, talker, 1e-4 * rng.standard_normal(frames)


def int16(x):
    return np.clip(np.rint(np.asarray(x) * 32_768), -32_768, 32_767).astype(np.int16)


def front_end(mic, ref, *, cuts=(4_096,), **switches):
    """The first signal, in time with the microphone, full scale 1."""
    made = Frontend(replace(load_profile("single"), **switches), 1)
    captured = int16(np.stack([mic, ref], axis=1))
    captured = np.concatenate([captured, np.zeros((made.delay_samples, 2), np.int16)])
    heard, at = [], 0
    while at < len(captured):
        size = cuts[len(heard) % len(cuts)]
        heard.append(made.process(Block(captured[at : at + size], at)).beams[:, 0])
        at += size
    return np.concatenate(heard) / 32_768


SUPPRESS = {"suppress_echo": True}


@pytest.fixture(scope="module")
def clean():
    """The scene, and what the linear stage and the suppressor after it make of it."""
    played, echo, talker, floor = scene()
    mic = echo + talker + floor
    return played, echo, talker, floor, front_end(mic, played), front_end(mic, played, **SUPPRESS)


def told(out, mic, talker):
    """How much less there is while the device plays alone, and the talker's SI-SDR; dB."""
    rounding = (np.arange(ALONE.stop - ALONE.start) % 2 - 0.5) / 32_768  # for what is wholly gone
    return power_db(mic[ALONE]) - power_db(out[ALONE] + rounding), si_sdr_db(out[TALKS], talker[TALKS])


@pytest.mark.parametrize(
    ("switches", "references", "delay"),
    [
        ({}, 1, 320), (SUPPRESS, 1, 512), (SUPPRESS, 0, 0), ({"suppress_noise": True}, 0, 192),
        ({"suppress_noise": True}, 1, 512), (SUPPRESS | {"suppress_noise": True, "align": False}, 1, 448),
    ],
)  # fmt: skip
def test_the_delay_is_stated_exactly(switches, references, delay):
    """32 ms at most, aligner and all; a click comes out at its index."""
    frontend = Frontend(replace(load_profile("single"), **switches), references)
    assert frontend.delay_samples == delay <= 512
    samples = np.zeros((8_000, 1 + references), np.int16)
    samples[3_000, 0] = 20_000
    frame = frontend.process(Block(samples, 1_000))
    assert frame.index == 1_000
    assert int(np.argmax(np.abs(frame.beams[:, 0].astype(int)))) == 3_000


def test_blocks_of_any_size_give_the_same(clean):
    played, echo, talker, floor, _, out = clean
    assert front_end(echo + talker + floor, played, cuts=(1, 511, 96, 3_000), **SUPPRESS).tobytes() == out.tobytes()


def test_beams_keep_their_directions_through_the_suppressor():
    """An array's talker is found where it was without."""
    profile = load_profile("respeaker-4mic")
    random = np.random.default_rng(4)
    talker = random.normal(0, 3_000, RATE)
    samples = np.stack([np.roll(talker, shift) for shift in (0, 2, 3, 1)], axis=1).astype(np.int16)
    found = []
    for noise in (False, True):
        frontend = Frontend(replace(profile, suppress_noise=noise), 0)
        frontend.process(Block(samples, 0))
        found.append(frontend.direction(2_000, RATE - 2_000).azimuth_deg)
    assert found[0] == pytest.approx(found[1], abs=2)


def test_reset_and_a_gap_start_the_suppressor_anew(clean):
    played, echo, talker, floor, _, _ = clean
    captured = int16(np.stack([echo + talker + floor, played], axis=1))[: 2 * RATE]
    profile = replace(load_profile("single"), **SUPPRESS, suppress_noise=True)
    used, fresh = Frontend(profile, 1), Frontend(profile, 1)
    used.process(Block(captured[::-1].copy(), 0))
    assert used.process(Block(captured, 10 * RATE)).beams.tobytes() == fresh.process(Block(captured, 10 * RATE)).beams.tobytes()


def test_the_suppressor_takes_more_and_keeps_the_talker(clean):
    _, echo, talker, floor, linear, out = clean
    mic = echo + talker + floor
    (erle, si_sdr), (more, with_) = told(linear, mic, talker), told(out, mic, talker)
    assert erle > 12
    assert more > erle + 6
    assert with_ > si_sdr - 1
    assert si_sdr > si_sdr_db(mic[TALKS], talker[TALKS]) + 10


@pytest.mark.parametrize("gain_db", [-30, 30])
def test_a_reference_of_another_level_costs_little(clean, gain_db):
    """30 dB too quiet (and rounded to int16 there); 30 dB too hot, the loudspeaker so much quieter that nothing clips."""
    played, echo, talker, floor, _, out = clean
    gain = 10 ** (gain_db / 20)
    mic = echo + talker + floor
    if gain_db > 0:  # a reference at full scale cannot be hotter: all that the microphone hears is quieter instead
        odd = front_end(mic / gain, played, **SUPPRESS)
        erle, si_sdr = told(odd, mic / gain, talker)
    else:
        erle, si_sdr = told(front_end(mic, played * gain, **SUPPRESS), mic, talker)
    of_clean = told(out, mic, talker)
    assert erle > max(20, of_clean[0] - 30)  # what is 30 dB quieter lies that much nearer to its rounding
    assert si_sdr > of_clean[1] - 4


def test_a_silent_reference_changes_nothing(clean):
    """Nothing to take away with: the microphone comes out, but for rounding."""
    _, echo, talker, floor, _, _ = clean
    mic = echo + talker + floor
    out = front_end(mic, 0 * mic, **SUPPRESS)
    assert np.abs(out - int16(mic) / 32_768).max() <= 1.5 / 32_768


def test_a_clipped_reference_still_helps(clean):
    """Played louder than the reference can say: clipped for a tenth of the time, while the loudspeaker plays it whole."""
    played, echo, talker, floor, _, out = clean
    mic = echo + talker + floor
    top = np.quantile(np.abs(played), 0.9)
    clipped = np.clip(played, -top, top)
    erle, si_sdr = told(front_end(mic, clipped, **SUPPRESS), mic, talker)
    linear, _ = told(front_end(mic, clipped), mic, talker)
    of_clean = told(out, mic, talker)
    assert erle > max(20, linear + 4, of_clean[0] - 40)
    # Against the microphone alone, and not against a clean reference: what that gains by a longer memory, this cannot.
    assert si_sdr > told(mic, mic, talker)[1] + 15.5


def test_a_reference_that_goes_missing_costs_what_it_hides(clean):
    """For a second, from 2 to 3 s: meanwhile nothing is taken away; soon after it is as if nothing had been."""
    played, echo, talker, floor, _, out = clean
    mic = echo + talker + floor
    missing = played.copy()
    missing[2 * RATE : 3 * RATE] = 0
    odd = front_end(mic, missing, **SUPPRESS)
    gone = slice(2 * RATE + 4_000, 3 * RATE)
    assert power_db(mic[gone]) - power_db(odd[gone]) < 1, "planted: there is nothing to take it away with"
    erle, si_sdr = told(odd, mic, talker)
    of_clean = told(out, mic, talker)
    assert erle > of_clean[0] - 3
    assert si_sdr > of_clean[1] - 1


def test_a_microphone_that_clips_recovers(clean):
    """The echo clips it from 2 to 3 s; after that it is as without."""
    played, echo, talker, floor, _, out = clean
    mic = echo + talker + floor
    loud = mic.copy()
    loud[2 * RATE : 3 * RATE] *= 0.25 / np.abs(mic[2 * RATE : 3 * RATE]).max() * 16
    loud = np.clip(loud, -1, 1)
    assert np.mean(np.abs(loud[2 * RATE : 3 * RATE]) == 1) > 0.02
    odd = front_end(loud, played, **SUPPRESS)
    assert np.abs(odd).max() <= 1
    erle, si_sdr = told(odd, mic, talker)
    of_clean = told(out, mic, talker)
    assert erle > of_clean[0] - 4
    assert si_sdr > of_clean[1] - 2


STATIC = ("mixed_dt_test299", "mixed_dt_test99", "mixed_real_rir_test01")


def test_recorded_double_talk_keeps_the_talker(recordings):
    """Recorded rooms, the talker known: the suppressor takes 4 dB more in pauses, and costs no more than 2 dB of SI-SDR."""
    from farfield.evaluation import echo

    linear, more = [], []
    for name in STATIC:
        (recording,) = echo.recordings(recordings / "echo" / name)
        left = echo.ours(recording, 2_048)
        one, other = (echo.measure(recording, x) for x in (left.linear, left.suppressed))
        assert other.near_si_sdr_db > one.near_si_sdr_db - 2, name
        linear.append(one.pause_erle_db)
        more.append(other.pause_erle_db)
    assert np.mean(more) > np.mean(linear) + 4


def test_enhance_writes_what_the_suppressor_leaves(tmp_path, clean, capsys):
    from farfield.cli import main

    played, echo, talker, floor, linear, out = clean
    for name, sound in (("mic", echo + talker + floor), ("ref", played)):
        soundfile.write(tmp_path / f"{name}.wav", int16(sound), RATE)
    for what, wanted in (("none", linear), ("echo", out)):
        with pytest.raises(SystemExit) as left:
            main(["enhance", str(tmp_path / "mic.wav"), "--ref", str(tmp_path / "ref.wav"), "-o", str(tmp_path / "o.wav"),
                  "--suppress", what, "--json"])  # fmt: skip
        assert left.value.code == 0
        assert f'"delay_samples": {512 if what == "echo" else 320}' in capsys.readouterr().out
        got, _ = soundfile.read(tmp_path / "o.wav")
        assert np.array_equal(got, wanted)
