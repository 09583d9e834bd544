"""The front end: what passes bit for bit, where each sample lies in time, what a gap does, and where sound comes from."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from farfield import kernels
from farfield.block import Block
from farfield.direction import separation_deg
from farfield.errors import InputError
from farfield.evaluation.array import syllables
from farfield.frontend import Frontend
from farfield.profile import load_profile
from reference import fields
from reference.beam import plane_wave as array_wave

RATE = 16_000
ARRAYS = ("respeaker-2mic", "respeaker-4mic", "respeaker-6mic")


def noise(frames, channels, seed=0, level=3_000):
    return np.clip(np.random.default_rng(seed).normal(0, level, (frames, channels)), -32_768, 32_767).astype(np.int16)


def plane_wave(profile, azimuth_deg, heard):
    """A far source as each microphone hears it: `heard` (frames,) at the array's centre, delayed by exact phase."""
    to = np.array([np.cos(np.radians(azimuth_deg)), np.sin(np.radians(azimuth_deg)), 0.0])
    positions = profile.positions_mm - profile.positions_mm.mean(axis=0)
    spectrum = np.fft.rfft(heard, 2 * len(heard))
    hertz = np.fft.rfftfreq(2 * len(heard), 1 / RATE)
    lead_s = positions @ to / 343_000
    waves = np.fft.irfft(spectrum * np.exp(2j * np.pi * hertz * lead_s[:, None]), 2 * len(heard))
    return np.rint(waves[:, : len(heard)].T).astype(np.int16)


def with_references(samples, count):
    return np.concatenate([samples, np.zeros((len(samples), count), np.int16)], axis=1)


def run(frontend, samples, cuts=(512,), index=0, epoch=0):
    """The frames of the samples, cut into blocks whose lengths go round `cuts`."""
    frames, at = [], 0
    while at < len(samples):
        size = cuts[len(frames) % len(cuts)]
        frames.append(frontend.process(Block(samples[at : at + size], index + at, epoch)))
        at += size
    return frames


def joined(frames):
    """The beams of frames that follow each other without a gap, and the index of the first."""
    kept = [frame for frame in frames if len(frame.beams)]
    for one, following in pairwise(kept):
        assert following.index == one.index + len(one.beams)
    return kept[0].index, np.concatenate([frame.beams for frame in kept])


def maps(frames):
    made = [frame.maps for frame in frames if len(frame.maps)]
    return np.concatenate(made) if made else np.empty((0, 0)), [end for frame in frames for end in frame.map_ends]


@given(seed=st.integers(0, 99), cuts=st.lists(st.integers(1, 900), min_size=1, max_size=5), index=st.integers(0, 2**62))
def test_one_microphone_without_a_reference_passes_bit_for_bit(seed, cuts, index):
    samples = np.random.default_rng(seed).integers(-32_768, 32_768, (3_000, 1)).astype(np.int16)
    frontend = Frontend(load_profile("single"))
    assert (frontend.delay_samples, frontend.signals, frontend.erle_db) == (0, 1, None)
    at, beams = joined(run(frontend, samples, cuts, index))
    assert at == index and beams.tobytes() == samples.tobytes()


@pytest.mark.parametrize("references", [0, 2])
@pytest.mark.parametrize("name", ARRAYS)
def test_a_click_comes_out_at_its_index(name, references):
    """From each beam's own direction, within the beam: the highest sample within one of where the array's centre heard it."""
    profile = load_profile(name)
    frontend = Frontend(profile, references)
    t = np.arange(6_000)
    for beam, azimuth in enumerate(frontend.beam_azimuths_deg):
        at = 3_000 + 37 * beam
        click = 20_000 * np.exp(-0.5 * ((t - at) / 3) ** 2) * np.cos(2 * np.pi * 0.12 * (t - at))
        frontend.reset()
        first, beams = joined(run(frontend, with_references(plane_wave(profile, azimuth, click), references), index=1_000))
        assert first == 1_000
        assert len(beams) == len(click) - frontend.delay_samples
        assert abs(int(np.argmax(beams[:, beam])) - at) <= 1
        assert beams[:, beam].max() == pytest.approx(20_000, rel=0.05)


