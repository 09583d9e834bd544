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
from farfield.training.clips import word_span
from farfield.training.fit import LOOK_STEPS, PER_FILE, ROUND, Progress, Task, fit_all, load_network, make_segments
from farfield.training.material import PARTS, Collection, Phrase, collect
from farfield.training.network import weight_count

WAKES_PER_HOUR = 0.5
"""What thresholds are chosen for, in speech almost without pause: a fifth of it where one speaks a fifth of the time."""
STRICTER = (0.0, 2.0, 4.0, 6.0)
"""Taken off the logits in turn, so that the scores' 8 bits resolve what lies around the threshold."""
_ROOMS_TO_MEASURE = 30
_LOOKED_FROM = 0.1  # of the listener's smoothed probability


@dataclass(frozen=True)
class Recipe:
    """What to train and how much of it.

    tts: synthetic voices speak too. others, words: segments without a word, and with each. rounds: of the listener.
    """

    phrases: tuple[Phrase, ...]
    negatives: tuple[Path, ...]
    noise: tuple[Path, ...]
    tts: bool
    seed: int = 1
    rounds: int = 24
    others: int = 30_000
    words: int = 6_000

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
        """The model as NAME.safetensors, the look beside it as NAME.look.safetensors."""
        self.model.save(path)
        if self.look is not None:
            self.look.save(path.with_suffix(LOOK))


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
    make_segments(parts, work, (recipe.others, recipe.words), recipe.seed, progress)
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

    def look(left_out: int | None, threshold: float, card: Mapping[str, Any]) -> Model:
        net = load_network(work, Task(left_out, look=True), words).of_word(number)
        own = draft | {"smoothing_steps": LOOK_STEPS, "threshold": threshold}
        return export.to_model(net, word=word, detector=own, card=card)

    heard = [measure.streams(material.held_out(part, number), _other_words(material, number, part), rooms, recipe.seed + part)
             for part in range(PARTS)]  # fmt: skip
    variants = [
        [measure.scored(listener(part, stricter, draft, {}), heard[part]) for part in range(PARTS)] for stricter in STRICTER
    ]
    plain = listener(None, 0.0, draft, {})
    alone, alone_found = measure.choose(variants, plain, WAKES_PER_HOUR)
    of = []
    for part, scored in enumerate(variants[alone.variant]):
        with_look = replace(plain, second_look=look(part, 0.5, {}))
        of.append(measure.looked(scored, with_look, alone.smoothing_steps, _LOOKED_FROM))
    both, both_found = measure.choose_look(of, plain, alone, WAKES_PER_HOUR)
    helps = both_found.miss < alone_found.miss
    detector = draft | {
        "smoothing_steps": alone.smoothing_steps,
        "threshold": alone.threshold,
        "end_lag_ms": measure.as_card(alone_found)["latency_ms"]["median"],
    }
    real = bool(recipe.phrases[number].positives)
    common = {"made_by": f"farfield {__version__}", "recipe": recipe.described(), **notes}
    on = {"on": _measured_on(real), "people": len({clip.person for clip in material.positives[number]})}
    card = common | {
        "weights": weight_count(load_network(work, Task(None), words).of_word(number)),
        "clips": {
            "word": len(material.positives[number]) if real else 0,
            "other_speech": len(material.negatives) if recipe.negatives else 0,
            "noise": len(material.noise),
            "synthetic": len(material.spoken[number]) + len(material.near) + len(material.sentences)
            + (0 if real else len(material.positives[number])) + (0 if recipe.negatives else len(material.negatives)),
        },
        "figures": on | measure.as_card(alone_found),
        "calibration": measure.calibration(variants[alone.variant], plain, alone),
    }  # fmt: skip
    look_card = common | {
        "weights": weight_count(load_network(work, Task(None, look=True), words).of_word(number)),
        "listener_threshold": both.threshold,
        "figures": on | measure.as_card(both_found),
        "calibration": measure.calibration(of, plain, both),
    }
    for part in (*range(PARTS), None):
        crossed = None if part is None else {"cross_validation": f"trained without part {part} of {PARTS}"}
        model = listener(part, STRICTER[alone.variant], detector, crossed or card)
        look_notes = look_card if crossed is None else crossed | {"listener_threshold": both.threshold}
        trained = Trained(model, look(part, both.look_threshold or 0.5, look_notes) if helps else None)
        if part is not None:
            trained.save(work / f"{word.replace(' ', '_')}-without-{part}.safetensors")
    return trained


def _other_words(material: Collection, number: int, part: int) -> list[augment.Sound]:
    """What the part's people say of the other words."""
    others = [clips for other, clips in enumerate(material.positives) if other != number]
    return [clip.samples for clips in others for clip in clips if material.part_of[clip.person] == part]


def _measured_on(real: bool) -> str:
    crossed = (
        f"cross-validation in {PARTS} parts: everyone and every noise was heard by a network that had not been trained on them; "
        "the same clips chose threshold and smoothing; the network in this file, of the same recipe, was trained on all of them"
    )
    return crossed if real else f"synthetic voices only: no real voice has been measured. {crossed}"


def _claim(work: Path, recipe: Recipe) -> None:
    work.mkdir(parents=True, exist_ok=True)
    claim = work / "recipe.json"
    near = [phrase.near for phrase in recipe.phrases]
    described = json.dumps(recipe.described() | {"near": near, "files": PER_FILE, "round": ROUND, "parts": PARTS}, indent=1)
    if claim.exists() and claim.read_text("utf-8") != described:
        raise InputError(f"{work}: belongs to another recipe ({claim.name} differs); wanted another --work folder")
    claim.write_text(described, "utf-8")
