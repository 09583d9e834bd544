"""The `farfield` command. Results go to stdout, everything else to stderr.

Exit status 0, 1 (ran, and found a failure), 2 (wrong use), 130 (interrupted).
"""

import io
import sys
from importlib.metadata import EntryPoints, entry_points

import click

from farfield._version import __version__
from farfield.cli.audit import audit
from farfield.cli.calibrate import calibrate
from farfield.cli.consent import consent
from farfield.cli.detect import detect
from farfield.cli.devices import devices
from farfield.cli.enhance import enhance, locate
from farfield.cli.eval import evaluate
from farfield.cli.eval_array import evaluate_array
from farfield.cli.eval_array_words import evaluate_array_words
from farfield.cli.eval_echo import evaluate_echo
from farfield.cli.eval_playback import evaluate_playback
from farfield.cli.listen import listen
from farfield.cli.models import models
from farfield.cli.owner import owner
from farfield.cli.store import store
from farfield.cli.train import train
from farfield.cli.utterances import utterances
from farfield.errors import InputError

WRONG_USE, INTERRUPTED = 2, 130


class _Commands(click.Group):
    """`eval` measures a model, unless what it is to measure is called array, array-words, echo or playback.

    Commands that other packages bring, as the bench does, are imported when they are asked for: they import this module.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_installed().names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        for installed in _installed().select(name=cmd_name) if found is None else ():
            loaded: click.Command = installed.load()
            return loaded
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[:2] == ["eval", "echo"]:
            return "eval echo", evaluate_echo, args[2:]
        if args[:2] == ["eval", "array-words"]:
            return "eval array-words", evaluate_array_words, args[2:]
        if args[:2] == ["eval", "array"]:
            return "eval array", evaluate_array, args[2:]
        if args[:2] == ["eval", "playback"]:
            return "eval playback", evaluate_playback, args[2:]
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="farfield")
def cli() -> None:
    """The ear of a voice device: wake words out of raw microphones, on the device."""


_own = (listen, detect, enhance, locate, calibrate, devices, models, evaluate, train, owner, store, consent, utterances, audit)
for command in _own:
    cli.add_command(command)


def _installed() -> EntryPoints:
    return entry_points(group="farfield.commands")


def main(arguments: list[str] | None = None) -> None:
    """Run the command and leave with its exit status; what was wrong with the input is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # files' names need not be UTF-8
    try:
        status = cli.main(arguments, prog_name="farfield", standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "farfield"
        status = _complain(f"{' '.join(error.format_message().split())} (see: {path} --help)")
    except (InputError, click.ClickException) as error:
        status = _complain(error.format_message() if isinstance(error, click.ClickException) else str(error))
    except (click.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    sys.exit(status if isinstance(status, int) else 0)


def _complain(message: str) -> int:
    print(f"farfield: {message}", file=sys.stderr)
    return WRONG_USE
