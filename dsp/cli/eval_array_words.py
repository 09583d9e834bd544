"""`farfield eval array-words`: what an array is for, in words missed over noise across a room."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from farfield.cli.eval import sounds_in
from farfield.cli.shared import as_json, need, progress_bar
from farfield.profile import load_profile

_path = click.Path(path_type=Path)


@click.command("eval array-words")
@click.argument("word")
@click.option("--cross-validated", "work", required=True, type=_path, metavar="WORK", help="Work folder of `farfield train`.")
@click.option("--positives", multiple=True, required=True, type=_path, metavar="DIR", help="Clips of the word; repeatable.")
@click.option("--noise", multiple=True, required=True, type=_path, metavar="DIR", help="Recorded noise; repeatable.")
@click.option("--profile", default="respeaker-6mic", show_default=True, metavar="NAME_OR_FILE", help="Where the microphones are.")
@click.option("--words", type=click.IntRange(1, 10_000), default=24, show_default=True, help="In each condition.")
@click.option("--dereverberate", is_flag=True, help="Take late reverberation off the array's microphones first.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True)
@as_json
def evaluate_array_words(
    word: str,
    work: Path,
    positives: tuple[Path, ...],
    noise: tuple[Path, ...],
    profile: str,
    words: int,
    dereverberate: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Count the WORDs missed 1 to 4 m away, over noise from elsewhere at 5 and 0 dB, in simulated rooms.

    Side by side: all candidates (fixed beams, adaptive beam, another of dereverberated microphones, quietest microphone), the
    fixed beams alone, and the single microphone that missed least. Each person's clips are heard by the network that was not
    trained on them, at its own threshold.
    """
    need("scipy", "scipy", "eval")
    need("pyroomacoustics", "pyroomacoustics", "eval")
    from farfield.evaluation.array_words import measure
    from farfield.evaluation.held_out import held_out

    layout = replace(
        load_profile(profile), adaptive=True, dry_beam=not dereverberate, best_microphone=True, dereverberate=dereverberate
    )
    groups = held_out(work, word, sounds_in(positives), [], sounds_in(noise))
    with progress_bar() as progress:
        found = measure(groups, layout, words, seed, progress)
    if as_json:
        for condition in found:
            print(json.dumps(asdict(condition) | {"best_microphone": condition.best_microphone}))
        return
    columns = ("distance, m", "ratio, dB", "words", "candidates", "fixed beams", "best microphone")
    table = Table(*columns, title="missed (false accepts)")
    for one in found:
        told = (f"{one.missed[name]} ({one.false_accepts[name]})" for name in ("candidates", "beams", one.best_microphone))
        table.add_row(f"{one.distance_m:g}", f"{one.ratio_db:g}", str(one.words), *told)
    Console(width=None if Console().is_terminal else 130).print(table)
