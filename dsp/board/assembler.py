"""Frames of a mic board into blocks, each at its place on the capture clock: what is missing is a jump of the index, and counted.

A board's index tells what it knows to have lost. What it does not know of, its tick tells (`farfield.board.ticks`).
"""

from dataclasses import dataclass

import numpy as np

from farfield import counts
from farfield.block import Block
from farfield.board import wire
from farfield.board.ticks import HELD_S, MOST_HELD_S, OFF_S, Ticks, untold
from farfield.board.wire import Audio, Packet
from farfield.profile import RATE
from farfield.track import Track

_LATEST_NS = 1_000_000_000  # of a frame on its way: by more than that, tick and host's clock must not contradict each other


@dataclass
class Counts(counts.Counts):
    """What went wrong so far, on a board's line. Frames are those of the protocol.

    damaged: stretches of bytes that were no frame. contradictory: frames of another layout, or whose payload is none.
    lost_frames: by their sequence. late: sent twice, or overtaken; thrown away. unannounced: gaps of which the board's tick alone
    told. made_up_samples: more than can have been captured, by the tick. disbelieved_ticks: times that these were no clock.
    """

    damaged: int = 0
    contradictory: int = 0
    lost_frames: int = 0
    late: int = 0
    unannounced: int = 0
    made_up_samples: int = 0
    disbelieved_ticks: int = 0


@dataclass
class _Held:
    """A block at its place by the board's index, the moment of its end by the board's tick, and by how much that is off."""

    block: Block
    ns: int
    off: float

    @property
    def is_in_time(self) -> bool:
        """Whether it has as many samples before it as the time tells."""
        return abs(self.off) <= OFF_S * RATE


