"""Cross-validated models: each person's clips, and each noise, for the model that was not trained on them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farfield.errors import InputError
from farfield.model import Model, load_model
from farfield.training.clips import contributors, name_of, speaker, transcripts

PARTS = "parts.json"


@dataclass(frozen=True)
class HeldOut:
    """A model and the files of those whom it has never heard."""

    model: Model
    words: tuple[Path, ...]
    others: tuple[Path, ...]
    noise: tuple[Path, ...]


Found = Sequence[tuple[Path, Path]]


def held_out(work: Path, word: str, words: Found, others: Found, noise: Found, *, second_look: bool = True) -> list[HeldOut]:
    """For each part of a `farfield train` work folder, its model of the word and the part's files.

    words, others, noise: pairs of a folder, as it was given to `farfield train`, and a file in it. Speech whose transcript holds
    a part of the word, or that has none where others have, is left out, as it was there. InputError: a folder that is none, no
    such word in it, or someone who is in no part, whom some model may have heard.
    """
    try:
        part_of = json.loads((work / PARTS).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{work / PARTS}: cannot be read ({error}); wanted the work folder of a farfield train run") from None
    if not isinstance(part_of, dict) or not part_of or not all(isinstance(part, int) for part in part_of.values()):
        raise InputError(f"{work / PARTS}: got {str(part_of)[:80]}, wanted an object of person: part")
    spoken = word.replace("_", " ").casefold().split()
    others = [(folder, path) for folder, path in others if not _may_say(spoken, folder, path)]
    found = []
    for part in sorted(set(part_of.values())):
        own = [tuple(path for folder, path in group if _part(folder, path, part_of) == part) for group in (words, others, noise)]
        if not own[0]:
            raise InputError(f"--positives: got nobody of part {part} of {work}, wanted the clips that the word was trained on")
        model = load_model(work / f"{word.replace(' ', '_')}-without-{part}.safetensors", second_look=second_look)
        found.append(HeldOut(model, *own))
    return found


def _may_say(words: Sequence[str], folder: Path, path: Path) -> bool:
    table, name = transcripts(folder), name_of(path, folder)
    return bool(table) and (name not in table or not set(words).isdisjoint(table[name].casefold().split()))


def _part(folder: Path, path: Path, part_of: dict[str, int]) -> int:
    person = speaker(name_of(path, folder), contributors(folder))
    if person not in part_of:
        raise InputError(f"{path}: {person!r} is in no part of the cross-validation; wanted clips that the word was trained on")
    return part_of[person]
