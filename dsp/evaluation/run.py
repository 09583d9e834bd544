"""Streams through a model, on any executor, and what comes of it: figures, picture, and the clips to listen to."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farfield.block import Frame
from farfield.detector import Detector
from farfield.errors import InputError
from farfield.evaluation import curve
from farfield.evaluation.curve import LATEST_S, Point, Scored
from farfield.evaluation.streams import Part, Said, Stream, stream
from farfield.history import heard
from farfield.look import Verifier
from farfield.model import Model
from farfield.profile import RATE

_BEFORE_S, _AFTER_S = 2.0, 0.7  # of a false accept's decision, in the clip that is kept of it


@dataclass(frozen=True)
class Woke:
    """A false accept. at: sample of the part's stream. clip: what was spoken then, or up to 0.5 s before; None for nothing."""

    part: int
    at: int
    clip: str | None


@dataclass(frozen=True)
class Evaluation:
    """A model's curve, thresholds rising, and what it does at its own threshold and at the rates that were asked for.

    rounds: how often a clip of other speech was heard, for the most part. woke: the false accepts at its own threshold.
    """

    model: Model
    words: int
    hours: float
    rounds: float
    own: Point
    points: tuple[Point, ...]
    asked: dict[float, Point | None]
    woke: tuple[Woke, ...]
    skipped: tuple[str, ...]


def score(part: Part, model: Model) -> Scored:
    """One part heard from its start, as one stream."""
    made = stream(part)
    return scored(part.number, made, made.samples, model)


def scored(number: int, made: Stream, samples: NDArray[np.int16], model: Model) -> Scored:
    """A stream as it reached the detector: `samples`, int16 (frames,) or (frames, signals), in time with it."""
    detector = Detector(replace(model, second_look=None))
    signals = [np.ascontiguousarray(signal) for signal in np.atleast_2d(samples.T)]
    each = []
    for signal in signals:
        detector.reset()
        detector.process(Frame(signal[:, None], 0, 0, 0, len(signal)))
        each.append(detector.steps.p)
    p = np.max(each, axis=0)
    floor = model.threshold if model.second_look else min(curve.FLOOR, model.threshold)
    kept = curve.notable(p, floor)
    looked = None
    if model.second_look:
        # What no head could bring over the lowest threshold of the curve may as well be 0.
        verifier = Verifier(model, model.second_look, threshold=min(curve.FLOOR, model.deciding_threshold))
        found = [verifier.looks(heard(signal), own, model.threshold) for signal, own in zip(signals, each, strict=True)]
        looked = np.max(found, axis=0)[kept]
    index = detector.steps.index[kept]
    return Scored(number, index, p[kept], made.said, made.skipped, len(samples), made.spoken, looked, model.threshold)


def evaluate(
    model: Model,
    work: Sequence[Part],
    rates: Sequence[float],
    pool: Executor,
    progress: Callable[[str, int, int], None],
    models: Sequence[Model] | None = None,
) -> Evaluation:
    """All parts through the model. rates: false accepts an hour for which thresholds are looked up.

    models: for each part the model that hears it, where they are several of the same word, read in the same way. pool: any
    `concurrent.futures` executor; a part is a job, of which only names and the scores above the floor come back.
    InputError: no clip of the word, or none of other speech, could be used where the streams were made.
    """
    heard = []
    for done, scored in enumerate(pool.map(score, work, models or [model] * len(work)), 1):
        heard.append(scored)
        progress("streams", done, len(work))
    skipped = tuple(dict.fromkeys(line for scored in heard for line in scored.skipped))
    words = Counter(word.clip for scored in heard for word in scored.said)
    others = Counter(clip for scored in heard for clip, _, _ in scored.spoken if clip not in words)
    for what, found in (("of the word", words), ("of other speech", others)):
        if not found and skipped:
            raise InputError(f"no clip {what} could be used, wanted one or more; the first that could not: {skipped[0]}")
    own = curve.point(heard, model.deciding_threshold, model.refractory_ms)
    points = tuple(curve.curve(heard, model.refractory_ms)) or (own,)  # where all scores are below the floor
    asked = {rate: curve.at_rate(points, rate) for rate in rates}
    rounds = max(1.0, others.total() / max(1.0, curve.effective(others)))
    return Evaluation(model, words.total(), own.hours, rounds, own, points, asked, _woken(heard, own), skipped)


