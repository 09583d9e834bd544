"""`farfield hil run`: a set of rooms on a rig, and a verdict on each."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from farfield import InputError
from farfield.cli.shared import progress_bar, refuse_unwritable
from farfield.hil.cli.options import Faults, Rig, clips, priority, realtime, rig_options, room_set
from farfield.hil.listening import Heard
from farfield.hil.material import Material
from farfield.hil.report import make_folder, write_report, write_whole
from farfield.hil.report.junit import junit
from farfield.hil.report.page import Gallery
from farfield.hil.result import FAILED, INVALID, PASSED
from farfield.hil.roomset import load_set
from farfield.hil.run import is_passed
from farfield.hil.run import run as run_set

_COLOURS = {PASSED: "green", FAILED: "red", INVALID: "yellow"}
_PRINTED_COLUMNS = 140  # where there is no terminal to ask


@click.command()
@room_set
@rig_options
@clips
@realtime
@click.option("--only", multiple=True, metavar="ROOM", help="Only this room of the set; repeatable.")
@click.option("--repeat", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How often each is heard.")
@click.option("--goals", is_flag=True, help="The set's goals decide, instead of its bounds.")
@click.option("--junit", "xml", type=click.Path(path_type=Path), metavar="FILE", help="Write the verdicts as JUnit XML.")
@click.option("--report", "folder", type=click.Path(path_type=Path), metavar="DIR",
              help="Write report.html, with plots and the sound of every miss and false accept, and result.json.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object on stdout instead of a table.")
def run(
    rooms: str,
    rig: Rig,
    names: tuple[str, ...],
    second_look: bool,
    fa_per_hour: float | None,
    threshold: float | None,
    faults: Faults,
    clips: Path | None,
    is_realtime: bool,
    only: tuple[str, ...],
    repeat: int,
    goals: bool,
    xml: Path | None,
    folder: Path | None,
    as_json: bool,
) -> int:
    """Play the rooms of SET through a rig, and hold every detection, its time and its direction against the truth.

    SET is a shipped set's name (demo, streaming-noise, system-latency, voice-assistant), a .toml file, or a recorded room's
    folder. Exit status 1 where a room failed, or where its run is invalid: with a gap that the source did not account for it says
    nothing of the room.
    """
    chosen = load_set(rooms).only(only)
    models = chosen.listeners(names, second_look=second_look, fa_per_hour=fa_per_hour, threshold=threshold)
    gallery = Gallery() if folder else None
    if xml is not None:
        refuse_unwritable(xml)
    if folder is not None:
        make_folder(folder)

    def on_room(found: dict[str, Any], heard: Heard) -> None:
        if gallery is not None:
            gallery.add(found, heard)

    try:
        with progress_bar() as progress:
            found = run_set(chosen, rig, models, Material(clips), faults=faults, repeat=repeat, goals=goals,
                            on_room=on_room, progress=lambda what, done, of: progress(escape(what), done, of),
                            within=priority(rig, is_realtime))  # fmt: skip
    finally:
        rig.close()
    told = _write(found, xml, folder, gallery, disk_full=faults.disk_full)
    if as_json:
        print(json.dumps(found))
    else:
        _print(found)
    if told:
        raise InputError("; ".join(told))
    if folder is not None and not as_json:
        print(f"Report: {folder / 'report.html'}")
    return 0 if is_passed(found) else 1


def _write(
    found: dict[str, Any], xml: Path | None, folder: Path | None, gallery: Gallery | None, *, disk_full: bool
) -> list[str]:
    """JUnit XML and report, each tried where the other failed too; what could not be written, a line each."""
    told = []
    if xml is not None:
        try:
            write_whole({xml: junit(found)}, disk_full=disk_full)
        except InputError as error:
            told.append(str(error))
    if folder is not None and gallery is not None:
        try:
            write_report(folder, found, gallery, disk_full=disk_full)
        except InputError as error:
            told.append(str(error))
    return told


def _print(found: dict[str, Any]) -> None:
    console = Console(soft_wrap=False, emoji=False)
    if not console.is_terminal:
        console.width = _PRINTED_COLUMNS
    words = ", ".join(f"{model['word']} at {model['threshold']:.3f}" for model in found["models"])
    table = Table(title=escape(f"{found['set']} on {found['rig']}, listening for {words}"))
    table.add_column("room", overflow="fold")
    table.add_column("verdict")
    for name in ("words", "missed", "false", "slowest", "direction", "system median, p95, p99, largest", "lost", "drift"):
        table.add_column(name, justify="right")
    for entry in found["entries"]:
        table.add_row(*_row(entry))
    console.print(table)
    for entry in found["entries"]:
        for reason in entry["reasons"]:
            colour = _COLOURS[entry["verdict"]]
            console.print(f"[{colour}]{entry['verdict']}[/] {escape(_name(entry))}: {escape(reason)}", soft_wrap=True)
        if entry["has_goals"]:
            told = "; ".join(entry["goals_missed"]) or "reached"
            console.print(f"goals of {escape(_name(entry))}: {escape(told)}", soft_wrap=True)
        for room in entry["rooms"]:
            if room["lost_samples"] or any(room["counted"].values()):
                counted = ", ".join(f"{name} {count}" for name, count in room["counted"].items() if count)
                beyond = f" ({room['lost_beyond']} of them before or after the room)" if room["lost_beyond"] else ""
                told = f"{room['name']}: {room['lost_samples']} samples lost; the source counted {counted or 'none'}{beyond}"
                console.print(escape(told), soft_wrap=True)


def _name(entry: dict[str, Any]) -> str:
    return str(entry["name"]) + (f" #{entry['repeat'] + 1}" if entry["repeat"] else "")


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    figures = entry["figures"]
    rooms = entry["rooms"]
    worst = max((room["system_ms"] for room in rooms if room["system_ms"]), key=lambda one: float(one["p99"]), default=None)
    drifts = [room["drift_ppm"] for room in rooms if room["drift_ppm"] is not None]
    return (
        escape(_name(entry)),
        f"[{_COLOURS[entry['verdict']]}]{entry['verdict']}[/]",
        str(figures["words"]),
        f"{figures['missed']} ({100 * figures['missed_share']:.1f} %)" if figures["words"] else "",
        str(figures["false_accepts"]),
        "" if figures["latency_ms"] is None else f"{figures['latency_ms']:.0f} ms",
        "" if figures["direction_deg"] is None else f"{figures['direction_deg']:.0f}°",
        "" if worst is None else ", ".join(f"{worst[name]:.1f}" for name in ("median", "p95", "p99", "largest")) + " ms",
        str(figures["lost_samples"]),
        f"{max(drifts, key=abs):.0f} ppm" if drifts else "",
    )
