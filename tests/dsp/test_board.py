"""Mic boards: what is lost is found and sized, behind a real pseudo-terminal and in every order that a line can make."""

import json
import os
import signal
import subprocess
import sys
import termios
import threading
import time
import tty

import numpy as np
import pytest
import serial
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from farfield.board import source as module
from farfield.board import wire
from farfield.board.assembler import Assembler
from farfield.board.simulated import Faults, Line, SimulatedBoard
from farfield.board.source import SerialSource
from farfield.board.wire import Audio, Packet
from farfield.errors import InputError
from farfield.profile import load_profile
from reference.patience import PATIENCE_S

RATE = 16_000
FRAMES = 160
FARFIELD = (sys.executable, "-c", "from farfield.cli import main; main()")


def sound(seconds, channels=1, seed=0):
    return np.random.default_rng(seed).integers(-32_768, 32_768, (int(seconds * RATE), channels)).astype(np.int16)


def in_chunks(samples, size=1_000):
    return lambda: (samples[at : at + size] for at in range(0, len(samples), size))


def laid_out(folder, microphones, references=0):
    """A profile of so many channels."""
    table = f'name = "made"\ndescription = "for tests"\nrate = 16000\nchannels = {microphones + references}\n'
    for n in range(microphones):
        table += f"[[microphone]]\nchannel = {n}\nposition_mm = [{40.0 * n}, 0.0, 0.0]\n"
    for n in range(references):
        table += f"[[reference]]\nchannel = {microphones + n}\n"
    (folder / "made.toml").write_text(table)
    return load_profile(folder / "made.toml")


SINGLE = load_profile("single")


def patient():
    """Whether what is sure to come has been waited for too long."""
    until_s = time.monotonic() + PATIENCE_S
    return lambda: time.monotonic() > until_s


# --- frames into blocks


def framed(samples, number, epoch=1, first=0, overruns=0):
    part = samples[number * FRAMES : (number + 1) * FRAMES]
    payload = wire.audio_payload(Audio(first + number * FRAMES, 0, overruns, 1, part))
    return Packet(wire.AUDIO, epoch, number, payload)


@given(st.lists(st.sampled_from(["sent", "sent", "sent", "lost", "twice", "overtaken"]), min_size=1, max_size=40))
def test_blocks_are_what_arrived_and_gaps_what_did_not(fates):
    """Whatever is lost, doubled or reordered: each block holds what was captured at its index, and all is accounted for."""
    samples = sound(len(fates) * FRAMES / RATE)
    arriving, held = [], []
    for number, fate in enumerate(fates):
        packet = framed(samples, number)
        if fate == "overtaken":
            held.append(packet)
            continue
        arriving += [packet] * {"sent": 1, "lost": 0, "twice": 2}[fate] + held
        held = []
    assembler = Assembler(1, 0)
    blocks = [block for packet in arriving for block in assembler.take(packet, 7)]
    at = 0
    for block in blocks:
        assert block.index >= at and (block.epoch, block.host_ns) == (0, 7)
        assert np.array_equal(block.samples, samples[block.index : block.end])
        at = block.end
    heard = sum(len(block.samples) for block in blocks)
    assert heard + assembler.counts.missing_samples == at
    assert len(blocks) + assembler.counts.late == len(arriving)
    if set(fates) <= {"sent", "twice"}:
        assert heard == len(samples) and assembler.counts.late == fates.count("twice") and assembler.counts.lost_frames == 0
    if set(fates) <= {"sent", "lost"} and fates[0] == fates[-1] == "sent":
        assert assembler.counts.lost_frames == fates.count("lost")
        assert assembler.counts.missing_samples == FRAMES * fates.count("lost")


def test_a_new_epoch_begins_anew_and_an_old_one_is_late():
    samples = sound(0.1)
    assembler = Assembler(1, 0)
    (block,) = assembler.take(framed(samples, 3, epoch=65_535), 0)
    assert block.index == 480 and assembler.counts.missing_samples == 480
    (block,) = assembler.take(framed(samples, 0, epoch=0), 0)
    assert (block.index, block.epoch) == (0, 1), "the board's epoch wraps, ours does not"
    assert assembler.take(framed(samples, 4, epoch=65_535), 0) == [] and assembler.counts.late == 1
    assembler.reopened()
    (block,) = assembler.take(framed(samples, 0, epoch=0), 0)
    assert (block.index, block.epoch) == (0, 2) and assembler.counts.reopened == 1


