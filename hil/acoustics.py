"""Responses from where sound is made to each microphone: simulated shoebox rooms, measured files, or none."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from farfield import InputError, Profile
from farfield.hil.scene import RATE

_SIZES_M = ([4.5, 3.6, 2.4], [8.0, 6.5, 3.1])  # least and largest
_LOUDSPEAKER_M = (0.03, -0.02, -0.07)  # the device's own, from the array's centre
_NEAR_WALL_M = 0.4
_HIGHEST_ORDER = 30  # of reflections: what more would add is below the tail that is there
_LONGEST = RATE // 2  # of a measured response


@dataclass(frozen=True)
class Way:
    """The way from one place to the microphones.

    responses: float32 (microphones, taps). travel: taps before the direct sound reaches the array. azimuth_deg: where it comes
    from, if that is known.
    """

    responses: NDArray[np.float32]
    travel: int
    azimuth_deg: float | None

    def heard(self, sound: NDArray[np.float32], microphone: int) -> NDArray[np.float32]:
        """The sound at one microphone, with the tail of the room: float32 (frames + taps - 1,)."""
        from scipy.signal import oaconvolve

        return np.asarray(oaconvolve(sound, self.responses[microphone]), np.float32)


@dataclass(frozen=True)
class Place:
    """A room: the ways to the microphones from talkers, another loudspeaker, a source of noise, and the device's own."""

    talkers: tuple[Way, ...]
    elsewhere: Way
    noise: Way
    own: Way


def dry(profile: Profile) -> Place:
    """No room at all, for one microphone."""
    way = Way(np.ones((len(profile.microphones), 1), np.float32), 0, None)
    return Place((way,), way, way, way)


@lru_cache(maxsize=16)
def simulated(profile: Profile, rt60_s: float, distances_m: tuple[float, ...], seed: int) -> Place:
    """A shoebox room drawn from the seed (pyroomacoustics, image sources), a talker at each distance."""
    try:
        import pyroomacoustics
    except ImportError:
        raise InputError("pyroomacoustics: not installed; install it with: pip install 'farfield[hil]'") from None
    random = np.random.default_rng(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - pyroomacoustics draws from the global generator
    while True:
        size = random.uniform(*_SIZES_M)
        array = random.uniform([_NEAR_WALL_M, _NEAR_WALL_M, 0.6], [size[0] - _NEAR_WALL_M, size[1] - _NEAR_WALL_M, 1.1])
        talkers = [_around(random, size, array, distance, 0.7) for distance in distances_m]
        others = [_around(random, size, array, distance, 0.5) for distance in random.uniform(1.5, 2.5, 2)]
        try:
            absorption, order = pyroomacoustics.inverse_sabine(rt60_s, size)
        except ValueError:
            continue  # so large a room rings for longer whatever its walls
        if all(place is not None for place in (*talkers, *others)):
            break
    room = pyroomacoustics.ShoeBox(
        size, fs=RATE, materials=pyroomacoustics.Material(absorption), max_order=min(int(order), _HIGHEST_ORDER)
    )
    places = [*talkers, *others, array + _LOUDSPEAKER_M]
    for place in places:
        room.add_source(place)
    microphones = array + profile.positions_mm / 1000
    room.add_microphone(microphones.T)
    room.compute_rir()
    lead = pyroomacoustics.constants.get("frac_delay_length") // 2  # of the filters for fractional delays
    speed = pyroomacoustics.constants.get("c")
    centre = array + profile.positions_mm.mean(axis=0) / 1000
    ways = []
    for number, place in enumerate(places):
        responses = [np.asarray(room.rir[m][number], np.float32)[lead:] for m in range(len(microphones))]
        taps = max(map(len, responses))
        padded = np.stack([np.pad(response, (0, taps - len(response))) for response in responses])
        along = np.asarray(place) - centre
        azimuth = float(np.degrees(np.arctan2(along[1], along[0])) % 360) if len(microphones) > 1 else None
        ways.append(Way(padded, round(float(np.linalg.norm(along)) / speed * RATE), azimuth))
    return Place(tuple(ways[: len(talkers)]), *ways[len(talkers) :])


def measured(paths: list[Path], profile: Profile) -> Place:
    """Every file of as many channels as the profile has microphones, or more: the first ones are taken.

    InputError: none, or a file that cannot be read, or in which the first microphone hears nothing.
    """
    ways = []
    for path in paths:
        name = os.fsencode(path)  # which need not be UTF-8
        try:
            sound, rate = soundfile.read(name, dtype="float32", always_2d=True)
        except (OSError, soundfile.LibsndfileError) as error:
            reason = str(error).removeprefix(f"Error opening {name!r}: ")
            raise InputError(f"{path}: cannot be read as sound ({reason}); wanted a measured response") from None
        if sound.shape[1] < len(profile.microphones):
            continue
        sound = sound[:, : len(profile.microphones)]
        sound = sound if rate == RATE or not len(sound) else soxr.resample(sound, rate, RATE)
        taps = sound[:_LONGEST].T
        if not np.isfinite(taps).all() or not taps[0].any():
            raise InputError(f"{path}: got silence at the first microphone, or NaN or infinity; wanted a measured response")
        ways.append(Way(np.ascontiguousarray(taps / np.abs(taps).max()), int(np.argmax(np.abs(taps[0]))), None))
    if not ways:
        raise InputError(f"{paths[0].parent}: no response has {len(profile.microphones)} channels, the profile's microphones")
    return Place(tuple(ways), ways[-1], ways[-1], ways[-1])


def _around(
    random: np.random.Generator, size: NDArray[np.float64], array: NDArray[np.float64], distance_m: float, rise_m: float
) -> NDArray[np.float64] | None:
    """A place that far from the array and away from the walls; None where none was found."""
    for _ in range(64):
        rise = random.uniform(0, min(rise_m, 0.9 * distance_m))
        bearing = random.uniform(0, 2 * np.pi)
        along = np.sqrt(distance_m**2 - rise**2)
        place = array + np.array([along * np.cos(bearing), along * np.sin(bearing), rise])
        if (place[:2] > _NEAR_WALL_M).all() and (place[:2] < size[:2] - _NEAR_WALL_M).all():
            return np.asarray(place)
    return None
