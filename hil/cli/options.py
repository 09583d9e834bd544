"""Options that several commands of the bench share."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import click

from farfield.cli.realtime import realtime as at_realtime
from farfield.cli.shared import FiniteRange, note
from farfield.hil.faults import KNOWN, Faults, parse
from farfield.hil.rigs import RIGS, Rig
from farfield.hil.rigs import rig as rig_of
from farfield.hil.roomset import shipped_sets

Command = TypeVar("Command", bound=Callable[..., Any])
_SETS = ", ".join(shipped_sets())

room_set = click.argument("rooms", metavar="SET")
clips = click.option("--clips", type=click.Path(path_type=Path), envvar="FARFIELD_CLIPS", show_envvar=True, metavar="DIR",
                     help="Recorded clips that rooms are made of: keywords/WORD, speech, noise, and music and responses where "
                          "there are any. [default: synthetic voices and noise]")  # fmt: skip
_rig = click.option("--rig", "rig", default="file", show_default=True, callback=lambda ctx, param, value: rig_of(value),
                    metavar="|".join(RIGS) + "|DEVICE.toml", help="What the rooms are played through.")  # fmt: skip
_model = click.option("--model", "names", multiple=True, metavar="NAME_OR_PATH",
                      help="What listens; repeatable. In rooms that are made, the first one's word is said. "
                           "[default: the set's]")  # fmt: skip
_look = click.option("--second-look/--no-second-look", "second_look", default=True, show_default=True,
                     help="Whether the larger network that came with a model, where there is one, must agree.")  # fmt: skip
_rate = click.option("--fa-per-hour", type=FiniteRange(0), metavar="X",
                     help="How often something else may wake it where people speak a fifth of the time, by its card. "
                          "[default: the set's, else its own threshold]")  # fmt: skip
_threshold = click.option("--threshold", type=float, metavar="P",
                          help="Decide at this probability, of the second look where there is one, instead.")  # fmt: skip
_faults = click.option("--fault", "faults", multiple=True, metavar="NAME=VALUE", callback=lambda ctx, param, value: parse(value),
                       help=f"Something to go wrong; repeatable: {KNOWN}.")  # fmt: skip
realtime = click.option("--realtime/--no-realtime", "is_realtime", default=False, show_default=True,
                        help="Listen before all other programs, as `farfield listen` does, where the user may; for rigs with a "
                             "clock.")  # fmt: skip


def rig_options(command: Command) -> Command:
    """--rig, --model, --second-look, --fa-per-hour, --threshold and --fault: what plays, what listens, what goes wrong."""
    return _rig(_model(_look(_rate(_threshold(_faults(command))))))


def priority(rig: Rig, is_realtime: bool) -> Callable[[], AbstractContextManager[Any]]:
    """What passes are heard in; tells once what cannot be had. A rig without a clock takes all there is: never before others."""
    if not is_realtime or not rig.clocked:
        return nullcontext
    with at_realtime() as denied:
        if denied:
            note(f"listening without {' and without '.join(denied)}")
    return at_realtime


__all__ = ["Faults", "Rig", "clips", "priority", "realtime", "rig_options", "room_set"]
