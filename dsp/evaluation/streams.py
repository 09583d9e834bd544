"""Labelled streams: words among speech and pauses over noise, each made from a seed and its number alone, so anywhere.

After the protocol of the public wake-word benchmark: speech takes a fifth of the time, noise lies under all of it, and every
utterance is scaled so that the energy of its loudest frame is a given ratio above that of the loudest of the noise under it.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farfield.errors import InputError
from farfield.evaluation.rooms import Room
from farfield.profile import RATE
from farfield.source import SoundFile
from farfield.training.clips import read, word_span

Sound = NDArray[np.float32]
_FRAME = 2_048  # samples over which a peak energy is taken
_FLOOR_DBFS = -80.0  # of the noise where none is asked for: a quiet room's microphone
_QUIETEST = 1e-12
_LEAST_GAP_S = 0.2
_PART_S = 1_200  # of a part where the stream's length is asked for: about 200 MB while it is made and heard
_NOISES = 8  # clips of noise in a part


@dataclass(frozen=True)
class Conditions:
    """What utterances meet.

    snr_db: peak energy over the noise's; None for no noise. peak_dbfs: level of an utterance without noise. A part holds one of
    each. speech_share: of the time that anybody speaks. rooms: what words are heard through, in turn.
    """

    snr_db: tuple[float | None, ...] = (10.0,)
    peak_dbfs: tuple[float, ...] = (-12.0,)
    speech_share: float = 0.2
    rooms: tuple[Room, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.speech_share <= 1:
            raise InputError(f"speech share: got {self.speech_share}, wanted more than 0 and at most 1")
        if not (self.snr_db and self.peak_dbfs):
            raise InputError("conditions: got no signal-to-noise ratio or no level, wanted one or more of each")


@dataclass(frozen=True)
class Said:
    """A clip of the word in a stream. start, end: of the word, in samples of the stream. noise: the clip that lies under it."""

    clip: str
    start: int
    end: int
    snr_db: float | None
    peak_dbfs: float
    room: Room | None
    noise: str | None = None
    part: int = 0


@dataclass(frozen=True)
class Part:
    """What a stream is made of. turn: of its first word, among those of the same ratio and level. least: samples."""

    number: int
    seed: int
    turn: int
    words: tuple[str, ...]
    others: tuple[str, ...]
    noise: tuple[str, ...]
    snr_db: float | None
    peak_dbfs: float
    speech_share: float
    rooms: tuple[Room, ...]
    least: int


def parts(
    words: Sequence[Path],
    others: Sequence[Path],
    noise: Sequence[Path],
    conditions: Conditions,
    seed: int,
    clips: int = 120,
    hours: float | None = None,
) -> list[Part]:
    """Every word and every other clip once, shuffled and dealt to parts of about `clips` utterances; noise to each anew.

    hours: clips are gone through as often as that takes, each time shuffled anew, or as far as that takes, every word at
    least once; parts are 20 minutes long. A part holds one signal-to-noise ratio and one level, for the noise lies under all
    of it. InputError: fewer hours than the words take.
    """
    random = np.random.default_rng(seed)
    kinds = list(product(conditions.snr_db if noise else (None,), conditions.peak_dbfs))
    many, count, least = (len(words), len(others)), -(-(len(words) + len(others)) // clips), 0
    if hours is not None:
        many, count = _asked(words, others, conditions.speech_share, hours), math.ceil(hours * 3600 / _PART_S)
        least = math.ceil(hours * 3600 * RATE / max(len(kinds), count))
    count = max(len(kinds), count)
    said, spoken = (_rounds(paths, each, random) for paths, each in zip((words, others), many, strict=True))
    made: list[Part] = []
    turns = [0] * len(kinds)
    for number in range(count):
        kind = number % len(kinds)
        picked = tuple(str(noise[n]) for n in random.permutation(len(noise))[:_NOISES])
        dealt = tuple(said[number::count])
        made.append(Part(number, seed, turns[kind], dealt, tuple(spoken[number::count]), picked, *kinds[kind],
                         conditions.speech_share, conditions.rooms, least))  # fmt: skip
        turns[kind] += len(dealt)
    return made


def _rounds(paths: Sequence[Path], many: int, random: np.random.Generator) -> list[str]:
    """The paths, shuffled, and again, shuffled anew, until there are so many."""
    if not many:
        return []
    return [str(paths[n]) for _ in range(-(-many // len(paths))) for n in random.permutation(len(paths))][:many]


def _asked(words: Sequence[Path], others: Sequence[Path], speech_share: float, hours: float) -> tuple[int, int]:
    """How many words and how many other clips fill the hours: both the same number of times, but every word once."""
    words_s, others_s = (sum(_taken_s(path, speech_share) for path in paths) for paths in (words, others))
    if words_s > hours * 3600:
        raise InputError(f"hours: got {hours:g}, wanted {words_s / 3600:.2f} or more, which it takes to say every word once")
    if not words_s:
        raise InputError(f"hours: none of the {len(words)} clips of the word can be read; wanted sound")
    many = max(len(words), round(hours * 3600 / (words_s + others_s) * len(words)))
    left_s = max(0.0, hours * 3600 - words_s * many / len(words))
    return many, math.ceil(left_s / others_s * len(others)) if others_s else 0


def _taken_s(path: Path, speech_share: float) -> float:
    """Of a stream by a clip and the pause after it; 0 for what cannot be read, which is named when its stream is made."""
    try:
        file = SoundFile(path)
    except InputError:
        return 0.0
    file.close()
    length = file.frames / file.rate
    return length + max(length * (1 / speech_share - 1), _LEAST_GAP_S)


@dataclass(frozen=True)
class Stream:
    """The sound of a part, int16 (frames,) at 16 kHz, and what is in it.

    said: the words. spoken: every utterance's clip, first sample and the one after its last. skipped: clips of no use.
    """

    samples: NDArray[np.int16]
    said: tuple[Said, ...]
    spoken: tuple[tuple[str, int, int], ...]
    skipped: tuple[str, ...]


def stream(part: Part) -> Stream:
    """The same from the same part, wherever it is made. InputError: a room or a noise that cannot be used."""
    random = np.random.default_rng([part.seed, part.number])
    clips = [*part.words, *part.others]
    usable: list[tuple[int, Sound, float]] = []
    skipped: list[str] = []
    for turn in random.permutation(len(clips)).tolist():
        try:
            clip = read(Path(clips[turn]))
        except InputError as error:
            skipped.append(str(error))
            continue
        usable.append((turn, clip, random.uniform(0.5, 1.5) * len(clip) * (1 / part.speech_share - 1)))
    said: list[Said] = []
    laid: list[tuple[str, int, Sound]] = []
    at = RATE // 2
    stretch = _stretch(part.least - RATE * 3 // 2, usable)
    for turn, clip, pause in usable:
        room = part.rooms[(part.turn + turn) % len(part.rooms)] if part.rooms else None
        laid.append((clips[turn], at, clip if room is None else _through(clip, room)))
        if turn < len(part.words):
            start, end = word_span(clip)
            said.append(Said(clips[turn], at + start, at + end, part.snr_db, part.peak_dbfs, room, None, part.number))
        at += len(clip) + int(max(stretch * pause, _LEAST_GAP_S * RATE))
    length = max([part.least, at + RATE, *(start + len(sound) + RATE for _, start, sound in laid)])
    made, noises = _noise(part.noise if part.snr_db is not None else (), length, random)
    if part.snr_db is not None:
        made *= gain_to(made, 10 ** ((part.peak_dbfs - part.snr_db) / 10))
    for _, start, sound in laid:
        made[start : start + len(sound)] += np.float32(gain_to(sound, 10 ** (part.peak_dbfs / 10))) * sound
    spoken = tuple((path, start, start + len(sound)) for path, start, sound in laid)
    return Stream(_to_int16(made), tuple(_over(word, noises) for word in said), spoken, tuple(skipped))


def _stretch(wanted: int, usable: Sequence[tuple[int, Sound, float]]) -> float:
    """What pauses are multiplied by, so that the utterances and they last as many samples as wanted; 1 for no wish."""
    pauses = sum(pause for _, _, pause in usable)
    return max(0.0, wanted - sum(len(clip) for _, clip, _ in usable)) / pauses if wanted > 0 and pauses else 1.0


def gain_to(sound: Sound, energy: float) -> float:
    """What brings the loudest frame's mean square to `energy`."""
    whole = len(sound) // _FRAME * _FRAME
    frames, rest = sound[:whole].reshape(-1, _FRAME), sound[whole:]
    loudest = max(float(np.einsum("ij,ij->i", frames, frames).max(initial=0.0)), float(rest @ rest)) / _FRAME
    return math.sqrt(energy / max(_QUIETEST, loudest))


