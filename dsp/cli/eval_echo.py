"""`farfield eval echo`: what the echo canceller takes away, and what it leaves of the talker."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from farfield.cli.shared import FiniteRange, as_json, drawable, need, note
from farfield.errors import InputError
from farfield.evaluation.aecmos import SCENES
from farfield.profile import RATE

_COLUMNS = {
    "erle_db": "ERLE, dB",
    "erle_settled_db": "from 3 s",
    "near_si_sdr_db": "talker SI-SDR",
    "aecmos_echo": "AECMOS echo",
    "aecmos_other": "other",
    "pause_erle_db": "ERLE in pauses",
    "converged_s": "converged, s",
    "reconverged_s": "again, s",
}


@click.command("eval echo")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--tail-ms", type=click.IntRange(16, 512), default=128, show_default=True, help="Echo path that is learnt.")
@click.option("--change-s", type=FiniteRange(0.5), metavar="S", help="When the path, the delay or the level changes.")
@click.option("--align/--no-align", default=True, show_default=True, help="Whether delay and drift are found and taken out.")
@click.option("--suppress-noise", is_flag=True, help="Let the suppressor take stationary noise away too.")
@click.option("--aecmos", type=click.Choice(sorted(SCENES)), help="Have AECMOS rate them; who is heard in the recordings.")
@click.option("--beginnings", type=click.IntRange(1, 16), default=1, show_default=True,
              help="Places within a hop from which each recording begins: by it figures of short ones differ, which are means "
                   "then, with half of what lies between the least and the most.")  # fmt: skip
@click.option("--plot", type=click.Path(path_type=Path), metavar="OUT.png", help="Draw ERLE by second.")
@as_json
def evaluate_echo(
    folder: Path,
    tail_ms: int,
    change_s: float | None,
    align: bool,
    suppress_noise: bool,
    aecmos: str | None,
    beginnings: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure the echo canceller on recordings: mic and ref, and near where the talker is known, in DIR or folders in it.

    ERLE is the power of the echo over what is left of it. Without near.flac a talker counts as echo. The linear stage and the
    suppressor after it are told apart, for the second hides faults of the first; the delay and the clocks' drift that were found
    on the way are taken out. Speex's canceller is held beside them where libspeexdsp is installed. The bound is the ERLE of the
    best fixed filter of 2,048 taps.
    """
    from farfield.evaluation import echo

    need("scipy", "scipy", "eval")
    drawable(plot)
    if aecmos is not None:
        need("speechmos", "speechmos", "aecmos")
        need("onnxruntime", "onnxruntime", "aecmos")
    tail = tail_ms * RATE // 1000
    found = echo.evaluate(folder, tail, change_s, align, noise=suppress_noise, scene=aecmos, beginnings=beginnings)
    if any(told["speex"] is None for told in found):
        note("Speex is left out: its library is not installed (Debian: libspeexdsp1)")
    if plot is not None:
        try:
            echo.draw(found, plot)
        except OSError as error:
            raise InputError(f"{plot}: cannot be written ({error.strerror}); wanted a file in a folder that is there") from None
    if as_json:
        for told in found:
            print(json.dumps(told))
        return
    _print(found)
    if plot is not None:
        print(f"ERLE by second: {plot}")


def _print(found: list[dict[str, Any]]) -> None:
    """Rows of each recording, of the linear stage, the suppressor after it, and Speex; a column where some has the figure."""
    shown = {key: title for key, title in _COLUMNS.items() if any(told["ours"].get(key) is not None for told in found)}
    table = Table("recording", "s", "delay, ms", "drift, ppm", "", *shown.values(), "bound, from 3 s")
    for told in found:
        about = [told["recording"], f"{told['seconds']:.1f}", _figure(told["delay_ms"]), _figure(told["drift_ppm"], 0)]
        for name, side in (("linear", "ours"), ("suppressor", "suppressed"), ("Speex", "speex")):
            if told[side] is not None:
                bound = _figure(told["bound_settled_db"]) if side == "ours" else ""
                table.add_row(*about, name, *(_cell(told[side], key) for key in shown), bound)
                about = [""] * len(about)
        table.add_section()
    Console(width=None if Console().is_terminal else 170).print(table)


def _cell(figures: dict[str, Any], key: str) -> str:
    """A figure, and where there is one, how far it spreads."""
    spread = figures.get("spread", {}).get(key)
    return _figure(figures[key]) + ("" if spread is None else f" ±{spread:.1f}")


def _figure(value: float | None, places: int = 1) -> str:
    return "-" if value is None else f"{value:.{places}f}"
