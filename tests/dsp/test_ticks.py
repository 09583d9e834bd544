"""The board's tick: clocks that are known, samples left out or made up without the index telling, ticks that are none."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from farfield.board import wire
from farfield.board.assembler import Assembler
from farfield.board.simulated import Faults, SimulatedBoard
from farfield.board.source import SerialSource
from farfield.board.wire import Audio, Packet
from farfield.profile import load_profile

RATE, FRAMES = 16_000, 160
SECOND = RATE // FRAMES  # frames
SILENCE = np.zeros((FRAMES, 1), np.int16)


class Board:
    """Frames of a board, one after the other: where each was captured in truth, what its index says, when its tick was read.

    ppm: the sample clock against the host's, tick_ppm: the microsecond clock against the host's. seconds of the host's time.
    """

    def __init__(self, ppm=0.0, tick_ppm=0.0, first_tick=0, jitter_s=0.0, seed=1):
        self.rate, self.tick_rate, self.first_tick = RATE * (1 + ppm * 1e-6), 1e6 * (1 + tick_ppm * 1e-6), first_tick
        self.random, self.jitter_s = np.random.default_rng(seed), jitter_s
        self.number = self.index = self.captured = 0
        self.true, self.arrived_ns = {}, 0  # true place of a frame's end, by its sequence

    def frame(self, late_s=0.0, left_out=0, jump=0, tick=None):
        """The next frame's packet and when it arrives. left_out: samples before it that are not in the index, below 0: that come
        twice in it; jump: of the index, for a loss that was none."""
        self.captured += left_out + FRAMES
        self.index += jump + FRAMES
        due_s = self.captured / self.rate
        if tick is None:
            tick = int(self.first_tick + (due_s + late_s) * self.tick_rate)
        payload = wire.audio_payload(Audio(self.index - FRAMES, tick % 2**32, 0, 1, SILENCE))
        self.arrived_ns = max(self.arrived_ns, 10**12 + int((due_s + self.random.exponential(self.jitter_s or 1e-9)) * 1e9))
        self.true[self.index] = self.captured
        self.number += 1
        return Packet(wire.AUDIO, 1, self.number - 1, payload), self.arrived_ns


def heard(assembler, board, frames):
    return [block for _ in range(frames) for block in assembler.take(*board.frame())]


@pytest.mark.parametrize(("ppm", "tick_ppm"), [(0.0, 0.0), (80.0, -40.0), (-500.0, 30.0), (37.0, 37.0), (0.0, 500.0)])
def test_the_sample_clock_is_held_against_the_boards_and_the_hosts(ppm, tick_ppm):
    """Frames arrive up to many ms late: by their ticks the drift is known to 1 ppm after 10 s, by their arrival to 30."""
    assembler, board = Assembler(1, 0), Board(ppm, tick_ppm, jitter_s=3e-3)
    heard(assembler, board, 10 * SECOND)
    wanted = ((1 + ppm * 1e-6) / (1 + tick_ppm * 1e-6) - 1) * 1e6
    assert assembler.tick_track.drift_ppm == pytest.approx(wanted, abs=1)
    assert assembler.track.drift_ppm == pytest.approx(ppm, abs=30)
    # and the board's own clock against the host's
    assert assembler.track.drift_ppm - assembler.tick_track.drift_ppm == pytest.approx(tick_ppm, abs=31)
    assert (assembler.counts.unannounced, assembler.counts.disbelieved_ticks) == (0, 0)


@given(
    lost=st.integers(40, 3 * RATE), at=st.integers(6 * SECOND, 9 * SECOND), ppm=st.floats(-500, 500),
    first_tick=st.integers(0, 2**32 - 1), late_ms=st.sampled_from([0.0, 0.5, 4.0]), line=st.sampled_from([0.0, 0.02]),
    seed=st.integers(0, 99),
)  # fmt: skip
@example(lost=160, at=700, ppm=0.0, first_tick=2**32 - 7_000_000, late_ms=0.0, line=0.0, seed=0)  # the tick wraps in the loss
def test_what_a_board_leaves_out_without_a_word_is_found_by_its_tick(lost, at, ppm, first_tick, late_ms, line, seed):
    """To the sample, at its place, through ticks that are read late and frames that are lost on the line."""
    assembler, board = Assembler(1, 0), Board(ppm, first_tick=first_tick, jitter_s=1e-3, seed=seed)
    random, blocks = np.random.default_rng(seed), []
    for number in range(12 * SECOND):
        late_s = random.exponential(late_ms * 1e-3) if late_ms and random.random() < 0.2 else 0.0
        packet = board.frame(late_s, lost if number == at else 0)
        if not number or random.random() >= line:  # else it is lost on the line
            blocks += assembler.take(*packet)
    blocks += assembler.finish()
    counts = assembler.counts
    assert (counts.unannounced, counts.made_up_samples, counts.disbelieved_ticks, counts.epochs) == (1, 0, 0, 0)
    shift = blocks[-1].end - board.index
    assert abs(shift - lost) <= 1  # a tick is a microsecond: a sixtieth of a sample
    jumps = sum(later.index - earlier.end for earlier, later in pairwise(blocks)) + blocks[0].index
    assert jumps == counts.missing_samples
    place = {index + (shift if true != index else 0): true for index, true in board.true.items()}
    # Each lies where it was captured, but for those just before the loss whose ticks were late by as much: none can tell.
    late = {at * FRAMES + shift - FRAMES * back for back in range(10)} if lost < 5 * late_ms * 16 else set()
    assert {block.end for block in blocks if abs(place.get(block.end, -1) - block.end) > 1} <= late


def test_without_a_tick_nobody_could_tell():
    """The planted case: the same loss from a board whose tick stands still goes by unseen."""
    assembler, board = Assembler(1, 0), Board()
    for number in range(12 * SECOND):
        assembler.take(*board.frame(left_out=160 * (number == 700), tick=5))
    assert (assembler.counts.missing_samples, assembler.counts.unannounced) == (0, 0)


@given(late=st.lists(st.floats(0, 0.02), min_size=1, max_size=50), share=st.floats(0, 0.6), seed=st.integers(0, 99))
def test_a_tick_that_is_read_late_now_and_then_changes_nothing(late, share, seed):
    """Every block comes at the place of its index, and none is held for longer than four frames."""
    assembler, board, random = Assembler(1, 0), Board(), np.random.default_rng(seed)
    blocks = []
    for number in range(10 * SECOND):
        is_late = random.random() < share and number % 4  # one in four is in time
        blocks += assembler.take(*board.frame(late[number % len(late)] * is_late))
        assert board.index - (blocks[-1].end if blocks else 0) <= 4 * FRAMES
    blocks += assembler.finish()
    assert [block.index for block in blocks] == list(range(0, board.index, FRAMES))
    assert set(vars(assembler.counts).values()) == {0}


@given(made_up=st.integers(40, 160), jump=st.integers(0, 4_000), at=st.integers(6 * SECOND, 9 * SECOND), lost=st.booleans())
def test_samples_that_a_board_makes_up_begin_an_epoch(made_up, jump, at, lost):
    """Sent twice, or passed off as lost where nothing was."""
    assembler, board, blocks = Assembler(1, 0), Board(), []
    for number in range(12 * SECOND):
        is_it = number == at
        packet = board.frame(left_out=-made_up * is_it, jump=jump * is_it)
        if not (number == at - 1 and lost):  # else it is lost on the line
            blocks += assembler.take(*packet)
    counts = assembler.counts
    assert (counts.epochs, counts.unannounced, counts.disbelieved_ticks) == (1, 0, 0)
    assert abs(counts.made_up_samples - made_up - jump) <= 1
    second = [block for block in blocks if block.epoch == 1]
    assert second[0].index == counts.missing_samples == FRAMES * lost + jump
    assert sum(len(block.samples) for block in blocks) + counts.missing_samples == board.index


def stands_still(number):
    return 12_345


def is_random(number):
    return int(np.random.default_rng(number).integers(2**32))


def begins_anew(number):
    return 10_000 * (number + 1 if number < 700 else number - 699)


def leaps(number):
    return 10_000 * (number + 1) + (1_800_000_000 if number >= 700 else 0)


@pytest.mark.parametrize("tick", [stands_still, is_random, begins_anew, leaps])
def test_ticks_that_are_none_are_told_and_change_nothing(tick):
    """Nothing is missing by the host's clock, so that nothing is by a tick that says so."""
    assembler, board, blocks = Assembler(1, 0), Board(), []
    for number in range(20 * SECOND):
        blocks += assembler.take(*board.frame(tick=tick(number)))
    blocks += assembler.finish()
    assert [block.index for block in blocks] == list(range(0, board.index, FRAMES))
    told = {name: value for name, value in vars(assembler.counts).items() if value}
    assert told.keys() == {"disbelieved_ticks"} and told["disbelieved_ticks"] <= 5


