"""Labelled streams: words among speech and pauses over noise, each made from a seed and its number alone, so anywhere.

After the protocol of the public wake-word benchmark: speech takes a fifth of the time, noise lies under all of it, and every
utterance is scaled so that the energy of its loudest frame is a given ratio above that of the noise's loudest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farfield.errors import InputError
from farfield.profile import RATE
from farfield.training.clips import read, word_span

Sound = NDArray[np.float32]
_FRAME = 2_048  # samples over which a peak energy is taken
_FLOOR_DBFS = -80.0  # of the noise where none is asked for: a quiet room's microphone
_QUIETEST = 1e-12
_LEAST_GAP_S = 0.2


@dataclass(frozen=True)
class Conditions:
    """What utterances meet. Each list's values are gone through in turn, word by word.

    snr_db: peak energy over the noise's; None for no noise. peak_dbfs: level of an utterance without noise. speech_share: of
    the time that anybody speaks. rooms: impulse responses (sound files) that utterances are heard through.
    """

    snr_db: tuple[float | None, ...] = (10.0,)
    peak_dbfs: tuple[float, ...] = (-12.0,)
    speech_share: float = 0.2
    rooms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.speech_share <= 1:
            raise InputError(f"speech share: got {self.speech_share}, wanted more than 0 and at most 1")
        if not (self.snr_db and self.peak_dbfs):
            raise InputError("conditions: got no signal-to-noise ratio or no level, wanted one or more of each")


@dataclass(frozen=True)
class Said:
    """A clip of the word in a stream. start, end: of the word, in samples of the stream."""

    clip: str
    start: int
    end: int
    snr_db: float | None
    peak_dbfs: float
    room: str | None


@dataclass(frozen=True)
class Part:
    """What a stream is made of."""

    number: int
    seed: int
    words: tuple[str, ...]
    others: tuple[str, ...]
    noise: tuple[str, ...]
    conditions: Conditions


def parts(
    words: Sequence[Path], others: Sequence[Path], noise: Sequence[Path], conditions: Conditions, seed: int, clips: int = 120
) -> list[Part]:
    """Every word and every other clip once, shuffled and dealt to parts of about `clips` utterances; noise to each anew.

    A part holds one signal-to-noise ratio, for the noise lies under all of it.
    """
    random = np.random.default_rng(seed)
    count = max(len(conditions.snr_db), -(-(len(words) + len(others)) // clips))
    dealt_words, dealt_others = (
        [tuple(str(paths[n]) for n in order[number::count]) for number in range(count)]
        for paths, order in ((words, random.permutation(len(words))), (others, random.permutation(len(others))))
    )
    made: list[Part] = []
    for number in range(count):
        picked = tuple(str(noise[n]) for n in random.permutation(len(noise))[:8])
        made.append(Part(number, seed, dealt_words[number], dealt_others[number], picked, conditions))
    return made


@dataclass(frozen=True)
class Stream:
    """The sound of a part, int16 (frames,) at 16 kHz, where in it the word is, and which clips could not be used."""

    samples: NDArray[np.int16]
    said: tuple[Said, ...]
    skipped: tuple[str, ...]


def stream(part: Part) -> Stream:
    """The same from the same part, wherever it is made. InputError: a room or a noise that cannot be used."""
    random = np.random.default_rng([part.seed, part.number])
    on = part.conditions
    snr_db = on.snr_db[part.number % len(on.snr_db)]
    snr_db = snr_db if part.noise else None
    spoken = [(path, True) for path in part.words] + [(path, False) for path in part.others]
    said: list[Said] = []
    skipped: list[str] = []
    laid: list[tuple[int, Sound]] = []
    at = RATE // 2
    for turn in random.permutation(len(spoken)).tolist():
        path, is_word = spoken[turn]
        try:
            clip = read(Path(path))
        except InputError as error:
            skipped.append(str(error))
            continue
        start, end = word_span(clip)
        room = on.rooms[turn % len(on.rooms)] if on.rooms else None
        peak_dbfs = on.peak_dbfs[(turn // max(1, len(on.rooms))) % len(on.peak_dbfs)]
        heard = clip if room is None else _through(clip, room)
        laid.append((at, (heard * _gain(heard, 10 ** (peak_dbfs / 10))).astype(np.float32)))
        if is_word:
            said.append(Said(path, at + start, at + end, snr_db, peak_dbfs, room))
        pause = len(clip) * (1 / on.speech_share - 1)
        at += len(clip) + int(max(random.uniform(0.5, 1.5) * pause, _LEAST_GAP_S * RATE))
    length = max([at, *(start + len(sound) for start, sound in laid)]) + RATE
    made = _noise(part.noise if snr_db is not None else (), length, random)
    if snr_db is not None:  # the noise is as loud as the loudest level says, and each utterance as much louder
        made *= _gain(made, 10 ** ((max(on.peak_dbfs) - snr_db) / 10))
    for start, sound in laid:
        if snr_db is not None:
            sound = sound * _gain(sound, 10 ** (max(on.peak_dbfs) / 10))
        made[start : start + len(sound)] += sound
    return Stream(np.clip(np.rint(made * 32_768), -32_768, 32_767).astype(np.int16), tuple(said), tuple(skipped))


def _gain(sound: Sound, energy: float) -> float:
    """What brings the loudest frame's mean square to `energy`."""
    padded = np.pad(sound.astype(np.float64), (0, -len(sound) % _FRAME))
    return float(np.sqrt(energy / max(_QUIETEST, np.mean(padded.reshape(-1, _FRAME) ** 2, axis=1).max())))


def _noise(paths: Sequence[str], length: int, random: np.random.Generator) -> Sound:
    if not paths:
        return (10 ** (_FLOOR_DBFS / 20) * random.standard_normal(length)).astype(np.float32)
    pieces: list[Sound] = []
    have = 0
    clips = [read(Path(path)) for path in paths]
    while have < length:
        clip = clips[len(pieces) % len(clips)]
        pieces.append(clip / np.sqrt(np.mean(clip**2) + _QUIETEST))
        have += len(clip)
    return np.concatenate(pieces)[:length].astype(np.float32)


def _through(clip: Sound, room: str) -> Sound:
    """As long as before and the response's tail, aligned on its direct sound."""
    from scipy.signal import fftconvolve

    response = read(Path(room))
    direct = int(np.argmax(np.abs(response)))
    return np.asarray(fftconvolve(clip, response[max(0, direct - 8) :])[: len(clip) + RATE // 2], np.float32)
