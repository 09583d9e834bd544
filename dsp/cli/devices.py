"""`farfield devices`: what sound can be captured from."""

import json

import click
from serial.tools import list_ports

from farfield.cli.shared import as_json, need, note
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
        alsaaudio = need("alsaaudio", "pyalsaaudio", "alsa")
    except InputError as error:  # serial ports can be listed without it
        note(f"ALSA devices are not listed: {error}")
        return []
    cards = {name: alsaaudio.card_name(index) for index, name in zip(alsaaudio.card_indexes(), alsaaudio.cards(), strict=True)}
    listed = []
    for name in alsaaudio.pcms(alsaaudio.PCM_CAPTURE):
        card = next((card for card in cards if f"CARD={card}" in name), None)
        listed.append((name, " ".join(cards[card]) if card else ""))
    return listed