def test_one_microphone_with_a_reference_keeps_its_index_too():
    samples = noise(4_000, 1)
    frontend = Frontend(load_profile("single"), 1)
    at, beams = joined(run(frontend, with_references(samples, 1)))
    assert frontend.delay_samples > 0 and at == 0
    assert np.abs(beams.astype(int) - samples[: len(beams)]).max() <= 1, "nothing is played, so nothing is taken away"


@given(
    name=st.sampled_from(["single", *ARRAYS]),
    references=st.integers(0, 2),
    cuts=st.lists(st.integers(1, 1_500), min_size=1, max_size=6),
    seed=st.integers(0, 99),
)
def test_any_cutting_into_blocks_gives_the_same(name, references, cuts, seed):
    profile = load_profile(name)
    frontend = Frontend(profile, references)
    samples = noise(5_000, frontend.microphones + references, seed)
    whole = run(frontend, samples, (len(samples),), index=77)
    frontend.reset()
    pieces = run(frontend, samples, cuts, index=77)
    assert joined(pieces)[0] == joined(whole)[0] == 77
    assert joined(pieces)[1].tobytes() == joined(whole)[1].tobytes()
    assert maps(pieces)[0].tobytes() == maps(whole)[0].tobytes() and maps(pieces)[1] == maps(whole)[1]
    assert len(maps(whole)[1]) == (0 if name == "single" else 4)
    assert [frame.consumed for frame in pieces[:2]] == [77 + cuts[0], min(5_077, 77 + cuts[0] + cuts[1 % len(cuts)])]


@pytest.mark.parametrize(("jump", "epoch"), [(1, 0), (-1, 0), (160_000, 0), (-5_120, 0), (0, 1), (0, -1)])
@pytest.mark.parametrize("name", ["single", "respeaker-4mic"])
def test_a_gap_starts_anew(name, jump, epoch):
    """What follows comes out as from a new front end; without the gap it does not (or the test would show nothing)."""
    profile = load_profile(name)
    samples = noise(10_240, len(profile.microphones) + 1, 3)
    samples[:, -1] = np.roll(samples[:, 0], -40)
    before, after = samples[:5_120], samples[5_120:]

    def following(index, epoch):
        frontend = Frontend(profile, 1)
        run(frontend, before)
        frames = run(frontend, after, index=index, epoch=epoch)
        return joined(frames), maps(frames)[1], frontend.direction(index, index + 5_120)

    fresh = Frontend(profile, 1)
    frames = run(fresh, after, index=5_120 + jump, epoch=epoch)
    (at, beams), ends, direction = following(5_120 + jump, epoch)
    assert at == 5_120 + jump == joined(frames)[0]
    assert beams.tobytes() == joined(frames)[1].tobytes() and ends == maps(frames)[1]
    assert direction == fresh.direction(5_120 + jump, 10_240 + jump)
    (at, beams), _, _ = following(5_120, 0)
    assert at == 5_120 - fresh.delay_samples
    assert beams[fresh.delay_samples :].tobytes() != joined(frames)[1][: 5_120 - fresh.delay_samples].tobytes()


@pytest.mark.parametrize("name", ["single", "respeaker-6mic"])
def test_reset_is_a_new_one(name):
    profile = load_profile(name)
    samples = noise(4_096, len(profile.microphones) + 1)
    used, new = Frontend(profile, 1), Frontend(profile, 1)
    run(used, noise(3_000, samples.shape[1], 1))
    used.reset()
    assert joined(run(used, samples))[1].tobytes() == joined(run(new, samples))[1].tobytes()
    assert used.direction(0, 4_096) == new.direction(0, 4_096)


