"""The simulated mic board behind a pseudo-terminal, in real time, read as a board would be."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farfield import Block
from farfield.board.simulated import Faults as LineFaults
from farfield.board.simulated import SimulatedBoard
from farfield.board.source import SerialSource
from farfield.hil.faults import UNPLUG_AT, Faults
from farfield.hil.rigs.base import NO_FAULTS, Counted, Rig, Stream
from farfield.hil.scene import RATE, Scene

FRAMES = 160
_LEAD = RATE // 5  # of silence: what a source leaves out before its first block is none of the scene
_TAIL = RATE  # of silence, in which a gap at the scene's end comes to light


class BoardStream(Stream):
    """One board, or two where the first is unplugged: the second takes the sound up where the room has got to."""

    def __init__(self, scene: Scene, faults: Faults, seed: int) -> None:
        super().__init__(scene, faults)
        channels = scene.samples.shape[1]
        whole = -(_LEAD + scene.frames + _TAIL) % FRAMES
        silence = (np.zeros((frames, channels), np.int16) for frames in (_LEAD, _TAIL + whole))
        self._sound = np.concatenate([next(silence), scene.samples, next(silence)])
        self._seed = seed
        self._begins: list[int] = []  # where in the sound each START took it up
        self._at = 0
        self._is_heard = False
        self._leaving = threading.Event()
        self._replug: threading.Thread | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="farfield-board-")
        self._port = Path(self._folder.name) / "board"  # the name that a port keeps
        self._board = self._plugged_in()
        try:
            self._source = SerialSource(str(self._port), scene.profile)
        except BaseException:
            self._board.close()
            self._folder.cleanup()
            raise

    @property
    def counted(self) -> Counted:
        """As the serial source counts."""
        counts = self._source.counts
        xruns, damaged = counts.overruns + counts.unannounced, counts.damaged + counts.contradictory
        return Counted(counts.missing_samples, counts.epochs, xruns, damaged)

    def origin(self, block: Block) -> int:
        """The START that this block is of: the latest whose sound it is."""
        for begin in reversed(self._begins):
            at = begin + block.index
            if np.array_equal(self._sound[at : at + len(block.samples)], block.samples):
                return begin - _LEAD
        return self._begins[-1] - _LEAD

    def blocks(self, stop: Callable[[], bool]) -> Iterator[Block]:
        """What the board sends."""
        unplugs = _LEAD + round(self.scene.frames * UNPLUG_AT) if self.faults.unplug_s else None
        late = self.deadline()
        for block in self._source.blocks(lambda: stop() or late(), lambda: self._board.finished.is_set()):
            self._is_heard = True
            yield block
            if unplugs is not None and block.end >= unplugs:
                unplugs = None
                self._replug = threading.Thread(target=self._unplug, name="replug", daemon=True)
                self._replug.start()

    def close(self) -> None:
        """Stop listening, and take the board away."""
        self._leaving.set()
        if self._replug is not None:
            self._replug.join()
        self._source.close()
        self._board.close()
        self._folder.cleanup()

    def _plugged_in(self) -> SimulatedBoard:
        faults = self.faults
        line = LineFaults(lost=faults.lost, flipped=faults.damaged, clock_ppm=faults.drift_ppm)
        microphones = len(self.scene.profile.microphones)
        board = SimulatedBoard(self._played, microphones, self.scene.references, frames=FRAMES, faults=line, seed=self._seed)
        self._port.symlink_to(board.port)
        return board

    def _played(self) -> Iterator[NDArray[np.int16]]:
        """From the start, until something has been heard; after that, from where the sound has got to."""
        if not self._is_heard:
            self._at = 0
        self._begins.append(self._at)
        while self._at < len(self._sound):
            chunk = self._sound[self._at : self._at + FRAMES]
            self._at += FRAMES
            yield chunk

    def _unplug(self) -> None:
        self._port.unlink()
        self._board.close()
        if self._leaving.wait(self.faults.unplug_s):
            return
        self._at += round(self.faults.unplug_s * RATE) // FRAMES * FRAMES
        self._at = min(self._at, (len(self._sound) - _TAIL // 2) // FRAMES * FRAMES)  # silence is the same wherever it is heard
        self._board = self._plugged_in()


class BoardRig(Rig):
    """A board in software that speaks the mic board protocol. seed: of the faults."""

    name = "board"

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def play(self, scene: Scene, faults: Faults = NO_FAULTS) -> BoardStream:
        """The scene, in real time."""
        return BoardStream(scene, faults, self._seed)
