"""A set of rooms, one TOML file: recorded ones and ones to be made, with what each must come to.

name = "..."                    description = "..."
models = ["alexa"]              what listens, unless the command says otherwise
fa_per_hour = 0.1               in all rooms alike, what listens decides at the threshold that its card's calibration gives for so
                                many false accepts an hour where somebody speaks a fifth of the time, as `farfield listen
                                --fa-per-hour` does: never one that was found in the set's own rooms. Not there: at its own
within_s = 0.5                  how long after a word's end a decision still counts as a hit
[[room]]
name = "kitchen"
folder = "rooms/kitchen"        a recorded room, beside this file; or
[room.make]                     how to make one (farfield/hil/recipe.py)
[room.bounds]                   what it must come to to pass (farfield/hil/bounds.py)
[room.goals]                    what is aimed at; told beside the verdict, and the verdict itself where --goals is given
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from farfield import InputError, Model, load_model
from farfield.hil.bounds import Bounds
from farfield.hil.fields import Fields, read_toml
from farfield.hil.maker import made
from farfield.hil.material import Material
from farfield.hil.recipe import Recipe
from farfield.hil.room import load_room
from farfield.hil.scene import Scene, of_room
from farfield.hil.scoring import WITHIN_S


@dataclass(frozen=True)
class Entry:
    """One room of a set, or several that are made alike. Either folder or recipe is None."""

    name: str
    folder: Path | None
    recipe: Recipe | None
    bounds: Bounds
    goals: Bounds

    @property
    def count(self) -> int:
        """How many rooms it stands for."""
        return self.recipe.count if self.recipe else 1

    def scene(self, word: str, number: int, material: Material) -> Scene:
        """Its room of that number. word: what is said in those that are made. InputError: one that cannot be had."""
        if self.recipe is None:
            assert self.folder is not None
            return of_room(load_room(self.folder), self.name)
        return made(self.recipe, self.name if self.count == 1 else f"{self.name} {number + 1}", word, number, material)

    def scenes(self, word: str, material: Material) -> Iterator[Scene]:
        """Its rooms, one at a time."""
        return (self.scene(word, number, material) for number in range(self.count))


@dataclass(frozen=True)
class RoomSet:
    """Rooms, what listens in them, and what they must come to."""

    name: str
    description: str
    models: tuple[str, ...]
    within_s: float
    entries: tuple[Entry, ...]
    fa_per_hour: float | None = None

    def only(self, names: tuple[str, ...]) -> "RoomSet":
        """The set with the named rooms alone. InputError: a name that it does not have."""
        known = [entry.name for entry in self.entries]
        for name in names:
            if name not in known:
                raise InputError(f"--only: got {name!r}, wanted one of {', '.join(known)}")
        return replace(self, entries=tuple(entry for entry in self.entries if not names or entry.name in names))

    def listeners(
        self,
        names: Sequence[str] = (),
        *,
        second_look: bool = True,
        fa_per_hour: float | None = None,
        threshold: float | None = None,
    ) -> list[Model]:
        """What listens: the named models, else the set's, else alexa; each at the threshold that is asked for.

        That is `threshold`, else the one of its card for `fa_per_hour`, else for the set's, else its own. InputError: both, or a
        threshold or a rate that is none, or a model that cannot be had or whose card does not tell of such a rate, or two models
        of one word: what the second hears would be a false accept, each time.
        """
        if threshold is not None:
            if fa_per_hour is not None:
                raise InputError("fa-per-hour: got a threshold too, wanted one of the two")
            if not 0 <= threshold < 1:
                raise InputError(f"threshold: got {threshold}, wanted 0 or more and less than 1")
        models = [load_model(name, second_look=second_look) for name in names or self.models or ("alexa",)]
        words = [model.word.casefold() for model in models]
        for word in words:
            if words.count(word) > 1:
                raise InputError(f"model: got {words.count(word)} for the word {word!r}, wanted one for each word")
        if threshold is not None:
            return [model.deciding_at(threshold) for model in models]
        rate = self.fa_per_hour if fa_per_hour is None else fa_per_hour
        if rate is None:
            return models
        try:
            return [model.deciding_at(model.threshold_for(rate)) for model in models]
        except InputError as error:
            raise InputError(f"{self.name} at {rate:g} false accepts an hour: {error}") from None


def shipped_sets() -> list[str]:
    """The names of the sets that ship with farfield."""
    folder = resources.files("farfield.hil") / "sets"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_set(name_or_path: str | Path) -> RoomSet:
    """A shipped set by its name, one from a TOML file, or a recorded room's folder as a set of itself.

    InputError: one line that names the file, the field, what came and what was wanted.
    """
    given = str(name_or_path)
    path = Path(str(resources.files("farfield.hil") / "sets" / f"{given}.toml")) if given in shipped_sets() else Path(given)
    if path.is_dir():
        clean = Bounds(missed_at_most=0, false_accepts_at_most=0)
        room = load_room(path)
        words = tuple(sorted({word.text.casefold() for word in room.words}))  # models are named so
        return RoomSet(room.name, "", words, WITHIN_S, (Entry(room.name, path, None, clean, Bounds()),))
    top = Fields(given, "", read_toml(path, f"a room set, a recorded room's folder, or one of {', '.join(shipped_sets())}"))
    entries = []
    for table in top.tables("room"):
        name = table.text("name")
        if table.has("folder") == table.has("make"):
            raise table.wrong("folder", "either a recorded room's folder or [room.make]")
        folder = path.parent / table.text("folder") if table.has("folder") else None
        recipe = Recipe.read(table.table("make"), path.parent) if folder is None else None
        entries.append(Entry(name, folder, recipe, Bounds.read(table.table("bounds")), Bounds.read(table.table("goals"))))
        table.done()
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{given}: two rooms are called {name!r}; wanted each name once")
    name, description, models = top.text("name"), top.text("description", ""), top.texts("models")
    within_s = top.number("within_s", 0, 10, WITHIN_S)
    fa_per_hour = top.number("fa_per_hour", 0, 3_600) if top.has("fa_per_hour") else None
    top.done()
    return RoomSet(name, description, models, within_s, tuple(entries), fa_per_hour)
