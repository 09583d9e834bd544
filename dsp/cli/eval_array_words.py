"""`farfield eval array-words`: what an array is for, in words missed over noise across a room."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from farfield.cli.eval import sounds_in
from farfield.cli.shared import FiniteRange, as_json, need, progress_bar
from farfield.profile import load_profile

if TYPE_CHECKING:
    from farfield.evaluation.array_words import Condition, Heard

_path = click.Path(path_type=Path)


@click.command("eval array-words")
@click.argument("word")
@click.option("--cross-validated", "work", required=True, type=_path, metavar="WORK", help="Work folder of `farfield train`.")
@click.option("--positives", multiple=True, required=True, type=_path, metavar="DIR", help="Clips of the word; repeatable.")
@click.option("--noise", multiple=True, required=True, type=_path, metavar="DIR", help="Recorded noise; repeatable.")
@click.option("--negatives", multiple=True, type=_path, metavar="DIR", help="Clips of other speech, for --hours; repeatable.")
@click.option("--profile", default="respeaker-6mic", show_default=True, metavar="NAME_OR_FILE", help="Where the microphones are.")
@click.option("--words", type=click.IntRange(1, 10_000), default=24, show_default=True, help="In each condition.")
@click.option("--hours", type=FiniteRange(0.05, 1000), default=2.0, show_default=True, help="Of other speech, with --negatives.")
@click.option("--fa-per-hour", type=FiniteRange(0, 100), default=0.1, show_default=True, help="Also at this many for each.")
@click.option("--dereverberate", is_flag=True, help="Take late reverberation off the array's microphones first.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True)
@as_json
def evaluate_array_words(
    word: str,
    work: Path,
    positives: tuple[Path, ...],
    noise: tuple[Path, ...],
    negatives: tuple[Path, ...],
    profile: str,
    words: int,
    hours: float,
    fa_per_hour: float,
    dereverberate: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Count the WORDs missed 1 to 4 m away, over noise from elsewhere at 5 and 0 dB, in simulated rooms.

    Side by side: all candidates (fixed beams, adaptive beam, another of dereverberated microphones, quietest microphone), the
    fixed beams alone, and the single microphone that missed least. Each person's clips are heard by the network that was not
    trained on them, at its own threshold. With --negatives other speech across the rooms tells how often each wakes to it, and
    what each misses at the threshold at which it does so no more often than --fa-per-hour, speech being a fifth of the time.
    """
    need("scipy", "scipy", "eval")
    need("pyroomacoustics", "pyroomacoustics", "eval")
    from farfield.evaluation.array_words import measure
    from farfield.evaluation.held_out import held_out

    layout = replace(
        load_profile(profile), adaptive=True, dry_beam=not dereverberate, best_microphone=True, dereverberate=dereverberate
    )
    groups = held_out(work, word, sounds_in(positives), sounds_in(negatives), sounds_in(noise))
    with progress_bar() as progress:
        heard = measure(groups, layout, words, seed, progress, hours if negatives else 0.0)
    found = heard.conditions()
    asked = heard.thresholds(fa_per_hour) if negatives else {}
    if as_json:
        for condition in found:
            print(json.dumps(asdict(condition) | {"best_microphone": condition.best_microphone}))
        if negatives:
            print(json.dumps(_with_others(heard, asked)))
        return
    columns = ("distance, m", "ratio, dB", "words", "candidates", "fixed beams", "best microphone")
    table = Table(*columns, title="missed (false accepts)")
    for one in found:
        told = (f"{one.missed[name]} ({one.false_accepts[name]})" for name in ("candidates", "beams", one.best_microphone))
        table.add_row(f"{one.distance_m:g}", f"{one.ratio_db:g}", str(one.words), *told)
    total = [sum(one.missed[name] for one in found) for name in ("candidates", "beams")]
    table.add_row("all", "", str(sum(one.words for one in found)), *map(str, total), str(_best(found)), style="bold")
    console = Console(width=None if Console().is_terminal else 130)
    console.print(table)
    if negatives:
        console.print(_table_of_others(_with_others(heard, asked), hours, fa_per_hour))


def _best(conditions: "list[Condition]") -> int:
    """What the single microphones missed that missed least, each in its condition."""
    return sum(one.missed[one.best_microphone] for one in conditions)


def _with_others(heard: "Heard", asked: dict[str, float]) -> dict[str, Any]:
    """How often other speech woke each, and what each misses where it wakes as seldom as asked."""
    conditions = heard.conditions(asked)
    missed = {name: sum(one.missed[name] for one in conditions) for name in asked}
    return {
        "hours": round(heard.hours, 2),
        "woken": {name: heard.woken(name) for name in asked},
        "threshold": {name: round(threshold, 4) for name, threshold in asked.items()},
        "missed": missed | {"best microphone": _best(conditions)},
    }


def _table_of_others(told: dict[str, Any], speech_hours: float, fa_per_hour: float) -> Table:
    title = f"over {speech_hours:g} h of other speech ({told['hours']:g} h of streams)"
    table = Table("", "false accepts", f"threshold for {fa_per_hour:g} an hour", "missed there", title=title)
    for name, woken in told["woken"].items():
        table.add_row(name, str(woken), f"{told['threshold'][name]:g}", str(told["missed"][name]))
    table.add_row("best microphone of each condition", "", "", str(told["missed"]["best microphone"]))
    return table
