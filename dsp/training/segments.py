"""Labelled stretches of features: a word somewhere in 3.2 s of life, and 3.2 s of life without one.

Each segment is made from its own number and the seed alone, so that making them can be cut short and taken up again.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farfield import kernels
from farfield.embedding import load_embedding
from farfield.history import FIELD, HOP, heard
from farfield.training import augment
from farfield.training.augment import Sound
from farfield.training.clips import RATE

FEATURE_UNIT = 10 / 256  # of the float features that models are scaled for
INPUT_UNIT = 26 / 255  # the input scale of published microWakeWord models

SECONDS = 3.2
FRAMES = int(SECONDS * RATE)
WINDOWS = (FRAMES - 480) // 160 + 1
NO_WORD = -1
EMBEDDED = (WINDOWS - FIELD) // HOP + 1  # embeddings of a segment


@dataclass(frozen=True)
class Said:
    """A clip of a wake word and where in it the word starts and ends, in samples."""

    samples: Sound
    start: int
    end: int


@dataclass(frozen=True)
class Word:
    """One wake word, said by people and by synthetic voices."""

    real: list[Said]
    synthetic: list[Said]

    def said(self, random: np.random.Generator) -> Said:
        """A clip of it: seven times in ten a person's, where there are any."""
        clips = self.real if self.real and (not self.synthetic or random.random() < 0.7) else self.synthetic
        return clips[random.integers(len(clips))]


@dataclass(frozen=True)
class Material:
    """What segments are mixed from. near: for each word what synthetic voices say that sounds like it. noise may be empty."""

    words: list[Word]
    speech: list[Sound]
    near: list[list[Sound]]
    noise: list[Sound]
    rooms: list[Sound]


class Hearing:
    """What a device makes of a segment that it hears from the start of a stream. To be kept: it takes longer to make than a
    segment to hear."""

    def __init__(self) -> None:
        self._front = kernels.Features()
        self._embedder = load_embedding(most_frames=WINDOWS)

    def of(self, samples: NDArray[np.int16]) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """What the scorer's first layer sees, plus 128: uint8 (windows, 40); and embeddings: int8 (EMBEDDED, WIDTH)."""
        self._front.reset()
        raw, energies = heard(samples, self._front)
        self._embedder.reset()
        return scaled(raw), self._embedder.process(energies[(WINDOWS - FIELD) % HOP :])  # so that the newest frame counts


