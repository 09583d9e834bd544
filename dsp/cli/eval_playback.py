"""`farfield eval playback`: how many wake words are missed while the device itself plays."""

import json
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import click

from farfield.cli.eval import sounds_in
from farfield.cli.shared import FiniteRange, as_json, need, note, progress_bar, second_look
from farfield.errors import InputError
from farfield.model import Model, load_model

_path = click.Path(path_type=Path)
_WORDS_A_PART = 12


@click.command("eval playback")
@click.argument("model", metavar="NAME_OR_PATH")
@click.option("--positives", multiple=True, required=True, type=_path, metavar="DIR", help="Clips of the word; repeatable.")
@click.option("--playback", "playbacks", multiple=True, required=True, metavar="music|DIR",
              help="What is played: synthetic chords, or clips, each kind measured apart; repeatable.")  # fmt: skip
@click.option("--playback-db", "levels", multiple=True, type=FiniteRange(-20, 40), default=(10.0, 15.0, 20.0),
              show_default=True, help="Its level over the talker's; repeatable.")  # fmt: skip
@click.option("--noise", multiple=True, type=_path, metavar="DIR", help="Recorded noise, laid under all of it; repeatable.")
@click.option("--snr-db", type=FiniteRange(-40, 80), default=20.0, show_default=True, help="Words' level over the noise's.")
@click.option("--peak-dbfs", type=FiniteRange(-80, -12), default=-34.0, show_default=True, help="Words' level.")
@click.option("--rooms", type=click.IntRange(1, 64), default=8, show_default=True, help="Simulated rooms, talkers 1 to 4 m away.")
@click.option("--own-word", is_flag=True, help="Have the device play the word itself, too: how often does it wake?")
@click.option("--threshold", type=FiniteRange(0, 1, max_open=True), help="[default: the model's own]")
@second_look
@click.option("--cross-validated", type=_path, metavar="WORK",
              help="Work folder of `farfield train`: NAME is then a word of it, heard by models that were not trained on the "
                   "people in the clips.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True)
@click.option("--executor", default="2", show_default=True, metavar="N|dask:ADDRESS", help="Processes here, or a Dask cluster.")
@as_json
def evaluate_playback(
    model: str,
    positives: tuple[Path, ...],
    playbacks: tuple[str, ...],
    levels: tuple[float, ...],
    noise: tuple[Path, ...],
    snr_db: float,
    peak_dbfs: float,
    rooms: int,
    own_word: bool,
    threshold: float | None,
    second_look: bool,
    cross_validated: Path | None,
    seed: int,
    executor: str,
    as_json: bool,
) -> None:
    """Lay wake words into rooms in which the device itself plays, and count what is missed behind its front end.

    The device has one microphone, and a loudspeaker beside it that distorts; aligner and canceller hear it as they would in a
    device, from what it plays. Levels are those of the loudest frame of each clip, at the microphone. The same words without
    playback, and without a front end, are the base line. With --own-word what is played is the word itself, and nobody speaks.
    """
    need("scipy", "scipy", "eval")
    need("pyroomacoustics", "pyroomacoustics", "eval")
    from farfield.evaluation import playback as playing
    from farfield.evaluation import rooms as places
    from farfield.evaluation import run
    from farfield.evaluation.held_out import HeldOut, held_out
    from farfield.evaluation.streams import Conditions, Part, parts
    from farfield.training.clips import absolute

    levels = tuple(dict.fromkeys(levels))
    folders = tuple(Path(name) for name in dict.fromkeys(playbacks) if name != playing.MUSIC)
    clips = {absolute(folder).name: sounds_in((folder,)) for folder in folders}
    if len(clips) < len(folders) or playing.MUSIC in clips:
        raise InputError(
            f"--playback: got {', '.join(playbacks)}, wanted folders of different names, none called {playing.MUSIC}"
        )
    given = [sounds_in(positives), [clip for found in clips.values() for clip in found], sounds_in(noise)]
    if cross_validated is None:
        groups = [HeldOut(load_model(model, second_look=second_look), *(tuple(path for _, path in found) for found in given))]
    else:
        groups = held_out(cross_validated, model, *given, second_look=second_look)
    conditions = Conditions((snr_db,), (peak_dbfs,), 0.4, tuple(places.rooms([f"sim:{rooms}"], seed)))
    jobs: list[tuple[Part, Model, playing.Playback | None, str]] = []
    number = 0
    for group in groups:
        listened = group.model if threshold is None else group.model.deciding_at(threshold)
        for part in parts(group.words, (), group.noise, conditions, seed, clips=_WORDS_A_PART):
            part, number = replace(part, number=number), number + 1
            jobs.append((part, listened, None, "nothing"))
            others = {
                name: tuple(str(path) for path in group.others if path.is_relative_to(folder))
                for name, folder in zip(clips, folders, strict=True)
            }
            if missing := [name for name, found in others.items() if not found]:
                raise InputError(f"--playback: got no clip of {missing[0]} for some part of the cross-validation; wanted more")
            kinds = [playing.MUSIC] * (playing.MUSIC in playbacks) + list(clips)
            for kind, over_db in product(kinds, levels):
                turned = others.get(kind, ())
                turn = 7 * number % max(1, len(turned))
                played = playing.Playback(turned[turn:] + turned[:turn], over_db, number % rooms)
                jobs.append((part, listened, played, kind))
            if own_word:
                silent, pause_s = playing.own_words(part, part.words)
                for over_db in levels:
                    played = playing.Playback(part.words, over_db, number % rooms, pause_s)
                    jobs.append((silent, listened, played, "the word"))
    with run.executor(executor) as pool:
        found = _measured(jobs, pool)
    told = {"model": model, "threshold": listened.deciding_threshold, "peak_dbfs": peak_dbfs, "snr_db": snr_db, "rooms": rooms,
            "seed": seed, "conditions": found}  # fmt: skip
    print(json.dumps(told)) if as_json else _print(told)


def _measured(jobs: Sequence[Any], pool: Executor) -> list[dict[str, Any]]:
    """What came of each condition, in the order in which they first came."""
    from farfield.evaluation import curve
    from farfield.evaluation import playback as playing

    heard: dict[tuple[str, float | None, str], list[Any]] = {}
    with progress_bar() as progress:
        results = pool.map(playing.score, *zip(*(job[:3] for job in jobs), strict=True))
        for done, (job, found) in enumerate(zip(jobs, results, strict=True), 1):
            _, _, played, kind = job
            for chain, scored in found.items():
                heard.setdefault((kind, None if played is None else played.over_db, chain), []).append(scored)
            progress("streams", done, len(jobs))
    model = jobs[0][1]
    skipped = dict.fromkeys(line for streams in heard.values() for scored in streams for line in scored.skipped)
    for line in skipped:
        note(f"skipped: {line}")
    if skipped and not any(scored.said for scored in heard["nothing", None, ""]):
        raise InputError(f"no clip of the word could be used, wanted one; the first that could not: {next(iter(skipped))}")
    told = []
    for (kind, over_db, chain), streams in heard.items():
        at = curve.point(streams, model.deciding_threshold, model.refractory_ms)
        words = len(at.hits) + len(at.missed)
        told.append({
            "playback": kind, "over_db": over_db, "chain": chain, "words": words, "missed": len(at.missed),
            "miss_rate": round(at.miss, 5) if words else None,
            "miss_rate_95": [round(x, 5) for x in curve.miss_interval(len(at.missed), words)] if words else None,
            "wakes_without_a_word": len(at.false_accepts), "hours": round(at.hours, 4),
        })  # fmt: skip
    return told


def _print(told: dict[str, Any]) -> None:
    base = told["conditions"][0]
    low, high = base["miss_rate_95"]
    print(f"{told['model']}: threshold {told['threshold']:.4f}, words at {told['peak_dbfs']:g} dBFS; without playback missed "
          f"{base['missed']} of {base['words']} ({100 * base['miss_rate']:.1f} %, 95 %: {100 * low:.1f} to {100 * high:.1f}), "
          f"{base['wakes_without_a_word']} other wakes in {base['hours']:.2f} h")  # fmt: skip
    for at in told["conditions"][1:]:
        line = f"{at['playback']} {at['over_db']:g} dB over the talker, {at['chain']}: "
        if at["words"]:
            low, high = at["miss_rate_95"]
            line += (f"missed {at['missed']} of {at['words']} ({100 * at['miss_rate']:.1f} %, 95 %: {100 * low:.1f} to "
                     f"{100 * high:.1f}; {100 * (at['miss_rate'] - base['miss_rate']):+.1f} to without playback), ")  # fmt: skip
        print(line + f"{at['wakes_without_a_word']} other wakes in {at['hours']:.2f} h")
