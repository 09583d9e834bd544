"""Rigs: what goes in comes out, the same decisions to the sample on each, and each fault accounted for."""

import importlib
import shutil
from dataclasses import replace

import numpy as np
import pytest

from farfield import InputError, load_model
from farfield.hil import BoardRig, FileRig, LoopbackRig, Pass, Scene, demo_room, listen, load_room, of_room
from farfield.hil.faults import Faults, parse
from farfield.hil.result import of_room as of_heard
from farfield.hil.rigs import rig
from farfield.hil.rigs.check import check, refuse_unfit
from reference.scenes import Spoilt, altered, left_out, noise, planted, word

needs_pulse = pytest.mark.skipif(
    shutil.which("pulseaudio") is None or importlib.util.find_spec("alsaaudio") is None, reason="needs pulseaudio and pyalsaaudio"
)
REAL_TIME = [pytest.param(BoardRig, id="board"), pytest.param(LoopbackRig, id="loopback", marks=needs_pulse)]


@pytest.fixture(scope="module")
def opening():
    """The demo room's first 2.6 s: a word over four microphones and a reference."""
    whole = of_room(load_room(demo_room()))
    return Scene(whole.name, whole.profile, whole.samples[:41_600], whole.words[:1])


def outcome(heard):
    """All that must be the same on every rig."""
    events = [replace(timed.event, host_ns=0) for timed in heard.events]
    return events, [(track.index.tolist(), track.p.tolist()) for track in heard.tracks]


def undisturbed(play):
    """The first of five passes in which nothing was lost or ran dry, as it may on a busy machine; or the last."""
    for _ in range(5):
        heard = play()
        if not heard.books.lost and not any("ran dry" in told for told in heard.books.unexplained):
            break
    return heard


@pytest.mark.parametrize("made", REAL_TIME)
def test_the_same_decisions_to_the_sample_as_on_the_file_rig(made, opening):
    """Every score of every step too, so that the algorithmic latency is the same wherever a room is played."""
    models = [load_model("alexa")]
    wanted = listen(FileRig(), opening, models)
    assert len(wanted.events) == 1 and wanted.events[0].system_s is None and wanted.drift_ppm is None
    with_clock = made()
    try:
        heard = undisturbed(lambda: listen(with_clock, opening, models))
    finally:
        with_clock.close()
    assert (heard.books.lost, heard.books.unexplained) == (0, ())
    assert outcome(heard) == outcome(wanted)
    assert 0 < heard.events[0].system_s < 2 and len(heard.system_s) == len(heard.tracks[0].index)


@pytest.mark.parametrize(
    ("faults", "lost", "epochs"),
    [
        (Faults(damaged=0.05), range(160, 8_000), 0),
        (Faults(lost=0.05), range(160, 8_000), 0),
        (Faults(late=0.3), range(1), 0),
        (Faults(unplug_s=0.3), range(160, 40_000), 1),
        (Faults(drift_ppm=500.0), range(1), 0),
    ],
    ids=["damaged", "lost", "late", "unplugged", "drift"],
)
def test_the_boards_faults_are_accounted_for(faults, lost, epochs):
    scene = noise(2.0)
    heard = listen(BoardRig(seed=3), scene, [planted(scene, 20)], faults)
    assert heard.books.unexplained == () and heard.books.lost in lost
    assert heard.books.counted.epochs == epochs
    if not epochs:
        assert heard.books.counted.missing - heard.books.beyond == heard.books.lost


def test_a_stalled_consumer_loses_what_the_board_cannot_hold():
    """8 channels make 256 kB a second; line and board hold less than a second of that."""
    scene = Scene("noise", noise(3.0, 4).profile, np.concatenate([noise(3.0, 4).samples, noise(3.0, 4).samples], axis=1))
    heard = listen(BoardRig(), scene, [planted(scene, 20)], Faults(stall_s=1.0))
    assert heard.books.unexplained == () and heard.books.lost > 0
    assert heard.books.counted.missing == heard.books.lost and heard.books.counted.xruns > 0


@needs_pulse
@pytest.mark.parametrize("faults", [Faults(lost=0.01), Faults(unplug_s=0.3)], ids=["lost", "unplugged"])
def test_the_loopbacks_faults_are_accounted_for(faults):
    scene = noise(3.0)
    loop = LoopbackRig(seed=2)
    try:
        heard = listen(loop, scene, [planted(scene, 20)], faults)
    finally:
        loop.close()
    assert heard.books.unexplained == () and heard.books.lost > 0


def test_clocks_that_drift_apart_are_heard_in_the_reference():
    """The reference falls behind by its ppm; where there is none, the sound stays as it is."""
    scene = noise(4.0, 1, 1)
    heard = listen(FileRig(), scene, [planted(scene, 20)], Faults(drift_ppm=500.0)).scene.samples[:, 1].astype(float)
    wanted = scene.samples[:, 1].astype(float)
    part = slice(50_000, 58_000)
    shifts = range(-40, 41)
    best = max(shifts, key=lambda by: float(np.dot(wanted[part], heard[part.start + by : part.stop + by])))
    assert abs(abs(best) - 54_000 * 500e-6) <= 1
    alone = noise(1.0)
    assert listen(FileRig(), alone, [planted(alone, 20)], Faults(drift_ppm=500.0)).scene is alone


