"""A set of rooms, one TOML file: recorded ones and ones to be made, with what each must come to.

name = "..."                    description = "..."
models = ["alexa"]              what listens, unless the command says otherwise
within_s = 0.5                  how long after a word's end a decision still counts as a hit
[[room]]
name = "kitchen"
folder = "rooms/kitchen"        a recorded room, beside this file; or
[room.make]                     how to make one (farfield/hil/recipe.py)
[room.bounds]                   what it must come to to pass (farfield/hil/bounds.py)
[room.goals]                    what is aimed at; told beside the verdict, and the verdict itself where --goals is given
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from farfield import InputError
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

    def only(self, names: tuple[str, ...]) -> "RoomSet":
        """The set with the named rooms alone. InputError: a name that it does not have."""
        known = [entry.name for entry in self.entries]
        for name in names:
            if name not in known:
                raise InputError(f"--only: got {name!r}, wanted one of {', '.join(known)}")
        entries = tuple(entry for entry in self.entries if not names or entry.name in names)
        return RoomSet(self.name, self.description, self.models, self.within_s, entries)


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
        words = tuple(sorted({word.text for word in load_room(path).words}))
        return RoomSet(path.name, "", words, WITHIN_S, (Entry(path.name, path, None, clean, Bounds()),))
    top = Fields(given, "", read_toml(path, f"a room set, a recorded room's folder, or one of {', '.join(shipped_sets())}"))
    entries = []
    for table in top.tables("room"):
        name = table.text("name")
        if table.has("folder") == table.has("make"):
            raise table.wrong("folder", "either a recorded room's folder or [room.make]")
        folder = path.parent / table.text("folder") if table.has("folder") else None
        recipe = Recipe.read(table.table("make")) if folder is None else None
        entries.append(Entry(name, folder, recipe, Bounds.read(table.table("bounds")), Bounds.read(table.table("goals"))))
        table.done()
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{given}: two rooms are called {name!r}; wanted each name once")
    name, description, models = top.text("name"), top.text("description", ""), top.texts("models")
    within_s = top.number("within_s", 0, 10, WITHIN_S)
    top.done()
    return RoomSet(name, description, models, within_s, tuple(entries))