def _woken(heard: Sequence[Scored], own: Point) -> tuple[Woke, ...]:
    spoken = {scored.number: scored.spoken for scored in heard}

    def clip(number: int, at: int) -> str | None:
        there = (path for path, start, stop in reversed(spoken[number]) if start <= at <= stop + LATEST_S * RATE)
        return next(there, None)

    return tuple(Woke(number, at, clip(number, at)) for number, at in own.false_accepts)


@contextmanager
def executor(name: str) -> Iterator[Executor]:
    """`N`: that many processes here. `dask:ADDRESS`: a Dask cluster's. InputError for anything else."""
    if name.startswith("dask:"):
        try:
            from distributed import Client
        except ImportError:
            raise InputError("distributed: not installed; install it with: pip install 'farfield[dask]'") from None
        try:
            client = Client(name.removeprefix("dask:"), timeout="20s")
        except (OSError, ValueError) as error:
            raise InputError(f"--executor: no Dask scheduler answers at {name.removeprefix('dask:')!r} ({error})") from None
        with client:
            yield client.get_executor()
        return
    if not name.isdecimal() or not 1 <= int(name) <= 512:
        raise InputError(f"--executor: got {name!r}, wanted a number of processes, 1 to 512, or dask:ADDRESS")
    with ProcessPoolExecutor(int(name)) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise InputError("--executor: a process ended before its work, perhaps for lack of memory; wanted fewer") from None


def as_json(result: Evaluation) -> dict[str, Any]:
    """Everything but sound, as JSON values."""
    return {
        "word": result.model.word,
        "second_look": result.model.second_look is not None,
        "words": result.words,
        "word_clips": len({word.clip for word in (*result.own.hits, *result.own.missed)}),
        "hours": round(result.hours, 4),
        "rounds_of_speech": round(result.rounds, 3),
        "own": _point(result.own, result.rounds),
        "asked": [{"asked_per_hour": rate} | (_point(at, result.rounds) if at else {}) for rate, at in result.asked.items()],
        "curve": [_counts(at, result.rounds) for at in result.points],
        "missed": [_missed(word) for word in result.own.missed],
        "woke": [{"stream": woke.part, "at_s": round(woke.at / RATE, 2), "clip": woke.clip} for woke in result.woke],
    }


def _missed(word: Said) -> dict[str, Any]:
    return {
        "clip": word.clip,
        "stream": word.part,
        "at_s": round(word.start / RATE, 2),
        "snr_db": word.snr_db,
        "peak_dbfs": word.peak_dbfs,
        "noise": word.noise,
        "room": word.room and word.room.name,
        "distance_m": word.room and word.room.distance_m,
    }


def _counts(at: Point, rounds: float) -> dict[str, Any]:
    """What was counted at a threshold. Intervals are over clips: one that was heard again tells nothing new."""
    words = len(at.hits) + len(at.missed)
    clips = at.effective_words
    false = len(at.false_accepts)
    return {
        "threshold": round(at.threshold, 5),
        "words": words,
        "missed": len(at.missed),
        "miss_rate": round(at.miss, 5),
        "miss_rate_95": [round(x, 5) for x in curve.miss_interval(at.miss * clips, clips)] if words else None,
        "false_accepts": false,
        "false_accepts_per_hour": round(at.false_accepts_per_hour, 4),
        "false_accepts_per_hour_95": [round(x, 4) for x in curve.rate_interval(false / rounds, at.hours / rounds)],
    }


def _point(at: Point, rounds: float) -> dict[str, Any]:
    late = list(at.late) or None
    return _counts(at, rounds) | {
        "latency_ms": late and {"median": _percentile_ms(late, 50), "p95": _percentile_ms(late, 95)},
        "missed_by": _groups(at),
    }


def _percentile_ms(samples: Sequence[int], percent: int) -> int:
    return round(float(np.percentile(samples, percent)) * 1000 / RATE)


