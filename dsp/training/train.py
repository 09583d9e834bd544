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
from farfield.model import Model
from farfield.training import augment, export, measure
from farfield.training.clips import word_span
from farfield.training.fit import PER_FILE, ROUND, Progress, fit_all, load_network, make_segments
from farfield.training.material import PARTS, Collection, Phrase, collect
from farfield.training.network import weight_count

WAKES_PER_HOUR = 0.5
"""What thresholds are chosen for, in speech almost without pause: a fifth of it where one speaks a fifth of the time."""
STRICTER = (0.0, 2.0, 4.0, 6.0)
"""Taken off the logits in turn, so that the scores' 8 bits resolve what lies around the threshold."""
_ROOMS_TO_MEASURE = 30


@dataclass(frozen=True)
class Recipe:
    """What to train and how much of it.

    tts: synthetic voices speak too. others, words: segments without a word, and with each. rounds: of the trunk.
    """

    phrases: tuple[Phrase, ...]
    negatives: tuple[Path, ...]
    noise: tuple[Path, ...]
    tts: bool
    seed: int = 1
    rounds: int = 32
    others: int = 39_000
    words: int = 9_000

    def described(self) -> dict[str, Any]:
        """As JSON values, folders by their last two names."""
        folders = {name: _short(getattr(self, name)) for name in ("negatives", "noise")}
        counts = {name: getattr(self, name) for name in ("tts", "seed", "rounds", "others", "words")}
        words = {phrase.word: {"positives": _short(phrase.positives), "near_misses": len(phrase.near)} for phrase in self.phrases}
        return {"phrases": words, **folders, **counts}


def _short(folders: Sequence[Path]) -> list[str]:
    return ["/".join(folder.resolve().parts[-2:]) for folder in folders]


def train(recipe: Recipe, work: Path, notes: Mapping[str, Any], say: Callable[[str], None], progress: Progress) -> list[Model]:
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


def _finished(number: int) -> Model:
    return finish(*_jobs[number])


def finish(
    recipe: Recipe, work: Path, number: int, material: Collection, rooms: list[augment.Sound], notes: Mapping[str, Any]
) -> Model:
    """The model of one word, measured on everybody by networks that did not know them."""
    word = recipe.phrases[number].word
    ends = [word_span(clip.samples) for clip in material.positives[number]]
    draft: dict[str, Any] = {
        "smoothing_steps": 4,
        "threshold": 0.5,
        "refractory_ms": 1000,
        "end_lag_ms": 0,
        "word_ms": round(float(np.median([end - start for start, end in ends])) / 16),
    }

    def model(left_out: int | None, stricter: float, detector: Mapping[str, Any], card: Mapping[str, Any]) -> Model:
        net = load_network(work, left_out, number)
        return export.to_model(net, word=word, detector=detector, card=card, stricter=stricter)

    heard = []
    for part in range(PARTS):
        others = [
            clip.samples
            for of_word, clips in enumerate(material.positives)
            for clip in clips
            if of_word != number and material.part_of[clip.person] == part
        ]
        heard.append(measure.streams(material.held_out(part, number), others, rooms, recipe.seed + part))
    variants = [[measure.scored(model(part, stricter, draft, {}), heard[part]) for part in range(PARTS)] for stricter in STRICTER]
    plain = model(None, 0.0, draft, {})
    setting, found = measure.choose(variants, plain, WAKES_PER_HOUR)
    figures = measure.as_card(found)
    detector = draft | {
        "smoothing_steps": setting.smoothing_steps,
        "threshold": setting.threshold,
        "end_lag_ms": figures["latency_ms"]["median"],
    }
    real = bool(recipe.phrases[number].positives)
    card = {
        "made_by": f"farfield {__version__}",
        "recipe": recipe.described(),
        "weights": weight_count(load_network(work, None, number)),
        "clips": {
            "word": len(material.positives[number]) if real else 0,
            "other_speech": len(material.negatives) if recipe.negatives else 0,
            "noise": len(material.noise),
            "synthetic": len(material.spoken[number]) + len(material.near) + len(material.sentences)
            + (0 if real else len(material.positives[number])),
        },
        "figures": {
            "on": _measured_on(real),
            "people": len({clip.person for clip in material.positives[number]}),
            **figures,
        },
        "calibration": measure.calibration(variants[setting.variant], plain, setting.smoothing_steps),
        **notes,
    }  # fmt: skip
    stricter = STRICTER[setting.variant]
    for part in range(PARTS):
        tested = model(part, stricter, detector, {"cross_validation": f"trained without part {part} of {PARTS}"})
        tested.save(work / f"{word.replace(' ', '_')}-without-{part}.safetensors")
    return replace(model(None, stricter, detector, {}), card=card)


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
