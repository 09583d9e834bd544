"""`farfield enhance` and `farfield locate`: what the front end makes of a recording."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile

from farfield.block import Block
from farfield.cli.shared import FiniteRange, as_json, no_input, note, sound_options, whole_file
from farfield.direction import Direction, estimate
from farfield.errors import InputError
from farfield.frontend import STAGES, Frontend
from farfield.profile import RATE, Profile, load_profile
from farfield.source import FileSource
from farfield.talkers import Talker, TalkerTracker


@click.command()
@click.argument("mic", type=click.Path(), metavar="MIC")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="OUT.wav", help="Where to write.")
@sound_options
@click.option("--stage", type=click.Choice(STAGES), default="all", show_default=True,
              help="echo: the first microphone without its echo; beam: the beam alone; all: both.")  # fmt: skip
@click.option("--direction", "direction_deg", type=FiniteRange(), metavar="DEG",
              help="Where the beam looks. [default: where MIC's sound comes from]")  # fmt: skip
@click.option("--suppress", type=click.Choice(["none", "echo", "noise", "all"]),
              help="What the suppressor takes: the rest of the echo, noise, both. [default: the profile's]")  # fmt: skip
@click.option("--dereverberate", is_flag=True, help="Take late reverberation off. [default: the profile's]")
@as_json
def enhance(
    mic: str,
    output: Path,
    profile: str,
    reference: str | None,
    stage: str,
    direction_deg: float | None,
    suppress: str | None,
    dereverberate: bool,
    as_json: bool,
) -> None:
    """Write MIC as the wake-word scorer would hear it: mono, 16 kHz, 16 bit, aligned in time with MIC.

    The chain's delay is taken out of the sound and reported.
    """
    layout = replace(load_profile(profile), patient_echo=False)  # one signal is written
    if suppress is not None:
        layout = _suppressing(layout, suppress)
    if dereverberate:
        layout = replace(layout, dereverberate=True)
    source = FileSource(mic, layout, reference)
    if suppress in ("echo", "all") and (source.references == 0 or stage == "beam"):
        raise InputError(f"--suppress {suppress}: no echo canceller comes before it; wanted --ref, and --stage echo or all")
    _refuse_impossible(stage, direction_deg, layout, source, mic)
    if output.suffix.lower() != ".wav":
        raise InputError(f"{output}: got the suffix {output.suffix!r}, wanted .wav")
    no_input(output, mic, reference)
    beams = len(layout.microphones) > 1 and stage != "echo"
    if beams and direction_deg is None:
        found = _direction(source, layout, stage)
        if found is None:
            raise InputError(f"{mic}: holds nothing to find a direction from; wanted sound, or --direction")
        direction_deg = found.azimuth_deg
    azimuths = (direction_deg % 360.0,) if beams and direction_deg is not None else None
    frontend = Frontend(layout, source.references, stages=stage, azimuths_deg=azimuths)
    with whole_file(output) as part:
        _write(FileSource(mic, layout, reference), frontend, part)
    erle_db = None if frontend.erle_db is None else round(float(frontend.erle_db[0]), 1)
    report = {
        "file": mic,
        "output": str(output),
        "rate": RATE,
        "delay_samples": frontend.delay_samples,
        "delay_ms": frontend.delay_samples * 1000 / RATE,
        "direction": None if azimuths is None else round(azimuths[0], 1),
        "echo_removed_db": erle_db,
    }
    if as_json:
        print(json.dumps(report))
        return
    said = [f"{output}: {RATE} Hz; the chain's delay of {report['delay_ms']:.1f} ms is taken out"]
    said += [f"beam towards {report['direction']}°"] if azimuths else []
    said += [f"echo removed at the end of the file: {erle_db} dB"] if erle_db is not None else []
    print("; ".join(said))


def _suppressing(layout: Profile, what: str) -> Profile:
    noise = what in ("noise", "all")
    return replace(
        layout,
        suppress_echo=what in ("echo", "all"),
        suppress_noise=noise,
        comfort_noise=layout.comfort_noise and what == "echo",
    )


def _refuse_impossible(stage: str, direction_deg: float | None, layout: Profile, source: FileSource, mic: str) -> None:
    alone = len(layout.microphones) == 1
    if direction_deg is not None and not math.isfinite(direction_deg):
        raise InputError(f"--direction: got {direction_deg}, wanted degrees")
    if alone and (stage == "beam" or direction_deg is not None):
        asked = "--stage beam" if stage == "beam" else "--direction"
        raise InputError(f"{asked}: profile {layout.name!r} has one microphone; wanted a --profile with several")
    if stage == "echo" and (direction_deg is not None or source.references == 0):
        if direction_deg is not None:
            raise InputError("--direction: --stage echo forms no beam; wanted one of the two")
        raise InputError(f"{mic}: --stage echo needs what the loudspeaker played; wanted --ref, or a profile with references")


def _write(source: FileSource, frontend: Frontend, path: Path) -> None:
    """The front end's first signal over the whole source; what it still holds at the end is flushed with silence."""
    end = 0
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16", format="WAV") as file:
        for block in source.blocks():
            file.write(frontend.process(block).beams[:, 0])
            end = block.end
        silence = np.zeros((frontend.delay_samples, source.microphones + source.references), np.int16)
        file.write(frontend.process(Block(silence, end)).beams[:, 0])


