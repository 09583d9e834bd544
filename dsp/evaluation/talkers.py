"""Simulated rooms with a talker and somebody else who talks, for arrays: what each microphone hears of whom, and the yardstick.

Rooms of 6 x 5 x 2.7 m by pyroomacoustics (image sources), the talker 1.7 m away, the interfering talker 60 to 180 degrees apart
and as loud at the first microphone, sensor noise 30 dB below. What is wanted is the talker's direct sound and the 20 ms of
reflections after it at the first microphone; how much of a signal is that is its scale-invariant signal-to-distortion ratio
(Le Roux, Wisdom, Erdogan, Hershey, "SDR - half-baked or well done?", ICASSP 2019).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from farfield.errors import InputError
from farfield.profile import RATE

Sound = NDArray[np.float64]
SIZE_M = (6.0, 5.0, 2.7)
DISTANCE_M = 1.7
APART_DEG = (60.0, 180.0)
SENSOR_NOISE_DB = -30.0
EARLY_S = 0.02
_CENTRAL_M = 2.0  # of the array from every wall, or more, where the talker is near
_FROM_WALL_M = 0.3  # of a talker, and of the array where he is far
_FAR_M = 2.0
_HEIGHT_M = 0.9  # of the array, and of somebody who sits
_HIGHEST_ORDER = 60  # of reflections: what more would add is below the tail that is there


@dataclass(frozen=True)
class Room:
    """Responses, float64 (microphones, taps), from the talker and from the interfering one, and where they are.

    early: the talker's at the first microphone, (taps,), cut off EARLY_S after its direct sound. azimuths in degrees, as seen
    from the array's centre.
    """

    talker: Sound
    interferer: Sound
    early: Sound
    talker_deg: float
    interferer_deg: float


@dataclass(frozen=True)
class Heard:
    """What the microphones hear, float64 (frames, microphones), in full and of each source, and what is wanted, (frames,).

    The interferer's alone goes first for `alone` frames.
    """

    everything: Sound
    talker: Sound
    interferer: Sound
    noise: Sound
    wanted: Sound
    alone: int


@lru_cache(maxsize=128)
def room(positions_mm: tuple[tuple[float, float, float], ...], rt60_s: float, seed: int, distance_m: float = DISTANCE_M) -> Room:
    """A place in the room for the array and two talkers, drawn from the seed; the same wherever it is made.

    rt60_s: by Sabine's formula. distance_m: of the talker; the other one is DISTANCE_M away. InputError: no pyroomacoustics.
    """
    try:
        import pyroomacoustics
    except ImportError:
        raise InputError("pyroomacoustics: not installed; install it with: pip install 'farfield[eval]'") from None
    positions_m = np.asarray(positions_mm, np.float64) / 1000
    positions_m -= positions_m.mean(axis=0)
    random = np.random.default_rng([seed, 5])
    centre, talker_deg, interferer_deg = _places(random, distance_m)
    absorption, order = pyroomacoustics.inverse_sabine(rt60_s, SIZE_M)
    walls = pyroomacoustics.Material(absorption)
    made = pyroomacoustics.ShoeBox(SIZE_M, fs=RATE, materials=walls, max_order=min(int(order), _HIGHEST_ORDER))
    for azimuth, away in ((talker_deg, distance_m), (interferer_deg, DISTANCE_M)):
        made.add_source(_place(centre, azimuth, away))
    made.add_microphone((centre + positions_m).T)
    made.compute_rir()
    lead = pyroomacoustics.constants.get("frac_delay_length") // 2  # of the filters for fractional delays
    talker, interferer = (_padded([of[source][lead:] for of in made.rir]) for source in (0, 1))
    away_m = float(np.linalg.norm(_place(centre, talker_deg, distance_m) - centre - positions_m[0]))
    early = talker[0].copy()
    early[round((away_m / pyroomacoustics.constants.get("c") + EARLY_S) * RATE) :] = 0
    return Room(talker, interferer, early, talker_deg, interferer_deg)


def _places(random: np.random.Generator, distance_m: float) -> tuple[Sound, float, float]:
    """The array's centre, and the azimuths of two talkers, the first that far from it. InputError: so far that none fit."""
    size = np.array(SIZE_M[:2])
    margin = _CENTRAL_M if distance_m < _FAR_M else _FROM_WALL_M
    for _ in range(1_000):
        centre = np.array([*random.uniform(margin, size - margin), _HEIGHT_M])
        talker_deg = random.uniform(0, 360)
        interferer_deg = (talker_deg + random.choice([-1, 1]) * random.uniform(*APART_DEG)) % 360
        places = np.array([_place(centre, azimuth, away)[:2]
                           for azimuth, away in ((talker_deg, distance_m), (interferer_deg, DISTANCE_M))])  # fmt: skip
        if (places > _FROM_WALL_M).all() and (places < size - _FROM_WALL_M).all():
            return centre, talker_deg, interferer_deg
    raise InputError(f"distance_m: got {distance_m:g}, wanted so near that two talkers fit into {SIZE_M[0]:g} x {SIZE_M[1]:g} m")


