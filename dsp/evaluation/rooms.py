"""Rooms that utterances are heard in: measured impulse responses and simulated ones, at known distances."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farfield.errors import InputError
from farfield.profile import RATE
from farfield.training.clips import SUFFIXES, read

Sound = NDArray[np.float32]
DISTANCES_M = (1.0, 2.0, 3.0, 4.0)  # of the talkers in a simulated room
_LOUDSPEAKER_M = (0.05, -0.03, -0.07)
_MOST_SIMULATED = 64
_HIGHEST_ORDER = 40  # of reflections: what the image sources of more would add is below the tail that is there
_BEFORE = 8  # samples kept before the direct sound: a fractional delay's filter rises there
_IN_NAME = re.compile(r"(?:^|[_\- ])(\d+(?:\.\d+)?)m(?=$|[_\- ])")


@dataclass(frozen=True)
class Measured:
    """A sound file's first channel as impulse response. distance_m: None where neither its name nor a JSON file says."""

    name: str
    distance_m: float | None
    path: str

    def response(self) -> Sound:
        """From its direct sound on."""
        return _measured(self.path)


@dataclass(frozen=True)
class Simulated:
    """One talker in a room that pyroomacoustics simulates (image sources), the same wherever it is made."""

    name: str
    distance_m: float
    seed: int
    number: int

    def response(self) -> Sound:
        """From its direct sound on."""
        return _simulated(self.seed, self.number)[1][DISTANCES_M.index(self.distance_m)]


Room = Measured | Simulated


@dataclass(frozen=True)
class Plan:
    """A room to simulate. size_m: (3,). absorption: of every wall. microphone_m: (3,). talkers_m: (distances, 3)."""

    size_m: NDArray[np.float64]
    absorption: float
    order: int
    microphone_m: NDArray[np.float64]
    talkers_m: NDArray[np.float64]


def rooms(asked: Sequence[str], seed: int) -> list[Room]:
    """`FILE`: a response. `DIR`: every response below it. `sim:N`: N simulated rooms, each heard from DISTANCES_M.

    A measured response's distance is the number `distance_m` of a JSON file beside it (`NAME.json` for `NAME.wav`), or stands
    in its name (`kitchen_1.2m.wav`). InputError: a path that is not there, another N, a JSON file that says nothing.
    """
    found: list[Room] = []
    for text in asked:
        if text.startswith("sim:"):
            found += _simulations(text, seed)
        else:
            found += [Measured(path.stem, _distance_m(path), str(path)) for path in _files(Path(text))]
    return found


def plan(seed: int, number: int) -> Plan:
    """Room `number` of a seed: large enough for the farthest talker; by Sabine's formula it rings for 0.15 to 0.8 s."""
    import pyroomacoustics

    random = np.random.default_rng([seed, number])
    while True:
        size = random.uniform([4.5, 3.5, 2.4], [9.0, 7.0, 3.2])
        microphone = random.uniform([0.4, 0.4, 0.7], [size[0] - 0.4, size[1] - 0.4, 1.4])
        rt60_s = random.uniform(0.15, 0.8)
        talkers = [_talker(size, microphone, distance, random) for distance in DISTANCES_M]
        try:
            absorption, order = pyroomacoustics.inverse_sabine(rt60_s, size)
        except ValueError:
            continue  # so large a room rings for longer whatever its walls
        placed = [talker for talker in talkers if talker is not None]
        if len(placed) == len(talkers):
            return Plan(size, float(absorption), min(int(order), _HIGHEST_ORDER), microphone, np.array(placed))


@lru_cache(maxsize=_MOST_SIMULATED)
def loudspeaker(seed: int, number: int) -> Sound:
    """From a device's own loudspeaker, 9 cm beside its microphone, in room `number` of a seed; from its direct sound on."""
    import pyroomacoustics

    drawn = plan(seed, number)
    room = pyroomacoustics.ShoeBox(
        drawn.size_m, fs=RATE, materials=pyroomacoustics.Material(drawn.absorption), max_order=drawn.order
    )
    room.add_source(drawn.microphone_m + _LOUDSPEAKER_M)
    room.add_microphone(drawn.microphone_m)
    room.compute_rir()
    return _from_direct(np.asarray(room.rir[0][0], np.float32))


def _talker(
    size: NDArray[np.float64], microphone: NDArray[np.float64], distance_m: float, random: np.random.Generator
) -> NDArray[np.float64] | None:
    """A mouth's place that far away and 0.3 m or more from every wall; None where none was found."""
    for _ in range(32):
        rise = random.uniform(1.0, 1.8) - microphone[2]
        if abs(rise) >= distance_m:
            continue
        bearing = random.uniform(0, 2 * np.pi)
        along = np.sqrt(distance_m**2 - rise**2)
        place = microphone + np.array([along * np.cos(bearing), along * np.sin(bearing), rise])
        if (place[:2] > 0.3).all() and (place[:2] < size[:2] - 0.3).all():
            return np.asarray(place)
    return None


def _simulations(text: str, seed: int) -> list[Room]:
    count = text.removeprefix("sim:")
    if not count.isdecimal() or not 1 <= int(count) <= _MOST_SIMULATED:
        raise InputError(f"--room: got {text!r}, wanted sim: and a number of rooms, 1 to {_MOST_SIMULATED}")
    made: list[Room] = []
    for number in range(int(count)):
        name = f"simulated {number + 1}, {_simulated(seed, number)[0]:.2f} s"
        made += [Simulated(name, distance, seed, number) for distance in DISTANCES_M]
    return made


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file; wanted an impulse response, a folder of them, or sim:N")
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"{path}: holds no impulse responses; wanted {', '.join(sorted(SUFFIXES))} files")
    return found


def _distance_m(path: Path) -> float | None:
    beside = path.with_suffix(".json")
    if not beside.is_file():
        in_name = _IN_NAME.search(path.stem)
        return float(in_name[1]) if in_name else None
    try:
        told = json.loads(beside.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{beside}: cannot be read as JSON ({error})") from None
    distance = told.get("distance_m") if isinstance(told, dict) else None
    if isinstance(distance, bool) or not isinstance(distance, int | float) or not 0 < distance < 1_000:
        raise InputError(f"{beside}: distance_m: got {str(distance)[:80]}, wanted metres, more than 0")
    return float(distance)


@lru_cache(maxsize=256)
def _measured(path: str) -> Sound:
    return _from_direct(read(Path(path)))


@lru_cache(maxsize=_MOST_SIMULATED)
def _simulated(seed: int, number: int) -> tuple[float, list[Sound]]:
    """Its reverberation time in seconds, as its responses have it, and they."""
    import pyroomacoustics

    drawn = plan(seed, number)
    walls = pyroomacoustics.Material(drawn.absorption)
    room = pyroomacoustics.ShoeBox(drawn.size_m, fs=RATE, materials=walls, max_order=drawn.order)
    for talker in drawn.talkers_m:
        room.add_source(talker)
    room.add_microphone(drawn.microphone_m)
    room.compute_rir()
    rt60_s = float(np.median(room.measure_rt60(decay_db=20)))
    return rt60_s, [_from_direct(np.asarray(response, np.float32)) for response in room.rir[0]]


def _from_direct(response: Sound) -> Sound:
    return response[max(0, int(np.argmax(np.abs(response))) - _BEFORE) :]
