"""Wake words said while the device itself plays: what is missed through the front end, with its suppressor and without."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farfield.block import Block
from farfield.errors import InputError
from farfield.evaluation.curve import Scored
from farfield.evaluation.rooms import loudspeaker
from farfield.evaluation.run import scored
from farfield.evaluation.streams import Part, Stream, gain_to, stream
from farfield.frontend import Frontend
from farfield.model import Model
from farfield.played import PlayedWords
from farfield.profile import RATE, load_profile
from farfield.training.clips import read

Sound = NDArray[np.float32]

MUSIC = "music"  # the name of synthetic chords
CHAINS: dict[str, dict[str, Any]] = {  # what the profile switches on
    "linear": {"patient_echo": False},
    "linear, patient too": {"patient_echo": True},
    "suppressor": {"patient_echo": False, "suppress_echo": True},
    "suppressor, noise": {"patient_echo": False, "suppress_echo": True, "suppress_noise": True},
}
IGNORING = ", own words ignored"
_IGNORED = ("linear", "linear, patient too", "suppressor")
_LEAD_S = 5  # for which the device has played when the stream begins
_LOUDEST_DBFS = -12.0  # of the echo's loudest frame: beyond, it would clip
_REFERENCE_DBFS = -14.0  # of what is played, clip by clip
_BLOCK = 16_384
_CLIPS = 60  # that a part takes of those that are played
_MUSIC_S, _PIECES = 20, 4  # of music, and how many before they come again
_PAUSE_S = 2.0  # after each word that the device itself says
_SMALL_HZ = 150  # below which a device's loudspeaker gives little


@dataclass(frozen=True)
class Playback:
    """What the device plays. clips: sound files, in turn; none: synthetic chords. over_db: its level over the talker's, of the
    loudest frame of each clip. pause_s: after each clip. room: number of the simulated room, of the part's seed."""

    clips: tuple[str, ...]
    over_db: float
    room: int
    pause_s: float = 0.0


def own_words(part: Part, words: Sequence[str]) -> tuple[Part, float]:
    """A part in which nobody speaks for as long as it takes to play the words, and the pause after each."""
    length = sum(len(read(Path(word))) + int(_PAUSE_S * RATE) for word in words)
    return replace(part, words=(), others=(), least=max(0, length - _LEAD_S * RATE) + RATE), _PAUSE_S


def score(part: Part, model: Model, playback: Playback | None) -> dict[str, Scored]:
    """A part as it is ({"": ...}), or through each of CHAINS while the device plays, three of them ignoring own words too.

    InputError: playback that would clip the microphone.
    """
    made = stream(part)
    if playback is None:
        return {"": scored(part.number, made, made.samples, model)}
    if part.peak_dbfs + playback.over_db > _LOUDEST_DBFS:
        raise InputError(
            f"--playback-db: got {playback.over_db:g} over a talker at {part.peak_dbfs:g} dBFS, "
            f"wanted no more than {_LOUDEST_DBFS:g} dBFS together, where it clips"
        )
    captured = microphone_and_reference(part, made, playback)
    found = {chain: scored(part.number, made, through(captured, chain)[_LEAD_S * RATE :], model) for chain in CHAINS}
    player = PlayedWords(model)
    player.hear(Block(captured[_LEAD_S * RATE :], 0), 1)
    return found | {f"{chain}{IGNORING}": _ignoring(found[chain], player) for chain in _IGNORED}


def _ignoring(heard: Scored, player: PlayedWords) -> Scored:
    """The scores without those steps at which the chain would take a decision for what the device plays."""
    own = np.array([player.hold(0, index) for index in heard.index.tolist()], bool)
    return replace(heard, p=np.where(own, 0.0, heard.p), looks=None if heard.looks is None else np.where(own, 0.0, heard.looks))


def microphone_and_reference(part: Part, made: Stream, playback: Playback) -> NDArray[np.int16]:
    """What the device captures: int16 (5 s more than the stream, 2). The playback begins 5 s before the stream.

    A loudspeaker that gives little below 150 Hz and compresses, more or less by chance; 2 to 20 ms of buffers; the room.
    """
    from scipy.signal import butter, fftconvolve, lfilter

    random = np.random.default_rng([part.seed, part.number, 77])
    frames = len(made.samples) + _LEAD_S * RATE
    played = _played(playback, frames, random)
    drive = random.uniform(0.3, 1.5)
    driven = np.tanh(drive * played / np.abs(played).max()) / drive
    driven = lfilter(*butter(2, _SMALL_HZ / (RATE / 2), "high"), driven)
    late = int(random.integers(RATE // 500, RATE // 50))
    echo = fftconvolve(np.concatenate([np.zeros(late), driven]), loudspeaker(part.seed, playback.room))[:frames]
    echo *= gain_to(np.asarray(echo, np.float32), 10 ** ((part.peak_dbfs + playback.over_db) / 10)) * 32_768
    near = np.concatenate([np.zeros(_LEAD_S * RATE), made.samples])
    floor = random.standard_normal(frames)  # a microphone's own noise, for the 5 s before the stream has none
    return np.stack([_int16(near + echo + floor), _int16(played * 32_768)], axis=1)


def _played(playback: Playback, frames: int, random: np.random.Generator) -> Sound:
    from farfield.training import augment

    if playback.clips:
        clips = [read(Path(path)) for path in playback.clips[:_CLIPS]]
    else:
        clips = [augment.music(_MUSIC_S * RATE, random) for _ in range(min(_PIECES, -(-frames // (_MUSIC_S * RATE))))]
    made: list[Sound] = []
    have = 0
    while have < frames:
        clip = clips[len(made) % len(clips)]
        clip = np.concatenate([clip, np.zeros(int(playback.pause_s * RATE), np.float32)])
        made.append(clip * np.float32(gain_to(clip, 10 ** (_REFERENCE_DBFS / 10))))
        have += len(clip)
    return np.clip(np.concatenate(made)[:frames], -1, 1)


def through(captured: NDArray[np.int16], chain: str) -> NDArray[np.int16]:
    """The front end's candidates, int16 (frames, signals), in time with what was captured; `chain`: one of CHAINS."""
    frontend = Frontend(replace(load_profile("single"), **CHAINS[chain]), 1)
    padded = np.concatenate([captured, np.zeros((frontend.delay_samples, 2), np.int16)])
    heard = [frontend.process(Block(padded[at : at + _BLOCK], at)).beams for at in range(0, len(padded), _BLOCK)]
    return np.concatenate(heard)


def _int16(x: NDArray[np.float64] | Sound) -> NDArray[np.int16]:
    return np.asarray(np.clip(np.rint(x), -32_768, 32_767).astype(np.int16))
