"""How well an echo canceller does on recordings: what it takes away, what it leaves of the talker, and how soon."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from farfield import kernels
from farfield.cancel import MEMORY_S, cancel
from farfield.errors import InputError
from farfield.evaluation import aecmos, speex
from farfield.evaluation.least_squares import bound_db
from farfield.profile import MOST_REFERENCES, RATE
from farfield.source import SoundFile

Sound = NDArray[np.float32]

SUFFIXES = (".flac", ".wav")
SEGMENT_S = 1.0
SETTLED_AFTER_S = 3.0
_FRAME = 320  # 20 ms, in which the talker speaks or pauses
_PAUSE = 1e-3  # of the power of the talker's loudest frame
_STEP = 1_600  # convergence is told to 0.1 s, over windows of 0.5 s
_WITHIN_DB = 3.0
_LEAD = 64
_HOP = 128  # of the canceller


@dataclass(frozen=True)
class Recording:
    """A microphone, what was played (frames, references), and the talker alone where that is known; equally long."""

    name: str
    mic: Sound
    ref: Sound
    near: Sound | None


@dataclass(frozen=True)
class Measured:
    """What one canceller did with a recording; in dB and seconds, None where it cannot be told.

    erle_db: power of the echo over what is left of it, of the whole; where the talker is known the talker is taken out of
    both first, elsewhere a talker counts as echo. erle_settled_db: the same from 3 s on. erle_by_second_db: the same by second.
    near_si_sdr_db, pause_erle_db: where the talker is known, scale-invariant signal-to-distortion ratio of what is left to
    the talker, and the power taken out while the talker pauses. converged_s: when half a second first came within 3 dB of
    the median from there to the end, or to `change`; reconverged_s: the same, counted from `change`.
    """

    erle_db: float
    erle_settled_db: float | None
    erle_by_second_db: list[float]
    near_si_sdr_db: float | None
    pause_erle_db: float | None
    converged_s: float | None
    reconverged_s: float | None


def recordings(folder: Path) -> Iterator[Recording]:
    """The folder, or each folder in it, that holds ref and mic (and near), .flac or .wav, 16 kHz.

    InputError: no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; wanted one with ref and mic recordings, or folders of them")
    found = [place for place in (folder, *sorted(folder.iterdir())) if place.is_dir() and _file(place, "mic") is not None]
    if not found:
        raise InputError(f"{folder}: holds no recordings; wanted mic.flac and ref.flac, in it or in folders in it")
    for place in found:
        sounds = {name: _read(path) for name in ("mic", "ref", "near") if (path := _file(place, name)) is not None}
        if "ref" not in sounds:
            raise InputError(f"{place}: has a microphone and no reference; wanted ref.flac or ref.wav beside it")
        if not 1 <= sounds["ref"].shape[1] <= MOST_REFERENCES:
            raise InputError(f"{place}: got {sounds['ref'].shape[1]} references, wanted 1 to {MOST_REFERENCES}")
        frames = min(map(len, sounds.values()))
        if frames < RATE:
            raise InputError(f"{place}: got {frames} samples, wanted a second at least")
        near = sounds["near"][:frames, 0] if "near" in sounds else None
        yield Recording(place.name, sounds["mic"][:frames, 0], np.ascontiguousarray(sounds["ref"][:frames]), near)