def test_what_overlaps_is_taken_from_where_it_is_new():
    samples = sound(0.1)
    assembler = Assembler(1, 0)
    assembler.take(framed(samples, 0), 0)
    payload = wire.audio_payload(Audio(100, 0, 0, 1, samples[100:260]))
    (block,) = assembler.take(Packet(wire.AUDIO, 1, 1, payload), 0)
    assert (block.index, len(block.samples)) == (160, 100) and np.array_equal(block.samples, samples[160:260])


def test_other_layouts_and_broken_payloads_are_counted():
    assembler = Assembler(1, 0)
    two = wire.audio_payload(Audio(0, 0, 0, 2, sound(0.01, 2)))
    for payload in (two, b"", two[:-1]):
        assert assembler.take(Packet(wire.AUDIO, 1, 0, payload), 0) == []
    assert assembler.counts.contradictory == 3 and assembler.take(Packet(0x77, 1, 0), 0) == []


def test_the_boards_overruns_are_added_up_over_epochs():
    samples = sound(0.1)
    assembler = Assembler(1, 0)
    for number, overruns in ((0, 2), (1, 2), (2, 5)):
        assembler.take(framed(samples, number, overruns=overruns), 0)
    assembler.take(framed(samples, 0, epoch=2, overruns=1), 0)
    assert assembler.counts.overruns == 6


# --- behind a pseudo-terminal


def test_a_whole_stream_arrives_bit_for_bit(tmp_path):
    """Eight channels in real time, in blocks that follow each other; what the board is comes with it."""
    samples = sound(1.5, 8)
    profile = laid_out(tmp_path, 6, 2)
    with SimulatedBoard(in_chunks(samples), 6, 2) as board, SerialSource(board.port, profile) as source:
        begun = time.monotonic()
        blocks = list(source.blocks(ended=board.finished.is_set))
        took = time.monotonic() - begun
    heard = np.concatenate([block.samples for block in blocks])
    assert np.array_equal(heard, samples[: len(heard)]) and len(samples) - len(heard) < FRAMES
    assert [block.index for block in blocks] == list(range(0, len(heard), FRAMES)) and took > 1.4
    assert (source.microphones, source.references, source.about.name) == (6, 2, "simulated board")
    assert set(vars(source.counts).values()) == {0}


def test_what_comes_after_a_quiet_look_and_before_the_end_is_heard(monkeypatch):
    """A listener that the machine let wait between the two."""
    samples, looked = sound(0.05), []
    with SimulatedBoard(in_chunks(samples), 1, 0) as board, SerialSource(board.port, SINGLE) as source:
        read = source._read

        def too_early():
            if not looked:
                looked.append(board.finished.wait(PATIENCE_S))
                return []
            return read()

        monkeypatch.setattr(source, "_read", too_early)
        blocks = list(source.blocks(ended=board.finished.is_set))
    assert looked == [True] and np.array_equal(np.concatenate([block.samples for block in blocks]), samples)


def test_what_a_bad_line_loses_is_sized():
    """Every sample is heard at its place or counted as missing."""
    samples = sound(2.0)
    faults = Faults(lost=0.05, doubled=0.05, swapped=0.05, truncated=0.05, flipped=0.05, noise=0.05, jitter_s=0.003)
    with SimulatedBoard(in_chunks(samples), 1, 0, faults=faults, seed=4) as board, SerialSource(board.port, SINGLE) as source:
        blocks = list(source.blocks(ended=board.finished.is_set))
    heard = 0
    for block in blocks:
        assert np.array_equal(block.samples, samples[block.index : block.end])
        heard += len(block.samples)
    counts = source.counts
    assert heard + counts.missing_samples == blocks[-1].end and counts.missing_samples >= 10 * FRAMES
    assert counts.damaged >= 5 and counts.late >= 3 and counts.lost_frames >= 10 and counts.epochs == 0


