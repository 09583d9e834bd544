"""`farfield hil compare`: what changed between two runs."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from farfield.cli.shared import FiniteRange
from farfield.hil.compare import compare as changes_of
from farfield.hil.result import load_result

_path = click.Path(path_type=Path)


@click.command()
@click.argument("before", type=_path, metavar="A")
@click.argument("after", type=_path, metavar="B")
@click.option("--latency-ms", type=FiniteRange(0), default=1.0, show_default=True, metavar="MS",
              help="By how much the median algorithmic latency may grow.")  # fmt: skip
@click.option("--system-ms", type=FiniteRange(0), default=5.0, show_default=True, metavar="MS",
              help="By how much the 99th percentile of the system latency may grow.")  # fmt: skip
@click.option("--direction-deg", type=FiniteRange(0), default=5.0, show_default=True, metavar="DEG",
              help="By how much the largest error of direction may grow.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
def compare(before: Path, after: Path, latency_ms: float, system_ms: float, direction_deg: float, as_json: bool) -> int:
    """Say what changed from run A to run B, each the folder of a report or its result.json. Exit status 1 on a regression."""
    most = {"latency_ms": latency_ms, "system_ms": system_ms, "direction_deg": direction_deg}
    changes = changes_of(load_result(before), load_result(after), **most)
    for change in changes:
        if as_json:
            print(json.dumps(asdict(change)))
        else:
            print(f"{'WORSE' if change.is_worse else '     '}  {change.room + ': ' if change.room else ''}{change.text}")
    worse = sum(change.is_worse for change in changes)
    if not as_json:
        print(f"{len(changes)} changes, {worse} for the worse." if changes else "Nothing changed.")
    return 1 if worse else 0
