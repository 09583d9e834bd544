"""`farfield hil soak`: hours on a rig, with memory, descriptors, lost samples and latency over time."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from farfield import InputError
from farfield.cli.shared import FiniteRange
from farfield.hil import soak as soaking
from farfield.hil.cli.options import Faults, Rig, clips, priority, realtime, rig_options
from farfield.hil.material import Material
from farfield.hil.rigs.check import check, refuse_unfit
from farfield.hil.roomset import load_set


@click.command()
@click.option("--hours", type=FiniteRange(0, 10_000), required=True, metavar="H", help="How long at least.")
@click.option("--set", "rooms", default="demo", show_default=True, metavar="SET", help="Its first room is heard, over and over.")
@rig_options
@clips
@realtime
@click.option("--most-mb", type=FiniteRange(0), default=5.0, show_default=True, help="That memory may grow by.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a pass on stdout.")
def soak(
    hours: float,
    rooms: str,
    rig: Rig,
    names: tuple[str, ...],
    second_look: bool,
    fa_per_hour: float | None,
    threshold: float | None,
    faults: Faults,
    clips: Path | None,
    is_realtime: bool,
    most_mb: float,
    as_json: bool,
) -> int:
    """Hear the first room of a set over and over, and watch memory, descriptors, lost samples and latency.

    Exit status 1 where something leaked, was lost without having been asked for, or was not accounted for.
    """
    if faults.disk_full:
        raise InputError("--fault disk-full: a soak writes no report; wanted it with `farfield hil run --report`")
    chosen = load_set(rooms)
    models = chosen.listeners(names, second_look=second_look, fa_per_hour=fa_per_hour, threshold=threshold)
    scene = next(chosen.entries[0].scenes(models[0].word, Material(clips)))

    def told() -> Iterator[soaking.Sample]:
        for sample in soaking.soak(rig, scene, models, hours, faults):
            if as_json:
                print(json.dumps(asdict(sample)), flush=True)
            else:
                p99 = "" if sample.system_p99_ms is None else f", system latency p99 {sample.system_p99_ms:.1f} ms"
                drift = "" if sample.drift_ppm is None else f", drift {sample.drift_ppm:.1f} ppm"
                print(f"{sample.hours:8.4f} h  pass {sample.passes}: {sample.rss_mb:.1f} MB, {sample.descriptors} "
                      f"descriptors, {sample.threads} threads, {sample.lost_samples} samples lost, {sample.events} events"
                      f"{p99}{drift}", flush=True)  # fmt: skip
            yield sample

    try:
        with priority(rig, is_realtime)():
            refuse_unfit(check(rig, scene.profile, scene.references))
            complaints = soaking.complaints(told(), most_mb, lossy=faults.lose)
    finally:
        rig.close()
    for complaint in complaints:
        print(json.dumps({"complaint": complaint}) if as_json else f"FAILED  {complaint}")
    return 1 if complaints else 0
