"""`farfield audit`: whether everything that was done is still told, and nothing else was done."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farfield.cli.shared import as_json, need, note, store_option, whole_file
from farfield.errors import InputError

if TYPE_CHECKING:
    from farfield.store import Store


@click.group()
def audit() -> None:
    """The log of everything that was stored, read, exported and deleted: show it, verify it, prove an entry."""


@audit.command()
@store_option
@as_json
def show(folder: Path, as_json: bool) -> None:
    """Every entry, oldest first."""
    opened = _open(folder)
    from farfield.store import audit as auditing

    for entry in auditing.entries(opened):
        if as_json:
            print(json.dumps(entry))
        else:
            known = {name: value for name, value in entry.items() if name not in ("entry", "at", "what")}
            told = ", ".join(f"{name} {value}" for name, value in known.items() if value != "")
            print(f"{entry['entry']}  {entry['at']}  {entry['what']}" + (f": {told}" if told else ""))


@audit.command()
@store_option
@click.option("--checkpoint", "saved", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="A checkpoint or receipt, kept elsewhere, which the log must have grown out of; repeatable.")  # fmt: skip
@as_json
def verify(folder: Path, saved: tuple[Path, ...], as_json: bool) -> int:
    """Verify the log, its signed head, and that what is kept is what it tells of. Exit status 1 where something is wrong.

    Without a checkpoint that was kept elsewhere, a whole store that was put back to an earlier state cannot be told from one that
    never went on.
    """
    opened = _open(folder)
    from farfield.store import audit as auditing
    from farfield.store.receipt import read_witness

    entries, wrong = auditing.verify(opened, [read_witness(path, opened.device.public) for path in saved])
    if as_json:
        print(json.dumps({"entries": entries, "wrong": wrong}))
    else:
        for line in wrong:
            print(line)
        print(f"{entries} entries, " + (f"{len(wrong)} things wrong" if wrong else "all as it was signed"))
    return 1 if wrong else 0


@audit.command()
@store_option
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to write. [default: stdout]")
def checkpoint(folder: Path, output: Path | None) -> None:
    """The log's signed head, to be kept elsewhere and given to `verify` later."""
    opened = _open(folder)
    from farfield.store import audit as auditing

    signed = auditing.checkpoint(opened)
    if output is None:
        print(signed, end="")
        return
    try:
        with whole_file(output) as written:
            written.write_text(signed, "utf-8")
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}); wanted a folder with room") from None
    note(f"{output}: written")


@audit.command()
@click.argument("entry", type=int)
@store_option
def prove(entry: int, folder: Path) -> None:
    """That an entry is in the log, as JSON: its bytes, its audit path (RFC 6962), and the signed head that the path leads to."""
    opened = _open(folder)
    from farfield.store import audit as auditing

    print(json.dumps(auditing.proof(opened, entry), indent=2))


def _open(folder: Path) -> "Store":
    """The store as it is: what is to be verified is not changed first."""
    need("cryptography", "cryptography", "store")
    from farfield.store import Store

    return Store(folder)
