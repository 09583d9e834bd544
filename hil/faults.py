"""What a rig can be asked to do wrong: the same faults, by the same names, on each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from farfield import InputError


@dataclass(frozen=True)
class Faults:
    """Shares are of 10 ms frames, each drawn by itself; moments are at most one a room.

    lost: do not leave the microphones. damaged: arrive with a bit that is another (where a rig has no line, they are lost).
    late: are read up to 30 ms late, where there is a clock to be late by. stall_s: a third of the way through, nothing is read
    for so long. unplug_s: half way through, the device goes away for so long. drift_ppm: how much faster the capture clock runs
    than the loudspeaker's and, where the rig has a clock of its own, than the host's. disk_full: the report is written to a disk
    that has no room for it.
    """

    lost: float = 0.0
    damaged: float = 0.0
    late: float = 0.0
    stall_s: float = 0.0
    unplug_s: float = 0.0
    drift_ppm: float = 0.0
    disk_full: bool = False

    @property
    def lose(self) -> bool:
        """Whether samples may be lost by what was asked for."""
        return bool(self.lost or self.damaged or self.late or self.stall_s or self.unplug_s)


LATEST_S = 0.03  # of a late read
STALL_AT, UNPLUG_AT = 1 / 3, 1 / 2  # of the room
_SHORT = {"stall": "stall_s", "unplug": "unplug_s", "drift": "drift_ppm", "disk-full": "disk_full"}
_LARGEST = {"lost": 1.0, "damaged": 1.0, "late": 1.0, "stall_s": 30.0, "unplug_s": 30.0, "drift_ppm": 500.0}
KNOWN = "lost=SHARE, damaged=SHARE, late=SHARE, stall=SECONDS, unplug=SECONDS, drift=PPM, disk-full"


def parse(asked: Sequence[str]) -> Faults:
    """Faults as they are named on the command line: `lost=0.01`, `stall=0.5`, `disk-full`."""
    values: dict[str, float | bool] = {}
    for text in asked:
        name, equals, value = text.partition("=")
        name = _SHORT.get(name, name)
        if name == "disk_full" and not equals:
            values[name] = True
            continue
        if name not in {field.name for field in fields(Faults)} - {"disk_full"}:
            raise InputError(f"--fault: got {text!r}, wanted one of {KNOWN}")
        least = -_LARGEST[name] if name == "drift_ppm" else 0.0
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not least <= number <= _LARGEST[name]:
            raise InputError(f"--fault {name}: got {value!r}, wanted a number from {least:g} to {_LARGEST[name]:g}")
        values[name] = number
    return Faults(**values)  # type: ignore[arg-type]
