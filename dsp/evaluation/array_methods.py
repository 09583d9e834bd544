"""What `farfield eval array` holds against each other: beams that hear a talker, and finders that say where one is."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from farfield import kernels
from farfield.direction import estimate
from farfield.evaluation.talkers import DISTANCE_M, SENSOR_NOISE_DB, Heard
from farfield.frontend import taps
from farfield.geometry import FFT, SPEED_OF_SOUND, Array
from farfield.profile import RATE

Sound = NDArray[np.float64]
Weights = NDArray[np.complex64]
BAND_HZ = 300.0, 6800.0  # in which gains and the peers' directions are told
_LOOKS = 24  # directions among which an adaptive beam that was told none looks
_LOADING = 0.01  # of the noise's power, for the beam that is given the noise alone
_PEER_TAPS, _PEER_DELAY_S = 200, 0.005


@dataclass(frozen=True)
class Scene:
    """Two voices in a room: the array, what it hears of them, and the talker's and the other's azimuths."""

    array: Array
    heard: Heard
    talker_deg: float
    interferer_deg: float


class Method(Protocol):
    """A way from the microphones to one signal. A new one need but be put into `methods`."""

    @property
    def name(self) -> str:
        """What it is called in the table."""

    def signal(self, scene: Scene) -> Sound:
        """(frames,), later than the microphones by up to 2,048 samples."""

    def weights(self, scene: Scene) -> Weights | None:
        """complex64 (257, microphones), as Beamformer takes them, where the way is that and nothing else."""


@dataclass(frozen=True)
class Microphone:
    """The first microphone, as it is."""

    name: str = "microphone"

    def signal(self, scene: Scene) -> Sound:
        return scene.heard.everything[:, 0]

    def weights(self, scene: Scene) -> Weights | None:
        made = np.zeros((FFT // 2 + 1, scene.heard.everything.shape[1]), np.complex64)
        made[:, 0] = 1
        return made


@dataclass(frozen=True)
class Fixed:
    """Delay and sum or superdirective weights towards the talker, through our Beamformer."""

    name: str
    superdirective: bool

    def signal(self, scene: Scene) -> Sound:
        return filtered(self.weights(scene), scene.heard.everything)

    def weights(self, scene: Scene) -> Weights:
        design = scene.array.superdirective if self.superdirective else scene.array.delay_and_sum
        return np.asarray(design([scene.talker_deg])[0])


@dataclass(frozen=True)
class Dereverberated:
    """A way after dereverberation of all microphones, which has heard the scene from its beginning."""

    way: Method

    @property
    def name(self) -> str:
        return f"dereverberated {self.way.name}"

    def signal(self, scene: Scene) -> Sound:
        everything = np.ascontiguousarray(scene.heard.everything, np.float32)
        count = everything.shape[1]
        left = kernels.WPE(count, taps=taps(count)).process(everything)
        return self.way.signal(replace(scene, heard=replace(scene.heard, everything=left.astype(np.float64))))

    def weights(self, scene: Scene) -> None:
        return None


@dataclass(frozen=True)
class GivenNoise:
    """MVDR from the covariance of the noise and the interferer by themselves, which nobody has: a bound, not a method."""

    name: str = "MVDR given the noise alone"

    def signal(self, scene: Scene) -> Sound:
        return filtered(self.weights(scene), scene.heard.everything)

    def weights(self, scene: Scene) -> Weights:
        noise = spectra(scene.heard.interferer + scene.heard.noise)
        covariance = np.einsum("tkm,tkn->kmn", noise, noise.conj()) / len(noise)
        count = covariance.shape[1]
        covariance += _LOADING * np.trace(covariance, axis1=1, axis2=2).real[:, None, None] / count * np.eye(count)
        d = scene.array.steering_vector(scene.talker_deg)
        solved = np.linalg.solve(covariance, d[..., None])[..., 0]
        return np.asarray(np.conj(solved / np.sum(np.conj(d) * solved, axis=-1, keepdims=True)), np.complex64)


@dataclass(frozen=True)
class Adaptive:
    """Our MVDR: told the talker's direction, or nothing; without its postfilter, to tell what that brings."""

    name: str
    told: bool
    postfilter: bool = True

    def signal(self, scene: Scene) -> Sound:
        looks = [scene.talker_deg] if self.told else [360.0 / _LOOKS * n for n in range(_LOOKS)]
        steering = np.stack([scene.array.steering_vector(look) for look in looks]).astype(np.complex64)
        coherence = scene.array.diffuse_coherence()
        beam = kernels.MVDR(steering, coherence) if self.postfilter else kernels.MVDR(steering, coherence, postfilter_db=0)
        return np.asarray(beam.process(np.ascontiguousarray(scene.heard.everything, np.float32))[:, 0], np.float64)

    def weights(self, scene: Scene) -> None:
        return None


