"""What several commands share: their options, whole-or-nothing files, progress on a terminal, extras."""

import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from farfield.errors import InputError

Command = TypeVar("Command", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
_profile = click.option(
    "--profile", default="single", show_default=True, metavar="P", help="A shipped profile's name, or a .toml file."
)
_reference = click.option(
    "--ref", "reference", type=click.Path(), metavar="FILE", help="What the loudspeaker played, from the same moment on."
)


def sound_options(command: Command) -> Command:
    """--profile and --ref: how a recording is laid out."""
    return _profile(_reference(command))


second_look = click.option(
    "--second-look/--no-second-look",
    "second_look",
    default=True,
    show_default=True,
    help="Whether the larger network that came with a model, where there is one, must agree before an event leaves.",
)


def note(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


def need(module: str, package: str, extra: str) -> ModuleType:
    """The module of an optional dependency; InputError with the pip command where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f"{package}: not installed; install it with: pip install 'farfield[{extra}]'") from None


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` only when everything went well; InputError where it cannot be written."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); wanted a file in a folder that is there") from None
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; wanted a file's name") from None
    finally:
        Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A function (what, done, of) that moves a bar on stderr; it shows nothing where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1)
        yield lambda what, done, of: bar.update(task, description=what, completed=done, total=of)
