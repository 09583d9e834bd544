"""`farfield owner`: a model that listens to one voice."""

from pathlib import Path

import click

from farfield.cli.shared import FiniteRange, no_input, note, progress_bar, second_look
from farfield.errors import InputError
from farfield.model import LOOK, MODEL, load_model

_path = click.Path(path_type=Path)


@click.group()
def owner() -> None:
    """Let one person's voice through: fit a verifier to a few of their clips."""


@owner.command()
@click.argument("model", metavar="NAME_OR_PATH")
@click.option("--owner", "owners", multiple=True, required=True, type=_path, metavar="DIR",
              help="The owner's clips of the word, 3 or more, better ten; repeatable.")  # fmt: skip
@click.option("--others", multiple=True, type=_path, metavar="DIR", help="Other people's clips of the word; repeatable.")
@click.option("--threshold", type=FiniteRange(0, 1, max_open=True), default=0.5, show_default=True,
              help="Probability that it is the owner, which must be exceeded.")  # fmt: skip
@second_look
@click.option("-o", "--output", required=True, type=_path, metavar="OWNER.safetensors", help="Where to write.")
def fit(
    model: str, owners: tuple[Path, ...], others: tuple[Path, ...], threshold: float, second_look: bool, output: Path
) -> None:
    """Fit a verifier of the owner's voice, for `farfield detect --owner`.

    It goes by the voice and by the place and device that the clips were recorded with: record both sides where it will listen.
    It keeps guests and televisions from waking a device; it does not keep out who plays the owner's voice back.
    """
    if output.suffix.lower() != ".safetensors":
        raise InputError(f"{output}: got the suffix {output.suffix!r}, wanted .safetensors")
    no_input(output, model, model.removesuffix(MODEL) + LOOK)
    if not others:
        raise InputError("--others: got none, wanted a folder of other people's clips of the word, to tell the owner from")
    from farfield.training import owner as fitting

    listened = load_model(model, second_look=second_look)
    with progress_bar() as progress:
        found = fitting.fit(listened, owners, others, threshold, note, progress)
    try:
        found.save(output)
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}); wanted a file in a folder that is there") from None
    told = found.figures["leave_one_out"]
    print(f"{output}: each clip judged by the rest, the owner is let through {told['owner_let_through']} times, "
          f"others {told['others_let_through']}")  # fmt: skip