def test_a_line_without_faults_changes_nothing_and_one_with_them_does_as_it_says():
    line, sent = Line(Faults(), 1), [wire.encode(Packet(1, 0, n, bytes([n]) * 50)) for n in range(100)]
    assert [line.through(data) for data in sent] == sent
    assert b"".join(Line(Faults(lost=1.0), 1).through(data) for data in sent) == b""
    assert Line(Faults(doubled=1.0), 1).through(sent[0]) == 2 * sent[0]
    swapping = Line(Faults(swapped=1.0), 1)
    assert [swapping.through(data) for data in sent[:4]] == [b"", sent[1] + sent[0], b"", sent[3] + sent[2]]
    for name in ("truncated", "flipped"):
        decoder = wire.Decoder()
        bad = Line(Faults(**{name: 1.0}), 1)
        assert [packet for data in sent for packet in decoder.feed(bad.through(data))] == [] and decoder.damaged >= 100


def test_a_listener_that_stalls_makes_the_board_lose_what_it_cannot_hold(tmp_path):
    samples, blocks, stalled = sound(2.5, 8), [], False
    with SimulatedBoard(in_chunks(samples), 8, 0) as board, SerialSource(board.port, laid_out(tmp_path, 8)) as source:
        for block in source.blocks(ended=board.finished.is_set):
            blocks.append(block)
            if not stalled and block.end > RATE // 4:
                stalled = True
                threading.Event().wait(1.0)
    assert source.counts.overruns > 0 and source.counts.missing_samples > 0
    assert all(np.array_equal(block.samples, samples[block.index : block.end]) for block in blocks)
    assert sum(len(block.samples) for block in blocks) + source.counts.missing_samples == blocks[-1].end


@pytest.mark.parametrize("ppm", [-40_000.0, 40_000.0])
def test_a_board_whose_clock_is_off_takes_longer_or_less(ppm):
    samples = sound(1.0)
    with (
        SimulatedBoard(in_chunks(samples), 1, 0, faults=Faults(clock_ppm=ppm)) as board,
        SerialSource(board.port, SINGLE) as source,
    ):
        arrived = [block.host_ns for block in source.blocks(ended=board.finished.is_set)]
    # Half a second apart, by the median: a machine that lets the board or its listener wait delays few of them.
    took = np.median(np.subtract(arrived[49:], arrived[:-49])) / 1e9
    assert took == pytest.approx(0.49 / (1 + ppm * 1e-6), abs=0.005)


@pytest.mark.parametrize("ppm", [-500.0, 0.0, 37.0, 500.0])
def test_how_far_a_boards_clock_is_off_is_found_through_late_and_lost_frames(ppm):
    """A minute of frames that arrive up to many ms late, one in a hundred never, at moments that are known: to 5 ppm."""
    random, assembler = np.random.default_rng(3), Assembler(1, 0)
    silence, arrived = np.zeros((FRAMES, 1), np.int16), 0
    for number in range(6_000):
        captured_ns = (number + 1) * FRAMES * 1e9 / RATE / (1 + ppm * 1e-6)
        arrived = max(arrived, 10**12 + int(captured_ns + random.exponential(3e6)))
        if random.random() < 0.99:
            payload = wire.audio_payload(Audio(number * FRAMES, 0, 0, 1, silence))
            assembler.take(Packet(wire.AUDIO, 1, number, payload), arrived)
    assert assembler.track.drift_ppm == pytest.approx(ppm, abs=5)
    assert 0 < assembler.counts.lost_frames == assembler.counts.missing_samples // FRAMES


