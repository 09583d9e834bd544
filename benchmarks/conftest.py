"""One table of ratios at the end of a run, in place of pytest-benchmark's own, which compares a run with earlier ones.

`-v -v` or `--benchmark-verbose` brings that one back; `--benchmark-json FILE` keeps everything, extra_info included.
"""

import platform
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from farfield import kernels

sys.path.insert(0, str(Path(__file__).parent))

ROWS = pytest.StashKey[list]()
COLUMNS = ("benchmark", "ours ms/s", "peer ms/s", "peer", "ratio [least..most]", "bar", "verdict")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    config.stash[ROWS] = []
    config.option.benchmark_quiet = True
    config.option.benchmark_timer = "time.process_time"


@pytest.fixture(autouse=True)
def row(request, benchmark):
    """Keeps what the benchmark reported for the table, also where its assertion fails afterwards."""
    yield
    if "name" in benchmark.extra_info or "count" in benchmark.extra_info:
        request.config.stash[ROWS].append(dict(benchmark.extra_info))


def cells(row):
    bar = "-" if row["bar"] is None else f">= {row['bar']:g}"
    verdict = "-" if row["met"] is None else ("met" if row["met"] else "MISSED")
    ratio = f"{row['ratio_median']:g} [{row['ratio_least']:g}..{row['ratio_most']:g}]"
    return (row["name"], f"{row['ours_ms_per_s']:g}", f"{row['peer_ms_per_s']:g}", row["peer"], ratio, bar, verdict)


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash[ROWS]
    if not rows:
        return
    terminalreporter.ensure_newline()
    terminalreporter.section("CPU time, ours against a peer's, in one run")
    lines = [COLUMNS, *(cells(row) for row in rows if "name" in row)]
    if terminalreporter.isatty:
        table = Table(*COLUMNS)
        for line in lines[1:]:
            table.add_row(*line, style="red" if line[-1] == "MISSED" else None)
        Console(file=sys.__stdout__).print(table)
    else:
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            terminalreporter.write_line("  ".join(padded).rstrip())
    terminalreporter.write_line(
        f"ms/s: CPU milliseconds a second of sound; ratio: peer's over ours, median of the rounds; "
        f"kernels at level {kernels.cpu_level()} on {platform.machine()}"
    )
    for row in rows:
        if "count" in row:
            terminalreporter.write_line(row["count"])
        if "note" in row:
            terminalreporter.write_line(f"{row['name']}: {row['note']}")
    for skipped in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"not run: {skipped.nodeid}: {skipped.longrepr[2].removeprefix('Skipped: ')}")