class Assembler:
    """Frames in, blocks out. microphones, references: of every AUDIO frame.

    `track` is the sample clock against the host's, by when frames arrive; `tick_track` against the board's own.
    """

    def __init__(self, microphones: int, references: int) -> None:
        self.layout = microphones, references
        self.counts = Counts()
        self.track, self._ticks = Track(RATE), Ticks()
        self._epoch = 0
        self._board_epoch: int | None = None  # that of the last block
        self._held: list[_Held] = []
        self._sequence: int | None = None  # that is expected next
        self._index = self._overruns = 0  # as the board counts them
        self._shift = 0  # by what is known to be missing the index is higher than the board's
        self._last_end = self._last_ns = 0  # of the last block: its index, when it came

    @property
    def tick_track(self) -> Track:
        """Which sample was captured at which moment of the board's clock, in the present epoch."""
        return self._ticks.track

    def reopened(self) -> None:
        """The line went away and came back: whatever the board calls its epoch, it is another. Call `finish` before."""
        self.counts.reopened += 1
        self.restarted()

    def restarted(self) -> None:
        """The board may have been switched on anew: whatever it calls its epoch, it is another. Call `finish` before."""
        self._begin(None)

    def finish(self) -> list[Block]:
        """What was held back, as it came, where no more will come to judge it by."""
        return self._released()

    def take(self, packet: Packet, host_ns: int) -> list[Block]:
        """The blocks that a frame completes: none, its own, or those that were held back with it.

        Other frames than AUDIO, and what is late or contradicts itself, make none.
        """
        audio = wire.parse_audio(packet.payload) if packet.type == wire.AUDIO else None
        if packet.type == wire.AUDIO and (
            audio is None or (audio.microphones, audio.samples.shape[1] - audio.microphones) != self.layout
        ):
            self.counts.contradictory += 1
            return []
        before: list[Block] = []
        if audio is not None and packet.epoch != self._board_epoch:
            if self._board_epoch is not None and (packet.epoch - self._board_epoch) % 65_536 > 32_768:
                self.counts.late += 1  # of an epoch that is over
                return []
            if self._board_epoch is not None:
                before = self._released()
                self._begin(packet.epoch)
            self._board_epoch = packet.epoch
        self._count_lost(packet.sequence)
        return before if audio is None else before + self._placed(audio, host_ns)

    def _placed(self, audio: Audio, host_ns: int) -> list[Block]:
        end = audio.index + len(audio.samples)
        if end <= self._index:
            self.counts.late += 1
            return []
        first = max(audio.index, self._index)
        self.counts.missing_samples += first - self._index
        self.counts.overruns += (audio.overruns - self._overruns) % 2**32
        self._index, self._overruns = end, audio.overruns
        block = Block(np.ascontiguousarray(audio.samples[first - audio.index :]), first, self._epoch, host_ns)
        ns = self._ticks.ns(audio.tick)
        self._held.append(_Held(block, ns, self._ticks.off(end + self._shift, ns)))
        out: list[Block] = []
        while self._held and (count := self._judged()):
            out += self._released(count)
        return out

    def _judged(self) -> int:
        """How many of the held blocks have their place, which is another now where samples are found missing or too many."""
        held = self._held
        if held[-1].is_in_time and self._ticks.is_clock:
            return len(held)
        found = untold([one.off for one in held])
        if found is not None and found[0]:
            return found[0]  # what lies before it was read late
        if found is not None and self._lasts_s() >= HELD_S and self._agrees(found[1]):
            return self._moved(found[1])
        if self._ticks.is_clock and self._lasts_s() < (HELD_S if found else MOST_HELD_S):
            return 0
        self.counts.disbelieved_ticks += 1
        self._ticks = Ticks()
        return len(held)

    def _lasts_s(self) -> float:
        """From the first of the held blocks to the last one's end."""
        return (self._held[-1].block.end - self._held[0].block.index) / RATE

    def _moved(self, lost: int) -> int:
        """How many of the held blocks have their place, now that so many samples are known to be missing before them all."""
        held = self._held
        if lost < 0:
            self.counts.made_up_samples -= lost
            self._renew()
            return len(held)
        self._shift += lost
        self.counts.missing_samples += lost
        self.counts.unannounced += 1
        for one in held:
            one.off -= lost
        return 1 + max(number for number, one in enumerate(held) if one.is_in_time)  # after the rest more may be missing

    def _agrees(self, lost: int) -> bool:
        """Whether the host's clock, which knows it by far less well, can have seen that many samples more or less go by."""
        first = self._held[0].block
        passed_ns = (first.end + self._shift - self._last_end + lost) * 1_000_000_000 // RATE
        return passed_ns > -_LATEST_NS // 1_000 and abs(first.host_ns - self._last_ns - passed_ns) <= _LATEST_NS

    def _released(self, count: int | None = None) -> list[Block]:
        """The first of what is held, or all of it, at its place by now."""
        out, self._held = self._held[:count], [] if count is None else self._held[count:]
        made = []
        for one in out:
            block = Block(one.block.samples, one.block.index + self._shift, self._epoch, one.block.host_ns)
            self._last_end, self._last_ns = block.end, block.host_ns
            self.track.add(block.end, block.host_ns)
            self._ticks.track.add(block.end, one.ns)
            made.append(block)
        return made

    def _begin(self, board_epoch: int | None) -> None:
        self._board_epoch = board_epoch
        self.counts.epochs += 1
        self._epoch += 1
        self._held, self._sequence = [], None
        self._index = self._overruns = self._shift = self._last_end = self._last_ns = 0
        self.track, self._ticks = Track(RATE), Ticks()

    def _renew(self) -> None:
        """An epoch of our own within the board's: it begins where the last one ended, by the board's index."""
        self.counts.epochs += 1
        self._epoch += 1
        self._shift -= self._last_end
        self._last_end = 0
        self.track, self._ticks = Track(RATE), Ticks()

    def _count_lost(self, sequence: int) -> None:
        ahead = 0 if self._sequence is None else (sequence - self._sequence) % 2**32
        if ahead < 2**31:
            self.counts.lost_frames += ahead
            self._sequence = (sequence + 1) % 2**32