def _noise(paths: Sequence[str], length: int, random: np.random.Generator) -> tuple[Sound, list[tuple[int, str]]]:
    """That many samples, each clip's loudest frame as loud as the next one's, and where in them which clip begins."""
    if not paths:
        quiet = random.standard_normal(length, np.float32)
        quiet *= np.float32(10 ** (_FLOOR_DBFS / 20))
        return quiet, []
    clips = [read(Path(path)) for path in paths]
    clips = [np.float32(gain_to(clip, 1.0)) * clip for clip in clips]
    made = np.empty(length, np.float32)
    begins: list[tuple[int, str]] = []
    have = 0
    while have < length:
        turn = len(begins) % len(clips)
        begins.append((have, paths[turn]))
        piece = clips[turn][: length - have]
        made[have : have + len(piece)] = piece
        have += len(piece)
    return made, begins


def _over(word: Said, noises: Sequence[tuple[int, str]]) -> Said:
    """The word, with the noise that lies under its middle."""
    if not noises:
        return word
    under = bisect_right(noises, (word.start + word.end) // 2, key=lambda noise: noise[0]) - 1
    return replace(word, noise=noises[under][1])


def _through(clip: Sound, room: Room) -> Sound:
    """As long as before and half a second of the response's tail, aligned on its direct sound."""
    from scipy.signal import fftconvolve

    return np.asarray(fftconvolve(clip, room.response())[: len(clip) + RATE // 2], np.float32)


def _to_int16(made: Sound) -> NDArray[np.int16]:
    """Rounded and clipped; works in the array it is given, for a part's sound is large."""
    made *= np.float32(32_768)
    np.rint(made, out=made)
    np.clip(made, -32_768, 32_767, out=made)
    return made.astype(np.int16)