def scaled(features: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """What the scorer's first layer sees of features, plus 128."""
    steps = features.astype(np.float32) * np.float32(FEATURE_UNIT / INPUT_UNIT)
    return np.asarray(np.clip(np.rint(steps), 0, 255).astype(np.uint8))


def segment(material: Material, word: int | None, random: np.random.Generator) -> tuple[NDArray[np.int16], int]:
    """Samples (int16, FRAMES) with the word of that number, or with none; and the sample at which it ends, or NO_WORD."""
    if word is None:
        return _heard(material, _talk(material, random), False, random), NO_WORD
    track, end = _with_word(material, material.words[word], random)
    return _heard(material, track, True, random), end


def sounding_like(material: Material, word: int, random: np.random.Generator) -> NDArray[np.int16]:
    """Samples (int16, FRAMES) with something that only sounds like the word of that number."""
    clip, _ = _another_voice(_like(material, word, random), random)
    track, _ = _placed(material, _faded(clip), len(clip), random)
    return _heard(material, track, True, random)


def _heard(material: Material, track: Sound, word: bool, random: np.random.Generator) -> NDArray[np.int16]:
    """The track through another microphone, room, noise and codec, at some level."""
    if random.random() < 0.6:
        track = augment.equalised(track, random)
    level = augment.speech_level(track)
    if random.random() < 0.6:
        response = material.rooms[random.integers(len(material.rooms))]
        track = augment.in_room(track, response)
    if random.random() < 0.85:
        # Few words at -5 dB: there nobody could tell them from others, and what cannot be told apart teaches nothing.
        snr_db = random.triangular(-5, 20, 20) if word else random.uniform(-10, 25)
        noise = _background(material, random)
        track = track + noise * (level * 10 ** (-snr_db / 20))
    if random.random() < 0.2:
        track = augment.codec(0.5 * track / (np.abs(track).max() + 1e-9), random)
    peak_db = random.uniform(-45, 3)  # above 0 it clips
    track = track * (10 ** (peak_db / 20) / (np.abs(track).max() + 1e-9))
    return augment.to_int16(track)


def _with_word(material: Material, word: Word, random: np.random.Generator) -> tuple[Sound, int]:
    clip = word.said(random)
    said, tempo = _another_voice(clip.samples, random)
    start, end = int(clip.start / tempo), int(clip.end / tempo)
    margin = int(random.choice([0.03, 1.0]) * RATE)  # the word alone, or with what else its clip holds
    said, start, end = said[max(0, start - margin) : end + margin], min(start, margin), end - max(0, start - margin)
    return _placed(material, _faded(said / (augment.speech_level(said) + 1e-9)), end, random)


def _placed(material: Material, said: Sound, end: int, random: np.random.Generator) -> tuple[Sound, int]:
    """A segment's track with the clip somewhere in it, now and then between other speech, and where in it the clip's `end` is."""
    stop = int(random.uniform(0.9 if random.random() < 0.15 else 2.0, 2.95) * RATE)
    said = said[max(0, end - stop) :]
    end = min(end, stop)
    first = stop - end
    track = np.zeros(FRAMES, np.float32)
    room_left = min(len(said), FRAMES - first)
    track[first : first + room_left] += said[:room_left]
    if random.random() < 0.35:
        _lay(track, _talk(material, random), 0, first - int(random.uniform(0.0, 0.5) * RATE))
    if random.random() < 0.4:
        _lay(track, _talk(material, random), first + end + int(random.uniform(0.0, 0.5) * RATE), FRAMES)
    return track, first + end


def _like(material: Material, word: int, random: np.random.Generator) -> Sound:
    """A near-miss in a synthetic voice, or a person's word taken apart: its beginning that goes on as other speech does, its end
    after other speech, or its end before its beginning. Level 1."""
    near, own = material.near[word], material.words[word]
    if near and random.random() < 0.5:
        clip = near[random.integers(len(near))]
        return np.asarray(clip / augment.speech_level(clip), np.float32)
    said = own.said(random)
    whole = said.samples[said.start : said.end]
    whole = whole / augment.speech_level(whole)
    kind = random.integers(3)
    cut = int(len(whole) * random.uniform(0.35, 0.65))
    other = material.speech[random.integers(len(material.speech))]
    at = int(random.integers(max(1, len(other) - RATE // 2)))
    other = other[at : at + int(random.uniform(0.1, 0.5) * RATE)]
    other = other / augment.speech_level(other) * (random.random() < 0.8)
    first, then = ((whole[:cut], other), (other, whole[cut:]), (whole[cut:], whole[:cut]))[kind]
    return np.concatenate([_faded(first), _faded(then)])


def _lay(track: Sound, talk: Sound, start: int, stop: int) -> None:
    if stop - start > 1600:
        track[start:stop] += talk[: stop - start]


def _talk(material: Material, random: np.random.Generator) -> Sound:
    """Speech without a wake word, now and then with pauses, or nothing at all."""
    track = np.zeros(FRAMES, np.float32)
    kind = random.random()
    if kind < 0.08:
        return track + 1e-4 * random.standard_normal(FRAMES).astype(np.float32)
    if kind < 0.12:
        return augment.signals(FRAMES, random)
    at = 0
    while at < FRAMES:
        clip = _not_a_word(material, random)
        if at == 0 and random.random() < 0.4:  # a stream may begin within a word
            clip = clip[int(random.integers(len(clip) // 2 + 1)) :]
        clip = _faded(clip / augment.speech_level(clip)) * 10 ** (random.uniform(-6, 0) / 20)
        if random.random() < 0.5:
            clip, _ = _another_voice(clip, random)
        part = clip[: FRAMES - at]
        track[at : at + len(part)] = part
        at += len(part) + int(random.uniform(0, 0.4) * RATE)
    return track


def _another_voice(clip: Sound, random: np.random.Generator) -> tuple[Sound, float]:
    """The clip in another voice, and its tempo; half of the time pitch and tempo go together, which leaves no traces."""
    tempo = random.uniform(0.82, 1.22)
    formants = tempo if random.random() < 0.5 else random.uniform(0.83, 1.2)
    return augment.revoiced(clip, formants, tempo), tempo


def _not_a_word(material: Material, random: np.random.Generator) -> Sound:
    """A stretch of speech: as it was said, a near-miss, cut to pieces in another order, or one part of a word alone."""
    kind = random.random()
    near = [clip for of_word in material.near for clip in of_word] if kind < 0.2 else []
    if near:
        return near[random.integers(len(near))]
    if kind < 0.27:
        word = material.words[random.integers(len(material.words))].said(random)
        middle = word.start + int((word.end - word.start) * random.uniform(0.4, 0.6))
        return word.samples[word.start : middle] if random.random() < 0.5 else word.samples[middle : word.end]
    clip = material.speech[random.integers(len(material.speech))]
    if len(clip) > FRAMES:
        cut = int(random.integers(len(clip) - FRAMES + 1))
        clip = clip[cut : cut + FRAMES]
    if kind > 0.9:
        piece = int(random.uniform(0.1, 0.4) * RATE)
        pieces = [_faded(clip[at : at + piece]) for at in range(0, len(clip), piece)]
        clip = np.concatenate([pieces[n] for n in random.permutation(len(pieces))])
    return clip


def _background(material: Material, random: np.random.Generator) -> Sound:
    """Noise of RMS 1: recorded, coloured, music, machines, what a canceller leaves of the device's own sound, other talkers."""
    kind = random.random()
    if kind < 0.5 and material.noise:
        clip = _looped(material.noise[random.integers(len(material.noise))], random)
    elif kind < 0.7:
        clip = augment.colored(FRAMES, random.uniform(0, 2), random)
    elif kind < 0.8:
        clip = augment.music(FRAMES, random)
    elif kind < 0.83:
        clip = augment.signals(FRAMES, random)
    elif kind < 0.9:
        played = augment.music(2 * FRAMES, random) if random.random() < 0.5 else np.tile(_talk(material, random), 2)
        clip = augment.residual_echo(played, material.rooms[random.integers(len(material.rooms))], random)[FRAMES:]
    else:
        clip = _talk(material, random) + 0.5 * _talk(material, random)
    return np.asarray(clip / (np.sqrt(np.mean(clip.astype(np.float64) ** 2)) + 1e-6), np.float32)


def _looped(clip: Sound, random: np.random.Generator) -> Sound:
    """A segment's length of it, from any place on."""
    start = int(random.integers(len(clip)))
    return np.resize(clip[start:], FRAMES) if len(clip) - start >= FRAMES else np.resize(np.roll(clip, -start), FRAMES)


def _faded(clip: Sound) -> Sound:
    """With 10 ms ramps, so that a cut does not click."""
    ramp = min(160, len(clip) // 2)
    shaped = clip.astype(np.float32).copy()
    if ramp:
        shaped[:ramp] *= np.linspace(0, 1, ramp, dtype=np.float32)
        shaped[-ramp:] *= np.linspace(1, 0, ramp, dtype=np.float32)
    return shaped
