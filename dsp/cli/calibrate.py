"""`farfield calibrate`: gains and delays of an array's channels, from claps or noise, into a profile."""

import json
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from farfield.calibration import calibrate as measure
from farfield.cli.shared import as_json, no_input, whole_file
from farfield.errors import InputError
from farfield.profile import as_toml, load_profile
from farfield.source import FileSource


@click.command()
@click.argument("recording", type=click.Path(path_type=Path), metavar="RECORDING")
@click.option("--profile", required=True, metavar="P", help="A shipped profile's name, or a .toml file.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="OUT.toml", help="The profile to write.")
@as_json
def calibrate(recording: Path, profile: str, output: Path, as_json: bool) -> None:
    """Measure by how much each microphone is louder and later than the others, and write it into a copy of the profile.

    RECORDING holds claps or short bursts of noise with pauses, six or more, from all around the device, at its height and a metre
    or more away; what the profile holds of gains and delays is measured anew. A profile that says so is used by every command.
    """
    layout = load_profile(profile)
    if len(layout.microphones) < 2:
        raise InputError(f"--profile: {layout.name!r} has one microphone; wanted one with several")
    if output.suffix.lower() != ".toml":
        raise InputError(f"{output}: got the suffix {output.suffix!r}, wanted .toml")
    no_input(output, recording)
    source = FileSource(recording, layout)
    count = len(layout.microphones)
    sound = np.concatenate([block.samples[:, :count] for block in source.blocks()]) / 32_768
    try:
        found = measure(sound, layout.positions_mm)
    except InputError as error:
        raise InputError(f"{recording}: {error}") from None
    gains, delays = (tuple(np.round(values, 2).tolist()) for values in (found.gains_db, found.delays_us))
    with whole_file(output) as part:
        part.write_text(as_toml(replace(layout, gains=gains, delays=delays)), "utf-8")
    told = {
        "file": str(recording), "output": str(output), "bursts": found.bursts,
        "gains_db": gains, "gain_error_db": round(found.gain_error_db, 2),
        "delays_us": delays, "delay_error_us": round(found.delay_error_us, 1), "fit_us": round(found.fit_us, 1),
    }  # fmt: skip
    if as_json:
        print(json.dumps(told))
        return
    for number, (gain_db, delay_us) in enumerate(zip(gains, delays, strict=True)):
        print(f"microphone {number}: {gain_db:+.1f} dB, {delay_us:+.1f} microseconds")
    print(f"{output}: from {found.bursts} bursts; gains to {found.gain_error_db:.2f} dB, delays to {found.delay_error_us:.1f} "
          "microseconds (standard error)")  # fmt: skip
