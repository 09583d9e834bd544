"""What `farfield listen` can listen to, and how it is named on the command line."""

import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click
import numpy as np
from numpy.typing import NDArray

from farfield.block import Block
from farfield.board.simulated import SimulatedBoard
from farfield.board.source import SerialSource
from farfield.cli.shared import Command
from farfield.errors import InputError
from farfield.profile import Profile
from farfield.source import FileSource


class Source(Protocol):
    """What a stream's source tells of itself."""

    @property
    def name(self) -> str: ...
    @property
    def microphones(self) -> int: ...
    @property
    def references(self) -> int: ...
    @property
    def counts(self) -> Any: ...


Blocks = Callable[[Callable[[], bool]], Iterator[Block]]  # until the function says stop

_OPTIONS = (
    click.option("--serial", "port", metavar="PORT", help="A serial mic board (see dsp/board/PROTOCOL.md for what it speaks)."),
    click.option("--board-simulated", "room", type=click.Path(path_type=Path), metavar="ROOM",
                 help="A board in software that plays a recorded room, in real time, once."),
)  # fmt: skip


def source_options(command: Command) -> Command:
    """One of them says what is listened to: `Choice(**options)`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Choice:
    """The options that name a source. InputError unless exactly one is named."""

    port: str | None
    room: Path | None

    def __post_init__(self) -> None:
        if (self.port is None) == (self.room is None):
            got = "neither" if self.port is None else "both"
            raise InputError(f"listen: got {got}, wanted one of --serial and --board-simulated")

    @property
    def default_profile(self) -> str:
        """The profile that a source brings: a room's own, else `single`."""
        return _profile_of(self.room) if self.room else "single"

    @contextmanager
    def opened(self, layout: Profile) -> Iterator[tuple[Source, Blocks]]:
        """The source, and its blocks until told to stop or nothing more will come."""
        with ExitStack() as stack:
            board = stack.enter_context(_simulated(self.room, layout)) if self.room else None
            source = stack.enter_context(SerialSource(board.port if board else str(self.port), layout))
            ended = board.finished.is_set if board else lambda: False
            yield source, lambda stop: source.blocks(stop, ended)


def _profile_of(room: Path) -> str:
    """The profile that a recorded room names."""
    path = room / "room.toml"
    try:
        named = tomllib.loads(path.read_text("utf-8")).get("profile")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); wanted a recorded room's folder") from None
    if not isinstance(named, str) or not named:
        raise InputError(f"{path}: field profile: got {named!r}, wanted a profile's name")
    return str(room / named) if named.endswith(".toml") else named


def _simulated(room: Path, layout: Profile) -> SimulatedBoard:
    """A board that plays the room; where the room has no reference, the profile's loudspeakers are silent."""
    reference = room / "ref.flac"
    heard = FileSource(room / "mics.flac", layout, reference if reference.is_file() else None)
    references = heard.references or len(layout.references)

    def sound() -> Iterator[NDArray[np.int16]]:
        for block in heard.blocks():
            silent = np.zeros((len(block.samples), references - heard.references), np.int16)
            yield np.concatenate([block.samples, silent], axis=1)

    return SimulatedBoard(sound, len(layout.microphones), references, name=f"simulated board, {room.name}")
