"""How well beams hear a talker and finders find one, in simulated rooms, through measured responses, and on recordings."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from farfield import kernels
from farfield.direction import separation_deg
from farfield.errors import InputError
from farfield.evaluation import talkers
from farfield.evaluation.array_methods import BAND_HZ, Method, Scene, filtered, finders, methods
from farfield.evaluation.talkers import Heard
from farfield.frontend import taps
from farfield.geometry import Array
from farfield.profile import RATE, Profile
from farfield.training.clips import SUFFIXES, read

Sound = NDArray[np.float64]
SPEECH_S = 4.0
ALONE_S = 3.0  # for which the interferer is heard before, where nothing is told
_LATEST, _EARLIEST = 2_048, 16  # samples by which a method may be late, or early
_FINER = 16
_SHORTEST = 512  # samples of a response
_AFTER_S = 0.02  # of the reflections that are wanted
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Voices:
    """Where speech comes from: clips, joined until they are long enough; without clips bursts of noise and buzz."""

    paths: tuple[Path, ...]

    def voice(self, number: int, seconds: float) -> Sound:
        """float64 (frames,); another number, another voice."""
        frames = int(seconds * RATE)
        if not self.paths:
            return syllables(seconds, number)
        order = np.random.default_rng([number, 8]).permutation(len(self.paths))
        parts: list[Sound] = []
        while sum(map(len, parts)) < frames:
            parts.append(np.asarray(read(self.paths[order[len(parts) % len(order)]]), np.float64))
        sound = np.concatenate(parts)[:frames]
        return sound / max(float(np.sqrt(np.mean(sound**2))), 1e-9)


def clips(folder: Path | None) -> Voices:
    """The sound files below a folder. InputError: no such folder, or none in it."""
    if folder is None:
        return Voices(())
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not found:
        raise InputError(f"{folder}: holds no sound clips; wanted a folder of {', '.join(sorted(SUFFIXES))} files")
    return Voices(tuple(found))


def in_rooms(
    profile: Profile, rt60s_s: Sequence[float], rooms: int, voices: Voices, seed: int, progress: Progress
) -> Iterator[dict[str, Any]]:
    """For each reverberation time the means over simulated rooms, as `summed` tells them."""
    array = Array(profile.positions_mm)
    for rt60_s in rt60s_s:
        found = _Sums()
        for number in range(rooms):
            progress(f"rooms of {rt60_s:g} s", number, rooms)
            room = talkers.room(profile.positions, rt60_s, 1_000 * seed + number)
            talker, other = voices.voice(2 * number, SPEECH_S), voices.voice(2 * number + 1, ALONE_S + SPEECH_S)
            found.dereverberate(talkers.alone(room, other, number))
            for alone_s in (0.0, ALONE_S):
                heard = talkers.heard(room, talker, other, alone_s=alone_s, seed=number)
                scene = Scene(array, heard, room.talker_deg, room.interferer_deg)
                ways = methods(told_nothing=alone_s > 0)
                found.hear(scene, ways if alone_s == 0 else [way for way in ways if "told nothing" in way.name])
                if alone_s == 0:
                    found.locate(heard.talker + heard.noise, profile.positions_mm, array, room.talker_deg)
        yield {"where": "simulated rooms", "rt60_s": rt60_s, "scenes": rooms} | found.summed()


def through_responses(profile: Profile, responses: Sequence[Sound], voices: Voices, progress: Progress) -> dict[str, Any]:
    """Each measured response in turn is the talker's, the next one the interferer's; beams look where our finder finds them.

    responses: as of `response`. InputError: fewer than two.
    """
    array = Array(profile.positions_mm)
    if len(responses) < 2:
        raise InputError(f"--responses: got {len(responses)} file, wanted two or more: a talker's and an interferer's")
    found = _Sums()
    finder = next(iter(finders().values()))
    for number, talker in enumerate(responses):
        progress("measured responses", number, len(responses))
        other = responses[(number + 1) % len(responses)]
        direct = int(np.argmax(np.abs(talker[0])))
        early = np.where(np.arange(talker.shape[1]) < direct + _AFTER_S * RATE, talker[0], 0)
        room = talkers.Room(talker, other, early, 0.0, 0.0)
        heard = talkers.heard(room, voices.voice(2 * number, SPEECH_S), voices.voice(2 * number + 1, SPEECH_S), seed=number)
        towards, away = (
            finder(sound + heard.noise, profile.positions_mm, array) or 0.0 for sound in (heard.talker, heard.interferer)
        )
        found.hear(Scene(array, heard, towards, away), methods())
    return {"where": "measured responses", "rt60_s": None, "scenes": len(responses)} | found.summed()


def on_recording(profile: Profile, name: str, recorded: Sound, azimuth_deg: float) -> dict[str, Any]:
    """The direction that each finder gives a recorded talker, whose azimuth is known. A line's mirror counts as right.

    recorded: as of `response`.
    """
    found = _Sums()
    found.locate(recorded.T, profile.positions_mm, Array(profile.positions_mm), azimuth_deg)
    return {"where": name, "rt60_s": None, "scenes": 1} | found.summed()


class _Sums:
    """Gathers figures by method over scenes."""

    def __init__(self) -> None:
        self._methods: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._off: defaultdict[str, list[float | None]] = defaultdict(list)
        self._dry: list[tuple[float, float]] = []

    def hear(self, scene: Scene, ways: Sequence[Method]) -> None:
        """Lets each method hear the scene."""
        heard = scene.heard
        before = talkers.si_sdr_db(heard.everything[heard.alone :, 0], heard.wanted[heard.alone :])
        for way in ways:
            figures = self._methods[way.name]
            after = talkers.si_sdr_db(*_aligned(way.signal(scene), heard.wanted, heard.alone))
            figures["si_sdr_db"].append(after)
            figures["si_sdr_gain_db"].append(after - before)
            if (weights := way.weights(scene)) is not None:
                band = (scene.array.frequencies_hz >= BAND_HZ[0]) & (scene.array.frequencies_hz <= BAND_HZ[1])
                figures["white_noise_gain_db"].append(float(np.mean(scene.array.white_noise_gain(weights)[band])))
                figures["directivity_db"].append(float(np.mean(scene.array.directivity(weights)[band])))
                noise = heard.interferer + heard.noise
                ratios = [_power(filtered(weights, x)) - _power(x[:, 0]) for x in (heard.talker, noise)]
                figures["array_gain_db"].append(ratios[0] - ratios[1])

    def locate(self, sound: Sound, positions_mm: NDArray[np.float64], array: Array, azimuth_deg: float) -> None:
        """Lets each finder say where the sound comes from."""
        for name, finder in finders().items():
            found = finder(sound, positions_mm, array)
            both = [found, array.mirror_deg(found)] if found is not None else []
            self._off[name].append(min((separation_deg(one, azimuth_deg) for one in both if one is not None), default=None))

    def dereverberate(self, heard: Heard) -> None:
        """Takes late reverberation off one talker; all but the first ALONE_S, in which it is learnt, counts."""
        count = heard.everything.shape[1]
        left = kernels.WPE(count, taps=taps(count)).process(np.ascontiguousarray(heard.everything, np.float32))
        late = slice(round(ALONE_S * RATE), None)
        before, after = (
            talkers.si_sdr_db(np.asarray(sound[late, 0], np.float64), heard.wanted[late]) for sound in (heard.everything, left)
        )
        self._dry.append((before, after - before))

    def summed(self) -> dict[str, Any]:
        """methods: name -> figure -> mean; direction: name -> mean and largest error in degrees, and how often none was found;
        dereverberation: of one talker alone, where that was measured, else None."""
        return {
            "methods": {
                name: {what: round(float(np.mean(values)), 2) for what, values in figures.items()}
                for name, figures in self._methods.items()
            },
            "direction": {name: _errors(off) for name, off in self._off.items()},
            "dereverberation": _gains(self._dry),
        }


def _gains(dry: list[tuple[float, float]]) -> dict[str, float] | None:
    if not dry:
        return None
    before, gain = np.array(dry).T
    figures = {"microphone_si_sdr_db": before.mean(), "si_sdr_gain_db": gain.mean(), "least_gain_db": gain.min()}
    return {name: round(float(figure), 2) for name, figure in figures.items()}


def _errors(off: list[float | None]) -> dict[str, float | int | None]:
    known = [one for one in off if one is not None]
    mean, largest = (round(float(of(known)), 2) if known else None for of in (np.mean, np.max))
    return {"mean_error_deg": mean, "largest_error_deg": largest, "not_found": len(off) - len(known)}


def _aligned(signal: Sound, wanted: Sound, alone: int) -> tuple[Sound, Sound]:
    """Both from `alone` on, what is wanted made as late as the signal, to a sixteenth of a sample, as their correlation tells.

    Beams hear from the array's centre, and what is wanted is heard at the first microphone: a fraction of a sample lies between.
    """
    signal, wanted = signal[alone:], wanted[alone:]
    padded = 1 << int(np.ceil(np.log2(len(wanted) + _LATEST)))
    spectrum = np.fft.rfft(wanted, padded)
    cross = np.fft.rfft(signal, padded) * spectrum.conj()
    correlation = np.fft.irfft(cross, _FINER * padded)
    earliest = -_FINER * _EARLIEST
    lags = np.concatenate([correlation[earliest:], correlation[: _FINER * _LATEST]])
    late = (int(np.argmax(lags)) + earliest) / _FINER
    turned = np.fft.irfft(spectrum * np.exp(-2j * np.pi * np.fft.rfftfreq(padded) * late), padded)
    return signal, np.asarray(turned[: len(signal)])


def _power(sound: Sound) -> float:
    return float(10 * np.log10(np.mean(sound**2) + 1e-30))


def response(path: Path, channels: int) -> Sound:
    """A measured response or a recording: float64 (channels, frames), at 16 kHz, the first channels of a file that may have more.

    InputError: no sound file, too few channels, too short to tell anything, not finite, or silent.
    """
    try:
        sound, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise InputError(f"{path}: cannot be read as sound ({error}); wanted a WAV or FLAC file") from None
    if sound.shape[1] < channels:
        raise InputError(f"{path}: holds {sound.shape[1]} channels, wanted the profile's {channels} microphones")
    if len(sound) * RATE < _SHORTEST * rate:
        raise InputError(f"{path}: holds {len(sound)} samples, wanted {1000 * _SHORTEST // RATE} ms or more")
    sound = sound[:, :channels]
    if not np.isfinite(sound).all() or not sound.any(axis=0).all():
        raise InputError(f"{path}: has a channel that is silent or not finite; wanted sound in each")
    sound = sound if rate == RATE else soxr.resample(sound, rate, RATE)
    return np.ascontiguousarray(sound.T)


def syllables(seconds: float, seed: int) -> Sound:
    """Bursts of noise and of buzz, 80 to 250 ms long, with pauses; float64 (frames,), mean power about 1. It is no speech."""
    random = np.random.default_rng([seed, 9])
    frames = int(seconds * RATE)
    out = np.zeros(frames)
    at = 0
    while at < frames:
        length, pause = (int(random.uniform(*span) * RATE) for span in ((0.08, 0.25), (0.03, 0.15)))
        if random.random() < 0.6:
            pitch = random.uniform(90, 250) * (1 + 0.1 * np.linspace(0, random.uniform(-1, 1), length))
            source = 8 * np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0.0) + 0.1 * random.standard_normal(length)
        else:
            source = random.standard_normal(length)
        hertz = np.fft.rfftfreq(length, 1 / RATE)
        formants = sum(1 / (1 + ((hertz - f) / 150) ** 2) for f in random.uniform([300, 900, 2200], [900, 2200, 3500]))
        burst = np.fft.irfft(np.fft.rfft(source) * (0.1 + formants), length) * np.hanning(length)
        burst *= random.uniform(0.5, 1.5) / np.sqrt(np.mean(burst**2))
        out[at : at + length] = burst[: frames - at]
        at += length + pause
    return out


def draw(profile: Profile, path: Path) -> None:
    """Polar plots of the fixed beams at four frequencies; OSError where `path` cannot be written."""
    from matplotlib.figure import Figure

    array = Array(profile.positions_mm)
    look = array.spread(1)[0]
    angles = np.arange(0, 361, 2)
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    for number, (name, design) in enumerate((("delay and sum", array.delay_and_sum), ("superdirective", array.superdirective))):
        axes = figure.add_subplot(1, 2, number + 1, projection="polar")
        (beam,) = design([look])
        for hertz in (500, 1000, 2000, 4000):
            k = int(np.argmin(np.abs(array.frequencies_hz - hertz)))
            gains = [abs(np.sum(beam[k] * array.steering_vector(float(angle))[k])) for angle in angles]
            axes.plot(np.radians(angles), 20 * np.log10(np.maximum(gains, 1e-2)), label=f"{hertz} Hz")
        axes.set(title=f"{name}, towards {look:.0f}°", ylim=(-40, 3))
        axes.legend(loc="lower left", fontsize="small")
    figure.suptitle(f"{profile.name}: response in dB")
    figure.savefig(path, dpi=100, format="png")
