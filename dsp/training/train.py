"""From folders of clips to model files: cross-validated networks to measure, and one of the same recipe on everything to ship.

The people (and noises) are shared out into parts. For each part a network is trained on the others and measured on it; the
figures of all parts together choose threshold and smoothing and go into the card. The network that ships is trained on all.
Everything can be cut short and taken up again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from farfield import embedding
from farfield._version import __version__
from farfield.errors import InputError
from farfield.model import LOOK, Model
from farfield.training import augment, export, measure
from farfield.training.batches import LOOK_STEPS
from farfield.training.clips import listed, name_of, word_span
from farfield.training.files import PER_FILE, Counts, Progress, make_segments
from farfield.training.fit import HEADS, LOOKS, ROUND, Task, fit_all, load_network
from farfield.training.material import PARTS, Collection, Phrase, collect
from farfield.training.network import weight_count

_ALONE_PER_HOUR = 0.5  # for a listener without its second look, which at the rate above would miss too much
_LOWER = -3.0
"""Taken off a listener's logits, so that its scores' 8 bits resolve what it is nearly sure is no word, of which some is one."""
_ROOMS_TO_MEASURE = 30
_NAMED = 5  # clips left out for one reason that are told one by one


@dataclass(frozen=True)
class Recipe:
    """What to train and how much of it.

    tts: synthetic voices speak too. others, words: segments without a word, and with each. rounds: of the listener.
    fa_per_hour: false accepts for which thresholds are chosen, where somebody speaks a fifth of the time; what is fitted does
    not depend on it.
    """

    phrases: tuple[Phrase, ...]
    negatives: tuple[Path, ...]
    noise: tuple[Path, ...]
    tts: bool
    seed: int = 1
    rounds: int = 24
    others: int = 45_000
    words: int = 8_000
    fa_per_hour: float = 0.1

    @property
    def segments(self) -> Counts:
        """How many of each kind: near-misses a quarter of the words."""
        return Counts(self.others, self.words, self.words // 4)

    def described(self) -> dict[str, Any]:
        """As JSON values, folders by their last two names."""
        folders = {name: _short(getattr(self, name)) for name in ("negatives", "noise")}
        counts = {name: getattr(self, name) for name in ("tts", "seed", "rounds", "others", "words")}
        words = {phrase.word: {"positives": _short(phrase.positives), "near_misses": len(phrase.near)} for phrase in self.phrases}
        return {"phrases": words, **folders, **counts}


@dataclass(frozen=True)
class Trained:
    """A word's model, and its second look where that was measured to miss less."""

    model: Model
    look: Model | None

    def save(self, path: Path) -> None:
        """The model as NAME.safetensors, the look beside it as NAME.look.safetensors; without one, an earlier one goes."""
        self.model.save(path)
        if self.look is None:
            path.with_suffix(LOOK).unlink(missing_ok=True)
        else:
            self.look.save(path.with_suffix(LOOK))


def _short(folders: Sequence[Path]) -> list[str]:
    return ["/".join(folder.resolve().parts[-2:]) for folder in folders]


def train(recipe: Recipe, work: Path, notes: Mapping[str, Any], say: Callable[[str], None], progress: Progress) -> list[Trained]:
    """A model for each of the recipe's words. work: folder for what is made on the way, taken up by a run of the same recipe.

    It keeps the measured models too, as WORD-without-PART.safetensors, and who belongs to which part, as parts.json.
    notes: the caller's part of the cards (sources, licences, command). InputError for unusable material, or a work folder
    that belongs to another recipe or to other clips.
    """
    _claim(work, recipe)
    material = collect(recipe.phrases, recipe.negatives, recipe.noise, recipe.tts, recipe.seed, say)
    for line in left_out(material.skipped, work / "left-out.txt"):
        say(f"left out: {line}")
    _write(work / "parts.json", json.dumps(material.part_of, indent=0, sort_keys=True))
    parts = [material.material(part) for part in range(PARTS)]
    make_segments(parts, work, recipe.segments, recipe.seed, progress)
    fit_all(work, len(recipe.phrases), [*range(PARTS), None], recipe.rounds, recipe.seed, progress)
    say("measuring")
    rooms = augment.rooms(_ROOMS_TO_MEASURE, recipe.seed + 1)
    jobs = [(recipe, work, number, material, rooms, notes) for number in range(len(recipe.phrases))]
    models = []
    with ProcessPoolExecutor(initializer=_share, initargs=(jobs,)) as pool:
        for number, model in enumerate(pool.map(_finished, range(len(jobs))), 1):
            models.append(model)
            progress("measuring", number, len(jobs))
    return models


