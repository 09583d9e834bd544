"""The model file: one safetensors file that holds a wake word's int8 network and says all about it.

Tensors, N counting the layers from 0 (the kernel's header gives their arithmetic):
    layers.N.weights      int8   (outputs, frames, channels) for `conv`, (frames, channels) for `depthwise`
    layers.N.bias         int32  (outputs,)   in units of input scale * weight scale
    layers.N.multiplier   int32  (outputs,)   Q31: 0 or 2^30 to 2^31 - 1
    layers.N.shift        int8   (outputs,)   the power of two after it: input scale * weight scale / output scale
                                              = multiplier / 2^31 * 2^shift
    layers.N.table        int8   (channels, 256)   for `table` in place of those: its output for each input from -128

Metadata: one key, `farfield`, a JSON object.
    format      1
    word        what is said, for example "alexa"
    rate        16000, samples a second of the features
    stride      frames of 10 ms a step
    quantiser   {"multiplier": M, "shift": S}: int8 input = min((feature * M + 2^(S-1)) >> S, 127 - zero) + zero
    slots       [{"frames", "channels", "zero", "fill"}, ...]: the ring buffer of int8 frames before each layer. Slot 0 is the
                input (40 channels, `stride` new frames a step); every other slot takes one frame a step. `zero` is the
                zero point of its values, `fill` what it holds at the start (as a rule the zero point)
    layers      [{"kind": "conv" | "depthwise" | "table", "source", "source_channel", "target", "target_channel", and but for a
                table "away_from", "low", "high"}, ...] in the order they run. `away_from` is the first output whose ties
                are rounded away from zero and not up: as a rule the number of outputs, none. A layer reads the newest
                `frames` frames of `channels` channels of slot `source` and writes slot `target`. ReLU: low = the target's
                zero. The last one writes a slot of one channel: the score - 128, score / 256 being the probability
    detector    {"smoothing_steps", "threshold", "refractory_ms", "end_lag_ms", "word_ms"}: scores in the moving average, the
                probability it must exceed, the least time between two events, how long after the word's end the
                decision falls, how long the word is. In a second look (NAME.look.safetensors beside NAME.safetensors):
                the last steps of 1.5 s of which the largest score counts, the probability it must exceed; the rest unused
    joint       (may be missing) in a second look that asks heads on the embedding and its listener besides: see
                `farfield.joint.Joint`; the tensors of its head are head.layers.N. and so on
    card        a JSON object about where it comes from: author, licence, training_data (provenance), figures (measured
                misses and false accepts), imported_from, whatever else is known

What is read is checked before it is used (sizes, ranges, accumulator bounds) and nothing in it can run code.
"""

import json
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from farfield.errors import ModelError

FORMAT = 1
MAX_FILE = 8 << 20
MAX_HEADER = 128 << 10
TENSORS = {"weights": np.int8, "bias": np.int32, "multiplier": np.int32, "shift": np.int8, "table": np.int8}
_DTYPES: dict[str, np.dtype[Any]] = {"I8": np.dtype(np.int8), "I32": np.dtype("<i4")}
_FIELDS = ("format", "word", "rate", "stride", "quantiser", "slots", "layers", "detector", "card")


def sigmoid_table(scale: float, zero: int) -> NDArray[np.int8]:
    """The table (1, 256) of a sigmoid from int8 of this scale and zero point to int8 of scale 1/256 and zero point -128."""
    x = (np.arange(-128, 128) - zero) * float(scale)
    return np.asarray(np.clip(np.floor(256 / (1 + np.exp(-x)) + 0.5) - 128, -128, 127).astype(np.int8)[None])