def test_a_board_that_goes_away_and_comes_back_is_found_again(tmp_path):
    """In a new epoch, at the same place; a link stands for the name that a port keeps."""
    port, samples = tmp_path / "board", sound(30.0)
    first = SimulatedBoard(in_chunks(samples), 1, 0)
    port.symlink_to(first.port)
    with SerialSource(str(port), SINGLE) as source:
        blocks = source.blocks()
        assert next(blocks).epoch == 0
        first.close()
        port.unlink()
        second = SimulatedBoard(in_chunks(samples), 1, 0)
        port.symlink_to(second.port)
        back = next(block for block in blocks if block.epoch)
        assert (back.epoch, back.index) == (1, 0) and np.array_equal(back.samples, samples[:FRAMES])
        assert source.counts.reopened == 1
        blocks.close()
    second.close()


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("earlier", [0, 2])
def test_a_board_that_is_switched_on_anew_is_heard_again(tells, earlier, monkeypatch):
    """Its port stays, and all that it counts begins at 0; its ABOUT says so, or that it has been quiet for long."""
    monkeypatch.setattr(module, "_QUIET_S", PATIENCE_S if tells else 0.5)
    samples = sound(60.0)
    with SimulatedBoard(in_chunks(samples), 1, 0) as board:
        for _ in range(earlier):  # then what it calls its epoch is less afterwards, else the same
            SerialSource(board.port, SINGLE).close()
        with SerialSource(board.port, SINGLE) as source:
            blocks = source.blocks(patient())
            while next(blocks).end < RATE // 4:
                pass
            board.reset(tells=tells)
            back = next(block for block in blocks if block.epoch)
            assert (back.epoch, back.index) == (1, 0) and np.array_equal(back.samples, samples[:FRAMES])
            assert (next(blocks).index, source.counts.epochs, source.counts.late) == (FRAMES, 1, 0)
            blocks.close()


def test_what_a_board_that_stood_still_sends_before_it_starts_again_is_of_before(monkeypatch):
    """Frames of the old epoch, after the host gave up on them: they are no gap of the new one."""
    monkeypatch.setattr(module, "_QUIET_S", 0.3)
    with SimulatedBoard(in_chunks(sound(60.0)), 1, 0) as board, SerialSource(board.port, SINGLE) as source:
        blocks, obey, schedule, told = source.blocks(patient()), board._obey, board._schedule, []
        assert next(blocks).epoch == 0

        def obeyed(packet):
            if packet.type == wire.START:
                board._capture()
                told.append(packet)
            obey(packet)

        def scheduled():
            schedule()
            if not told:
                board._due_s += PATIENCE_S

        monkeypatch.setattr(board, "_obey", obeyed)
        monkeypatch.setattr(board, "_schedule", scheduled)
        back = next(block for block in blocks if block.epoch)
        assert (back.epoch, back.index, source.counts.missing_samples) == (1, 0, 0)
        blocks.close()


@pytest.mark.parametrize("way", [OSError(5, "Input/output error"), termios.error(5, "Input/output error")])
def test_a_port_that_goes_away_while_it_is_opened_is_one_line(way, monkeypatch):
    """pyserial lets through what the kernel says."""

    def gone(line):
        raise way

    with SimulatedBoard(in_chunks(sound(1.0)), 1, 0) as board:
        monkeypatch.setattr(serial.Serial, "in_waiting", property(gone))
        with pytest.raises(InputError, match=r"cannot be opened \(Input/output error\); wanted a serial port"):
            SerialSource(board.port, SINGLE)


def test_sound_that_cannot_be_made_ends_what_a_board_sends_and_says_why():
    def breaks_off():
        yield sound(0.05)
        raise InputError("mics.flac: truncated")

    with SimulatedBoard(breaks_off, 1, 0) as board, SerialSource(board.port, SINGLE) as source:
        assert sum(len(block.samples) for block in source.blocks(ended=board.finished.is_set)) == 0.05 * RATE
        assert str(board.failed) == "mics.flac: truncated"


def test_stopping_ends_the_stream_and_stops_the_board():
    stop = threading.Event()
    with SimulatedBoard(in_chunks(sound(60.0)), 1, 0) as board:
        with SerialSource(board.port, SINGLE) as source:
            for block in source.blocks(stop.is_set):
                if block.end >= 1_600:
                    stop.set()
        with SerialSource(board.port, SINGLE) as source:
            assert not source.about.running, "the first had told it to stop"
            assert next(source.blocks()).index == 0


def test_a_board_does_what_it_is_told_and_says_what_it_does_not_know():
    with SimulatedBoard(in_chunks(sound(1.0)), 1, 0) as board:
        handle = os.open(board.port, os.O_RDWR | os.O_NOCTTY)
        decoder, answers = wire.Decoder(), []
        told = [(wire.SET, wire.set_payload(wire.FRAMES_KEY, 320)), (wire.SET, wire.set_payload(wire.FRAMES_KEY, 2_000)),
                (wire.SET, b"x"), (0x55, b""), (wire.ASK, b"")]  # fmt: skip
        for number, (kind, payload) in enumerate(told):
            os.write(handle, wire.encode(Packet(kind, 0, number, payload)))
        while len(answers) < len(told):
            answers += decoder.feed(os.read(handle, 4_096))
        os.close(handle)
    done = [(packet.payload[0], packet.payload[1]) for packet in answers[:4]]
    assert done == [(wire.SET, wire.OK), (wire.SET, wire.REFUSED), (wire.SET, wire.REFUSED), (0x55, wire.UNKNOWN)]
    assert wire.parse_about(answers[4].payload).frames == 320 and [packet.sequence for packet in answers] == [0, 1, 2, 3, 4]