def left_out(skipped: Sequence[str], path: Path) -> list[str]:
    """What was left out, as lines "NAME: why" to be told: many of one reason in a line. All of them are written to `path`."""
    path.write_text("".join(f"{line}\n" for line in skipped), "utf-8")
    by_reason: dict[str, list[str]] = {}
    for line in skipped:
        name, _, why = line.partition(": ")
        by_reason.setdefault(why, []).append(name)
    told = []
    for why, names in by_reason.items():
        if len(names) > _NAMED:
            told.append(f"{', '.join(names[:2])} and {len(names) - 2} more, which {path} names: {why}")
        else:
            told += [f"{name}: {why}" for name in names]
    return told


_jobs: Sequence[tuple[Recipe, Path, int, Collection, list[augment.Sound], Mapping[str, Any]]] = ()


def _share(jobs: Any) -> None:
    global _jobs
    _jobs = jobs


def _finished(number: int) -> Trained:
    return finish(*_jobs[number])


def finish(
    recipe: Recipe, work: Path, number: int, material: Collection, rooms: list[augment.Sound], notes: Mapping[str, Any]
) -> Trained:
    """The model of one word, measured on everybody by networks that did not know them."""
    word, words = recipe.phrases[number].word, len(recipe.phrases)
    ends = [word_span(clip.samples) for clip in material.positives[number]]
    draft: dict[str, Any] = {
        "smoothing_steps": 4,
        "threshold": 0.5,
        "refractory_ms": 1000,
        "end_lag_ms": 0,
        "word_ms": round(float(np.median([end - start for start, end in ends])) / 16),
    }

    def listener(left_out: int | None, detector: Mapping[str, Any], card: Mapping[str, Any]) -> Model:
        net = load_network(work, Task(left_out), words).of_word(number)
        return export.to_model(net, word=word, detector=detector, card=card, lower=_LOWER)

    def looks(left_out: int | None, kind: str, count: int) -> list[Any]:
        nets = (load_network(work, Task(left_out, kind, one), words) for one in range(count))
        return [net.of_word(number) for net in nets]

    def look(left_out: int | None, threshold: float, card: Mapping[str, Any]) -> Model:
        own = draft | {"smoothing_steps": LOOK_STEPS, "threshold": threshold}
        nets, heads = looks(left_out, "look", LOOKS), looks(left_out, "head", HEADS)
        return export.to_joint_model(nets, heads, word=word, detector=own, card=card)

    heard = [measure.streams(material.held_out(part, number), _other_words(material, number, part), rooms, recipe.seed + part)
             for part in range(PARTS)]  # fmt: skip
    plain = listener(None, draft, {})
    scored = [measure.scored(listener(part, draft, {}), heard[part]) for part in range(PARTS)]
    lows = measure.openings(scored, plain)
    looking = [replace(plain, second_look=look(part, 0.5, {})) for part in range(PARTS)]
    looked = [measure.looked(of, model, lows[-1]) for of, model in zip(scored, looking, strict=True)]
    both, both_found = measure.choose_look(looked, lows, plain, recipe.fa_per_hour)
    helps = both_found.miss < measure.choose(scored, plain, recipe.fa_per_hour)[1].miss
    alone, alone_found = measure.choose(scored, plain, _ALONE_PER_HOUR)
    lowest = 0.0
    if not recipe.negatives and helps:
        both, both_found = measure.cautious(looked, plain, both)
        lowest = both.look_threshold or 0.0
    elif not recipe.negatives:
        alone, alone_found = measure.cautious(scored, plain, alone)
        lowest = alone.threshold

    common = {"made_by": f"farfield {__version__}", "recipe": recipe.described() | {"fa_per_hour": recipe.fa_per_hour}, **notes}
    card = common | {
        "weights": weight_count(load_network(work, Task(None), words).of_word(number)),
        "clips": _counted(recipe, material, number),
        "figures": _measured_on(recipe, material, number) | measure.as_card(alone_found),
        "calibration": measure.calibration(scored, plain, alone, lowest=0.0 if helps else lowest),
    }
    shipped = looks(None, "look", LOOKS) + looks(None, "head", HEADS)
    look_card = common | {
        "weights": sum(map(weight_count, shipped)),
        "listener": _reading(both, both_found),
        "embedding": {name: embedding.description()[name] for name in ("source", "licence")},
        "figures": _measured_on(recipe, material, number) | measure.as_card(both_found),
        "calibration": measure.calibration(looked, plain, both, lowest=lowest if helps else 0.0),
    }

    def trained(left_out: int | None, card: Mapping[str, Any], look_card: Mapping[str, Any]) -> Trained:
        model = listener(left_out, draft | _reading(alone, alone_found), card)
        return Trained(model, look(left_out, both.look_threshold or 0.5, look_card) if helps else None)

    for part in range(PARTS):
        crossed = {"cross_validation": f"trained without part {part} of {PARTS}"}
        crossed_look = crossed | {"listener": look_card["listener"]}
        trained(part, crossed, crossed_look).save(work / f"{word.replace(' ', '_')}-without-{part}.safetensors")
    return trained(None, card, look_card)


