"""A device's profile: which channels are microphones and references, and where the microphones sit (TOML)."""

import difflib
import json
import math
import tomllib
from dataclasses import dataclass
from dataclasses import fields as fields_of
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farfield.errors import InputError

RATE = 16_000
MOST_CHANNELS = 64
MOST_MICROPHONES = 16
MOST_REFERENCES = 4
_FARTHEST_MM = 5_000.0
_MOST_GAIN_DB, _MOST_DELAY_US = 30.0, 5_000.0


@dataclass(frozen=True)
class Profile:
    """How a device's capture stream is laid out.

    name, description: for people. rate: of the device's stream, in Hz; the chain works at 16,000.
    channels: how many the device delivers. microphones, references: channel numbers, from 0.
    positions_mm: (microphones, 3), x, y, z of each in the array's own coordinates. gains_db, delays_us: by how much each is
    louder and later than the middle of the array, as `farfield calibrate` measures it; made up for in beams and direction.
    beams: how many fixed beams are formed. adaptive: whether a beam that cancels noise learnt a second before is scored too;
    dry_beam: whether such a beam of dereverberated microphones is; best_microphone: whether the quietest microphone is.
    patient_echo: whether the first microphone is, its echo taken out by a second canceller, which learns less from a talker and
    follows a room that changes later; where there are references.
    tail_ms: length of echo path that a canceller can learn.
    align: whether the echo's delay (up to 600 ms) and the clocks' drift are found and removed. reference_late_ms: by how much a
    reference may come later than its echo, up to 50; the microphones are held back for it.
    suppress_echo, suppress_noise: whether what the canceller leaves, and stationary noise, is suppressed, for another 12 ms of
    delay. comfort_noise: whether background that goes with the echo is filled up again.
    dereverberate: whether late reverberation is taken off each microphone, without delay.
    ignore_own_words: whether a wake word that the device plays itself, as its references tell, is no wake event.
    words: the wake-word models that the device listens for.
    """

    name: str
    description: str
    rate: int
    channels: int
    microphones: tuple[int, ...]
    references: tuple[int, ...]
    positions: tuple[tuple[float, float, float], ...]
    beams: int = 6
    adaptive: bool = False
    dry_beam: bool = False
    best_microphone: bool = False
    patient_echo: bool = True
    tail_ms: int = 128
    align: bool = True
    reference_late_ms: int = 0
    suppress_echo: bool = False
    suppress_noise: bool = False
    comfort_noise: bool = False
    dereverberate: bool = False
    ignore_own_words: bool = True
    words: tuple[str, ...] = ()
    gains: tuple[float, ...] = ()  # of each microphone; none where nothing was measured
    delays: tuple[float, ...] = ()

    @property
    def gains_db(self) -> NDArray[np.float64]:
        """Gains of the microphones over the middle of the array in dB, float64 (microphones,)."""
        return np.array(self.gains or [0.0] * len(self.microphones), np.float64)

    @property
    def delays_us(self) -> NDArray[np.float64]:
        """Delays of the microphones after the middle of the array in microseconds, float64 (microphones,)."""
        return np.array(self.delays or [0.0] * len(self.microphones), np.float64)

    @property
    def positions_mm(self) -> NDArray[np.float64]:
        """Positions of the microphones in mm, float64 (microphones, 3)."""
        return np.array(self.positions, np.float64)