def test_stages():
    """`echo` gives the microphones, `beam` the beams of the microphones as they are, `all` the beams after the canceller."""
    profile = replace(load_profile("respeaker-4mic"), patient_echo=False)
    samples = noise(6_000, 4)
    played = np.roll(samples[:, :1], -50)
    both = np.concatenate([samples, played], axis=1)
    echo, beam, all_ = (Frontend(profile, 1, stages=stages) for stages in ("echo", "beam", "all"))
    assert [frontend.signals for frontend in (echo, beam, all_)] == [4, 6, 6]
    assert all_.delay_samples == echo.delay_samples + beam.delay_samples
    assert beam.erle_db is None and echo.erle_db.shape == (4,)
    plain = Frontend(profile, 0)
    assert joined(run(beam, both))[1].tobytes() == joined(run(plain, samples))[1].tobytes()
    cancelled, cancelled_beams = joined(run(echo, both))[1], joined(run(all_, both))[1]
    assert cancelled.shape == (6_000 - echo.delay_samples, 4) and cancelled_beams.shape == (6_000 - all_.delay_samples, 6)
    late = np.concatenate([np.zeros((echo.delay_samples, 4), np.int16), cancelled])  # as the beams hear it, hop for hop
    again = joined(run(Frontend(profile, 0), late))[1][echo.delay_samples :]
    assert again.shape == cancelled_beams.shape
    assert np.abs(again.astype(int) - cancelled_beams).max() <= 4, "the beams of what the canceller left, but for rounding"


@pytest.mark.parametrize("name", ["single", "respeaker-4mic"])
def test_what_the_loudspeaker_plays_is_taken_away(name):
    """Noise played, heard 3 ms later through a decaying response: 20 dB less of it after 3 s."""
    profile = load_profile(name)
    random = np.random.default_rng(1)
    played = random.normal(0, 3_000, 4 * RATE)
    response = np.concatenate([np.zeros(48), random.normal(0, 0.3, 600) * np.exp(-np.arange(600) / 120)])
    heard = np.convolve(played, response)[: len(played)]
    columns = [np.roll(heard, shift) for shift in range(len(profile.microphones))]
    samples = np.stack([*columns, played], axis=1).astype(np.int16)

    def left_db(stages):
        frontend = Frontend(profile, 1, stages=stages)
        beams = joined(run(frontend, samples))[1][3 * RATE :]
        return 10 * np.log10(np.mean(beams.astype(float) ** 2, axis=0).max()), frontend

    with_, frontend = left_db("all")
    without, _ = left_db("beam")
    assert without - with_ > 20
    assert frontend.erle_db.min() > 20


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("azimuth", [0.0, 23.0, 97.5, 171.0, 200.0, 285.0, 352.0])
def test_the_direction_of_a_plane_wave(name, azimuth):
    """To 4 degrees (12 near a line's ends, where its map is flat); a line gives the mirror direction as well."""
    profile = load_profile(name)
    frontend = Frontend(profile, 0)
    run(frontend, plane_wave(profile, azimuth, np.random.default_rng(4).normal(0, 3_000, RATE)))
    found = frontend.direction(2_000, RATE)
    wanted, off = [azimuth], 4.0
    if name == "respeaker-2mic":
        wanted, off = [azimuth, -azimuth], 12.0 if abs(np.cos(np.radians(azimuth))) > 0.97 else 4.0
        assert (found.azimuth_deg + found.ambiguous_deg) % 360.0 == pytest.approx(0.0, abs=1e-6)
    else:
        assert found.ambiguous_deg is None
    assert min(abs((found.azimuth_deg - one + 180) % 360 - 180) for one in wanted) < off
    assert found.confidence > 0.2


@pytest.mark.parametrize("name", ["single", "respeaker-4mic"])
@given(cuts=st.lists(st.integers(1, 5_000), min_size=1, max_size=4))
@settings(max_examples=5)
def test_dereverberation_is_a_stage_before_the_beams(name, cuts):
    """The same as the kernel before the other stages, in any blocks, and no later; left out by default."""
    plain = load_profile(name)
    profile = replace(plain, dereverberate=True)
    assert not plain.dereverberate
    frontend, without = Frontend(profile, 0, health=False), Frontend(plain, 0, health=False)
    assert frontend.delay_samples == without.delay_samples
    x = noise(12_000, frontend.microphones, seed=3)
    x[640:] += x[:-640] // 2
    at, beams = joined(run(frontend, x, cuts))
    left = kernels.WPE(frontend.microphones, taps={1: 15, 4: 7}[frontend.microphones]).process(x)
    again = joined(run(without, np.rint(left * 32_768).astype(np.int16)))[1]
    assert at == 0 and np.abs(beams.astype(int) - again).max() <= 4, "rounded twice"
    assert np.abs(beams.astype(int) - joined(run(without, x))[1]).max() > 100, "planted: left out"
    frontend.reset()
    assert joined(run(frontend, x))[1].tobytes() == beams.tobytes()


