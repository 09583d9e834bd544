"""`farfield consent`: what the owner allows, and takes back."""

import json
from pathlib import Path

import click

from farfield.cli.shared import as_json, new_file, note, open_store, store_option, write_receipt
from farfield.errors import InputError

_purposes = click.argument("purposes", nargs=-1, required=True, metavar="PURPOSE...")
_receipt = click.option("--receipt", type=click.Path(path_type=Path), metavar="FILE", help="Write the signed receipt here too.")


@click.group()
def consent() -> None:
    """What may be kept and for what: store, review, train, false-wake. Off until it is given."""


@consent.command()
@store_option
@click.option("--record", is_flag=True, help="Everything that was ever given and withdrawn.")
@as_json
def show(folder: Path, record: bool, as_json: bool) -> None:
    """What is consented to now, since when and under which policy."""
    opened = open_store(folder)
    from farfield.store import PURPOSES
    from farfield.store.records import when

    entries = opened.consents()
    last = {entry.purpose: entry for entry in entries}
    for purpose, entry in [(one.purpose, one) for one in entries] if record else [(name, last.get(name)) for name in PURPOSES]:
        if entry is None:
            print(json.dumps({"purpose": purpose, "given": False}) if as_json else f"{purpose}: not given")
            continue
        policy = {"policy": entry.policy.version, "policy_hash": entry.policy.text_hash} if entry.policy else {}
        if as_json:
            print(json.dumps({"purpose": entry.purpose, "given": entry.given, "at": when(entry.at)} | policy))
        else:
            under = f" under policy {entry.policy.version} (SHA-256 {entry.policy.text_hash[:16]})" if entry.policy else ""
            print(f"{entry.purpose}: {'given' if entry.given else 'withdrawn'} {when(entry.at)}{under}")


@consent.command()
@_purposes
@store_option
@click.option("--policy", type=click.Path(path_type=Path), metavar="FILE", help="What is agreed to. [default: as shipped]")
@click.option("--policy-version", metavar="V", help="Its version; needed with --policy, and only with it.")
def give(purposes: tuple[str, ...], folder: Path, policy: Path | None, policy_version: str | None) -> None:
    """Consent to purposes. What is agreed to is shown, and kept in the record by version and hash."""
    if policy is None and policy_version is not None:
        raise InputError(f"--policy-version: got {policy_version} without --policy, wanted both or neither")
    opened = open_store(folder)
    from farfield.store import Policy
    from farfield.store.consent import SHIPPED_VERSION, check, policy_text

    for purpose in purposes:
        check(purpose)
    text = policy_text(policy)
    note(text.decode(errors="replace"))
    opened.give(purposes, Policy.of(text, policy_version or ("" if policy else SHIPPED_VERSION)))
    print(f"given: {', '.join(purposes)}")


@consent.command()
@_purposes
@store_option
@_receipt
def withdraw(purposes: tuple[str, ...], folder: Path, receipt: Path | None) -> None:
    """Take consent back, for what is stored already too.

    store: every utterance is destroyed. review, false-wake: whatever reviewers have not yet got, they do not get. train: no
    utterance may teach any more.
    """
    opened = open_store(folder)
    if receipt:
        new_file(receipt)
    got = opened.withdraw(purposes)
    if receipt:
        write_receipt(opened, got, receipt)
    print(f"withdrawn: {', '.join(purposes)}; utterances destroyed: {len(got.utterances)}")
    if got.recalled:
        print(f"reviewers have had, and must destroy: {', '.join(got.recalled)}")
