"""A recorded room: a folder of what the microphones heard, what the loudspeaker played, and what was truly said.

room.toml    profile = "NAME"           a shipped profile, or the name of a .toml file in the folder
             provenance = "..."         how and by whom it was recorded or made, and under which licence
             [[word]]                   each time that a wake word was said, in the order of time
             text = "alexa"
             start = 16000              samples of mics.flac: the word's first, and the one after its last
             end = 24000
             talker = "A"               and, where it is known, who said it, and from where, in degrees
             direction = 40.0
             [[speech]]                 other things that were said, with the same fields
mics.flac    the device's channels, as the profile lays them out
ref.flac     what the loudspeaker played, from the same moment on; absent where it played nothing
"""

import difflib
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from farfield import FileSource, InputError, Profile, SoundFile, load_profile
from farfield.hil.fields import read_toml, shown

_MOST_DEG = 1e6  # so often round and round nobody means
_TOP = ("profile", "provenance", "word", "speech")
_SPOKEN = ("text", "start", "end", "talker", "direction")


@dataclass(frozen=True)
class Spoken:
    """Something that was said: its text, where (samples of mics.flac), and by whom and from where, if that is known."""

    text: str
    start: int
    end: int
    talker: str | None = None
    direction_deg: float | None = None


@dataclass(frozen=True)
class Room:
    """A recorded room. words: the wake words said. speech: other things said. rate, frames: those of mics.flac."""

    folder: Path
    profile: Profile
    provenance: str
    words: tuple[Spoken, ...]
    speech: tuple[Spoken, ...]
    rate: int
    frames: int

    @property
    def name(self) -> str:
        """Its folder's, also where that was given as `.`."""
        return Path(os.path.abspath(self.folder)).name

    @property
    def reference(self) -> Path | None:
        """The file of what the loudspeaker played; None where there is none."""
        path = self.folder / "ref.flac"
        return path if path.is_file() else None

    def source(self, frames: int = 512) -> FileSource:
        """The room from its start, in blocks of about `frames` at 16 kHz."""
        return FileSource(self.folder / "mics.flac", self.profile, self.reference, frames)


def demo_room() -> Path:
    """The folder of the room that ships with farfield."""
    return Path(str(resources.files("farfield.hil") / "rooms" / "demo"))


def load_room(folder: str | Path) -> Room:
    """The room in a folder; InputError, one line that names the file and the field, where it is not one."""
    folder = Path(folder)
    path = folder / "room.toml"
    table = read_toml(path, "a folder with room.toml, mics.flac and ref.flac")
    _refuse_unknown(path, "", table, _TOP)
    named = _text(path, "", table, "profile")
    own = folder / named
    profile = load_profile(own if named.endswith(".toml") else named)
    mics = SoundFile(folder / "mics.flac")
    mics.close()
    return Room(
        folder=folder,
        profile=profile,
        provenance=_text(path, "", table, "provenance"),
        words=_spoken(path, table, "word", mics.frames),
        speech=_spoken(path, table, "speech", mics.frames),
        rate=mics.rate,
        frames=mics.frames,
    )


def _spoken(path: Path, table: dict[str, Any], name: str, frames: int) -> tuple[Spoken, ...]:
    entries = table.get(name, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path}: field {name}: wanted [[{name}]] tables")
    made = []
    for number, entry in enumerate(entries):
        prefix = f"{name}[{number}]."
        _refuse_unknown(path, prefix, entry, _SPOKEN)
        start = _whole(path, prefix, entry, "start", 0, frames - 1)
        end = _whole(path, prefix, entry, "end", start + 1, frames)
        talker = _text(path, prefix, entry, "talker") if "talker" in entry else None
        direction = _degrees(path, prefix, entry) if "direction" in entry else None
        made.append(Spoken(_text(path, prefix, entry, "text"), start, end, talker, direction))
    return tuple(sorted(made, key=lambda spoken: spoken.start))


def _refuse_unknown(path: Path, prefix: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
    for name in table:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"wanted one of {', '.join(known)}"
            raise InputError(f"{path}: field {prefix}{name} is not known; {hint}")


def _wrong(path: Path, prefix: str, table: dict[str, Any], name: str, wanted: str) -> InputError:
    return InputError(f"{path}: field {prefix}{name}: got {shown(table, name)}, wanted {wanted}")


def _text(path: Path, prefix: str, table: dict[str, Any], name: str) -> str:
    value = table.get(name)
    if not isinstance(value, str) or not value:
        raise _wrong(path, prefix, table, name, "a text")
    return value


def _whole(path: Path, prefix: str, table: dict[str, Any], name: str, low: int, high: int) -> int:
    value = table.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _wrong(path, prefix, table, name, f"a whole number from {low} to {high}")
    return value


def _degrees(path: Path, prefix: str, table: dict[str, Any]) -> float:
    value = table["direction"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MOST_DEG:
        raise _wrong(path, prefix, table, "direction", "degrees")
    return float(value) % 360.0
