"""What several commands share: their options, whole-or-nothing files, progress on a terminal, extras."""

import importlib
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from farfield.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from farfield.store import Receipt, Store

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


class FiniteRange(click.FloatRange):
    """A number within bounds; `nan` is within any, and is refused, as `inf` is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"got {value}, wanted a finite number", param, ctx)
        return number


def note(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


def need(module: str, package: str, extra: str) -> ModuleType:
    """The module of an optional dependency; InputError with the pip command where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f"{package}: not installed; install it with: pip install 'farfield[{extra}]'") from None


store_option = click.option(
    "--store", "folder", envvar="FARFIELD_STORE", required=True, type=click.Path(path_type=Path), metavar="FOLDER",
    help="The store; set up by: farfield store setup. [env: FARFIELD_STORE]",
)  # fmt: skip
key_option = click.option(
    "--key", required=True, type=click.Path(path_type=Path), metavar="FILE.key", help="The owner's private key."
)
passphrase_option = click.option(
    "--passphrase-file", type=click.Path(path_type=Path), metavar="FILE",
    help="Holds the key's passphrase on its first line. [default: ask for it]",
)  # fmt: skip


def open_store(folder: Path) -> "Store":
    """The store in a folder, with what is past its retention gone."""
    need("cryptography", "cryptography", "store")
    from farfield.store import Store

    store = Store(folder)
    store.expire()
    return store


def new_file(path: Path) -> None:
    """InputError where a file is there already, or its folder is not: before anything is done that it is to tell of."""
    if path.exists() or not path.parent.is_dir():
        raise InputError(f"{path}: {'is there already' if path.exists() else 'has no folder'}; wanted a new file's name")


def refuse_unwritable(path: Path) -> None:
    """InputError where no file can get this name: to be asked before the work that the file is to tell of."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        why = "is a folder" if path.is_dir() else "has no folder"
        raise InputError(f"{path}: cannot be written ({why}); wanted a file in a folder that is there")


def drawable(plot: Path | None) -> None:
    """Before the work that a plot is to show: InputError where matplotlib is not installed, or the plot cannot be written."""
    if plot is not None:
        need("matplotlib", "matplotlib", "eval")
        refuse_unwritable(plot)


def no_input(output: Path, *inputs: str | Path | None) -> None:
    """InputError where what is to be written is one of the files that are read."""
    if output.exists() and any(output.samefile(path) for path in inputs if path is not None and Path(path).exists()):
        raise InputError(f"{output}: is an input; wanted another file's name")


def write_receipt(store: "Store", receipt: "Receipt", path: Path) -> None:
    """A receipt, signed, into a new file; where that fails it goes to stdout, for it cannot be had again."""
    from farfield.store import keys

    signed = receipt.signed(store.device.signing)
    try:
        keys.write_new(path, signed, mode=0o644)
    except InputError:
        print(signed.decode(), end="")
        raise


def private_key(path: Path, passphrase_file: Path | None) -> "X25519PrivateKey":
    """A private key, with its passphrase from a file or asked for on the terminal."""
    from farfield.store import keys

    if not keys.needs_passphrase(path):
        return keys.load_private(path)
    return keys.load_private(path, read_passphrase(passphrase_file, f"Passphrase of {path}"))


def read_passphrase(path: Path | None, prompt: str, confirm: bool = False) -> str:
    """The first line of a file, or what is typed, unseen; InputError where there is neither."""
    if path is None:
        if not sys.stdin.isatty():
            raise InputError("passphrase: there is no terminal to ask on; wanted --passphrase-file FILE")
        return str(click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True))
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); wanted a passphrase on its first line") from None
    if not lines or not lines[0]:
        raise InputError(f"{path}: is empty; wanted a passphrase on its first line")
    return lines[0]


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