def _groups(at: Point) -> dict[str, dict[str, dict[str, int]]]:
    """Missed and asked, by what the words met."""

    def by(key: Callable[[Said], float | str | None], none: str) -> dict[str, dict[str, int]]:
        missed = Counter(key(word) for word in at.missed)
        asked = missed + Counter(key(word) for word in at.hits)
        rising = sorted(asked, key=lambda value: (value is None, value))
        return {none if value is None else str(value): {"missed": missed[value], "asked": asked[value]} for value in rising}

    return {
        "snr_db": by(lambda word: word.snr_db, "clean"),
        "peak_dbfs": by(lambda word: word.peak_dbfs, "unknown"),
        "noise": by(lambda word: _kind(Path(word.noise)) if word.noise else None, "none"),
        "room": by(lambda word: word.room.name if word.room else None, "none"),
        "distance_m": by(lambda word: word.room.distance_m if word.room else None, "unknown"),
        "folder": by(lambda word: Path(word.clip).parent.name, "unknown"),
    }


def _kind(noise: Path) -> str:
    """A noise clip's folder and its name without the numbers that tell clips of a kind apart."""
    return f"{noise.parent.name}/{re.split(r'[-_ ]+[0-9]', noise.stem)[0]}"


def draw(result: Evaluation, path: Path) -> None:
    """The detection error trade-off with its 95 % intervals, and what each threshold does, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rates, points = zip(*curve.trade_off(result.points), strict=True)
    low, high = 100 * np.array([_counts(at, result.rounds)["miss_rate_95"] for at in points]).T
    axes.fill_between(rates, low, high, step="post", alpha=0.15, linewidth=0, label="95 %")
    axes.step(rates, [100 * at.miss for at in points], where="post", label="lowest that keeps to the rate, as all above it")
    every = [(at.false_accepts_per_hour, 100 * at.miss) for at in result.points]
    axes.plot(*zip(*every, strict=True), ".", color="0.6", markersize=3, zorder=1, label="each threshold")
    own = _counts(result.own, result.rounds)
    x, y = own["false_accepts_per_hour"], 100 * own["miss_rate"]
    least, most = own["false_accepts_per_hour_95"]
    top = 1.05 * max(*high, 100 * own["miss_rate_95"][1])
    low, high = 100 * np.array(own["miss_rate_95"])
    axes.errorbar([x], [y], yerr=[[y - low], [high - y]], xerr=[[x - least], [most - x]], fmt="o", capsize=3,
                  label=f"its threshold, {result.own.threshold:g}")  # fmt: skip
    axes.set_xscale("symlog", linthresh=1 / result.hours)
    axes.set(xlabel="false accepts an hour", ylabel="missed, %", ylim=(0, top), xlim=(-0.1 / result.hours, None),
             title=f"{result.model.word}: {result.words} words, {result.hours:.1f} h")  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110, format="png")


def keep_clips(result: Evaluation, work: Sequence[Part], folder: Path, pool: Executor) -> int:
    """What was missed, and what woke it, at its own threshold, as WAV files; how many.

    Streams are made again where the pool runs; files are written here. InputError: the folder cannot be written.
    """
    import soundfile

    wanted: dict[int, list[tuple[str, int, int]]] = {}
    for woke in result.woke:
        name = f"woke-{woke.part:04}-{woke.at}-{Path(woke.clip).stem if woke.clip else 'noise'}"
        wanted.setdefault(woke.part, []).append((name, woke.at - int(_BEFORE_S * RATE), woke.at + int(_AFTER_S * RATE)))
    for word in result.own.missed:
        name = f"missed-{word.part:04}-{word.start}-{Path(word.clip).stem}"
        wanted.setdefault(word.part, []).append((name, word.start - RATE, word.end + RATE))
    again = [part for part in work if part.number in wanted]
    for cut in pool.map(_cut, again, [wanted[part.number] for part in again]):
        for name, samples in cut:
            try:
                soundfile.write(folder / f"{name}.wav", samples, RATE, subtype="PCM_16")
            except (OSError, soundfile.LibsndfileError) as error:
                raise InputError(f"{folder}: cannot be written ({error}); wanted a folder that can") from None
    return sum(map(len, wanted.values()))


def _cut(part: Part, wanted: Sequence[tuple[str, int, int]]) -> list[tuple[str, NDArray[np.int16]]]:
    """Stretches of a part's sound: name, first sample, the one after the last."""
    samples = stream(part).samples
    return [(name, samples[max(0, start) : stop].copy()) for name, start, stop in wanted]
