"""From folders of clips to model files: cross-validated networks to measure, and one of the same recipe on everything to ship.

The people (and noises) are shared out into parts. For each part a network is trained on the others and measured on it; the
figures of all parts together choose threshold and smoothing and go into the card. The network that ships is trained on all.
Everything can be cut short and taken up again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from farfield._version import __version__
from farfield.errors import InputError
from farfield.model import LOOK, Model
from farfield.training import augment, export, measure
from farfield.training.batches import LOOK_STEPS
from farfield.training.clips import word_span
from farfield.training.files import PER_FILE, Counts, Progress, make_segments
from farfield.training.fit import PHONE_KINDS, ROUND, Task, fit_all, knows_phones, load_network, looks_taken
from farfield.training.material import PARTS, Collection, Phrase, collect
from farfield.training.network import Network, weight_count
from farfield.training.pronunciation import spellings

_ALONE_PER_HOUR = 0.5  # for a listener without its second look, which at the rate above would miss too much
STRICTER = (0.0, 3.0)
"""Taken off the logits in turn, so that the scores' 8 bits resolve what lies around the threshold."""
_ROOMS_TO_MEASURE = 30
_TELLING = (*((kind,) for kind in PHONE_KINDS), PHONE_KINDS)  # what tells phones apart for a second look: one of them, or all
_CLEARLY = 0.92  # of the misses of all together
_LOOK_LOWER = (2.0, 4.0)  # off the logits of a second look that reads no spelling, for the same reason
_LAXEST = 0  # of STRICTER: what a second look may be put behind


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
        """How many of each kind: near-misses a quarter of the words, those told by phones half of the others."""
        return Counts(self.others, self.words, self.words // 4, self.others // 2)

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


@dataclass(frozen=True)
class Reading:
    """One way for a second look to decide. by: what tell phones apart for it, of PHONE_KINDS, where it reads a spelling.

    lower: taken off its logits, where it does not.
    """

    by: tuple[str, ...] = ()
    lower: float = 0.0


def _short(folders: Sequence[Path]) -> list[str]:
    return ["/".join(folder.resolve().parts[-2:]) for folder in folders]


def train(recipe: Recipe, work: Path, notes: Mapping[str, Any], say: Callable[[str], None], progress: Progress) -> list[Trained]:
    """A model for each of the recipe's words. work: folder for what is made on the way, taken up by a run of the same recipe.

    It keeps the measured models too, as WORD-without-PART.safetensors, and who belongs to which part, as parts.json.
    notes: the caller's part of the cards (sources, licences, command). InputError for unusable material, or a work folder
    that belongs to another recipe.
    """
    _claim(work, recipe)
    material = collect(recipe.phrases, recipe.negatives, recipe.noise, recipe.tts, recipe.seed, say)
    for line in material.skipped:
        say(f"left out: {line}")
    (work / "parts.json").write_text(json.dumps(material.part_of, indent=0, sort_keys=True), "utf-8")
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
    spelled = spellings(word) if knows_phones(work) else []
    readings = [Reading(by=by) for by in _TELLING] if spelled else [Reading(lower=lower) for lower in _LOOK_LOWER]
    ends = [word_span(clip.samples) for clip in material.positives[number]]
    draft: dict[str, Any] = {
        "smoothing_steps": 4,
        "threshold": 0.5,
        "refractory_ms": 1000,
        "end_lag_ms": 0,
        "word_ms": round(float(np.median([end - start for start, end in ends])) / 16),
    }

    def listener(left_out: int | None, stricter: float, detector: Mapping[str, Any], card: Mapping[str, Any]) -> Model:
        net = load_network(work, Task(left_out), words).of_word(number)
        return export.to_model(net, word=word, detector=detector, card=card, stricter=stricter)

    def looks(left_out: int | None) -> list[Network]:
        nets = (load_network(work, Task(left_out, "look", one), words) for one in range(looks_taken(work)))
        return [net.of_word(number) for net in nets]

    def look(left_out: int | None, reading: Reading, threshold: float, card: Mapping[str, Any]) -> Model:
        nets = looks(left_out)
        own = draft | {"smoothing_steps": LOOK_STEPS, "threshold": threshold}
        if not reading.by:
            return export.to_model(nets[0], word=word, detector=own, card=card, stricter=reading.lower)
        phones = [load_network(work, Task(left_out, kind), words) for kind in reading.by]
        return export.to_spelled_model(nets, phones, spelled, word=word, detector=own, card=card)

    heard = [measure.streams(material.held_out(part, number), _other_words(material, number, part), rooms, recipe.seed + part)
             for part in range(PARTS)]  # fmt: skip
    variants = [
        [measure.scored(listener(part, stricter, draft, {}), heard[part]) for part in range(PARTS)] for stricter in STRICTER
    ]
    plain = listener(None, 0.0, draft, {})
    alone, alone_found = measure.choose(variants, plain, recipe.fa_per_hour)
    kinds = sorted({_LAXEST, alone.variant})
    of = [list(zip(*(
        measure.looked([variants[kind][part] for kind in kinds], replace(plain, second_look=look(part, reading, 0.5, {})))
        for part in range(PARTS)
    ), strict=True)) for reading in readings]  # fmt: skip
    tried = [measure.choose_look(scores, plain, recipe.fa_per_hour) for scores in of]
    best = min(range(len(readings)), key=lambda n: _rank(readings[n], tried[n][1], recipe.fa_per_hour))
    reading, (both, both_found) = readings[best], tried[best]
    helps = both_found.miss < alone_found.miss
    variant = kinds[both.variant] if helps else alone.variant
    # By itself the listener is this one, not the one that would be better by itself.
    alone, alone_found = measure.choose([variants[variant]], plain, _ALONE_PER_HOUR)

    common = {"made_by": f"farfield {__version__}", "recipe": recipe.described() | {"fa_per_hour": recipe.fa_per_hour}, **notes}
    card = common | {
        "weights": weight_count(load_network(work, Task(None), words).of_word(number)),
        "clips": _counted(recipe, material, number),
        "figures": _measured_on(recipe, material, number) | measure.as_card(alone_found),
        "calibration": measure.calibration(variants[variant], plain, alone),
    }
    looking = looks(None) + [load_network(work, Task(None, kind), words) for kind in reading.by]
    look_card = common | {
        "weights": sum(map(weight_count, looking)),
        "listener": _reading(both, both_found),
        "figures": _measured_on(recipe, material, number) | measure.as_card(both_found),
        "calibration": measure.calibration(of[best][both.variant], plain, both),
    }

    def trained(left_out: int | None, card: Mapping[str, Any], look_card: Mapping[str, Any]) -> Trained:
        model = listener(left_out, STRICTER[variant], draft | _reading(alone, alone_found), card)
        return Trained(model, look(left_out, reading, both.look_threshold or 0.5, look_card) if helps else None)

    for part in range(PARTS):
        crossed = {"cross_validation": f"trained without part {part} of {PARTS}"}
        crossed_look = crossed | {"listener": look_card["listener"]}
        trained(part, crossed, crossed_look).save(work / f"{word.replace(' ', '_')}-without-{part}.safetensors")
    return trained(None, card, look_card)


def _rank(reading: Reading, found: measure.Figures, fa_per_hour: float) -> tuple[bool, bool, float]:
    """What is least for the reading to take: all that tell phones apart together, unless fewer of them miss clearly less.

    A choice among many by the same clips flatters, and what is told by all is mistaken less often on others.
    """
    less = 1.0 if reading.by == PHONE_KINDS else 1.0 / _CLEARLY
    return found.woken > fa_per_hour * found.hours, found.tardy, less * found.miss


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
    return {"on": on, "people": len({clip.person for clip in material.positives[number]})}


def _claim(work: Path, recipe: Recipe) -> None:
    work.mkdir(parents=True, exist_ok=True)
    claim = work / "recipe.json"
    near = [phrase.near for phrase in recipe.phrases]
    described = json.dumps(recipe.described() | {"near": near, "files": PER_FILE, "round": ROUND, "parts": PARTS}, indent=1)
    if claim.exists() and claim.read_text("utf-8") != described:
        raise InputError(f"{work}: belongs to another recipe ({claim.name} differs); wanted another --work folder")
    claim.write_text(described, "utf-8")
