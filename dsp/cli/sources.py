"""What `farfield listen` can listen to, and how it is named on the command line."""

import os
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from farfield.alsa import AlsaSource, Player
from farfield.alsa.source import PERIOD_MS
from farfield.block import Block
from farfield.board.simulated import SimulatedBoard
from farfield.board.source import SerialSource
from farfield.cli.shared import Command
from farfield.errors import InputError
from farfield.profile import MOST_REFERENCES, RATE, Profile
from farfield.reference import Feed, Referenced
from farfield.source import FileSource, SoundFile

_OPTIONS = (
    click.option("--alsa", metavar="DEV", help="An ALSA capture device, as `farfield devices` lists them."),
    click.option("--serial", "port", metavar="PORT", help="A serial mic board (see dsp/board/PROTOCOL.md for what it speaks)."),
    click.option("--board-simulated", "room", type=click.Path(path_type=Path), metavar="ROOM",
                 help="A board in software that plays a recorded room, in real time, once."),
    click.option("--reference-alsa", metavar="DEV",
                 help="A second ALSA capture device, all of whose channels are what the loudspeakers play."),
    click.option("--play", type=click.Path(path_type=Path), metavar="FILE",
                 help="Play a sound file on --play-alsa, once, and take it as the reference."),
    click.option("--play-alsa", metavar="DEV", default="default", show_default=True, help="Where --play plays."),
    click.option("--period-ms", type=click.IntRange(2, 100), default=PERIOD_MS, show_default=True,
                 help="How often an ALSA device wakes us."),
)  # fmt: skip
Blocks = Callable[[Callable[[], bool]], Iterator[Block]]  # until the function says stop


def source_options(command: Command) -> Command:
    """What says what is listened to: `Choice.out_of(options)`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Opened:
    """A source that is listened to. counts: what went wrong so far. clocks: what is known of the clocks, in ppm and samples."""

    name: str
    microphones: int
    references: int
    blocks: Blocks
    counts: Callable[[], dict[str, int]]
    clocks: Callable[[], dict[str, float | None]]


@dataclass(frozen=True)
class Choice:
    """The options that name a source, and where its reference comes from. InputError unless exactly one source is named."""

    alsa: str | None
    port: str | None
    room: Path | None
    reference_alsa: str | None
    play: Path | None
    play_alsa: str
    period_ms: int

    @classmethod
    def out_of(cls, options: dict[str, Any]) -> "Choice":
        """Takes its own options out of a command's."""
        return cls(**{field.name: options.pop(field.name) for field in fields(cls)})

    def __post_init__(self) -> None:
        named = {"--alsa": self.alsa, "--serial": self.port, "--board-simulated": self.room}
        given = [name for name, value in named.items() if value is not None]
        if len(given) != 1:
            raise InputError(f"listen: got {' and '.join(given) or 'none of them'}, wanted one of {', '.join(named)}")
        if self.reference_alsa is not None and self.play is not None:
            raise InputError("listen: got --reference-alsa and --play, wanted at most one of them")

    @property
    def default_profile(self) -> str:
        """The profile that a source brings: a room's own, else `single`."""
        return _profile_of(self.room) if self.room else "single"

    @property
    def uses_alsa(self) -> bool:
        """Whether one of its devices is ALSA's, or a sound server's behind that."""
        return self.alsa is not None or self._is_apart

    @property
    def devices(self) -> list[Path]:
        """The folders of its devices, which may have to be opened again."""
        folders = [Path("/dev/snd")] if self.uses_alsa else []
        if self.alsa is None:
            folders.append(Path(os.path.realpath(self.port)).parent if self.port else Path("/dev"))
        return folders

    @property
    def _is_apart(self) -> bool:
        """Whether the reference has a device of its own."""
        return self.reference_alsa is not None or self.play is not None

    @cached_property
    def _played(self) -> SoundFile:
        assert self.play is not None
        file = SoundFile(self.play)
        if file.channels > MOST_REFERENCES:
            raise InputError(f"{self.play}: has {file.channels} channels, wanted 1 to {MOST_REFERENCES}")
        return file

    @cached_property
    def _chunks(self) -> Iterator[NDArray[np.int16]]:
        """What is still to be played: where the devices are closed and opened again, it goes on."""
        return self._played.chunks(RATE // 10)

    @contextmanager
    def opened(self, layout: Profile) -> Iterator[Opened]:
        """The source, for as long as it is listened to. A file that it cannot play to its end is its blocks' InputError."""
        with ExitStack() as stack:
            source: AlsaSource | SerialSource
            blocks: Blocks

            def clocks() -> dict[str, float | None]:
                known = {"clock_ppm": source.track.drift_ppm}
                return known | {"tick_clock_ppm": source.tick_track.drift_ppm} if isinstance(source, SerialSource) else known

            if self.alsa is not None:
                source = stack.enter_context(AlsaSource(self.alsa, layout, loopback=not self._is_apart, period_ms=self.period_ms))
                blocks = source.blocks
            else:
                board = stack.enter_context(_simulated(self.room, layout)) if self.room else None
                serial = source = stack.enter_context(SerialSource(board.port if board else str(self.port), layout))
                ended = board.finished.is_set if board else lambda: False

                def blocks(stop: Callable[[], bool]) -> Iterator[Block]:
                    yield from serial.blocks(stop, ended)
                    if board is not None and board.failed is not None:
                        raise board.failed

            if not self._is_apart:
                yield Opened(
                    source.name, source.microphones, source.references, blocks,
                    counts=lambda: asdict(source.counts),
                    clocks=clocks,
                )  # fmt: skip
                return
            failed: list[Exception] = []
            joined = Referenced(source, stack.enter_context(self._feed(layout, failed)), blocks=blocks)

            def all_blocks(stop: Callable[[], bool]) -> Iterator[Block]:
                yield from joined.blocks(lambda: stop() or bool(failed))
                if failed:
                    raise failed[0]

            yield Opened(
                source.name, joined.microphones, joined.references, all_blocks,
                counts=lambda: asdict(source.counts) | {
                    "reference_missing_samples": joined.missing_samples, "reference_restarts": joined.restarts,
                },
                clocks=lambda: clocks() | {
                    "reference_drift_ppm": joined.drift_ppm, "reference_offset_samples": joined.offset_samples,
                },
            )  # fmt: skip

    @contextmanager
    def _feed(self, layout: Profile, failed: list[Exception]) -> Iterator[Feed]:
        """The reference's own device: captured from, or played on; `failed` gets why no more can be played."""
        if self.play is not None:
            player = Player(self.play_alsa, self._played.channels, period_ms=self.period_ms)
            with player, _playing(player, self._chunks, failed):
                yield player
            return
        channels = len(layout.references) or 1
        alone = Profile("reference", "", RATE, channels, tuple(range(channels)), (), ((0.0, 0.0, 0.0),) * channels)
        with AlsaSource(str(self.reference_alsa), alone, period_ms=self.period_ms) as source:
            yield source


@contextmanager
def _playing(player: Player, chunks: Iterator[NDArray[np.int16]], failed: list[Exception]) -> Iterator[None]:
    """Hands the chunks to the player as fast as it takes them, and stops with it."""
    left = threading.Event()

    def play() -> None:
        try:
            while not left.is_set() and (chunk := next(chunks, None)) is not None:
                player.play(chunk)
                while not player.wait(0.05) and not left.is_set():
                    pass
        except Exception as error:  # goes to whoever listens: this thread has nobody to tell
            failed.append(error)

    thread = threading.Thread(target=play, name="reader of what is played", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


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
