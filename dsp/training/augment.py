"""What a room, a distance, a microphone and a codec do to a clip, drawn at random and reproducible from a seed."""

import io

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import fftconvolve, istft, stft

from farfield import kernels
from farfield.cancel import MEMORY_S
from farfield.training.clips import RATE

Sound = NDArray[np.float32]
_SPECTRUM = 512  # samples


def rooms(count: int, seed: int) -> list[Sound]:
    """Impulse responses of simulated rooms (pyroomacoustics, image source), each starting at its direct sound."""
    import pyroomacoustics

    random = np.random.default_rng(seed)
    np.random.seed(seed)  # noqa: NPY002 - pyroomacoustics draws from the global generator
    made: list[Sound] = []
    while len(made) < count:
        size = random.uniform([2.5, 2.5, 2.3], [8.0, 7.0, 3.2])
        try:
            absorption, order = pyroomacoustics.inverse_sabine(random.uniform(0.15, 0.8), size)
        except ValueError:
            continue  # so small a room cannot ring for so long
        room = pyroomacoustics.ShoeBox(size, fs=RATE, materials=pyroomacoustics.Material(absorption), max_order=min(order, 40))
        place = random.uniform([0.3, 0.3, 0.7], size - [0.3, 0.3, 0.8])
        talker = random.uniform([0.3, 0.3, 1.0], size - [0.3, 0.3, 0.5])
        if not 0.4 < np.linalg.norm(place - talker) < 5.0:
            continue
        room.add_source(talker)
        room.add_microphone(place)
        room.compute_rir()
        response = np.asarray(room.rir[0][0], np.float32)[:RATE]
        direct = int(np.argmax(np.abs(response)))
        response = response[max(0, direct - 8) :]
        made.append(response / np.abs(response).max())
    return made


def colored(frames: int, slope: float, random: np.random.Generator) -> Sound:
    """Gaussian noise whose power falls by `slope` (0 white, 1 pink, 2 brown) with frequency; RMS 1."""
    spectrum = np.fft.rfft(random.standard_normal(frames))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** (slope / 2)
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, frames)
    return np.asarray(noise / (np.sqrt(np.mean(noise**2)) + 1e-12), np.float32)


def music(frames: int, random: np.random.Generator) -> Sound:
    """A few bars of synthetic chords, bass and drum over a random scale; RMS 1."""
    t = np.arange(frames) / RATE
    made = np.zeros(frames)
    beat = int(RATE * random.uniform(0.3, 0.6))
    root = random.uniform(90, 220)
    for start in range(0, frames, beat):
        stop = min(frames, start + 2 * beat)
        local = t[start:stop] - t[start]
        decay = np.exp(-local * random.uniform(2, 8))
        for degree in random.choice([0, 2, 4, 5, 7, 9, 11, 12], 3, replace=False):
            pitch = root * 2 ** (degree / 12) * random.choice([1, 2])
            for harmonic in range(1, int(random.integers(3, 9))):
                made[start:stop] += decay * np.sin(2 * np.pi * pitch * harmonic * local) / harmonic
        if random.random() < 0.5:
            made[start:stop] += 2 * decay**4 * random.standard_normal(len(local))
    return np.asarray(made / (np.sqrt(np.mean(made**2)) + 1e-12), np.float32)


def signals(frames: int, random: np.random.Generator) -> Sound:
    """What machines say: tones, buzzers, trills, sweeps, steps and clicks; peak 1."""
    t = np.arange(frames) / RATE
    kind = random.integers(5)
    hertz = float(np.exp(random.uniform(np.log(50), np.log(7_500))))
    if kind == 0:
        made = np.sin(2 * np.pi * hertz * t)
    elif kind == 1:
        made = np.sign(np.sin(2 * np.pi * hertz * t))
    elif kind == 2:
        other = float(np.exp(random.uniform(np.log(50), np.log(7_500))))
        made = np.sin(2 * np.pi * (hertz * t + (other - hertz) * t**2 / (2 * t[-1] + 1e-9)))
    elif kind == 3:
        made = np.where(t < random.uniform(0, t[-1] + 1e-9), random.uniform(-1, 1), random.uniform(-1, 1))
    else:
        made = np.zeros(frames)
        made[random.integers(0, frames, random.integers(1, 20))] = random.uniform(-1, 1)
    if random.random() < 0.5:
        made = made * (np.sin(2 * np.pi * random.uniform(0.5, 12) * t) > random.uniform(-0.5, 0.5))
    return np.asarray(made / (np.abs(made).max() + 1e-9), np.float32)


