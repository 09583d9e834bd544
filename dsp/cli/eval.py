"""`farfield eval`: how often a model misses its word, and how often something else wakes it."""

import json
import math
from pathlib import Path
from typing import Any

import click

from farfield.cli.shared import FiniteRange, as_json, drawable, need, note, progress_bar, second_look
from farfield.errors import InputError
from farfield.model import Model, load_model

_path = click.Path(path_type=Path)


def _ratios(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[float | None, ...]:
    """Decibels, or `clean`."""
    return tuple(None if value == "clean" else _ratio(value) for value in values)


def _ratio(value: str) -> float:
    try:
        ratio = float(value)
    except ValueError:
        ratio = math.nan
    if not -40 <= ratio <= 80:
        raise click.BadParameter(f"got {value!r}, wanted -40 to 80 or the word clean")
    return ratio


@click.command("eval")
@click.argument("model", metavar="NAME_OR_PATH")
@click.option("--positives", multiple=True, required=True, type=_path, metavar="DIR", help="Clips of the word; repeatable.")
@click.option("--negatives", multiple=True, required=True, type=_path, metavar="DIR", help="Speech without the word; repeatable.")
@click.option("--noise", multiple=True, type=_path, metavar="DIR", help="Recorded noise, laid under all of it; repeatable.")
@click.option("--snr-db", multiple=True, callback=_ratios, metavar="DB|clean",
              help="Utterances' peak energy over the noise's, one to a part; repeatable. [default: 10]")  # fmt: skip
@click.option("--peak-dbfs", multiple=True, type=FiniteRange(-80, 0), default=(-12.0,), show_default=True, metavar="DB",
              help="Level of the loudest frame of utterances, one to a part; repeatable.")  # fmt: skip
@click.option("--speech-share", type=FiniteRange(0, 1, min_open=True), default=0.2, show_default=True,
              help="Of the time that somebody speaks; 1 is speech without pause.")  # fmt: skip
@click.option("--hours", type=FiniteRange(0, 100_000, min_open=True),
              help="Length of the stream: clips are gone through again, shuffled anew. [default: each clip once]")  # fmt: skip
@click.option("--room", "rooms", multiple=True, metavar="FILE|DIR|sim:N",
              help="What utterances are heard through: an impulse response (its first channel), a folder of them, or N simulated "
              "rooms with talkers 1, 2, 3 and 4 m away; repeatable.")  # fmt: skip
@click.option("--fa-per-hour", "rates", multiple=True, type=FiniteRange(0), default=(0.1, 0.5), show_default=True,
              help="Rate of false accepts to find the threshold for; repeatable.")  # fmt: skip
@click.option("--threshold", type=FiniteRange(0, 1, max_open=True), help="[default: the model's own]")
@second_look
@click.option("--cross-validated", type=_path, metavar="WORK",
              help="Work folder of `farfield train`: NAME is then a word of it, and each person's clips are heard by the model "
                   "that was not trained on them.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True)
@click.option("--executor", default="2", show_default=True, metavar="N|dask:ADDRESS", help="Processes here, or a Dask cluster.")
@click.option("--plot", type=_path, metavar="OUT.png", help="Draw misses against false accepts.")
@click.option("--clips", type=_path, metavar="DIR", help="Write what was missed and what woke it, to listen to.")
@as_json
def evaluate(
    model: str,
    positives: tuple[Path, ...],
    negatives: tuple[Path, ...],
    noise: tuple[Path, ...],
    snr_db: tuple[float | None, ...],
    peak_dbfs: tuple[float, ...],
    speech_share: float,
    hours: float | None,
    rooms: tuple[str, ...],
    rates: tuple[float, ...],
    threshold: float | None,
    second_look: bool,
    cross_validated: Path | None,
    seed: int,
    executor: str,
    plot: Path | None,
    clips: Path | None,
    as_json: bool,
) -> None:
    """Measure a wake-word model on a labelled stream: misses against false accepts an hour, and latency.

    `farfield eval echo DIR` measures the echo canceller instead, `farfield eval playback` the word while the device plays,
    `farfield eval array` a microphone array and `farfield eval array-words` the word through one.

    A word counts once, as a hit if a decision falls between its start and 0.5 s after its end; every other decision is a
    false accept. Clips of people whose voices trained the model measure nothing. Intervals are over clips: one that is heard
    again counts as one.

    A measured response's distance is what NAME.json beside NAME.wav says, as {"distance_m": 1.2}, or its name: hall_1.2m.wav.
    Farther is more reverberant, and not quieter: levels and ratios are those at the microphone.
    """
    need("scipy", "scipy", "eval")
    from dataclasses import replace

    from farfield.evaluation import rooms as places
    from farfield.evaluation import run
    from farfield.evaluation.held_out import HeldOut, held_out
    from farfield.evaluation.streams import Conditions, Part, parts

    drawable(plot)
    if clips is not None:
        try:
            clips.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{clips}: cannot be written ({error.strerror}); wanted a folder") from None
    if any(room.startswith("sim:") for room in rooms):
        need("pyroomacoustics", "pyroomacoustics", "eval")
    conditions = Conditions(snr_db or (10.0,), peak_dbfs, speech_share, tuple(places.rooms(rooms, seed)))
    given = [sounds_in(folders) for folders in (positives, negatives, noise)]
    if cross_validated is None:
        groups = [HeldOut(load_model(model, second_look=second_look), *(tuple(path for _, path in group) for group in given))]
    else:
        groups = held_out(cross_validated, model, *given, second_look=second_look)
    work: list[Part] = []
    models: list[Model] = []
    for group in groups:
        listened = group.model if threshold is None else group.model.deciding_at(threshold)
        made = parts(group.words, group.others, group.noise, conditions, seed, hours=hours and hours / len(groups))
        work += [replace(part, number=len(work) + part.number) for part in made]
        models += [listened] * len(made)
    kept = 0
    with run.executor(executor) as pool, progress_bar() as progress:
        result = run.evaluate(listened, work, rates, pool, progress, models)
        if clips is not None:
            kept = run.keep_clips(result, work, clips, pool)
    for line in result.skipped:
        note(f"skipped: {line}")
    if plot is not None:
        try:
            run.draw(result, plot)
        except OSError as error:
            raise InputError(f"{plot}: cannot be written ({error.strerror}); wanted a file in a folder that is there") from None
    asked = {"snr_db": snr_db or [10.0], "peak_dbfs": peak_dbfs, "speech_share": speech_share, "rooms": rooms, "seed": seed}
    found = {"model": model, "conditions": asked} | run.as_json(result)
    if as_json:
        print(json.dumps(found))
        return
    _print(found)
    if plot is not None:
        print(f"Trade-off: {plot}")
    if clips is not None:
        print(f"{kept} clips of misses and false accepts: {clips}")


def sounds_in(folders: tuple[Path, ...]) -> list[tuple[Path, Path]]:
    """The folders' sound files, each with its folder."""
    from farfield.training.clips import SUFFIXES

    found: list[tuple[Path, Path]] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; wanted one with sound clips")
        here = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not here:
            raise InputError(f"{folder}: holds no sound clips; wanted {', '.join(sorted(SUFFIXES))} files")
        found += [(folder, path) for path in here]
    return found


def _print(found: dict[str, Any]) -> None:
    looked = ", with a second look" if found["second_look"] else ""
    print(f"{found['word']}: {found['words']} words ({found['word_clips']} clips) in {found['hours']:.2f} h{looked}")
    if found["words"] > found["word_clips"] or found["rounds_of_speech"] > 1:
        print("Clips were heard more than once: intervals count each clip as one.")
    for at in (found["own"], *found["asked"]):
        asked = f"at most {at['asked_per_hour']:g} false accepts an hour" if "asked_per_hour" in at else "its own threshold"
        if "threshold" not in at:
            print(f"{asked}: no threshold keeps to it")
            continue
        low, high = at["miss_rate_95"] or (0, 1)
        few, many = at["false_accepts_per_hour_95"]
        late = at["latency_ms"] or {"median": "-", "p95": "-"}
        print(
            f"{asked}: threshold {at['threshold']:.4f}, missed {at['missed']} of {at['words']} "
            f"({100 * at['miss_rate']:.1f} %, 95 %: {100 * low:.1f} to {100 * high:.1f}), "
            f"{at['false_accepts']} false accepts ({at['false_accepts_per_hour']:.2f} an hour, {few:.2f} to {many:.2f}), "
            f"latency {late['median']} ms, p95 {late['p95']} ms"
        )
    for name, groups in found["own"]["missed_by"].items():
        if len(groups) > 1:
            print(f"missed by {name}: " + ", ".join(f"{value}: {at['missed']} of {at['asked']}" for value, at in groups.items()))