def _reading(setting: measure.Setting, found: measure.Figures) -> dict[str, Any]:
    """How scores are read, as fields of a model."""
    late_ms = measure.as_card(found)["latency_ms"]["median"]
    return {"smoothing_steps": setting.smoothing_steps, "threshold": setting.threshold, "end_lag_ms": late_ms}


def _counted(recipe: Recipe, material: Collection, number: int) -> dict[str, int]:
    """What it was trained on, in clips. Synthetic voices in the place of people count as what they are."""
    people = bool(recipe.phrases[number].positives), bool(recipe.negatives)
    word, others = material.positives[number], material.negatives
    voices = [material.spoken[number], *material.near, material.sentences]
    return {
        "word": len(word) if people[0] else 0,
        "other_speech": len(others) if people[1] else 0,
        "noise": len(material.noise),
        "synthetic": sum(map(len, voices)) + (0 if people[0] else len(word)) + (0 if people[1] else len(others)),
    }


def _other_words(material: Collection, number: int, part: int) -> list[augment.Sound]:
    """What the part's people say of the other words."""
    others = [clips for other, clips in enumerate(material.positives) if other != number]
    return [clip.samples for clips in others for clip in clips if material.part_of[clip.person] == part]


def _measured_on(recipe: Recipe, material: Collection, number: int) -> dict[str, Any]:
    crossed = (
        f"cross-validation in {PARTS} parts: everyone and every noise was heard by networks that had not been trained on them; "
        "the same clips chose how scores are read; the network in this file, of the same recipe, was trained on all of them"
    )
    real = bool(recipe.phrases[number].positives)
    on = crossed if real else f"synthetic voices only: no real voice has been measured. {crossed}"
    if not recipe.negatives:
        on += "; the threshold is higher than they ask for, by what one in a hundred of the clean words can spare"
    return {"on": on, "people": len({clip.person for clip in material.positives[number]})}


def _claim(work: Path, recipe: Recipe) -> None:
    """The work folder is this recipe's, and these clips': of others, someone would be measured by networks that know him."""
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{work}: cannot be made ({error.strerror}); wanted a folder to work in") from None
    folders = [*(folder for phrase in recipe.phrases for folder in phrase.positives), *recipe.negatives, *recipe.noise]
    files = [f"{name_of(path, folder)} {path.stat().st_size}" for folder, path in listed(folders)]
    made_of = {
        "near": [phrase.near for phrase in recipe.phrases],
        "clips": hashlib.sha256("\n".join(files).encode(errors="surrogateescape")).hexdigest(),
        "files": PER_FILE, "round": ROUND, "parts": PARTS,
    }  # fmt: skip
    claim = work / "recipe.json"
    described = json.dumps(recipe.described() | made_of, indent=1)
    if claim.exists() and claim.read_text("utf-8") != described:
        raise InputError(
            f"{work}: belongs to another recipe or to other clips ({claim.name} differs); wanted another --work folder"
        )
    _write(claim, described)


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(text, "utf-8")
    part.replace(path)
