"""Rigs: ways for a recorded room to become blocks, by one interface."""

from collections.abc import Callable
from pathlib import Path

from farfield import InputError
from farfield.hil.rigs.alsa import LoopbackRig
from farfield.hil.rigs.base import Counted, Rig, Stream
from farfield.hil.rigs.board import BoardRig
from farfield.hil.rigs.device import DeviceRig
from farfield.hil.rigs.file import FileRig

__all__ = ["RIGS", "BoardRig", "Counted", "DeviceRig", "FileRig", "LoopbackRig", "Rig", "Stream", "rig"]

RIGS: dict[str, Callable[[], Rig]] = {"file": FileRig, "board": BoardRig, "loopback": LoopbackRig}


def rig(name: str) -> Rig:
    """A rig by its name, or a device rig by the TOML file that describes it. InputError: neither."""
    if name in RIGS:
        return RIGS[name]()
    if name.endswith(".toml"):
        return DeviceRig(Path(name))
    raise InputError(f"--rig: got {name!r}, wanted {', '.join(RIGS)}, or a .toml file that describes a device rig")
