"""Streams through a model, on any executor, and what comes of it: figures, picture, and the clips to listen to."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farfield import kernels
from farfield.block import Frame
from farfield.detector import Detector
from farfield.errors import InputError
from farfield.evaluation import curve
from farfield.evaluation.curve import Point, Scored
from farfield.evaluation.streams import Part, Said, stream
from farfield.look import LOOK_FRAMES, Verifier
from farfield.model import Model
from farfield.profile import RATE

_BEFORE_S, _AFTER_S = 2.0, 0.7  # of a false accept's decision, in the clip that is kept of it


@dataclass(frozen=True)
class Evaluation:
    """A model's curve, thresholds rising, and what it does at its own threshold and at the rates that were asked for."""

    model: Model
    words: int
    hours: float
    own: Point
    points: tuple[Point, ...]
    asked: dict[float, Point | None]
    skipped: tuple[str, ...]


def score(part: Part, model: Model) -> Scored:
    """One part heard from its start, as one stream."""
    made = stream(part)
    detector = Detector(replace(model, second_look=None))
    detector.process(Frame(made.samples[:, None], 0, 0, 0, len(made.samples)))
    p = detector.steps.p
    agreed = agreements(model, made.samples, p, min(curve.FLOOR, model.threshold)) if model.second_look else None
    return Scored(part.number, detector.steps.index, p, made.said, made.skipped, len(made.samples), agreed)


def agreements(model: Model, samples: NDArray[np.int16], p: NDArray[np.float64], above: float) -> NDArray[np.bool_]:
    """Where a model's second look agrees, of the steps with a smoothed probability above `above`; bool (steps,).

    samples: int16 (frames,), one stream from its start. p: float64 (steps,), the model's on it.
    """
    features = kernels.Features().process(samples)
    verifier = Verifier(model, model.second_look)
    agreed = np.zeros(len(p), bool)
    for step in np.flatnonzero(p > above).tolist():
        end = (step + 1) * model.stride
        agreed[step] = verifier.look(features[max(0, end - LOOK_FRAMES) : end]).passed
    return agreed


def evaluate(
    model: Model, work: Sequence[Part], rates: Sequence[float], pool: Executor, progress: Callable[[str, int, int], None]
) -> Evaluation:
    """All parts through the model. rates: false accepts an hour for which thresholds are looked up.

    pool: any `concurrent.futures` executor; a part is a job, of which only scores and names come back.
    """
    heard = []
    for done, scored in enumerate(pool.map(score, work, [model] * len(work)), 1):
        heard.append(scored)
        progress("streams", done, len(work))
    points = tuple(curve.curve(heard, model.refractory_ms))
    own = curve.point(heard, model.threshold, model.refractory_ms)
    asked = {rate: curve.at_rate(points, rate) for rate in rates}
    skipped = tuple(line for scored in heard for line in scored.skipped)
    return Evaluation(model, len(own.hits) + len(own.missed), own.hours, own, points, asked, skipped)


@contextmanager
def executor(name: str) -> Iterator[Executor]:
    """`N`: that many processes here. `dask:ADDRESS`: a Dask cluster's. InputError for anything else."""
    if name.startswith("dask:"):
        try:
            from distributed import Client
        except ImportError:
            raise InputError("distributed: not installed; install it with: pip install distributed") from None
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
        yield pool


def as_json(result: Evaluation) -> dict[str, Any]:
    """Everything but sound, as JSON values."""
    return {
        "word": result.model.word,
        "second_look": result.model.second_look is not None,
        "words": result.words,
        "hours": round(result.hours, 4),
        "own": _point(result.own),
        "asked": [{"asked_per_hour": rate} | (_point(at) if at else {}) for rate, at in result.asked.items()],
        "curve": [
            {"threshold": round(at.threshold, 5), "missed": len(at.missed), "false_accepts": len(at.false_accepts)}
            for at in result.points
        ],
        "missed": [{"clip": word.clip, "snr_db": word.snr_db, "room": word.room} for word in result.own.missed],
    }


def _point(at: Point) -> dict[str, Any]:
    words = len(at.hits) + len(at.missed)
    late = list(at.late) or None
    return {
        "threshold": round(at.threshold, 5),
        "words": words,
        "missed": len(at.missed),
        "miss_rate": round(at.miss, 5),
        "miss_rate_95": [round(x, 5) for x in curve.miss_interval(len(at.missed), words)] if words else None,
        "false_accepts": len(at.false_accepts),
        "false_accepts_per_hour": round(at.false_accepts_per_hour, 4),
        "false_accepts_per_hour_95": [round(x, 4) for x in curve.rate_interval(len(at.false_accepts), at.hours)],
        "latency_ms": late and {"median": _percentile_ms(late, 50), "p95": _percentile_ms(late, 95)},
        "missed_by": {name: groups for name, groups in _groups(at).items() if len(groups) > 1},
    }


def _percentile_ms(samples: Sequence[int], percent: int) -> int:
    return round(float(np.percentile(samples, percent)) * 1000 / RATE)


def _groups(at: Point) -> dict[str, dict[str, str]]:
    """Missed of asked, by what the words met."""

    def by(key: Callable[[Said], Any]) -> dict[str, str]:
        missed = Counter(str(key(word)) for word in at.missed)
        asked = missed + Counter(str(key(word)) for word in at.hits)
        return {value: f"{missed[value]} of {asked[value]}" for value in sorted(asked)}

    return {
        "snr_db": by(lambda word: word.snr_db),
        "peak_dbfs": by(lambda word: word.peak_dbfs),
        "room": by(lambda word: word.room and Path(word.room).stem),
        "folder": by(lambda word: Path(word.clip).parent.name),
    }


def draw(result: Evaluation, path: Path) -> None:
    """The detection error trade-off as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.step([at.false_accepts_per_hour for at in result.points], [100 * at.miss for at in result.points], where="post")
    own = result.own
    axes.plot([own.false_accepts_per_hour], [100 * own.miss], "o", label=f"its threshold, {own.threshold:g}")
    axes.set_xscale("symlog", linthresh=1 / result.hours)
    axes.set(xlabel="false accepts an hour", ylabel="missed, %", ylim=(0, None), xlim=(0, None),
             title=f"{result.model.word}: {result.words} words, {result.hours:.1f} h")  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110, format="png")


def keep_clips(result: Evaluation, work: Sequence[Part], folder: Path) -> int:
    """What was missed, and what woke it, at its own threshold, as WAV files; how many."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    wanted: dict[int, list[tuple[str, int, int]]] = {}
    for number, at in result.own.false_accepts:
        wanted.setdefault(number, []).append((f"woke-{number:04}-{at}", at - int(_BEFORE_S * RATE), at + int(_AFTER_S * RATE)))
    missed = {(word.clip, word.start) for word in result.own.missed}
    count = 0
    for part in work:
        told = wanted.get(part.number, [])
        if not told and not any(clip in part.words for clip, _ in missed):
            continue
        made = stream(part)
        told += [(f"missed-{Path(w.clip).stem}", w.start - RATE, w.end + RATE) for w in made.said if (w.clip, w.start) in missed]
        for name, start, stop in told:
            soundfile.write(folder / f"{name}.wav", made.samples[max(0, start) : stop], RATE, subtype="PCM_16")
            count += 1
    return count
