"""`farfield hil`: the bench's commands."""

import click

from farfield.hil.demo import demo
from farfield.hil.make import make_demo_room


@click.group()
def hil() -> None:
    """The bench: recorded rooms replayed, every detection held against the truth."""


hil.add_command(demo)
hil.add_command(make_demo_room)