# --- what cannot be listened to


def test_what_is_no_board_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: cannot be opened \(No such file or directory\)"):
        SerialSource(str(tmp_path / "nowhere"), SINGLE)
    master, slave = os.openpty()
    tty.setraw(slave)
    with pytest.raises(InputError, match="nothing answers as a mic board does"):
        SerialSource(os.ttyname(slave), SINGLE)
    os.close(master)
    os.close(slave)


def test_another_layout_is_refused(tmp_path):
    with SimulatedBoard(in_chunks(sound(1.0, 2)), 2, 0) as board:
        with pytest.raises(InputError, match="got 16000 Hz, 2 microphones and 0 references, wanted 16000, 1 and any"):
            SerialSource(board.port, SINGLE)
        with pytest.raises(InputError, match="wanted 16000, 2 and 1 as in the profile"):
            SerialSource(board.port, laid_out(tmp_path, 2, 1))


def test_a_port_that_is_in_use_is_refused():
    with SimulatedBoard(in_chunks(sound(5.0)), 1, 0) as board, SerialSource(board.port, SINGLE) as source:
        with pytest.raises(InputError, match=r"cannot be opened \(.*\); wanted a serial port that nobody else uses"):
            SerialSource(board.port, SINGLE)
        assert next(source.blocks()).index == 0, "the first still has it"


# --- the command


def listen(*arguments):
    command = [*FARFIELD, "listen", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def room(tmp_path):
    """The demo room's first three seconds, in which the word is said once."""
    from farfield.hil.room import demo_room

    for name in ("mics", "ref"):
        samples, rate = soundfile.read(demo_room() / f"{name}.flac", dtype="int16", frames=3 * RATE)
        soundfile.write(tmp_path / f"{name}.flac", samples, rate)
    (tmp_path / "room.toml").write_text('profile = "respeaker-4mic"\nprovenance = "cut from the demo room"\n')
    return tmp_path


def test_listening_to_a_room_hears_what_detecting_in_it_does(room):
    """The same word, at the same samples: nothing is lost or moved between the microphones and the detector."""
    running = listen("--board-simulated", room, "--json")
    out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["type"] for line in lines] == ["listening", "heard", "end"]
    command = [*FARFIELD, "detect", room / "mics.flac", "--profile", "respeaker-4mic",
               "--ref", room / "ref.flac", "--json"]  # fmt: skip
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert {name: lines[1][name] for name in ("word", "start", "end", "decision")} == {
        name: found[name] for name in ("word", "start", "end", "decision")
    }
    assert lines[2]["seconds"] == pytest.approx(3.0, abs=0.02) and lines[2]["missing_samples"] == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(room, how):
    running = listen("--board-simulated", room, "--json")
    assert json.loads(running.stdout.readline())["type"] == "listening"
    running.send_signal(how)
    out, err = running.communicate(timeout=PATIENCE_S)
    assert (running.returncode, err) == (0, "") and json.loads(out.splitlines()[-1])["type"] == "end"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "listen: got none of them, wanted one of --alsa, --serial, --board-simulated"),
        (["--serial", "a", "--board-simulated", "b"], "listen: got --serial and --board-simulated, wanted one of"),
        (["--board-simulated", "nowhere"], "room.toml: cannot be read"),
        (["--serial", "nowhere"], "nowhere: cannot be opened"),
    ],
)
def test_wrong_use_is_one_line(arguments, told, capsys):
    from farfield.cli import main

    with pytest.raises(SystemExit) as left:
        main(["listen", "--no-realtime", *arguments])  # this process is the test's own
    err = capsys.readouterr().err.splitlines()
    assert left.value.code == 2 and len(err) == 1 and told in err[0]