def _file(folder: Path, name: str) -> Path | None:
    return next((path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)


def _read(path: Path) -> Sound:
    SoundFile(path).close()  # which finds a file that was cut short; its samples would be rounded
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != RATE:
        raise InputError(f"{path}: got {rate} Hz, wanted {RATE}")
    if not np.isfinite(sound).all() or not sound.any():
        raise InputError(f"{path}: {'holds only silence' if np.isfinite(sound).all() else 'is not finite'}; wanted sound")
    return np.asarray(sound, np.float32)


@dataclass(frozen=True)
class Left:
    """What the stages leave of the microphone, each in time with it; the delay in ms and the drift in ppm that were found.

    ref: (frames, references), as the linear stage had it, lined up with the microphone.
    """

    ref: Sound
    linear: Sound
    suppressed: Sound
    delay_ms: float | None
    drift_ppm: float | None


def ours(recording: Recording, tail: int, align: bool = True, noise: bool = False, before: int = 0) -> Left:
    """The linear stage and, after it, the suppressor.

    align: whether the aligner goes before them, as in the chain; without it nothing is found. noise: whether the suppressor
    takes stationary noise away too. before: samples of silence that are heard first.
    """
    canceller = kernels.EchoCanceller(1, recording.ref.shape[1], tail_samples=tail, memory_s=MEMORY_S)
    suppressor = kernels.Suppressor(1, noise=noise, late_samples=canceller.delay_samples)
    aligner = kernels.Aligner(1, recording.ref.shape[1]) if align else None
    late = canceller.delay_samples + (0 if aligner is None else aligner.delay_samples)
    more = late + suppressor.delay_samples
    mic, ref = (np.pad(x, ((before, more), (0, 0))) for x in (recording.mic[:, None], recording.ref))
    if aligner is None:
        left = canceller.process(mic, ref)
    else:
        (left,), mic, ref = cancel(aligner, [(canceller, slice(None))], mic, ref, 0)
    linear = left[before + late :][: len(recording.mic), 0].copy()
    suppressed = np.asarray(suppressor.process(left, np.asarray(mic, np.float32))[before + more :, 0], np.float32)
    if aligner is None:
        return Left(recording.ref, linear, suppressed, None, None)
    early = before + aligner.delay_samples
    aligned = np.ascontiguousarray(ref[early : early + len(recording.mic)])
    found = aligner.echo_samples
    delay_ms = None if found is None else round(found * 1000 / RATE, 2)
    return Left(aligned, linear, suppressed, delay_ms, round(aligner.drift_ppm, 1))


def measure(recording: Recording, left: Sound, change_s: float | None = None) -> Measured:
    """Figures of `left`, what a canceller made of the recording, in time with it.

    change_s: when the echo path, the delay or the level changes, where the recording has such a moment.
    """
    near = np.zeros(1, np.float32) if recording.near is None else recording.near
    echo, rest = _squares(recording.mic - near), _squares(left - near)
    late = slice(int(SETTLED_AFTER_S * RATE), None)
    si_sdr = pause = None
    if recording.near is not None:
        si_sdr, silent = si_sdr_db(left, recording.near), pauses(recording.near)
        if silent.any():
            pause = _ratio_db(_squares(recording.mic)[silent], _squares(left)[silent])
    change = len(echo) if change_s is None else int(change_s * RATE)
    return Measured(
        erle_db=_ratio_db(echo, rest),
        erle_settled_db=_ratio_db(echo[late], rest[late]) if len(echo) >= late.start + RATE else None,
        erle_by_second_db=[_ratio_db(echo[at : at + RATE], rest[at : at + RATE]) for at in range(0, len(echo) - RATE + 1, RATE)],
        near_si_sdr_db=si_sdr,
        pause_erle_db=pause,
        converged_s=_converged(_windows(echo[:change], rest[:change])),
        reconverged_s=None if change_s is None else _converged(_windows(echo[change:], rest[change:])),
    )


def pauses(near: Sound) -> NDArray[np.bool_]:
    """Where the talker pauses: frames of 20 ms that are 30 dB below the loudest; one flag a sample."""
    power = np.mean(_squares(near[: len(near) // _FRAME * _FRAME]).reshape(-1, _FRAME), axis=1)
    quiet = np.repeat(power < _PAUSE * power.max(), _FRAME)
    return np.concatenate([quiet, np.zeros(len(near) - len(quiet), bool)])


def si_sdr_db(got: Sound, wanted: Sound) -> float:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al., ICASSP 2019), in dB."""
    x, s = got.astype(np.float64), wanted.astype(np.float64)
    target = s * (x @ s) / (s @ s)
    return _ratio_db(target**2, (x - target) ** 2)


def _squares(x: Sound) -> NDArray[np.float64]:
    return np.asarray(x.astype(np.float64) ** 2)


def _ratio_db(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Within +-100 dB, which digital silence on one side would exceed."""
    return float(np.clip(10 * np.log10((before.sum() + 1e-12) / (after.sum() + 1e-12)), -100, 100))


def _windows(echo: NDArray[np.float64], left: NDArray[np.float64]) -> NDArray[np.float64]:
    """ERLE over half a second, every 0.1 s, where something is heard at all."""
    length = 5 * _STEP
    starts = range(0, len(echo) - length + 1, _STEP)
    heard = max((echo[at : at + length].sum() for at in starts), default=0) * _PAUSE
    return np.array([
        _ratio_db(echo[at : at + length], left[at : at + length]) if echo[at : at + length].sum() > heard else np.nan
        for at in starts
    ])  # fmt: skip


def _converged(erle: NDArray[np.float64]) -> float | None:
    """The end of the first window that is within 3 dB of the median of all from it on."""
    for number, value in enumerate(erle):
        if np.isfinite(value) and value >= np.nanmedian(erle[number:]) - _WITHIN_DB:
            return round((number + 5) * _STEP / RATE, 1)
    return None


def evaluate(
    folder: Path,
    tail: int,
    change_s: float | None = None,
    align: bool = True,
    *,
    noise: bool = False,
    scene: str | None = None,
    beginnings: int = 1,
) -> list[dict[str, Any]]:
    """Each recording's figures, of our linear stage, our suppressor after it and Speex (None where its library is not there).

    With them the delay and drift found, and the linear stage's yardstick: the ERLE from 3 s on of the best fixed filter of 2,048
    taps. noise: whether stationary noise is suppressed too. scene: what AECMOS is told of the recordings; None: it is not asked.
    beginnings: from how many places within a hop each recording begins, for by that the figures of one of few seconds differ:
    they are means then, and `spread` of each side has half of what lies between the least and the most of each.
    """
    peer = speex.library()
    found = []
    for recording in recordings(folder):
        told: dict[str, Any] = {"recording": recording.name, "seconds": round(len(recording.mic) / RATE, 2)}
        sides: dict[str, list[dict[str, Any]]] = {"ours": [], "suppressed": [], "speex": []}
        for turn in range(beginnings):
            before = turn * _HOP // beginnings
            left = ours(recording, tail, align, noise, before)
            if turn == 0:
                told |= {"delay_ms": left.delay_ms, "drift_ppm": left.drift_ppm, "bound_settled_db": _bound(recording, left.ref)}
            sounds = {"ours": left.linear, "suppressed": left.suppressed}
            if peer is not None:
                mic, ref = (np.concatenate([np.zeros_like(x[:before]), x]) for x in (recording.mic, recording.ref))
                sounds["speex"] = speex.cancel(peer, mic, ref, tail)[before:]
            for name, sound in sounds.items():
                figures = asdict(measure(recording, sound, change_s))
                if scene is not None:
                    echo, other = aecmos.rated(recording.ref[:, 0], recording.mic, sound, scene)
                    figures |= {"aecmos_echo": echo, "aecmos_other": other}
                sides[name].append(figures)
        found.append(told | {name: _together(figures) if figures else None for name, figures in sides.items()})
    return found


def _together(several: list[dict[str, Any]]) -> dict[str, Any]:
    """The means of figures, and where there are several of each, `spread`; None where one of them is."""
    if len(several) == 1:
        return several[0]
    made: dict[str, Any] = {}
    spread: dict[str, float] = {}
    for key in several[0]:
        values = [figures[key] for figures in several]
        if any(value is None for value in values):
            made[key] = None
        elif isinstance(values[0], list):
            made[key] = np.mean(values, axis=0).tolist()
        else:
            made[key], spread[key] = float(np.mean(values)), (max(values) - min(values)) / 2
    return made | {"spread": spread}


def _bound(recording: Recording, ref: Sound) -> float | None:
    """Of the echo from 3 s on; the filter begins 4 ms before the microphone, for the aligner leaves it some room."""
    since = int(SETTLED_AFTER_S * RATE)
    if len(recording.mic) < since + RATE:
        return None
    echo = recording.mic if recording.near is None else recording.mic - recording.near
    return bound_db(echo, ref, since, -_LEAD)


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """ERLE by second of each recording, of both our stages and Speex; OSError where `path` cannot be written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 2.2 * len(found)), layout="constrained")
    for axes, told in zip(np.atleast_1d(figure.subplots(len(found), squeeze=True)), found, strict=True):
        for side in ("ours", "suppressed", "speex"):
            if told[side] is not None:
                levels = told[side]["erle_by_second_db"]
                axes.step(np.arange(len(levels) + 1), [*levels, levels[-1]], where="post", label=side)
        axes.set(title=told["recording"], xlabel="s", ylabel="ERLE, dB")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=100, format="png")
