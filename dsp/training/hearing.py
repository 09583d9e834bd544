"""Segments heard otherwise each time that a network is shown them: masked, under knocks, elsewhere, from another throat.

All of it works on features, which is quick; a step of theirs is 0.36 dB.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from farfield import kernels
from farfield.training import augment
from farfield.training import network as design
from farfield.training.files import Seen
from farfield.training.segments import FRAMES, scaled

_WAVE = 25  # frames over which a tempo holds
_KNOCKED = 0.35  # of the segments
_KNOCKS = 1000  # of different kinds
_SETTLED = 40  # frames, until the front end knows the noise
_RINGING, _COLOURED, _GATED, _HISSING = 0.25, 0.5, 0.25, 0.3  # of the segments
_FALLS = (2.0, 9.0)  # steps a frame: 60 dB in 0.8 to 0.2 s
_COLOUR, _GATE, _HISS, _HISS_COLOUR, _HISS_VARIES = 14.0, 45.0, 70.0, 15.0, 10.0  # steps


def mask(seen: Seen, random: np.random.Generator) -> None:
    """Takes a few neighbouring channels out of most segments, and a few frames out of half (Park et al., "SpecAugment", 2019)."""
    for one in np.flatnonzero(random.random(len(seen)) < 0.7):
        lowest = int(random.integers(0, design.FEATURES - 1))
        seen[one, :, lowest : lowest + int(random.integers(1, 8))] = 0
    for one in np.flatnonzero(random.random(len(seen)) < 0.5):
        first = int(random.integers(0, seen.shape[1] - 1))
        seen[one, first : first + int(random.integers(1, 6))] = 0


@cache
def _knocks() -> Seen:
    """What the front end makes of short sounds in near silence: uint8 (_KNOCKS, WINDOWS, 40)."""
    random = np.random.default_rng(0)
    front, heard = kernels.Features(), []
    for _ in range(_KNOCKS):
        sound = 0.5 * augment.knocks(FRAMES, random) + 1e-4 * random.standard_normal(FRAMES).astype(np.float32)
        front.reset()
        heard.append(scaled(front.process(augment.to_int16(sound))))
    return np.stack(heard)


def knock(seen: Seen, random: np.random.Generator) -> None:
    """Lays short sounds over a third of the segments.

    Features are logarithms, and the front end's gain follows slowly: the louder of the two is heard, nearly.
    """
    for one in np.flatnonzero(random.random(len(seen)) < _KNOCKED):
        settled = _knocks()[random.integers(_KNOCKS), _SETTLED:]
        sound = np.roll(settled, int(random.integers(len(settled))), 0)[: seen.shape[1]]
        softer = np.uint8(random.integers(0, 100))  # 28 steps are 10 dB
        np.maximum(seen[one, : len(sound)], np.maximum(sound, softer) - softer, out=seen[one, : len(sound)])


def elsewhere(seen: Seen, random: np.random.Generator) -> None:
    """Many segments as another device would have heard them: in a room that rings, through another microphone, with what is
    soft taken out as noise suppressors do, over a hiss."""
    heard = seen.astype(np.float32)
    some = np.flatnonzero(random.random(len(seen)) < _RINGING)
    falls = random.uniform(*_FALLS, (len(some), 1)).astype(np.float32)
    ringing = heard[some]
    for frame in range(1, seen.shape[1]):
        np.maximum(ringing[:, frame], ringing[:, frame - 1] - falls, out=ringing[:, frame])
    heard[some] = ringing
    some = np.flatnonzero(random.random(len(seen)) < _COLOURED)
    tone = _curve(len(some), random.uniform(0, _COLOUR, len(some)), random)
    heard[some] += np.where(heard[some] > 0, tone[:, None, :], 0)
    some = np.flatnonzero(random.random(len(seen)) < _GATED)
    heard[some] -= random.uniform(0, _GATE, (len(some), 1, 1))
    heard = np.maximum(heard, 0)
    some = np.flatnonzero(random.random(len(seen)) < _HISSING)
    floor = random.uniform(0, _HISS, len(some))[:, None] + _curve(len(some), np.full(len(some), _HISS_COLOUR), random)
    heard[some] = np.maximum(heard[some], floor[:, None, :] + random.normal(0, _HISS_VARIES, heard[some].shape))
    seen[:] = np.clip(np.rint(heard), 0, 255).astype(np.uint8)


def _curve(count: int, deviation: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Smooth over the channels: (count, 40)."""
    knots = random.normal(0, 1, (count, 6)) * deviation[:, None]
    at = np.linspace(0, 5, design.FEATURES)
    low = np.minimum(at.astype(np.intp), 4)
    return np.asarray(knots[:, low] * (1 - (at - low)) + knots[:, low + 1] * (at - low))


def warped(seen: Seen, pivots: NDArray[np.int64], random: np.random.Generator) -> Tensor:
    """Half of the segments said otherwise: at a tempo that wavers, around a frame of each that stays, by another throat.

    Channels are moved up or down in proportion (after Jaitly, Hinton, "Vocal tract length perturbation", 2013). pivots:
    frames. Returns features as float32, whole numbers.
    """
    batch, frames, channels = seen.shape
    which = np.flatnonzero(random.random(batch) < 0.5)
    count = len(which)
    wavering = np.repeat(random.normal(1.0, 0.1, (count, -(-frames // _WAVE))), _WAVE, 1)[:, :frames]
    at = np.cumsum(wavering * random.uniform(0.85, 1.18, (count, 1)), 1)
    at += (pivots[which] - at[np.arange(count), pivots[which]])[:, None]
    throat = np.arange(channels) * random.uniform(0.88, 1.14, (count, 1))
    grid = np.empty((count, frames, channels, 2), np.float32)
    grid[..., 0] = (2 * throat / (channels - 1) - 1)[:, None, :]
    grid[..., 1] = (2 * at / (frames - 1) - 1)[:, :, None]
    made = torch.from_numpy(seen).float()
    moved = functional.grid_sample(
        made[which][:, None], torch.from_numpy(grid), mode="bilinear", padding_mode="zeros", align_corners=True
    )
    made[which] = torch.round(moved[:, 0])
    return made