def quantise_multiplier(scales: Any) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Positive real factors as (Q31 multiplier, power of two), rounded to nearest; ValueError outside [2^-31, 2^15)."""
    mantissa, exponent = np.frexp(np.asarray(scales, np.float64))
    multiplier = np.floor(mantissa * 2.0**31 + 0.5).astype(np.int64)
    carried = multiplier == 1 << 31
    multiplier, exponent = np.where(carried, 1 << 30, multiplier), exponent + carried
    if not (np.isfinite(mantissa) & (mantissa > 0) & (exponent >= -30) & (exponent <= 15)).all():
        raise ValueError("scale: got a factor outside 2^-31 to 2^15")
    return multiplier.astype(np.int32), exponent.astype(np.int8)


def write(path: str | os.PathLike[str], description: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> None:
    """Write a model file, whole or not at all."""
    path = Path(path)
    text = json.dumps(description, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    data = save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}, metadata={"farfield": text})
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The file's bytes; ModelError if it cannot be read, is no file, or is larger than a model may be."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}; wanted a model file") from None
    if len(data) > MAX_FILE:
        raise ModelError(f"{path}: got more than {MAX_FILE} bytes, wanted a model of at most that")
    return data


def parse(
    data: bytes, kind: int | str = FORMAT, dtypes: Mapping[str, np.dtype[Any]] = MappingProxyType(_DTYPES)
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Description and tensors of a file's bytes; ValueError that names the field where they are not well formed.

    kind: its `format`. dtypes: what safetensors calls the kinds that its tensors may be of, and numpy's for each.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(MAX_HEADER, len(data) - 8):
        raise ValueError(f"header: got a length of {length} in a file of {len(data)} bytes, "
                         f"wanted safetensors with at most {MAX_HEADER}")  # fmt: skip
    header = _json("header", data[8 : 8 + length])
    metadata = header.get("__metadata__")
    text = metadata.get("farfield") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ValueError("metadata: got none of farfield, wanted a farfield model file")
    description = _json("metadata.farfield", text)
    if description.get("format") != kind:
        raise ValueError(f"format: got {str(description.get('format'))[:80]}, wanted {kind}; this farfield reads no other")
    try:
        found: list[tuple[str, dict[str, Any]]] = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ValueError(f"tensors: {str(error).splitlines()[0]}; wanted well-formed safetensors") from None
    tensors = {}
    for name, entry in found:
        if entry["dtype"] not in dtypes:
            raise ValueError(f"{name[:80]!r}: got dtype {entry['dtype']}, wanted {' or '.join(dtypes)}")
        tensors[name] = np.frombuffer(entry["data"], dtypes[entry["dtype"]]).reshape(entry["shape"])
    return description, tensors


def _json(name: str, text: str | bytes) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise ValueError(f"got the number {constant}")

    try:
        value = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: not JSON ({str(error)[:80]}), wanted an object") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name}: got {type(value).__name__}, wanted an object")
    return value


def joined(layers: Any, tensors: Mapping[str, NDArray[Any]], names: Collection[str]) -> list[dict[str, Any]]:
    """The description's layers, each with its tensors (layers.N.NAME, of `names`); ValueError that names what does not fit.

    No tensor may be left over, and none may stand in the description.
    """
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise ValueError("layers: wanted a list of objects")
    used: set[str] = set()
    made = []
    for index, layer in enumerate(layers):
        own = {key: f"layers.{index}.{key}" for key in names if f"layers.{index}.{key}" in tensors}
        used.update(own.values())
        if clash := sorted(set(own) & set(layer)):
            raise ValueError(f"layers[{index}].{clash[0]}: is in the metadata, wanted a tensor")
        made.append(layer | {key: tensors[name] for key, name in own.items()})
    if stray := sorted(set(tensors) - used):
        raise ValueError(f"{stray[0][:80]!r}: is a tensor of no layer, wanted layers.N.{'|'.join(names)}")
    return made


def parted(layers: Sequence[Mapping[str, Any]], before: str = "") -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """The reverse of `joined`: what is JSON of each layer, and the tensors; before: what their names begin with."""
    described = [{key: value for key, value in layer.items() if key not in TENSORS} for layer in layers]
    tensors = {
        f"{before}layers.{index}.{key}": layer[key] for index, layer in enumerate(layers) for key in TENSORS if key in layer
    }
    return described, tensors


def assemble(description: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """The scorer's arguments out of a description and its tensors; ValueError or TypeError that names the field."""
    if description.get("rate") != 16000:
        raise ValueError(f"rate: got {str(description.get('rate'))[:80]}, wanted 16000")
    for field in _FIELDS:
        if field not in description:
            raise ValueError(f"{field}: is missing, wanted {', '.join(_FIELDS)}")
    layers = joined(description["layers"], tensors, TENSORS)
    if not isinstance(description["quantiser"], dict):
        raise TypeError("quantiser: wanted an object")
    return {
        "stride": description["stride"],
        "quantiser": description["quantiser"],
        "slots": description["slots"],
        "layers": layers,
    }
