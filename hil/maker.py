"""Makes a semi-recorded room from its recipe: the same from the same recipe, number and clips, its truth known to the sample."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farfield import InputError
from farfield.hil import acoustics
from farfield.hil.acoustics import Place, Way
from farfield.hil.material import Material, Sound
from farfield.hil.recipe import Recipe
from farfield.hil.room import Spoken
from farfield.hil.scene import RATE, Scene

_BEFORE, _AFTER = RATE // 2, 3 * RATE // 2  # of a slot, kept free of its word
_GUARD = 7 * RATE // 10  # between a word and other speech
_LEAST_PAUSE = RATE // 5
_FLOOR_DBFS = -84.0  # a microphone's own noise
_REFERENCE_DBFS = -20.0  # of what the device itself plays
_BUFFER = 6 * RATE // 1000  # how far the reference runs ahead of the loudspeaker
_DRIVE = 0.25  # the loudspeaker compresses a little
_ROOMS = 8  # that the rooms of one recipe are drawn from


@dataclass(frozen=True)
class _Utterance:
    text: str
    talker: str
    at: int
    sound: Sound
    is_word: bool
    way: Way


def made(recipe: Recipe, name: str, word: str, number: int, material: Material) -> Scene:
    """Room `number` of the recipe. InputError: words that do not fit into its time, or clips that cannot be had."""
    random = np.random.default_rng([recipe.seed, number])
    frames = recipe.seconds * RATE
    place = _place(recipe, number, material)
    recorded = material.has(recipe.voices)
    said = _words(recipe, word, place, recorded, material, random)
    said += _speech(recipe, word, said, place, recorded, material, random)
    level = np.float32(10 ** (recipe.level_dbfs / 20))
    mics = np.zeros((frames, len(recipe.profile.microphones)), np.float32)
    for one in said:
        _lay(mics, one, level)
    noisy = None if recipe.noise == "none" else recipe.noise != "pink" and recipe.noise != "white" and material.has(
        "clips" if recipe.noise == "clips" else "any"
    )  # fmt: skip
    if noisy is not None:
        sound = material.noise(frames, noisy, 0.0 if recipe.noise == "white" else 1.0, random)
        _add(mics, place.noise, sound, level * np.float32(10 ** (-recipe.snr_db / 20)))
    played = np.zeros((frames, 1 if recipe.music == "own" else 0), np.float32)
    if recipe.music != "none":
        sound = material.music(frames, random)
        heard = level * np.float32(10 ** (recipe.music_db / 20))
        if recipe.music == "own":
            played[:, 0] = sound * np.float32(10 ** (_REFERENCE_DBFS / 20))
            late = np.concatenate([np.zeros(_BUFFER, np.float32), sound])[:frames]
            _add(mics, place.own, np.asarray(np.tanh(_DRIVE * late) / _DRIVE, np.float32), heard)
        else:
            _add(mics, place.elsewhere, sound, heard)
    mics += np.float32(10 ** (_FLOOR_DBFS / 20)) * random.standard_normal(mics.shape, np.float32)
    samples = np.concatenate([_to_int16(mics), _to_int16(played)], axis=1)
    provenance = f"Made by farfield from its recipe: {material.told(recorded, noisy)}, responses {recipe.responses}."
    words, speech = (tuple(_truth(one) for one in said if one.is_word == is_word) for is_word in (True, False))
    return Scene(name, recipe.profile, samples, words, tuple(sorted(speech, key=lambda one: one.start)), provenance)


def _place(recipe: Recipe, number: int, material: Material) -> Place:
    if recipe.responses == "none":
        return acoustics.dry(recipe.profile)
    if recipe.responses == "measured":
        return acoustics.measured(material.responses(), recipe.profile)
    return acoustics.simulated(recipe.profile, recipe.rt60_s, recipe.distance_m, 1_000 * recipe.seed + number % _ROOMS)


def _words(
    recipe: Recipe, word: str, place: Place, recorded: bool, material: Material, random: np.random.Generator
) -> list[_Utterance]:
    """The word, as often as it is to be said, each time in a slot of its own."""
    from farfield.training.clips import word_span

    if not recipe.words:
        return []
    slot = recipe.seconds * RATE // recipe.words
    said = []
    for turn, (talker, clip) in enumerate(material.words(word, recipe.words, recorded, random)):
        start, end = word_span(clip)
        sound = clip[start:end]
        way = place.talkers[turn % len(place.talkers)]
        room = slot - _BEFORE - _AFTER - len(sound) - way.travel
        if room < 0:
            wanted = -(-recipe.words * (slot - room) // RATE)
            raise InputError(f"room of {recipe.seconds} s: {recipe.words} words do not fit; wanted {wanted} s or more")
        at = turn * slot + _BEFORE + int(random.integers(room + 1))
        said.append(_Utterance(word, talker, at, sound, True, way))
    return said


def _speech(
    recipe: Recipe,
    word: str,
    words: list[_Utterance],
    place: Place,
    recorded: bool,
    material: Material,
    random: np.random.Generator,
) -> list[_Utterance]:
    """Other things, said in the share of the time that is left between the words."""
    if not recipe.speech_share:
        return []
    said = []
    at, end = _LEAST_PAUSE, recipe.seconds * RATE - _AFTER
    busy = [(one.at - _GUARD, one.at + len(one.sound) + _GUARD) for one in words]
    while at < end:
        text, clip = material.sentence(word, recorded, random)
        after = next((stop for start, stop in busy if start < at + len(clip) and at < stop), None)
        if after is not None and any(start <= at < stop for start, stop in busy):
            at = after
            continue
        if after is None and at + len(clip) <= end:
            way = place.talkers[random.integers(len(place.talkers))]
            said.append(_Utterance(text, "", at, clip, False, way))
        pause = len(clip) * (1 / recipe.speech_share - 1) * random.uniform(0.5, 1.5)
        at += len(clip) + max(round(pause), _LEAST_PAUSE)
    return said


def _lay(mics: NDArray[np.float32], one: _Utterance, level: np.float32) -> None:
    """Into the room's sound, at its level at the first microphone."""
    from farfield.training.augment import speech_level

    heard = one.way.heard(one.sound, 0)
    gain = level / np.float32(speech_level(heard[one.way.travel : one.way.travel + len(one.sound)]))
    for microphone in range(mics.shape[1]):
        sound = heard if microphone == 0 else one.way.heard(one.sound, microphone)
        sound = sound[: len(mics) - one.at]
        mics[one.at : one.at + len(sound), microphone] += gain * sound


def _add(mics: NDArray[np.float32], way: Way, sound: Sound, level: np.float32) -> None:
    """A sound that lasts, at its level at the first microphone."""
    gain = np.float32(0)
    for microphone in range(mics.shape[1]):
        heard = way.heard(sound, microphone)[: len(mics)]
        if microphone == 0:
            gain = level / np.float32(np.sqrt(np.mean(heard**2)) + 1e-12)
        mics[:, microphone] += gain * heard


def _truth(one: _Utterance) -> Spoken:
    start = one.at + one.way.travel
    return Spoken(one.text, start, start + len(one.sound), one.talker or None, one.way.azimuth_deg)


def _to_int16(sound: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.asarray(np.clip(np.rint(sound * np.float32(32_768)), -32_768, 32_767).astype(np.int16))
