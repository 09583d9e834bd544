"""`farfield eval array`: what an array's beams gain and how well it finds a talker, beside pyroomacoustics' own methods."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from farfield.cli.shared import FiniteRange, as_json, drawable, need, progress_bar
from farfield.errors import InputError
from farfield.profile import load_profile

_path = click.Path(path_type=Path)
_COLUMNS = {
    "si_sdr_db": "SI-SDR, dB",
    "si_sdr_gain_db": "gain",
    "array_gain_db": "array gain",
    "white_noise_gain_db": "white noise gain",
    "directivity_db": "directivity",
}


@click.command("eval array")
@click.option("--profile", default="respeaker-6mic", show_default=True, metavar="P", help="A shipped profile, or a .toml file.")
@click.option("--rt60", "rt60s", multiple=True, type=FiniteRange(0.1, 1.2), metavar="S",
              help="Reverberation time of the simulated rooms; repeatable. [default: 0.2, 0.4, 0.7]")  # fmt: skip
@click.option("--rooms", type=click.IntRange(0, 1000), default=12, show_default=True, help="Simulated rooms for each.")
@click.option("--speech", type=_path, metavar="DIR", help="Clips of speech. [default: bursts of noise and buzz, which is none]")
@click.option("--responses", multiple=True, type=_path, metavar="FILE",
              help="Measured responses with a channel for each microphone, two or more; repeatable.")  # fmt: skip
@click.option("--recording", type=_path, metavar="FILE", help="Of one talker, whose direction --azimuth tells.")
@click.option("--azimuth", type=FiniteRange(), metavar="DEG", help="Where the talker of --recording is.")
@click.option("--seed", type=click.IntRange(0, 2**20), default=1, show_default=True)
@click.option("--plot", type=_path, metavar="OUT.png", help="Draw the fixed beams as polar plots.")
@as_json
def evaluate_array(
    profile: str,
    rt60s: tuple[float, ...],
    rooms: int,
    speech: Path | None,
    responses: tuple[Path, ...],
    recording: Path | None,
    azimuth: float | None,
    seed: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure a profile's array: a talker 1.7 m away, another as loud 60 to 180 degrees apart, sensor noise 30 dB down.

    Rooms are 6 x 5 x 2.7 m, by pyroomacoustics. What is wanted is the talker's direct sound and 20 ms of reflections at the first
    microphone: SI-SDR of each method against it, and how much that is over the first microphone's (gain). Array gain is that of
    the talker's power over the others'; white noise gain and directivity are the design's, means from 300 to 6,800 Hz; adaptive
    methods have none. Directions are those of the talker alone, over 4 s. Dereverberation: SI-SDR of somebody alone at the
    first microphone, and what taking off late reverberation gains of it, after 3 s in which it is learnt.
    """
    need("pyroomacoustics", "pyroomacoustics", "eval")
    from farfield.evaluation import array

    layout = load_profile(profile)
    if len(layout.microphones) < 2:
        raise InputError(f"--profile: {layout.name!r} has one microphone; wanted one with several")
    if (recording is None) != (azimuth is None):
        raise InputError("--recording: wanted together with --azimuth, where its talker is")
    drawable(plot)
    voices = array.clips(speech)
    measured = [array.response(path, len(layout.microphones)) for path in responses]
    recorded = None if recording is None else array.response(recording, len(layout.microphones))
    found: list[dict[str, Any]] = []
    with progress_bar() as progress:
        if rooms:
            for told in array.in_rooms(layout, rt60s or (0.2, 0.4, 0.7), rooms, voices, seed, progress):
                found.append(told)
                if as_json:
                    print(json.dumps(told), flush=True)
        more = [array.through_responses(layout, measured, voices, progress)] if measured else []
        if recording is not None and recorded is not None and azimuth is not None:
            more.append(array.on_recording(layout, recording.name, recorded, azimuth))
    for told in more:
        found.append(told)
        if as_json:
            print(json.dumps(told), flush=True)
    if plot is not None:
        _draw(array, layout, plot)
    if not as_json:
        _print(found, real=speech is not None)
        if plot is not None:
            print(f"Polar plots: {plot}")


def _draw(array: Any, layout: Any, plot: Path) -> None:
    try:
        array.draw(layout, plot)
    except OSError as error:
        raise InputError(f"{plot}: cannot be written ({error.strerror}); wanted a file in a folder that is there") from None


def _print(found: list[dict[str, Any]], real: bool) -> None:
    console = Console(width=None if Console().is_terminal else 130)
    for told in found:
        where = told["where"] + ("" if told["rt60_s"] is None else f", RT60 {told['rt60_s']:g} s") + f", {told['scenes']} scenes"
        where += "" if real or told["rt60_s"] is None else ", bursts instead of speech"
        if told["methods"]:
            table = Table("method", *_COLUMNS.values(), title=where)
            for name, figures in told["methods"].items():
                table.add_row(name, *(_figure(figures.get(key)) for key in _COLUMNS))
            console.print(table)
        if told["direction"]:
            table = Table("direction of a single talker", "mean error, degrees", "largest", "not found", title=where)
            for name, figures in told["direction"].items():
                table.add_row(name, _figure(figures["mean_error_deg"], 2), _figure(figures["largest_error_deg"], 2),
                              str(figures["not_found"]))  # fmt: skip
            console.print(table)
        if dry := told["dereverberation"]:
            told_db = (_figure(dry[name]) for name in ("microphone_si_sdr_db", "si_sdr_gain_db", "least_gain_db"))
            print("dereverberation of a single talker: SI-SDR {} dB, gain {} dB, least {} dB\n".format(*told_db))


def _figure(value: float | None, places: int = 1) -> str:
    return "-" if value is None else f"{value:.{places}f}"