def shipped_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with the package."""
    folder = files("farfield").joinpath("profiles")
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def load_profile(name_or_path: str | Path) -> Profile:
    """A shipped profile by its name, or one from a TOML file.

    Raises InputError that names the file, the field, what came and what was wanted.
    """
    given = str(name_or_path)
    if given in shipped_profiles():
        return _parsed(given, files("farfield").joinpath("profiles", f"{given}.toml").read_text("utf-8"))
    path = Path(given)
    if not path.is_file():
        known = ", ".join(shipped_profiles())
        raise InputError(f"profile {given!r}: no such file and no shipped profile; wanted a .toml file or one of {known}")
    try:
        return _parsed(given, path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{given}: cannot be read as text ({error}); wanted a TOML profile") from error


def as_toml(profile: Profile) -> str:
    """The profile as a file that load_profile reads."""
    lines = []
    for field in fields_of(profile):
        value = getattr(profile, field.name)
        if field.name == "words":
            lines.append(f"words = [{', '.join(map(_quoted, value))}]")
        elif not isinstance(value, tuple):  # json writes texts, whole numbers and flags as TOML does
            lines.append(f"{field.name} = {_quoted(value) if isinstance(value, str) else json.dumps(value)}")
    rows = zip(profile.microphones, profile.positions, profile.gains_db.tolist(), profile.delays_us.tolist(), strict=True)
    for channel, position, gain_db, delay_us in rows:
        lines += ["", "[[microphone]]", f"channel = {channel}", f"position_mm = {list(position)}"]
        lines += [f"gain_db = {gain_db}"] if profile.gains else []
        lines += [f"delay_us = {delay_us}"] if profile.delays else []
    for channel in profile.references:
        lines += ["", "[[reference]]", f"channel = {channel}"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _parsed(source: str, text: str) -> Profile:
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib lets both through: a number of 5,000 digits, 1,000 brackets
        reason = str(error).partition("; use sys.")[0]
        raise InputError(f"{source}: not TOML ({reason[:200]}); wanted a profile such as the shipped ones") from error
    top = _Fields(source, "", table)
    rate = top.whole("rate", 8_000, 192_000, default=RATE)
    channels = top.whole("channels", 1, MOST_CHANNELS)
    microphones, positions, gains, delays = [], [], [], []
    for number, entry in enumerate(top.tables("microphone", 1, MOST_MICROPHONES)):
        fields = _Fields(source, f"microphone[{number}].", entry)
        microphones.append(fields.whole("channel", 0, channels - 1))
        positions.append(fields.position("position_mm"))
        gains.append(fields.number("gain_db", _MOST_GAIN_DB))
        delays.append(fields.number("delay_us", _MOST_DELAY_US))
        fields.done()
    references = []
    for number, entry in enumerate(top.tables("reference", 0, MOST_REFERENCES)):
        fields = _Fields(source, f"reference[{number}].", entry)
        references.append(fields.whole("channel", 0, channels - 1))
        fields.done()
    profile = Profile(
        name=top.text("name"),
        description=top.text("description", default=""),
        rate=rate,
        channels=channels,
        microphones=tuple(microphones),
        references=tuple(references),
        positions=tuple(positions),
        beams=top.whole("beams", 1, 16, default=6),
        adaptive=top.flag("adaptive", default=False),
        dry_beam=top.flag("dry_beam", default=False),
        best_microphone=top.flag("best_microphone", default=False),
        patient_echo=top.flag("patient_echo", default=True),
        tail_ms=top.whole("tail_ms", 16, 512, default=128),
        align=top.flag("align", default=True),
        reference_late_ms=top.whole("reference_late_ms", 0, 50, default=0),
        suppress_echo=top.flag("suppress_echo", default=False),
        suppress_noise=top.flag("suppress_noise", default=False),
        comfort_noise=top.flag("comfort_noise", default=False),
        dereverberate=top.flag("dereverberate", default=False),
        ignore_own_words=top.flag("ignore_own_words", default=True),
        words=top.words("words"),
        gains=tuple(gains) if any(gains) else (),
        delays=tuple(delays) if any(delays) else (),
    )
    top.done()
    if profile.comfort_noise and (profile.suppress_noise or not profile.suppress_echo):
        raise InputError(
            f"{source}: field comfort_noise: got true, wanted it with suppress_echo and without suppress_noise, "
            "whose background it would bring back"
        )
    used = [*microphones, *references]
    for channel in used:
        if used.count(channel) > 1:
            raise InputError(f"{source}: channel {channel} is used twice; wanted each channel at most once")
    for first in range(len(positions)):
        for second in range(first):
            if math.dist(positions[first], positions[second]) < 1.0:
                raise InputError(
                    f"{source}: microphone[{first}].position_mm is that of microphone[{second}]; "
                    "wanted microphones at least 1 mm apart"
                )
    return profile


class _Fields:
    """Reads the fields of one TOML table, and complains of those that are missing, wrong or left over."""

    def __init__(self, source: str, prefix: str, table: dict[str, Any]) -> None:
        self._source, self._prefix, self._table = source, prefix, table
        self._asked: set[str] = set()

    def _wrong(self, name: str, wanted: str) -> InputError:
        if name not in self._table and (near := difflib.get_close_matches(name, self._table, 1)):
            return self._unknown(near[0], f"did you mean {name}?")
        got = _shown(self._table[name]) if name in self._table else "nothing"
        return InputError(f"{self._source}: field {self._prefix}{name}: got {got}, wanted {wanted}")

    def _unknown(self, name: str, hint: str) -> InputError:
        shown = name if name.isprintable() else _shown(name)
        return InputError(f"{self._source}: field {self._prefix}{shown[:80]} is not known; {hint}")

    def _get(self, name: str, default: Any) -> Any:
        self._asked.add(name)
        return self._table.get(name, default)

    def whole(self, name: str, low: int, high: int, default: int | None = None) -> int:
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong(name, f"a whole number from {low} to {high}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def number(self, name: str, most: float) -> float:
        value = self._get(name, 0.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= most:
            raise self._wrong(name, f"a number within {most:g} of 0")
        return float(value)

    def text(self, name: str, default: str | None = None) -> str:
        value = self._get(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, "a text")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        value = self._get(name, [])
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise self._wrong(name, "a list of texts")
        return tuple(value)

    def tables(self, name: str, fewest: int, most: int) -> list[dict[str, Any]]:
        value = self._get(name, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise self._wrong(name, f"[[{name}]] tables")
        if not fewest <= len(value) <= most:
            raise InputError(f"{self._source}: got {len(value)} [[{name}]] tables, wanted {fewest} to {most}")
        return value

    def position(self, name: str) -> tuple[float, float, float]:
        value = self._get(name, None)
        numbers = isinstance(value, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
        if not numbers or len(value) != 3 or not all(abs(v) <= _FARTHEST_MM for v in value):
            raise self._wrong(name, f"three numbers in mm, each within {_FARTHEST_MM:.0f} of 0")
        x, y, z = (float(v) for v in value)
        return x, y, z

    def done(self) -> None:
        for name in self._table:
            if name not in self._asked:
                near = difflib.get_close_matches(name, self._asked, 1)
                hint = f"did you mean {near[0]}?" if near else f"wanted one of {', '.join(sorted(self._asked))}"
                raise self._unknown(name, hint)


def _shown(value: object) -> str:
    try:
        return repr(value)[:80]
    except ValueError:  # Python prints no whole number of more than 4,300 digits
        return "a very large number"
