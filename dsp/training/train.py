"""From folders of clips to a model file: two networks of one recipe.

The first is trained without a fifth of the people and noises and measured on those: its figures, threshold and smoothing
window go into the card. The second, which ships, is trained on everything. All of it can be cut short and taken up again.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from farfield._version import __version__
from farfield.errors import InputError
from farfield.model import Model
from farfield.training import export, measure
from farfield.training.clips import word_span
from farfield.training.fit import MINED, PER_FILE, ROUND, Progress, fit, make_segments, mine, refit
from farfield.training.material import collect
from farfield.training.network import weight_count

WAKES_PER_HOUR = 1.0
"""What the threshold is chosen for, in speech almost without pause: a fifth of it where one speaks a fifth of the time."""
STRICTER = (0.0, 2.0, 4.0, 6.0)
"""Taken off the logits in turn, so that the scores' 8 bits resolve what lies around the threshold."""


@dataclass(frozen=True)
class Recipe:
    """What to train and how much of it. near: phrases that sound like the word. others, words: segments of either kind."""

    word: str
    positives: tuple[Path, ...]
    negatives: tuple[Path, ...]
    noise: tuple[Path, ...]
    near: tuple[str, ...]
    seed: int = 1
    rounds: int = 45
    others: int = 40_000
    words: int = 16_000

    def described(self) -> dict[str, Any]:
        """As JSON values, folders by their last two names."""
        folders = {k: ["/".join(f.resolve().parts[-2:]) for f in getattr(self, k)] for k in ("positives", "negatives", "noise")}
        counts = {k: getattr(self, k) for k in ("word", "seed", "rounds", "others", "words")}
        return {**counts, **folders, "near": len(self.near)}


def train(recipe: Recipe, work: Path, notes: dict[str, Any], say: Callable[[str], None], progress: Progress) -> Model:
    """The trained model. work: folder for what is made on the way, taken up again by a run of the same recipe.

    notes: the caller's part of the card (sources, licences, command). InputError for unusable material, or a work folder
    that belongs to another recipe.
    """
    _claim(work, recipe)
    material = collect(recipe.word, recipe.positives, recipe.negatives, recipe.noise, recipe.near, recipe.seed, say)
    for line in material.skipped:
        say(f"skipped: {line}")
    nets = []
    for held_out in (True, False):
        folder = work / ("held-out" if held_out else "all")
        mixed, _ = material.split(held_out, recipe.seed)
        make_segments(mixed, folder, (recipe.others, recipe.words), recipe.seed, progress)
        net = fit(folder, recipe.rounds, recipe.seed, progress)
        say(f"{folder.name}: fitted")
        for kind in MINED:
            places = mine(mixed, net, folder, kind, recipe.others // 4, recipe.seed, progress)
            if not places:
                break
            net = refit(net, folder, kind, max(4, recipe.rounds * 2 // 7), recipe.seed, progress)
            say(f"{folder.name}: fitted further with {places} places at which it had been woken")
        nets.append(net)
    _, held = material.split(True, recipe.seed)
    ends = [word_span(clip.samples) for clip in material.positives] or [word_span(samples) for samples in material.spoken]
    draft = {
        "smoothing_steps": 4,
        "threshold": 0.5,
        "refractory_ms": 1000,
        "end_lag_ms": 0,
        "word_ms": round(float(np.median([end - start for start, end in ends])) / 16),
    }
    say(f"measuring on {len(held.positives)} clips of the word and {len(held.negatives)} of other speech, all held out")
    on = measure.streams(held, material.rooms, recipe.seed)
    judged = [
        export.to_model(nets[0], word=recipe.word, detector=draft, card={"draft": True}, stricter=logits) for logits in STRICTER
    ]
    number, chosen, found = measure.choose(judged, on, WAKES_PER_HOUR)
    card = {
        "made_by": f"farfield {__version__}",
        "recipe": recipe.described(),
        "weights": weight_count(nets[1]),
        "clips": {
            "word": len(material.positives),
            "other_speech": len(material.negatives),
            "noise": len(material.noise),
            "synthetic": len(material.spoken) + len(material.near) + len(material.sentences),
        },
        "figures": {
            "on": "people and noises that the measured network had not been trained on, but that chose threshold and smoothing; "
            "the network in this file, of the same recipe, was trained on them too",
            "people_held_out": sorted({clip.person for clip in held.positives}),
            **measure.as_card(found),
        },
        "calibration": measure.calibration(chosen, on),
        **notes,
    }
    late_ms = card["figures"]["latency_ms"]["median"]
    detector = {name: getattr(chosen, name) for name in ("smoothing_steps", "threshold", "refractory_ms", "word_ms")}
    shipped = export.to_model(nets[1], word=recipe.word, detector={**detector, "end_lag_ms": late_ms}, card=card,
                              stricter=STRICTER[number])  # fmt: skip
    return replace(shipped, card=card)


def _claim(work: Path, recipe: Recipe) -> None:
    work.mkdir(parents=True, exist_ok=True)
    claim = work / "recipe.json"
    described = json.dumps(recipe.described() | {"near": list(recipe.near), "files": PER_FILE, "round": ROUND}, indent=1)
    if claim.exists() and claim.read_text("utf-8") != described:
        raise InputError(f"{work}: belongs to another recipe ({claim.name} differs); wanted another --work folder")
    claim.write_text(described, "utf-8")
