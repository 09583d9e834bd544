"""`farfield train`: from folders of clips to a wake-word model."""

import re
import shlex
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farfield.cli.shared import FiniteRange, need, note, progress_bar
from farfield.errors import InputError

if TYPE_CHECKING:
    from farfield.training.train import Recipe

_path = click.Path(path_type=Path)
_NEAR_MISSES = 220  # found in the lexicon for a word


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="WORD...")
@click.option("--positives", multiple=True, type=_path, metavar="DIR",
              help="Clips of the word; repeatable. With several words, one folder each, in their order.")  # fmt: skip
@click.option("--negatives", multiple=True, type=_path, metavar="DIR", help="Speech without the words; repeatable.")
@click.option("--noise", multiple=True, type=_path, metavar="DIR", help="Recorded noise; repeatable.")
@click.option("--tts", is_flag=True,
              help="Synthetic voices say the words, what sounds like them, and other sentences. "
                   "Enough by itself, without any recordings.")  # fmt: skip
@click.option("--near", multiple=True, type=_path, metavar="FILE",
              help="With --tts: phrases that sound like the word, one a line, besides those that are found and those that "
                   "ship for it; repeatable, with several words in their order.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True)
@click.option("--work", type=_path, metavar="DIR",
              help="Folder for what is made on the way, about 1.5 GB, from which a run that was cut short goes on. "
                   "[default: MODEL.work, or DIR/work]")  # fmt: skip
@click.option("--rounds", type=click.IntRange(4, 500), default=24, show_default=True, help="Rounds of 250 optimiser steps.")
@click.option("--others", type=click.IntRange(500, 10**6), default=45_000, show_default=True, help="Segments without a word.")
@click.option("--segments", type=click.IntRange(500, 10**6), default=8_000, show_default=True, help="Segments with each word.")
@click.option("--fa-per-hour", type=FiniteRange(0, min_open=True), default=0.1, show_default=True, metavar="X",
              help="False accepts an hour for which thresholds are chosen, where somebody speaks a fifth of the time. A run that "
                   "differs in this alone takes up the same --work folder.")  # fmt: skip
@click.option("--licence", default="", help="Licence of the models, for their cards.")
@click.option("--source", "sources", multiple=True, metavar="TEXT", help="Where clips come from, and their licence; repeatable.")
@click.option("-o", "--output", required=True, type=_path, metavar="MODEL.safetensors|DIR",
              help="Where to write; with several words a folder.")  # fmt: skip
def train(
    words: tuple[str, ...],
    positives: tuple[Path, ...],
    negatives: tuple[Path, ...],
    noise: tuple[Path, ...],
    tts: bool,
    near: tuple[Path, ...],
    seed: int,
    work: Path | None,
    rounds: int,
    others: int,
    segments: int,
    fa_per_hour: float,
    licence: str,
    sources: tuple[str, ...],
    output: Path,
) -> None:
    """Train a wake-word model for each WORD, and measure it on people whose clips it had not been trained on.

    Several words are learnt together, each from the others' clips too, and then each by itself. Needs the extra `train`, and
    with --tts the voices of espeak-ng, flite and festival.
    """
    several = len(words) > 1
    if not several and output.suffix.lower() != ".safetensors":
        raise InputError(f"{output}: got the suffix {output.suffix!r}, wanted .safetensors")
    folder = output if several else output.absolute().parent
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; wanted one to write into")
    for word in words:
        if not word.strip() or not word.isprintable() or "/" in word:
            raise InputError(f"WORD: got {word!r}, wanted what is said, in letters")
    if len({_file(word).casefold() for word in words}) < len(words):
        raise InputError(f"WORD: got {', '.join(words)}, wanted each once, for each is a file")
    for option, given in (("--positives", positives), ("--near", near)):
        if several and given and len(given) != len(words):
            raise InputError(f"{option}: got {len(given)} for {len(words)} words, wanted one each, in their order")
    if not tts and not (positives and negatives):
        raise InputError("recordings: got no --positives or no --negatives; wanted both, or --tts for synthetic voices alone")
    if near and not tts:
        raise InputError("--near: got phrases but no --tts, wanted --tts for voices to speak them")
    need("torch", "torch", "train")
    need("pyroomacoustics", "pyroomacoustics", "train")
    from farfield.training.material import Phrase
    from farfield.training.train import Recipe
    from farfield.training.train import train as run

    def own(given: tuple[Path, ...], number: int) -> tuple[Path, ...]:
        return given[number : number + 1] if several else given

    phrases = tuple(
        Phrase(word, own(positives, number), _near_misses(word, own(near, number), seed) if tts else ())
        for number, word in enumerate(words)
    )
    recipe = Recipe(phrases, negatives, noise, tts, seed, rounds, others, segments, fa_per_hour)
    notes = {
        "licence": licence or "not stated",
        "training_data": list(sources) or ["not stated"],
        "command": _command(recipe, near),
    }
    work = work or (output / "work" if several else output.with_suffix(".work"))
    with progress_bar() as progress:
        found = run(recipe, work, notes, note, progress)
    for trained in found:
        path = output / _file(trained.model.word) if several else output
        try:
            trained.save(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); wanted a file in a folder that is there") from None
        for how, model in (("alone", trained.model), ("with its second look", trained.look)):
            if model is not None:
                figures = model.card["figures"]
                print(f"{path} {how}: threshold {model.threshold:.4g}; missed {figures['missed']}, {figures['false_accepts']} "
                      f"false accepts in {figures['hours']} h with speech in {100 * figures['speech_share']:.0f} %")  # fmt: skip


def _file(word: str) -> str:
    return f"{word.replace(' ', '_')}.safetensors"


def _command(recipe: "Recipe", near: tuple[Path, ...]) -> str:
    """What made the models, folders and files by their last two names."""
    words = [phrase.word for phrase in recipe.phrases]
    given = [("--positives", folder) for phrase in recipe.phrases for folder in phrase.positives]
    given += [("--negatives", folder) for folder in recipe.negatives] + [("--noise", folder) for folder in recipe.noise]
    given += [("--near", file) for file in near]
    counts = [("--seed", recipe.seed), ("--rounds", recipe.rounds), ("--others", recipe.others), ("--segments", recipe.words),
              ("--fa-per-hour", recipe.fa_per_hour)]  # fmt: skip
    paths = [part for option, path in given for part in (option, "/".join(path.resolve().parts[-2:]))]
    numbers = [str(part) for pair in counts for part in pair]
    return shlex.join(["farfield", "train", *words, *paths, *(["--tts"] if recipe.tts else []), *numbers])


def _near_misses(word: str, files: tuple[Path, ...], seed: int) -> tuple[str, ...]:
    """What sounds like the word: the lines of the files, of the list that ships for it, and what the lexicon holds."""
    from farfield.training.neighbours import near_misses

    lines: list[str] = []
    for file in files:
        try:
            lines += file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: cannot be read as text ({error}); wanted one phrase a line") from None
    shipped = resources.files("farfield.training") / "phrases" / f"{word.replace(' ', '_')}.txt"
    if re.fullmatch(r"[\w ]+", word) and shipped.is_file():
        lines += shipped.read_text("utf-8").splitlines()
    lines += near_misses(word, _NEAR_MISSES, seed)
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
