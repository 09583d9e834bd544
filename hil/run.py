"""A set of rooms on a rig: every room heard, held against the truth, and each entry of the set against its bounds."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from typing import Any

from farfield import Model, __version__
from farfield.hil import bounds, result
from farfield.hil.faults import Faults
from farfield.hil.listening import Heard, listen
from farfield.hil.material import Material
from farfield.hil.result import FAILED, INVALID, PASSED
from farfield.hil.rigs.base import NO_FAULTS, Rig
from farfield.hil.rigs.check import Check, check, refuse_unfit
from farfield.hil.room import load_room
from farfield.hil.roomset import Entry, RoomSet
from farfield.hil.scene import Scene

OnRoom = Callable[[dict[str, Any], Heard], None]
Progress = Callable[[str, int, int], None]


class Checks:
    """A rig's checks, one for each layout of channels that it is asked for."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.done: dict[tuple[int, int], Check] = {}

    def pass_for(self, scene: Scene) -> None:
        """InputError: the rig does not carry such a scene as it should."""
        profile, references = self._rig.layout(scene)
        layout = len(profile.microphones), references
        if layout not in self.done:
            self.done[layout] = check(self._rig, profile, references)
            refuse_unfit(self.done[layout])


def run(
    rooms: RoomSet,
    rig: Rig,
    models: Sequence[Model],
    material: Material,
    *,
    faults: Faults = NO_FAULTS,
    repeat: int = 1,
    goals: bool = False,
    on_room: OnRoom = lambda found, heard: None,
    progress: Progress = lambda what, done, of: None,
    within: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> dict[str, Any]:
    """Every room of the set, `repeat` times, as `farfield.hil.result` describes it.

    models: what listens; the first one's word is said in rooms that are made. goals: whether the set's goals decide, instead of
    its bounds. on_room: called after each pass, with its result and what was heard. within: what a rig is checked and heard in,
    such as real-time priority. InputError: a recorded room that cannot be had, before the first is heard; one that cannot be
    made, or a rig that does not pass its check.
    """
    for entry in rooms.entries:
        if entry.folder is not None:
            load_room(entry.folder).source()
    checks = Checks(rig)
    entries = []
    for entry in rooms.entries:
        passes: list[list[dict[str, Any]]] = [[] for _ in range(repeat)]
        for scene in entry.scenes(models[0].word, material):
            with within():
                checks.pass_for(scene)

            def told(done: int, of: int, name: str = scene.name) -> None:
                progress(name, done, of)

            for turn, found in enumerate(passes):
                with within():
                    heard = listen(rig, scene, models, faults, progress=told)
                one = result.of_room(heard, models, rooms.within_s) | {"repeat": turn, "inexact": not rig.exact}
                found.append(one)
                on_room(one, heard)
        entries += [_entry(entry, turn, found, passes[0], faults, goals) for turn, found in enumerate(passes)]
    return {
        "format": result.FORMAT,
        "farfield": __version__,
        "set": rooms.name,
        "description": rooms.description,
        "rig": rig.name,
        "faults": {name: value for name, value in asdict(faults).items() if value},
        "within_s": rooms.within_s,
        "decides": "goals" if goals else "bounds",
        "models": [_model(model) for model in models],
        "checks": [asdict(one) for one in checks.done.values()],
        "entries": entries,
    }


def is_passed(found: dict[str, Any]) -> bool:
    """Whether every entry passed; one that is invalid did not."""
    return all(entry["verdict"] == PASSED for entry in found["entries"])


def _entry(
    entry: Entry, turn: int, rooms: list[dict[str, Any]], first: list[dict[str, Any]], faults: Faults, goals: bool
) -> dict[str, Any]:
    figures = bounds.of_rooms(rooms)
    wanted = entry.bounds
    if wanted.lost_samples_at_most is None and not faults.lose:
        wanted = replace(wanted, lost_samples_at_most=0)
    short = entry.goals.broken(figures)
    broken = (wanted.tightened(entry.goals) if goals else wanted).broken(figures)
    if _heard_otherwise(rooms, first):
        broken.append("the same samples were heard otherwise than in the first pass")
    unexplained = [f"{room['name']}: {text}" for room in rooms for text in room["unexplained"]]
    verdict = INVALID if unexplained else FAILED if broken else PASSED
    return {
        "name": entry.name,
        "repeat": turn,
        "verdict": verdict,
        "reasons": unexplained or broken,
        "goals_missed": short,
        "has_goals": not entry.goals.is_empty,
        "figures": asdict(figures)
        | {"missed_share": figures.missed_share, "false_accepts_per_24h": figures.false_accepts_per_24h},
        "rooms": rooms,
    }


def _heard_otherwise(rooms: list[dict[str, Any]], first: list[dict[str, Any]]) -> bool:
    """Whether a pass that lost nothing decided otherwise than a first one that lost nothing either."""

    def decisions(room: dict[str, Any]) -> list[int]:
        return sorted(one["decision"] for one in (*room["hits"], *room["false_accepts"]))

    return any(
        not (a["lost_samples"] or b["lost_samples"] or a["inexact"] or b["inexact"]) and decisions(a) != decisions(b)
        for a, b in zip(rooms, first, strict=True)
    )


def _model(model: Model) -> dict[str, Any]:
    look = model.second_look
    return {
        "word": model.word,
        "threshold": model.deciding_threshold,
        "network": model.fingerprint[:16],
        "second_look": look.fingerprint[:16] if look else None,
    }