def test_a_loss_while_the_clocks_get_to_know_each_other_accuses_nobody():
    """It is not found, but neither is it taken for a clock that is off, and for samples that were made up."""
    for at in range(50, 600, 50):
        assembler, board = Assembler(1, 0), Board()
        for number in range(70 * SECOND):
            assembler.take(*board.frame(left_out=160 * (number == at)))
        counts = assembler.counts
        assert (counts.made_up_samples, counts.epochs) == (0, 0) and counts.missing_samples in (0, 160), at
        assert assembler.tick_track.drift_ppm == pytest.approx(0, abs=1)


def test_a_simulated_boards_clocks_are_those_that_were_asked_for():
    """Behind a pseudo-terminal, in real time: ticks that are read late, and 10 ms left out without a word."""
    samples = np.random.default_rng(0).integers(-32_768, 32_768, (8 * RATE, 1)).astype(np.int16)
    faults = Faults(clock_ppm=300.0, tick_ppm=-200.0, tick_late_s=20e-6, jitter_s=0.002, untold=1 / 650)
    with (
        SimulatedBoard(lambda: iter([samples]), 1, 0, faults=faults, seed=60) as board,
        SerialSource(board.port, load_profile("single")) as source,
    ):
        blocks = list(source.blocks(ended=board.finished.is_set))
    counts = source.counts
    assert source.tick_track.drift_ppm == pytest.approx(500.1, abs=5)
    assert counts.unannounced == 1 and abs(counts.missing_samples - 160) <= 1
    last = blocks[-1]
    places = [samples[n : n + len(last.samples)] for n in range(last.index - 1, last.index + 2)]
    assert any(np.array_equal(last.samples, place) for place in places), "it lies at the place of its sound"