def knocks(frames: int, random: np.random.Generator) -> Sound:
    """Ticks, knocks and barks over silence, all of one kind: in time like a clock's, or at random; peak 1."""
    kind = random.random()
    lasting = float(np.exp(random.uniform(np.log(0.004), np.log(0.1))))  # seconds, to 1 / e
    apart = float(np.exp(random.uniform(np.log(max(0.06, 1.5 * lasting)), np.log(1.5))))
    in_time = random.random() < 0.5
    made = np.zeros(frames)
    hertz = np.exp(random.uniform(np.log(150), np.log(7_000), int(random.integers(1, 6))))
    at = float(random.uniform(0, apart))
    while at * RATE < frames:
        stretch = float(random.uniform(0.9, 1.1))
        t = np.arange(min(frames - int(at * RATE), int(8 * lasting * RATE))) / RATE
        if kind < 0.4:  # a thing that is struck
            ringing = np.exp(-t / lasting * (hertz[:, None] / hertz[0]) ** 0.5)
            event = (np.sin(2 * np.pi * stretch * hertz[:, None] * t) * ringing).sum(0)
        elif kind < 0.7:  # a hiss or a crack
            noise = np.fft.rfft(random.standard_normal(len(t)))
            of = np.fft.rfftfreq(len(t), 1 / RATE)[:, None]
            event = np.fft.irfft(noise * (1 / (1 + ((of - hertz) / (0.3 * hertz)) ** 2)).sum(1), len(t)) * np.exp(-t / lasting)
        else:  # a voice that is nobody's: harmonics that rise and fall
            length = len(t) / RATE + 1e-9
            pitch = stretch * np.clip(hertz[0], 200, 1_500) * (1 + 0.3 * np.sin(np.pi * t / length))
            turns = np.cumsum(pitch) / RATE
            event = sum(
                np.sin(2 * np.pi * n * turns) / n ** random.uniform(0.3, 1.5) for n in range(1, 12) if n * pitch.max() < RATE / 2
            )
            event = event * np.sin(np.pi * np.minimum(1, t / length)) ** 0.5
        made[int(at * RATE) : int(at * RATE) + len(t)] += random.uniform(0.5, 1) * event / (np.abs(event).max(initial=0) + 1e-9)
        at += apart if in_time else 0.03 + float(random.exponential(apart))
    return np.asarray(made / (np.abs(made).max(initial=0) + 1e-9), np.float32)


def residual_echo(played: Sound, response: Sound, random: np.random.Generator) -> Sound:
    """What the front end's echo canceller leaves of sound that the device plays through a loudspeaker that distorts."""
    played = played / (np.abs(played).max() + 1e-9)
    drive = random.uniform(0.2, 3.0)
    echo = in_room(np.tanh(drive * played) / np.tanh(drive), response)
    heard = echo + 10 ** (random.uniform(-60, -30) / 20) * random.standard_normal(len(echo))
    tail = int(random.choice([1024, 2048, 3072]))
    canceller = kernels.EchoCanceller(1, 1, tail_samples=tail, memory_s=MEMORY_S)
    left: Sound = canceller.process(heard.astype(np.float32)[:, None], played.astype(np.float32)[:, None])[:, 0]
    return left


def codec(samples: Sound, random: np.random.Generator) -> Sound:
    """Through Opus or MP3 and back, so that a codec's traces say nothing of the class."""
    kind = {"format": "OGG", "subtype": "OPUS"} if random.random() < 0.7 else {"format": "MP3"}
    stored = io.BytesIO()
    soundfile.write(stored, np.clip(samples, -1, 1), RATE, compression_level=float(random.uniform(0.3, 0.95)), **kind)
    stored.seek(0)
    back, _ = soundfile.read(stored, dtype="float32")
    return np.pad(back, (0, max(0, len(samples) - len(back))))[: len(samples)]


def speed(samples: Sound, factor: float) -> Sound:
    """Played `factor` times as fast: tempo and pitch together."""
    return np.asarray(soxr.resample(samples, RATE * factor, RATE, quality="MQ"), np.float32)


def revoiced(samples: Sound, formants: float, tempo: float) -> Sound:
    """Said by a throat of another length: every frequency times `formants`, and `tempo` times as fast.

    Played faster, then each short spectrum's magnitudes stretched the rest of the way, phases as they were (after Jaitly,
    Hinton, "Vocal tract length perturbation", ICML workshop 2013).
    """
    samples = speed(samples, tempo)
    warp = formants / tempo
    if len(samples) < _SPECTRUM or abs(warp - 1) < 0.01:
        return samples
    _, _, spectra = stft(samples, nperseg=_SPECTRUM, noverlap=_SPECTRUM * 3 // 4)
    bins = np.arange(len(spectra))
    size = np.abs(spectra)
    size = np.maximum(size, 1e-12)
    from_bin = np.minimum(bins / warp, bins[-1])
    low = np.minimum(from_bin.astype(np.intp), bins[-2])
    part = (from_bin - low)[:, None]
    stretched = (1 - part) * size[low] + part * size[low + 1]
    _, made = istft(spectra / size * stretched, nperseg=_SPECTRUM, noverlap=_SPECTRUM * 3 // 4)
    return np.asarray(made[: len(samples)], np.float32)


def equalised(samples: Sound, random: np.random.Generator) -> Sound:
    """Through another microphone: a smooth random response of a few dB over the octaves from 100 Hz to 8 kHz."""
    spectrum = np.fft.rfft(samples, len(samples) + 2048)
    octave = np.log2(np.maximum(np.fft.rfftfreq(len(samples) + 2048, 1 / RATE), 60) / 100)
    knots = np.arange(-1, 8)
    gain_db = np.interp(octave, knots, random.normal(0, random.uniform(1, 6), len(knots)))
    return np.fft.irfft(spectrum * 10 ** (gain_db / 20), len(samples) + 2048)[: len(samples)].astype(np.float32)


def in_room(samples: Sound, response: Sound) -> Sound:
    """Heard in a room: as long as before, aligned on the direct sound."""
    return np.asarray(fftconvolve(samples, response)[: len(samples)], np.float32)


def speech_level(samples: Sound) -> float:
    """RMS over the loudest half of the 20 ms frames."""
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    if len(frames) == 0:
        return 1e-9
    power = np.sort(np.mean(frames.astype(np.float64) ** 2, axis=1))
    return float(np.sqrt(power[len(power) // 2 :].mean()) + 1e-9)


def to_int16(samples: Sound) -> NDArray[np.int16]:
    """Rounded and clipped to int16."""
    return np.asarray(np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype(np.int16))
