"""`farfield models`: the wake words that ship, what a model says of itself, and published models brought in."""

import json
from pathlib import Path
from typing import Any

import click

from farfield.cli.shared import as_json
from farfield.errors import InputError
from farfield.model import DETECTOR, Model, load_model, shipped_models


@click.group()
def models() -> None:
    """Wake-word models: list, show, import."""


@models.command("list")
@as_json
def list_(as_json: bool) -> None:
    """The models that ship with farfield."""
    for name in shipped_models():
        model = load_model(name)
        if as_json:
            print(json.dumps({"name": name, "word": model.word, "threshold": model.deciding_threshold}))
        else:
            licence = model.card.get("licence", "not stated")
            print(f"{name}  word {model.word!r}, threshold {model.deciding_threshold}, licence {licence}")


@models.command()
@click.argument("model", metavar="NAME_OR_PATH")
@as_json
def show(model: str, as_json: bool) -> None:
    """Everything that a model says of itself: how it is read, where it comes from, what was measured."""
    described = _described(load_model(model))
    if as_json:
        print(json.dumps(described, ensure_ascii=False))
    else:
        _print(described)


def _described(model: Model) -> dict[str, Any]:
    weights = sum(layer["weights"].size for layer in model.network["layers"] if "weights" in layer)
    return {
        "word": model.word,
        "detector": {name: getattr(model, name) for name in DETECTOR},
        "network": {"stride": model.stride, "layers": len(model.network["layers"]), "weights": int(weights)},
        "card": dict(model.card),
    } | ({"second_look": _described(model.second_look)} if model.second_look else {})


def _print(table: dict[str, Any], indent: str = "") -> None:
    for name, value in table.items():
        if isinstance(value, dict):
            print(f"{indent}{name}:")
            _print(value, indent + "  ")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            print(f"{indent}{name}: {text}")


@models.command("import")
@click.argument("source", type=click.Path(path_type=Path), metavar="MODEL.tflite")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="OUT.safetensors", help="Where to write.")
def import_(source: Path, output: Path) -> None:
    """Turn a published microWakeWord model, and the .json beside it, into a farfield model file."""
    if source.suffix.lower() != ".tflite":
        raise InputError(f"{source}: got the suffix {source.suffix!r}, wanted a microWakeWord .tflite file")
    if output.suffix.lower() != ".safetensors":
        raise InputError(f"{output}: got the suffix {output.suffix!r}, wanted .safetensors")
    model = load_model(source)
    try:
        model.save(output)
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}); wanted a file in a folder that is there") from None
    print(f"{output}: word {model.word!r}, threshold {model.threshold}")