def test_each_stretch_has_its_own_direction():
    profile = load_profile("respeaker-6mic")
    frontend = Frontend(profile, 0)
    source = np.random.default_rng(4).normal(0, 3_000, RATE)
    run(frontend, np.concatenate([plane_wave(profile, azimuth, source) for azimuth in (40.0, 260.0)]))
    assert frontend.direction(2_000, RATE - 1_000).azimuth_deg == pytest.approx(40, abs=4)
    assert frontend.direction(RATE + 5_000, 2 * RATE).azimuth_deg == pytest.approx(260, abs=4)


def test_a_direction_is_of_what_has_come_and_not_of_what_was_there():
    """Music that goes on, louder than the word, from elsewhere; and a word of somebody who has been talking already."""
    profile = load_profile("respeaker-4mic")
    random = np.random.default_rng(4)
    music = plane_wave(profile, 250.0, random.normal(0, 1_500, 4 * RATE))
    word = random.normal(0, 1_200, 4 * RATE) * (np.arange(4 * RATE) > 3 * RATE)
    frontend = Frontend(profile, 0)
    run(frontend, music + plane_wave(profile, 40.0, word))
    assert frontend.direction(3 * RATE, 4 * RATE).azimuth_deg == pytest.approx(40, abs=6)
    assert frontend.direction(2 * RATE, 3 * RATE).azimuth_deg == pytest.approx(250, abs=4), "nothing came with it"
    talks = random.normal(0, 1_500, 4 * RATE) * (np.arange(4 * RATE) % (RATE // 2) < RATE // 5)
    frontend.reset()
    run(frontend, plane_wave(profile, 130.0, talks))
    assert frontend.direction(3 * RATE, 4 * RATE).azimuth_deg == pytest.approx(130, abs=4)


@given(seed=st.integers(0, 9_999), azimuth=st.floats(0, 360), speaks=st.floats(0.3, 1), start=st.floats(2.5, 5))
@example(seed=32, azimuth=200.0, speaks=0.7, start=5.0)
@example(seed=21, azimuth=200.0, speaks=0.7, start=5.0)
@settings(max_examples=6)
def test_who_talked_before_keeps_his_direction(seed, azimuth, speaks, start):
    """Whatever share of the time he speaks: what is taken off for having been there is never the top of his peak alone."""
    profile = load_profile("respeaker-6mic")
    positions = profile.positions_mm
    talks = syllables(start + 3, seed)
    talks *= np.arange(len(talks)) % (2 * RATE) < speaks * 2 * RATE
    sound = 0.05 * array_wave(talks, positions, azimuth) + fields.diffuse(positions, start + 3, seed)[: len(talks)]
    frontend = Frontend(profile, 0, health=False)
    run(frontend, fields.int16(sound + fields.own_noise(sound.shape, seed=seed)))
    found = frontend.direction(round(start * RATE), len(talks))
    assert separation_deg(found.azimuth_deg, azimuth) < 2


def test_where_there_is_no_direction():
    frontend = Frontend(load_profile("respeaker-4mic"))
    assert frontend.direction(0, RATE) is None
    run(frontend, np.zeros((RATE, 4), np.int16))
    assert frontend.direction(0, RATE) is None, "silence comes from nowhere"
    assert frontend.map_azimuths_deg.tolist() == list(range(0, 360, 5))
    single = Frontend(load_profile("single"))
    run(single, noise(RATE, 1))
    assert single.direction(0, RATE) is None and single.map_azimuths_deg is None


def test_four_seconds_are_remembered_and_no_more():
    profile = load_profile("respeaker-4mic")
    frontend = Frontend(profile)
    run(frontend, plane_wave(profile, 60.0, np.random.default_rng(4).normal(0, 3_000, 10 * RATE)))
    assert frontend.direction(7 * RATE, 8 * RATE).azimuth_deg == pytest.approx(60, abs=4)
    assert frontend.direction(4 * RATE, 5 * RATE) is None
    assert len(frontend._maps) <= 4 * RATE / 1_024 + 1


def test_a_long_block_gives_the_directions_within_it():
    profile = load_profile("respeaker-4mic")
    frontend = Frontend(profile)
    samples = plane_wave(profile, 60.0, np.random.default_rng(4).normal(0, 3_000, 10 * RATE))
    frontend.process(Block(samples, 0))
    assert frontend.direction(RATE, 2 * RATE).azimuth_deg == pytest.approx(60, abs=4)


def test_views_of_a_wider_stream_are_taken():
    """Columns, reversed channels and Fortran order, as a caller may cut them out."""
    profile = load_profile("respeaker-4mic")
    wide = noise(3_000, 8)
    for view in (wide[:, 2:6], wide[:, 7:3:-1], np.asfortranarray(wide[:, :4])):
        wanted = joined(run(Frontend(profile), np.ascontiguousarray(view)))[1]
        assert joined(run(Frontend(profile), view))[1].tobytes() == wanted.tobytes()


def test_beams_beyond_full_scale_are_clipped():
    """Four microphones in step at full scale, from where a beam looks: clipped and never wrapped round."""
    profile = load_profile("respeaker-4mic")
    frontend = Frontend(profile)
    square = 32_767 * np.sign(np.sin(2 * np.pi * 900 * np.arange(4_000) / RATE) + 0.01)
    samples = np.clip(plane_wave(profile, 0.0, square), -32_768, 32_767).astype(np.int16)
    beams = joined(run(frontend, samples))[1]
    loud = np.abs(beams[1_000:3_000, 0].astype(int)) > 25_000
    assert loud.mean() > 0.5
    assert (np.sign(beams[1_000:3_000, 0])[loud] == np.sign(square[1_000:3_000])[loud]).mean() > 0.9


@pytest.mark.parametrize(
    ("samples", "got"),
    [
        (np.zeros((64, 4), np.float32), "float32 (64, 4)"),
        (np.zeros((64, 4), np.int32), "int32 (64, 4)"),
        (np.zeros((64, 3), np.int16), "int16 (64, 3)"),
        (np.zeros((64, 5), np.int16), "int16 (64, 5)"),
        (np.zeros(64, np.int16), "int16 (64,)"),
        (np.zeros((64, 4, 1), np.int16), "int16 (64, 4, 1)"),
    ],
)
def test_blocks_of_another_kind(samples, got):
    frontend = Frontend(load_profile("respeaker-4mic"))
    with pytest.raises(InputError) as caught:
        frontend.process(Block(samples, 0))
    assert str(caught.value) == f"block: got {got}, wanted int16 (frames, 4)"


def test_arguments_out_of_range():
    profile = load_profile("single")
    with pytest.raises(InputError, match="stages: got 'echos', wanted one of echo, beam, all"):
        Frontend(profile, stages="echos")
    for references in (-1, 5):
        with pytest.raises(InputError, match=f"references: got {references}, wanted 0 to 4"):
            Frontend(profile, references)


@pytest.mark.parametrize("align", [True, False])
def test_an_echo_that_is_later_than_the_tail_is_found(align):
    """300 ms late where the tail is 128: planted as lost where nothing aligns."""
    profile = replace(load_profile("single"), align=align)
    played = noise(6 * RATE, 1)
    heard = np.concatenate([np.zeros((4_800, 1), np.int16), played[:-4_800] // 2])
    frontend = Frontend(profile, 1)
    run(frontend, np.concatenate([heard, played], axis=1))
    assert frontend.delay_samples == 256 + (64 if align else 0)
    if align:
        assert frontend.echo_delay_ms == pytest.approx(300, abs=1)
        assert frontend.drift_ppm == 0
        assert frontend.erle_db[0] > 20
    else:
        assert (frontend.echo_delay_ms, frontend.drift_ppm) == (None, None)
        assert frontend.erle_db[0] < 1


def test_a_reference_that_is_later_than_its_echo_is_found():
    profile = replace(load_profile("single"), reference_late_ms=50)
    heard = noise(6 * RATE, 1)
    played = np.concatenate([np.zeros((480, 1), np.int16), heard[:-480]])
    frontend = Frontend(profile, 1)
    run(frontend, np.concatenate([heard, played], axis=1))
    assert frontend.delay_samples == 256 + 64 + 800
    assert frontend.echo_delay_ms == pytest.approx(-30, abs=1)
    assert frontend.erle_db[0] > 20
