"""Failed microphones: every planted fault is found and named, a healthy array is never accused, and the rest goes on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from farfield import Block, Frontend, load_profile
from farfield.cli import main
from farfield.cli.report import Report
from farfield.direction import separation_deg
from farfield.geometry import Array
from farfield.health import SECOND, Fault, Health
from farfield.profile import RATE
from reference import fields
from reference.measure import si_sdr_db

BOARDS = {f"{n}mic": load_profile(f"respeaker-{n}mic") for n in (2, 4, 6)}
LEFT_OUT = {"dead", "clipped", "noisy", "swapped"}


def judged(profile, x, **parameters):
    """Health after x, and every fault that it ever named, as (microphone, kind)."""
    health, named = Health(Array(profile.positions_mm)), set()
    samples = fields.int16(x)
    for at in range(0, len(samples) - SECOND + 1, SECOND):
        health.process(samples[at : at + SECOND], at + SECOND, **parameters)
        named |= {(fault.microphone, fault.kind) for fault in health.faults}
    return health, named


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("scene", fields.HEALTHY, ids=lambda scene: scene.__name__)
def test_a_healthy_array_is_never_accused(board, scene):
    profile = BOARDS[board]
    for seed in (1, 2):
        health, named = judged(profile, scene(profile.positions_mm, 12, seed=seed))
        assert named == set() and health.faults == () and health.used.all() and not health.gains_db.any()


def test_a_healthy_array_in_a_room_is_never_accused():
    pytest.importorskip("pyroomacoustics")
    from farfield.evaluation import talkers as rooms
    from farfield.evaluation.array import syllables

    profile = BOARDS["6mic"]
    heard = rooms.heard(rooms.room(profile.positions, 0.4, 31), syllables(9, 1), syllables(9, 2))
    for x in (heard.everything, heard.talker + heard.noise):
        assert judged(profile, x)[1] == set()


@pytest.mark.parametrize("board", ["4mic", "6mic"])
@pytest.mark.parametrize("fault", fields.KINDS)
@given(microphone=st.integers(0, 5), seed=st.integers(0, 99))
@settings(max_examples=3)
def test_a_planted_fault_is_found_and_named(board, fault, microphone, seed):
    """Within 12 s of two talkers, and nobody else is accused; exchanged neighbours of a square may as well be the other two."""
    profile = BOARDS[board]
    count = len(profile.microphones)
    microphone %= count
    x = fields.failed(fields.talkers(profile.positions_mm, 12, seed), fault, microphone)
    health, named = judged(profile, x)
    kind = fields.KINDS[fault]
    accused = {fault.microphone for fault in health.faults}
    assert {fault.kind for fault in health.faults} == {kind}
    if fault == "swapped":
        partner = (microphone + 1) % count
        assert {microphone, partner} <= accused and (count == 4 or len(accused) == 2)
        assert next(f.partner for f in health.faults if f.microphone == microphone) is not None
        assert health.used.sum() == (1 if count == 4 else count - 2)
        return
    assert accused == {microphone}
    assert {who for who, _ in named} == {microphone}
    assert health.used.tolist() == [n != microphone or kind not in LEFT_OUT for n in range(count)]
    if kind == "gain":
        wanted = 6.0 if fault == "louder" else -6.0
        assert health.gains_db[microphone] == pytest.approx(wanted, abs=1.0)


@pytest.mark.parametrize("fault", ["dead", "deaf", "clipped", "overdriven", "noisy"])
def test_of_two_microphones_the_failed_one_is_named(fault):
    profile = BOARDS["2mic"]
    for microphone in (0, 1):
        health, _ = judged(profile, fields.failed(fields.talkers(profile.positions_mm, 12, 3), fault, microphone))
        assert [(one.microphone, one.kind) for one in health.faults] == [(microphone, fields.KINDS[fault])]


def test_of_two_microphones_the_gains_are_shared():
    """Which one is right cannot be told: half of it is made up for at each."""
    profile = BOARDS["2mic"]
    health, _ = judged(profile, fields.failed(fields.talkers(profile.positions_mm, 12, 3), "louder", 0))
    assert health.gains_db == pytest.approx([3, -3], abs=0.7) and health.used.all()


def test_two_faults_at_once():
    profile = BOARDS["6mic"]
    x = fields.failed(fields.failed(fields.talkers(profile.positions_mm, 14, 3), "deaf", 1), "overdriven", 4)
    health, _ = judged(profile, x)
    assert [(one.microphone, one.kind) for one in health.faults] == [(1, "dead"), (4, "clipped")]


@pytest.mark.parametrize(("board", "failed"), [("6mic", (0, 1, 2, 3)), ("4mic", (1, 2, 3)), ("6mic", (0, 1, 2, 3, 4))])
def test_where_most_are_dead_those_that_hear_are_not_accused(board, failed):
    profile = BOARDS[board]
    x = fields.talkers(profile.positions_mm, 8, 3)
    x[:, list(failed)] = 0
    health, named = judged(profile, x)
    assert named == {(one, "dead") for one in failed}
    assert health.used.tolist() == [one not in failed for one in range(len(profile.microphones))]


def test_where_most_hiss_those_that_hear_are_not_accused():
    """Two of six: that four have failed is not found, but what is heard is not thrown away for it."""
    profile = BOARDS["6mic"]
    x = fields.talkers(profile.positions_mm, 12, 3)
    x[:, :4] = fields.own_noise((len(x), 4), 6e-5, seed=5)
    health, named = judged(profile, x)
    assert named == set() and health.used.all()


def test_who_is_well_again_is_taken_back():
    profile = BOARDS["4mic"]
    x = fields.talkers(profile.positions_mm, 20, 4)
    x[: 8 * RATE] = fields.failed(x[: 8 * RATE], "deaf", 2)
    health, named = judged(profile, x)
    assert named == {(2, "dead")} and health.faults == () and health.used.all()


def test_while_the_device_plays_only_the_dead_and_the_clipped_are_named():
    """Its own loudspeaker is nearer to one microphone; planted: the same sound, not said to be played."""
    profile = BOARDS["4mic"]
    x = fields.talkers(profile.positions_mm, 10, 5) * [2.0, 1.0, 1.0, 1.0]
    assert judged(profile, x, playing=True)[1] == set()
    assert judged(profile, x)[1] == {(0, "gain")}
    x[:, 3] = 0
    assert judged(profile, x, playing=True)[1] == {(3, "dead")}


def test_faults_in_words():
    assert str(Fault(2, "gain", 0, gain_db=6.04)) == "microphone 2 is +6.0 dB off the middle of the array; made up for"
    assert "where microphone 4 sits" in str(Fault(1, "swapped", 0, partner=4))


def test_reset_and_forget():
    profile = BOARDS["4mic"]
    health, _ = judged(profile, fields.failed(fields.talkers(profile.positions_mm, 6, 3), "deaf", 1))
    health.process(np.full((100, 4), 7, np.int16), 0)
    health.forget()
    assert len(health.faults) == 1 and not health._held.any() and health.wanted == SECOND
    health.reset()
    assert health.faults == () and health.used.all()


def frames_of(frontend, samples, sizes):
    made, at, turn = [], 0, 0
    while at < len(samples):
        size = sizes[turn % len(sizes)]
        made.append(frontend.process(Block(samples[at : at + size], at)))
        at, turn = at + size, turn + 1
    return made


@given(sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=4))
@settings(max_examples=5)
def test_how_the_stream_comes_in_blocks_makes_no_difference(sizes):
    """Though a fault is found on the way, and the beams are others from then on."""
    profile = BOARDS["4mic"]
    samples = fields.int16(fields.failed(fields.talkers(profile.positions_mm, 5, 3), "deaf", 1))
    sizes = [max(size, 200) for size in sizes]
    whole, cut = Frontend(profile, 0), Frontend(profile, 0)
    wanted, got = frames_of(whole, samples, [len(samples)]), frames_of(cut, samples, sizes)
    assert [fault.since for fault in whole.faults] == [fault.since for fault in cut.faults] != []
    assert np.concatenate([f.beams for f in got]).tobytes() == np.concatenate([f.beams for f in wanted]).tobytes()
    assert np.concatenate([f.maps for f in got if len(f.maps)]).tobytes() == wanted[0].maps.tobytes()


def test_a_healthy_array_is_heard_as_without_the_watch():
    profile = BOARDS["4mic"]
    samples = fields.int16(fields.talkers(profile.positions_mm, 5, 3))
    frontends = [Frontend(profile, 0, health=watched) for watched in (True, False)]
    watched, plain = (np.concatenate([f.beams for f in frames_of(frontend, samples, [512])]) for frontend in frontends)
    assert watched.tobytes() == plain.tobytes()


def heard_by_the_beam(profile, x, azimuth_deg, **parameters):
    """The beam towards a talker, and the direction, of the last 4 s."""
    frontend = Frontend(profile, 0, azimuths_deg=(azimuth_deg,), **parameters)
    made = frames_of(frontend, fields.int16(x), [512])
    beam = np.concatenate([frame.beams for frame in made])[-4 * RATE :, 0].astype(float)
    return frontend, beam, frontend.direction(len(x) - 3 * RATE, len(x))


@pytest.mark.parametrize("fault", ["deaf", "louder", "overdriven", "noisy"])
def test_the_rest_goes_on(fault):
    """With the fault the beam is nearly what it was without; planted: unwatched, it is much worse, but for a dead one."""
    profile = BOARDS["6mic"]
    x = fields.talker(profile.positions_mm, 12, 70.0, 7)
    broken = fields.failed(x, fault, 2)
    _, wanted, _ = heard_by_the_beam(profile, x, 70.0)
    frontend, beam, direction = heard_by_the_beam(profile, broken, 70.0)
    _, unwatched, _ = heard_by_the_beam(profile, broken, 70.0, health=False)
    assert [one.microphone for one in frontend.faults] == [2]
    assert separation_deg(direction.azimuth_deg, 70) < 3
    assert si_sdr_db(beam, wanted) > 15 and si_sdr_db(beam, wanted) > si_sdr_db(unwatched, wanted) + (1 if fault == "deaf" else 3)


def test_with_exchanged_channels_left_out_the_direction_is_right_again():
    profile = BOARDS["6mic"]
    x = fields.failed(fields.talker(profile.positions_mm, 12, 165.0, 7), "swapped", 0)
    frontend, _, direction = heard_by_the_beam(profile, x, 165.0)
    assert {one.microphone for one in frontend.faults} == {0, 1}
    assert separation_deg(direction.azimuth_deg, 165) < 3
    _, _, fooled = heard_by_the_beam(profile, x, 165.0, health=False)
    assert fooled.confidence < direction.confidence, "planted"


def test_two_left_are_a_line_and_say_so():
    profile = BOARDS["4mic"]
    x = fields.talker(profile.positions_mm, 10, 70.0, 7)
    x[:, [1, 3]] = 0
    frontend, _, direction = heard_by_the_beam(profile, x, 70.0)
    assert frontend.health.used.tolist() == [True, False, True, False]
    assert min(separation_deg(a, 70) for a in (direction.azimuth_deg, direction.ambiguous_deg)) < 5


def least_squares_deg(positions_mm, off_mm, azimuth_deg):
    """By how much the plane wave turns that fits best a wave's delays once the positions are taken for others."""
    toward, across = (np.array([np.cos(a), np.sin(a)]) for a in np.radians([azimuth_deg, azimuth_deg + 90]))
    believed = positions_mm[:, :2] + off_mm
    along = (believed - believed.mean(axis=0)) @ across
    return float(np.degrees(-((off_mm - off_mm.mean(axis=0)) @ toward) @ along / (along @ along)))


