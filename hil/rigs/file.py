"""The rig without a clock: samples as fast as they are asked for, its faults by a clock that is counted and not waited for."""

from collections.abc import Callable, Iterator

import numpy as np

from farfield import Block
from farfield.hil.faults import STALL_AT, UNPLUG_AT, Faults
from farfield.hil.rigs.base import NO_FAULTS, Counted, Rig, Stream
from farfield.hil.scene import RATE, Scene

FRAMES = 160
BUFFER_S = 0.25  # what a device would hold while nothing reads


class FileStream(Stream):
    """Frames of 10 ms from the scene itself."""

    def __init__(self, scene: Scene, faults: Faults, seed: int) -> None:
        super().__init__(scene, faults)
        self._random = np.random.default_rng(seed)
        self._missing = self._epochs = self._xruns = self._damaged = 0
        self._origin = 0

    @property
    def counted(self) -> Counted:
        """What was left out."""
        return Counted(self._missing, self._epochs, self._xruns, self._damaged)

    def origin(self, block: Block) -> int:
        """Known: the stream is made from the scene."""
        return self._origin

    def blocks(self, stop: Callable[[], bool]) -> Iterator[Block]:
        """The scene, and half a second of silence, in which a gap at its end comes to light."""
        faults, samples = self.faults, self.scene.samples
        silence = np.zeros((RATE // 2, samples.shape[1]), np.int16)
        stalls = unplugs = -1
        if faults.stall_s > BUFFER_S:
            stalls = round(len(samples) * STALL_AT) // FRAMES * FRAMES
        if faults.unplug_s:
            unplugs = round(len(samples) * UNPLUG_AT) // FRAMES * FRAMES
        gap = epoch = at = 0
        total = len(samples) + len(silence)
        while at < total and not stop():
            length = min(FRAMES, (len(samples) if at < len(samples) else max(total, at + FRAMES)) - at)
            if stalls >= 0 and at >= stalls:
                skipped = round((faults.stall_s - BUFFER_S) * RATE)
                stalls, at, gap = -1, at + skipped, gap + skipped
                total = max(total, at + len(silence))
                self._xruns += 1
                continue
            if unplugs >= 0 and at >= unplugs:
                unplugs, at = -1, at + round(faults.unplug_s * RATE)
                epoch, gap, self._origin = epoch + 1, 0, at
                total = max(total, at + len(silence))
                self._epochs += 1
                continue
            lost, damaged = self._random.random(2) < (faults.lost, faults.damaged)
            if (lost or damaged) and at < len(samples):
                self._damaged += int(damaged)
                at, gap = at + length, gap + length
                continue
            chunk = samples[at : at + length] if at < len(samples) else silence[:length]
            self._missing, gap = self._missing + gap, 0
            index = at - self._origin
            # A clock that is off shows in the stamps; without one there are none.
            ns = round((at + length) * 1e9 / RATE / (1 + faults.drift_ppm * 1e-6)) if faults.drift_ppm else 0
            yield Block(np.ascontiguousarray(chunk), index, epoch, ns)
            at += length


class FileRig(Rig):
    """No clock and no device. seed: of the faults."""

    name = "file"
    clocked = False

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def play(self, scene: Scene, faults: Faults = NO_FAULTS) -> FileStream:
        """The scene, as fast as it is asked for."""
        return FileStream(scene, faults, self._seed)
