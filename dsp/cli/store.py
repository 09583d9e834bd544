"""`farfield store`: keys, and a folder to keep utterances in."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from farfield.cli.shared import as_json, need, note, open_store, passphrase_option, read_passphrase, store_option
from farfield.errors import InputError

_path = click.Path(path_type=Path)


@click.group()
def store() -> None:
    """Where utterances are kept, sealed to their owner: keys and settings."""


@store.command()
@click.option("-o", "--output", required=True, type=_path, metavar="FILE.key", help="The private key; the public one: FILE.pub.")
@click.option("--no-passphrase", is_flag=True, help="Whoever has the file has the key.")
@passphrase_option
def key(output: Path, no_passphrase: bool, passphrase_file: Path | None) -> None:
    """Make a pair of keys, the owner's or the reviewers'.

    Do it where the private key is to live, which is not the device: the device needs FILE.pub alone. What is sealed to a key that
    is lost is lost.
    """
    need("cryptography", "cryptography", "store")
    from farfield.store import keys

    passphrase = None if no_passphrase else read_passphrase(passphrase_file, f"Passphrase for {output}", confirm=True)
    public = keys.make_pair(output, passphrase)
    print(f"{output}: keep it; {public}: for the device, fingerprint {keys.fingerprint(keys.load_public(public))}")


@store.command()
@click.argument("folder", type=_path, envvar="FARFIELD_STORE", metavar="FOLDER")
@click.option("--owner", type=_path, metavar="FILE.pub", help="The owner's public key; needed the first time.")
@click.option("--reviewers", type=_path, metavar="FILE.pub", help="The reviewers' public key.")
@click.option("--no-reviewers", is_flag=True, help="Nothing can be reviewed any more.")
@click.option("--retention-days", type=int, metavar="N", help="Days after which an utterance is deleted. [default: 30]")
@click.option("--sample-share", type=float, metavar="X", help="Share that reviewers may get, with consent. [default: 0.01]")
@click.option("--sample-a-day", type=int, metavar="N", help="The most of them of one day. [default: 5]")
@click.option("--sample-on-device", type=int, metavar="N", help="The most of them this device ever gives. [default: 500]")
@click.option("--epoch-days", type=int, metavar="N", help="Days for which it goes by one pseudonym. [default: 30]")
def setup(folder: Path, owner: Path | None, reviewers: Path | None, no_reviewers: bool, **numbers: float | None) -> None:
    """Make a store with keys of the device's own, or give one that is there other settings.

    Nothing is kept before: farfield consent give store. A new owner's key is for what comes; what is kept stays with the old one.
    """
    need("cryptography", "cryptography", "store")
    from farfield.store import Settings, Store, keys

    if reviewers and no_reviewers:
        raise InputError("setup: got both --reviewers and --no-reviewers, wanted one of them")
    is_new = not (folder / "records.db").is_file()
    wanted: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None}
    wanted |= {name: keys.load_public(path) for name, path in (("owner", owner), ("reviewers", reviewers)) if path}
    if not is_new:
        before = Store(folder).settings()
        wanted = {field.name: getattr(before, field.name) for field in fields(before)} | wanted
    elif owner is None:
        raise InputError("--owner: got none, wanted the owner's public key (make one with: farfield store key)")
    if no_reviewers:
        wanted["reviewers"] = None
    made = Store.set_up(folder, Settings(**wanted))
    note(f"{folder}: {'made' if is_new else 'changed'}; the device's key is {keys.fingerprint(made.device.public)}"
         f" ({folder / 'device.pub'})")  # fmt: skip


@store.command()
@store_option
@as_json
def show(folder: Path, as_json: bool) -> None:
    """The settings, whose keys it seals to, and how much it holds."""
    opened = open_store(folder)
    from farfield.store import keys

    settings = opened.settings()
    told: dict[str, Any] = {field.name: getattr(settings, field.name) for field in fields(settings)}
    told |= {name: keys.fingerprint(told[name]) if told[name] else None for name in ("owner", "reviewers")}
    told |= {"device": keys.fingerprint(opened.device.public), "utterances": len(opened.utterances())}
    if as_json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            print(f"{name.replace('_', ' ')}: {'none' if value is None else value}")
