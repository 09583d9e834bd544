"""`farfield train`: from folders of clips to a wake-word model."""

from importlib import resources
from pathlib import Path

import click

from farfield.cli.shared import need, note, progress_bar
from farfield.errors import InputError

_path = click.Path(path_type=Path)


@click.command()
@click.argument("word")
@click.option("--positives", multiple=True, required=True, type=_path, metavar="DIR", help="Clips of the word; repeatable.")
@click.option("--negatives", multiple=True, required=True, type=_path, metavar="DIR", help="Speech without the word; repeatable.")
@click.option("--noise", multiple=True, type=_path, metavar="DIR", help="Recorded noise; repeatable.")
@click.option("--near", type=_path, metavar="FILE",
              help="Phrases that sound like the word, one a line, spoken by synthetic voices and to be told apart. "
                   "[default: the shipped list of this word, if there is one]")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True)
@click.option("--work", type=_path, metavar="DIR",
              help="Folder for what is made on the way, about 1 GB, from which a run that was cut short goes on. "
                   "[default: MODEL.work]")  # fmt: skip
@click.option("--rounds", type=click.IntRange(4, 500), default=32, show_default=True, help="Rounds of 250 optimiser steps.")
@click.option("--others", type=click.IntRange(500, 10**6), default=32_000, show_default=True, help="Segments without the word.")
@click.option("--words", type=click.IntRange(500, 10**6), default=12_000, show_default=True, help="Segments with the word.")
@click.option("--licence", default="", help="Licence of the model, for its card.")
@click.option("--source", "sources", multiple=True, metavar="TEXT", help="Where clips come from, and their licence; repeatable.")
@click.option("-o", "--output", required=True, type=_path, metavar="MODEL.safetensors", help="Where to write.")
def train(
    word: str,
    positives: tuple[Path, ...],
    negatives: tuple[Path, ...],
    noise: tuple[Path, ...],
    near: Path | None,
    seed: int,
    work: Path | None,
    rounds: int,
    others: int,
    words: int,
    licence: str,
    sources: tuple[str, ...],
    output: Path,
) -> None:
    """Train a wake-word model for WORD and measure it on people whose clips it has not been trained on.

    Needs the synthetic voices of espeak-ng, flite and festival, and the extra `train`.
    """
    if output.suffix.lower() != ".safetensors":
        raise InputError(f"{output}: got the suffix {output.suffix!r}, wanted .safetensors")
    if not output.absolute().parent.is_dir():
        raise InputError(f"{output}: no such folder; wanted a file in a folder that is there")
    need("torch", "torch", "train")
    need("pyroomacoustics", "pyroomacoustics", "train")
    from farfield.training.train import Recipe
    from farfield.training.train import train as run

    recipe = Recipe(word, positives, negatives, noise, _phrases(word, near), seed, rounds, others, words)
    notes = {"licence": licence or "not stated", "training_data": list(sources) or ["not stated"]}
    with progress_bar() as progress:
        model = run(recipe, work or output.with_suffix(".work"), notes, note, progress)
    try:
        model.save(output)
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}); wanted a file in a folder that is there") from None
    figures = model.card["figures"]
    print(f"{output}: threshold {model.threshold}; missed {figures['missed']}, "
          f"{figures['false_accepts']} false accepts in {figures['hours']} h")  # fmt: skip


def _phrases(word: str, near: Path | None) -> tuple[str, ...]:
    """The lines of the file, or of the list that ships for this word."""
    if near is not None:
        try:
            text = near.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{near}: cannot be read as text ({error}); wanted one phrase a line") from None
    else:
        shipped = resources.files("farfield.training") / "phrases" / f"{word.replace(' ', '_')}.txt"
        text = shipped.read_text("utf-8") if word.replace(" ", "").isalnum() and shipped.is_file() else ""
    return tuple(line.strip() for line in text.splitlines() if line.strip())