@dataclass(frozen=True)
class Peer:
    """pyroomacoustics' Beamformer: its far-field delay and sum, or its MVDR, which is told where the interferer is as well."""

    name: str
    mvdr: bool

    def signal(self, scene: Scene) -> Sound:
        import pyroomacoustics

        everything = scene.heard.everything
        if self.mvdr:
            beam = pyroomacoustics.Beamformer(scene.array.positions_m.T, RATE, N=FFT, Lg=_PEER_TAPS)
            places = [pyroomacoustics.SoundSource(_place(a)) for a in (scene.talker_deg, scene.interferer_deg)]
            level = 10 ** (SENSOR_NOISE_DB / 10) / (4 * np.pi * DISTANCE_M) ** 2
            beam.rake_mvdr_filters(*places, level * np.eye(beam.M * _PEER_TAPS), delay=_PEER_DELAY_S)
        else:
            beam = pyroomacoustics.Beamformer(scene.array.positions_m[:, :2].T, RATE, N=FFT)
            beam.far_field_weights(np.radians(scene.talker_deg))
        beam.record(everything.T, RATE)
        return np.asarray(beam.process(FD=False)[: len(everything)], np.float64)

    def weights(self, scene: Scene) -> None:
        return None


def methods(told_nothing: bool = False) -> tuple[Method, ...]:
    """All of them; told_nothing: the adaptive beam finds the talker by itself, after it heard the interferer alone."""
    name = "adaptive, told nothing" if told_nothing else "adaptive, told the direction"
    adaptive = Adaptive(name, not told_nothing)
    dried: tuple[Method, ...] = (Microphone(), Fixed("superdirective", True), adaptive)
    return (
        Microphone(),
        Fixed("delay and sum", False),
        Fixed("superdirective", True),
        GivenNoise(),
        adaptive,
        replace(adaptive, name=f"{name}, no postfilter", postfilter=False),
        *(Dereverberated(way) for way in dried),
        Peer("pyroomacoustics delay and sum", False),
        Peer("pyroomacoustics MVDR, told both directions", True),
    )


def finders() -> dict[str, Any]:
    """name -> function (sound, positions_mm, array) -> azimuth in degrees, or None; ours and pyroomacoustics'."""
    return {
        "SRP-PHAT of onsets": _ours,
        "pyroomacoustics SRP": lambda sound, positions_mm, array: _peer("SRP", sound, positions_mm),
        "pyroomacoustics MUSIC": lambda sound, positions_mm, array: _peer("MUSIC", sound, positions_mm),
    }


def _ours(sound: Sound, positions_mm: NDArray[np.float64], array: Array) -> float | None:
    finder = kernels.DirectionFinder(positions_mm)
    maps = finder.process(np.ascontiguousarray(sound, np.float32))
    found = estimate(maps.sum(axis=0, dtype=np.float64), finder.azimuths_deg, array)
    return None if found is None else found.azimuth_deg


def _peer(name: str, sound: Sound, positions_mm: NDArray[np.float64]) -> float:
    import pyroomacoustics

    frames = pyroomacoustics.transform.stft.analysis(sound, FFT, FFT // 2, win=pyroomacoustics.hann(FFT))
    azimuths = np.radians(np.arange(360))
    finder = pyroomacoustics.doa.algorithms[name](
        positions_mm[:, :2].T / 1000, RATE, FFT, c=SPEED_OF_SOUND, num_src=1, azimuth=azimuths
    )
    finder.locate_sources(frames.transpose(2, 1, 0), freq_range=list(BAND_HZ))
    return float(np.degrees(finder.azimuth_recon[0]))


def filtered(weights: Weights, sound: Sound) -> Sound:
    """The sound through fixed weights: (frames,)."""
    beam = kernels.Beamformer(np.ascontiguousarray(weights[None], np.complex64))
    return np.asarray(beam.process(np.ascontiguousarray(sound, np.float32))[:, 0], np.float64)


def spectra(sound: Sound) -> NDArray[np.complex128]:
    """Frames of 512 samples, hop 256, root-Hann window: (frames, 257, microphones)."""
    window = np.sin(np.pi * (np.arange(FFT) + 0.5) / FFT)
    frames = np.lib.stride_tricks.sliding_window_view(sound, FFT, axis=0)[:: FFT // 2]
    return np.asarray(np.fft.rfft(frames * window, axis=2)).transpose(0, 2, 1)


def _place(azimuth_deg: float) -> list[float]:
    angle = np.radians(azimuth_deg)
    return [DISTANCE_M * float(np.cos(angle)), DISTANCE_M * float(np.sin(angle)), 0.0]
