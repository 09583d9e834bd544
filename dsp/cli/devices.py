"""`farfield devices`: what sound can be captured from."""

import json

import click
from serial.tools import list_ports

from farfield.alsa.listing import capture_devices
from farfield.cli.shared import as_json, note
from farfield.errors import InputError


@click.command()
@as_json
def devices(as_json: bool) -> None:
    """List the ALSA capture devices and the serial ports of this machine."""
    found = [{"kind": "alsa", "name": name, "description": text} for name, text in _alsa()]
    found += [{"kind": "serial", "name": port.device, "description": port.description} for port in sorted(list_ports.comports())]
    for device in found:
        print(json.dumps(device) if as_json else "{kind:7} {name}  {description}".format(**device))
    if not found:
        note("no capture device found: neither an ALSA device nor a serial port")


def _alsa() -> list[tuple[str, str]]:
    try:
        found, others = capture_devices()
    except InputError as error:  # serial ports can be listed without it
        note(f"ALSA devices are not listed: {error}")
        return []
    if others:
        note(f"cannot be captured from: {', '.join(others)}")
    return [(one.name, (one.description + " (in use)" * one.is_busy).strip()) for one in found]
