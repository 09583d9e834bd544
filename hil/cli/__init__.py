"""`farfield hil`: the bench's commands."""

import click

from farfield.hil.cli.compare import compare
from farfield.hil.cli.demo import demo
from farfield.hil.cli.make_rooms import make_rooms
from farfield.hil.cli.run import run
from farfield.hil.cli.soak import soak
from farfield.hil.make import make_demo_room


@click.group()
def hil() -> None:
    """The bench: recorded rooms replayed, every detection held against the truth."""


for command in (demo, run, compare, soak, make_rooms, make_demo_room):
    hil.add_command(command)
