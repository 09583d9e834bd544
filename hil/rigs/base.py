"""What every rig is: a way for a scene to become blocks, which says what was lost on it."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from farfield import Block, Profile
from farfield.hil.faults import Faults
from farfield.hil.scene import RATE, Scene

NO_FAULTS = Faults()
_PATIENCE_S = 10.0  # how much longer than the scene lasts a stream is waited for


@dataclass(frozen=True)
class Counted:
    """What a stream's source itself says went wrong, so far.

    missing: samples, within epochs. epochs: begun after the first. doubtful: by how many samples at most its sizes of gaps are
    wrong of which it is not sure, all together.
    """

    missing: int = 0
    epochs: int = 0
    xruns: int = 0
    damaged: int = 0
    doubtful: int = 0


class Stream(ABC):
    """One scene on its way through a rig, once; a context manager, for it may hold devices and threads.

    scene: as it is heard, which is as it was given unless the rig changes what is true of it.
    """

    def __init__(self, scene: Scene, faults: Faults = NO_FAULTS) -> None:
        self.scene = scene
        self.faults = faults

    @abstractmethod
    def blocks(self, stop: Callable[[], bool]) -> Iterator[Block]:
        """What is captured, as the source gives it, the scene being somewhere in it. stop: asked all the time."""

    @abstractmethod
    def origin(self, block: Block) -> int | None:
        """Place in the scene of index 0 of this block's epoch, as far as the block tells; None: not yet."""

    @property
    @abstractmethod
    def counted(self) -> Counted:
        """What the source says went wrong."""

    @property
    def troubles(self) -> tuple[str, ...]:
        """What the rig itself did wrong, so that what was heard says nothing of the room."""
        return ()

    def near(self, block: Block, at: int) -> int | None:
        """Origin of the block's epoch by its samples, nearest to place `at`; None where the rig cannot tell."""
        return None

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - a stream may hold nothing
        """Let go of what it holds."""

    def deadline(self) -> Callable[[], bool]:
        """Says when the scene should have been over for long: a rig that stands still must not hold the bench."""
        lasts_s = self.scene.frames / RATE * 1.001 + self.faults.stall_s + self.faults.unplug_s + _PATIENCE_S
        until_ns = time.monotonic_ns() + round(lasts_s * 1e9)
        return lambda: time.monotonic_ns() > until_ns


class Rig(ABC):
    """A way for scenes to become blocks. `name`: for people.

    exact: the samples that come out are those that went in. clocked: it runs in real time, so that its delays can be measured.
    sizing_samples: how far off a gap may be sized, where the stream's source sizes it by a clock.
    """

    name: str
    exact: bool = True
    clocked: bool = True
    sizing_samples: int = 0

    @abstractmethod
    def play(self, scene: Scene, faults: Faults = NO_FAULTS) -> AbstractContextManager[Stream]:
        """The scene through the rig. InputError: a rig that cannot be used."""

    def layout(self, scene: Scene) -> tuple[Profile, int]:
        """Profile and references of what comes out when the scene is played: the scene's, unless the rig has its own."""
        return scene.profile, scene.references

    def close(self) -> None:  # noqa: B027 - a rig may hold nothing
        """Let go of what the rig holds between scenes."""