def _place(centre: Sound, azimuth_deg: float, distance_m: float) -> Sound:
    turn = np.radians(azimuth_deg)
    return centre + distance_m * np.array([np.cos(turn), np.sin(turn), 0.0])


def _padded(responses: list[Sound]) -> Sound:
    taps = max(map(len, responses))
    return np.stack([np.pad(np.asarray(response, np.float64), (0, taps - len(response))) for response in responses])


def heard(where: Room, talker: Sound, interferer: Sound, *, ratio_db: float = 0.0, alone_s: float = 0.0, seed: int = 0) -> Heard:
    """Two voices, (frames,) each, in a room; the interferer's must be longer by `alone_s`, for which it is heard alone.

    ratio_db: the talker's power over the interferer's at the first microphone while both are heard. Scaled so that the talker
    is heard there at -26 dB of full scale. InputError: voices that are too short.
    """
    alone = round(alone_s * RATE)
    if len(talker) == 0 or len(interferer) < alone + len(talker):
        raise InputError(f"interferer: got {len(interferer)} samples, wanted {alone + len(talker)} or more")
    frames = alone + len(talker)
    near = _convolved(np.concatenate([np.zeros(alone), talker]), where.talker)
    far = _convolved(interferer[:frames], where.interferer)
    wanted = _convolved(np.concatenate([np.zeros(alone), talker]), where.early[None])[:, 0]
    scale = 0.05 / np.sqrt(np.mean(near[alone:, 0] ** 2))
    near, wanted = scale * near, scale * wanted
    power = np.mean(near[alone:, 0] ** 2)
    far *= np.sqrt(power / 10 ** (ratio_db / 10) / np.mean(far[alone:, 0] ** 2))
    noise = np.sqrt(power * 10 ** (SENSOR_NOISE_DB / 10)) * np.random.default_rng([seed, 6]).standard_normal(near.shape)
    return Heard(near + far + noise, near, far, noise, wanted, alone)


def alone(where: Room, talker: Sound, seed: int = 0) -> Heard:
    """The talker alone in a room, heard at -26 dB of full scale, over the microphones' own noise; the interferer is silent."""
    near, wanted = _convolved(talker, where.talker), _convolved(talker, where.early[None])[:, 0]
    scale = 0.05 / np.sqrt(np.mean(near[:, 0] ** 2))
    near, wanted = scale * near, scale * wanted
    noise = 0.05 * 10 ** (SENSOR_NOISE_DB / 20) * np.random.default_rng([seed, 6]).standard_normal(near.shape)
    return Heard(near + noise, near, np.zeros_like(near), noise, wanted, 0)


def _convolved(sound: Sound, responses: Sound) -> Sound:
    """(frames, microphones), as long as the sound."""
    from scipy.signal import oaconvolve

    return np.stack([oaconvolve(sound, response)[: len(sound)] for response in responses], axis=1)


def si_sdr_db(signal: Sound, wanted: Sound) -> float:
    """Scale-invariant signal-to-distortion ratio of (frames,) against what is wanted, in dB."""
    scale = float(signal @ wanted) / float(wanted @ wanted)
    target = scale * wanted
    return float(10 * np.log10(float(target @ target) / float(np.sum((signal - target) ** 2))))