class TestCheck:
    def test_a_rig_that_is_fit(self):
        found = check(FileRig(), noise(1.0, 4).profile, 1)
        assert (found.problems, found.lost, found.drift_ppm) == ((), 0, None)
        refuse_unfit(found)

    @pytest.mark.parametrize(
        ("spoil", "told"), [(altered(9_000), "sample 9000"), (left_out(8_000), "160 of 64000 samples were lost")]
    )
    def test_a_sample_that_is_another_or_missing(self, spoil, told):
        with pytest.raises(InputError, match=f"rig file: did not pass its check: .*{told}") as refused:
            refuse_unfit(check(Spoilt(FileRig(), spoil), noise(1.0).profile, 0))
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize(("ppm", "is_fit"), [(30.0, True), (150.0, False)])
    def test_a_rate_that_is_off(self, ppm, is_fit):
        """The file rig's counted clock, taken for a real one."""

        class Drifting(FileRig):
            clocked = True

            def play(self, scene, faults=None):
                return super().play(scene, Faults(drift_ppm=ppm))

        found = check(Drifting(), noise(1.0).profile, 0)
        assert round(found.drift_ppm) == ppm and (found.problems == ()) == is_fit


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (["lost=0.01", "stall=0.5"], Faults(lost=0.01, stall_s=0.5)),
        (["unplug=1", "drift=-500", "disk-full"], Faults(unplug_s=1, drift_ppm=-500, disk_full=True)),
    ],
)
def test_faults_by_their_names(asked, wanted):
    assert parse(asked) == wanted


@pytest.mark.parametrize("asked", ["lost", "lost=2", "lost=nan", "drift=501", "stall=-1", "fire=1", "disk-full=1", ""])
def test_a_fault_that_is_none(asked):
    with pytest.raises(InputError, match="--fault"):
        parse([asked])


def test_a_rig_that_is_none(tmp_path):
    with pytest.raises(InputError, match=r"--rig: got 'cloud', wanted file, board, loopback, or a \.toml file"):
        rig("cloud")
    (tmp_path / "array.toml").write_text('playback = "hw:9"\ncapture = "hw:9"\nprofil = "single"\n')
    with pytest.raises(InputError, match=r"array\.toml: field profile: got nothing"):
        rig(str(tmp_path / "array.toml"))


@needs_pulse
def test_a_device_by_its_alsa_names(tmp_path):
    """A null sink stands for loudspeaker and microphone: the pilot is found to the sample, nothing is lost."""
    from farfield.hil.pulse import PulseServer, Sink

    (tmp_path / "array.toml").write_text('playback = "air"\ncapture = "air_monitor"\nprofile = "single"\n')
    said = (replace(word(1_000, 3_000), direction_deg=40.0),)
    scene = replace(noise(1.0, 4, 1, words=said), speech=said, provenance="noise")
    with PulseServer(Sink("air", 1)):
        device = rig(str(tmp_path / "array.toml"))
        heard = undisturbed(lambda: listen(device, scene, [planted(scene, 20)]))
    assert (heard.books.lost, heard.books.unexplained) == (0, ()) and device.name == "array"
    assert [one.event.decision for one in heard.events] == [320 + 160 * 20]
    truth = heard.scene
    assert (truth.words, truth.speech, truth.provenance) == ((word(1_000, 3_000),), (word(1_000, 3_000),), "noise")


def test_a_word_is_held_against_what_the_rig_left_of_its_truth():
    """A rig that plays all from one place: a hit has no error of direction, in a run and in a test."""

    class Loudspeaker(FileRig):
        def play(self, scene, faults=None):
            words = tuple(replace(one, direction_deg=None) for one in scene.words)
            return super().play(replace(scene, words=words))

    scene = noise(2.0, 4, words=[replace(word(8_000, 16_000), direction_deg=40.0)])
    models = [planted(scene, 98)]
    for played_on, is_known in ((FileRig(), True), (Loudspeaker(), False)):
        (hit,) = of_heard(listen(played_on, scene, models), models, 0.5)["hits"]
        (same,) = Pass.over(played_on, scene, models).hits
        assert (hit["direction_error_deg"] is not None) == (same.direction_error_deg is not None) == is_known


@pytest.mark.parametrize("off", [-9, 0, 3])
@pytest.mark.parametrize("at", [-100, -40, 0, 5_000, 15_900])
def test_a_block_whose_gap_was_sized_by_a_clock_is_found_where_it_lies(at, off):
    """Where it reaches over an end of the scene too: there is silence beyond it."""
    from farfield import Block
    from farfield.hil.rigs.alsa import AlsaStream

    stream = AlsaStream.__new__(AlsaStream)
    stream.scene = noise(1.0)
    padded = np.pad(stream.scene.samples, ((200, 200), (0, 0)))
    block = Block(padded[200 + at : 200 + at + 160], 70_000)
    assert stream.near(block, at + off) == at - 70_000
    assert stream.near(Block(np.zeros((160, 1), np.int16), 0), at) is None, "silence lies anywhere"