@click.command()
@click.argument("mic", type=click.Path(), metavar="MIC")
@sound_options
@click.option("--talkers", is_flag=True, help="Each talker by direction, and from when to when, in place of one direction.")
@as_json
def locate(mic: str, profile: str, reference: str | None, talkers: bool, as_json: bool) -> int:
    """Say from which direction the sound of MIC comes, over the whole file, or with --talkers who spoke from where.

    Degrees, counter-clockwise from the profile's x axis. A line array cannot tell front from back: both are given. The
    confidence is the share of the sound that is in phase in that direction.
    Exit status 1 where there is nothing to locate.
    """
    layout = load_profile(profile)
    if len(layout.microphones) == 1:
        raise InputError(f"--profile: {layout.name!r} has one microphone; wanted one with several, which can tell directions")
    source = FileSource(mic, layout, reference)
    told = _talkers(source, layout) if talkers else [_told(found) for found in [_direction(source, layout, "all")] if found]
    for one in told or ([] if talkers else [_NOWHERE]):
        if as_json:
            print(json.dumps({"file": mic} | one))
        elif told:
            print(f"{mic}: {_in_words(one)}")
    if not told:
        note(f"{mic}: holds nothing to find a direction from")
    return 0 if told else 1


_NOWHERE: dict[str, Any] = {"direction": None, "confidence": None, "ambiguous": None}


def _told(found: Direction | Talker) -> dict[str, Any]:
    return {
        "direction": round(found.azimuth_deg, 1),
        "confidence": round(found.confidence, 3),
        "ambiguous": None if found.ambiguous_deg is None else round(found.ambiguous_deg, 1),
    }


def _in_words(told: dict[str, Any]) -> str:
    mirror = "" if told["ambiguous"] is None else f" or {told['ambiguous']:.1f}° (a line array cannot tell)"
    text = f"{told['direction']:.1f}°{mirror}, confidence {told['confidence']:.2f}"
    return f"talker {told['talker']}: {text}, {told['start_s']:.1f} to {told['end_s']:.1f} s" if "talker" in told else text


def _maps(source: FileSource, frontend: Frontend) -> Iterator[tuple[np.ndarray, tuple[int, ...]]]:
    for block in source.blocks():
        frame = frontend.process(block)
        if len(frame.maps):
            yield frame.maps, frame.map_ends
    for fault in frontend.faults:
        note(f"{source.file.path}: {fault}")


def _talkers(source: FileSource, layout: Profile) -> list[dict[str, Any]]:
    """Everybody who spoke, in the order in which they were first heard."""
    frontend = Frontend(layout, source.references)
    assert frontend.map_azimuths_deg is not None
    tracker = TalkerTracker(frontend.array, frontend.map_azimuths_deg)
    heard = [talker for maps, ends in _maps(source, frontend) for talker in tracker.process(maps, ends)]
    return [
        {"talker": one.number} | _told(one) | {"start_s": round(one.start / RATE, 2), "end_s": round(one.end / RATE, 2)}
        for one in heard
    ]


def _direction(source: FileSource, layout: Profile, stage: str) -> Direction | None:
    """The direction of the summed maps of the whole file; loud moments count for more."""
    frontend = Frontend(layout, source.references, stages=stage)
    summed = [maps.sum(axis=0, dtype=np.float64) for maps, _ in _maps(source, frontend)]
    if not summed or frontend.map_azimuths_deg is None:
        return None
    return estimate(np.sum(summed, axis=0), frontend.map_azimuths_deg, frontend.array)
