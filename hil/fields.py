"""Reading the fields of a TOML table: each mistake is one line that names the file and the field."""

import difflib
import tomllib
from pathlib import Path
from typing import Any

from farfield import InputError


def read_toml(path: Path, wanted: str) -> dict[str, Any]:
    """The file's table. InputError: no such file, or not TOML."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; wanted {wanted}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as TOML ({str(error)[:200]}); wanted {wanted}") from None


def shown(table: dict[str, Any], name: str) -> str:
    """A field's value, for people; 80 characters at most."""
    if name not in table:
        return "nothing"
    try:
        return repr(table[name])[:80]
    except ValueError:  # Python writes no number of more than 4,300 digits, which TOML's hexadecimal ones can have
        return "a number of thousands of digits"


class Fields:
    """One table's fields, asked for by name; `done` complains of those that nobody asked for."""

    def __init__(self, source: str, prefix: str, table: dict[str, Any]) -> None:
        self.source, self.prefix, self._table = source, prefix, table
        self._asked: list[str] = []

    def wrong(self, name: str, wanted: str) -> InputError:
        """What to raise for a field that is not what was wanted."""
        return InputError(f"{self.source}: field {self.prefix}{name}: got {shown(self._table, name)}, wanted {wanted}")

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        self._asked.append(name)
        return name in self._table

    def text(self, name: str, default: str | None = None) -> str:
        """A text that is not empty."""
        value = self._get(name, default)
        if not isinstance(value, str) or not (value or default == ""):
            raise self.wrong(name, "a text")
        return value

    def choice(self, name: str, known: tuple[str, ...], default: str) -> str:
        """One of several texts."""
        value = self._get(name, default)
        if value not in known:
            raise self.wrong(name, f"one of {', '.join(known)}")
        return str(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; none where the field is not there."""
        value = self._get(name, [])
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            raise self.wrong(name, "a list of texts")
        return tuple(value)

    def whole(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(name, f"a whole number from {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number."""
        value = self._get(name, default)
        if not _is_number(value, low, high):
            raise self.wrong(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def numbers(self, name: str, low: float, high: float, default: tuple[float, ...]) -> tuple[float, ...]:
        """A list of one or more finite numbers."""
        value = self._get(name, list(default))
        if not isinstance(value, list) or not value or not all(_is_number(one, low, high) for one in value):
            raise self.wrong(name, f"a list of numbers from {low:g} to {high:g}")
        return tuple(float(one) for one in value)

    def table(self, name: str) -> "Fields":
        """A table below this one; empty where it is not there."""
        value = self._get(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, "a table")
        return Fields(self.source, f"{self.prefix}{name}.", value)

    def tables(self, name: str) -> list["Fields"]:
        """A list of tables, one or more."""
        value = self._get(name, [])
        if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
            raise self.wrong(name, f"[[{name}]] tables")
        return [Fields(self.source, f"{self.prefix}{name}[{number}].", one) for number, one in enumerate(value)]

    def done(self) -> None:
        """InputError for a field that nobody asked for."""
        for name in self._table:
            if name not in self._asked:
                near = difflib.get_close_matches(name, self._asked, 1)
                hint = f"did you mean {near[0]}?" if near else f"wanted one of {', '.join(sorted(set(self._asked)))}"
                raise InputError(f"{self.source}: field {self.prefix}{name[:80]} is not known; {hint}")

    def _get(self, name: str, default: Any) -> Any:
        self._asked.append(name)
        return self._table.get(name, default)


def _is_number(value: object, low: float, high: float) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and low <= value <= high  # which NaN is not