@given(seed=st.integers(0, 99))
@example(seed=32)
@example(seed=67)  # whose positions turn the wave by 3.9 degrees
@settings(max_examples=5)
def test_positions_three_millimetres_off(seed):
    """Nobody is accused, the direction is the one that such positions make of it, and the beam within 12 dB of what it was."""
    profile = BOARDS["6mic"]
    off = np.random.default_rng(seed).normal(size=(6, 2))
    off *= 3 / np.linalg.norm(off, axis=1, keepdims=True)
    positions = [tuple(place) for place in (profile.positions_mm + np.pad(off, ((0, 0), (0, 1)))).tolist()]
    x = fields.talker(profile.positions_mm, 8, 200.0, seed)
    frontend, beam, direction = heard_by_the_beam(replace(profile, positions=tuple(positions)), x, 200.0)
    assert frontend.faults == ()
    turned = least_squares_deg(profile.positions_mm, off, 200.0)
    assert abs(turned) < 5 and separation_deg(direction.azimuth_deg, 200 + turned) < 0.3
    _, wanted, _ = heard_by_the_beam(profile, x, 200.0)
    assert si_sdr_db(beam, wanted) > 12


def test_in_a_stream_of_many_gaps_faults_are_found_too():
    profile = BOARDS["4mic"]
    samples = fields.int16(fields.failed(fields.talkers(profile.positions_mm, 6, 3), "deaf", 1))
    frontend = Frontend(profile, 0)
    for at in range(0, len(samples) - 4_000, 4_000):
        frontend.process(Block(samples[at : at + 3_900], at))
    assert [(one.microphone, one.kind) for one in frontend.faults] == [(1, "dead")]


def test_faults_outlive_a_gap_and_end_with_reset():
    profile = BOARDS["4mic"]
    samples = fields.int16(fields.failed(fields.talkers(profile.positions_mm, 5, 3), "deaf", 1))
    frontend = Frontend(profile, 0)
    frontend.process(Block(samples, 0))
    before = frontend.faults
    frontend.process(Block(samples[:100], 10 * RATE))
    assert frontend.faults == before != ()
    frontend.reset()
    assert frontend.faults == ()
    fresh = Frontend(profile, 0)
    assert frontend.process(Block(samples, 0)).beams.tobytes() == fresh.process(Block(samples, 0)).beams.tobytes()


def test_detect_says_so(tmp_path, capsys):
    """On stderr, and with each event; the exit status stays what it was."""
    x = fields.failed(fields.talkers(BOARDS["4mic"].positions_mm, 6, 3), "deaf", 1)
    soundfile.write(tmp_path / "mics.wav", fields.int16(x), RATE)
    with pytest.raises(SystemExit) as left:
        main(["detect", str(tmp_path / "mics.wav"), "--profile", "respeaker-4mic"])
    told = capsys.readouterr()
    assert left.value.code == 0
    assert told.err.count("\n") == 1 and "mics.wav: microphone 1 is dead" in told.err


class Opened:
    name, microphones, references = "planted", 4, 0

    def counts(self):
        return {"missing_samples": 0}

    def clocks(self):
        return {}


def test_listen_says_so_once_and_when_it_is_over(capsys):
    gain = Fault(2, "gain", 48_000, gain_db=6.0)
    with Report(Opened(), as_json=True) as report:
        for faults in ((), (gain,), (gain,), (gain, Fault(3, "dead", 64_000)), (Fault(3, "dead", 64_000),)):
            report.microphones(faults)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line["type"] == "microphone"] == [
        {"type": "microphone", "microphone": 2, "fault": "gain", "since": 48_000, "gain_db": 6.0},
        {"type": "microphone", "microphone": 3, "fault": "dead", "since": 64_000},
        {"type": "microphone", "microphone": 2, "fault": None},
    ]
