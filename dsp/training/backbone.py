"""From Google's published speech_embedding network (TFLite, float) to the integers of `kernels.Embedder`.

The network: Lin, Kilgour, Roblek and Sharifi, "Training keyword spotters with limited and synthesized speech data", ICASSP 2020;
Apache-2.0. Weights become int8, symmetric, with a scale for each output; activations int8 with one scale and zero point a layer,
from what a float pass over calibration energies showed.
"""

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from farfield import kernels, modelfile
from farfield.embedding import FORMAT, TENSORS
from farfield.errors import InputError
from farfield.flatbuffer import Buffer
from farfield.microwakeword import CONV_2D, MOST, Graph, Operator, Tensor, wanted
from farfield.profile import RATE

BINS = 32
LEAK, FLOOR = 0.2, -0.4
OCTAVE = 1024  # steps of an energy
UNIT = math.log10(2) / OCTAVE  # what a step of an energy is worth at the network's input
AT_ZERO = 2 - 0.085  # the input for an energy of 0: its own front end's +2, less what the two front ends differ by
STEPS_AT_ZERO = 35  # of the int8 input below an energy of 0; the 220 above reach 40 octaves
LINEAR, LOWEST = 1024, -255  # no leak and no floor

FLOAT32, MAX_POOL_2D, PAD, MAXIMUM, LEAKY_RELU = 0, 17, 34, 55, 98
SAME, VALID = 0, 1
_BATCH = 20

Floats = NDArray[np.float32]


def convert(path: Path) -> dict[str, Any]:
    """The float network of a `.tflite` file: {"layers": [{"kind": "conv", "weights" (outputs, rows, columns, channels), "bias",
    "active"} or {"kind": "pool", "rows", "columns"}]}. InputError where it is not that network."""
    data = path.read_bytes()
    try:
        wanted(data[4:8] == b"TFL3", "got no TFL3 mark, wanted a TensorFlow Lite model")
        return {"layers": _Layers(Graph(Buffer(data))).read()}
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


class _Layers:
    """The graph's operators, one after the other."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.sub = graph, graph.subgraphs[0]
        self.tensors = graph.tensors(self.sub)
        self.tables = self.sub.tables(0, MOST)

    def constant(self, index: int, dtype: str = "<f4") -> NDArray[Any]:
        tensor: Tensor = self.tensors[index]
        raw = self.graph.buffers[self.tables[index].scalar(2, "I")].vector(0, np.uint8)
        wanted(len(raw) == 4 * math.prod(tensor.shape), f"tensor {index} is no constant of shape {tensor.shape}")
        values = np.frombuffer(raw.tobytes(), dtype).reshape(tensor.shape)
        wanted(np.isfinite(values).all(), f"tensor {index} is not finite")
        return values

    def read(self) -> list[dict[str, Any]]:
        layers: list[dict[str, Any]] = []
        at = int(self.sub.vector(1, np.int32)[0])
        padded = False
        for op in self.graph.operators(self.sub, len(self.tensors)):
            wanted(op.inputs and op.inputs[0] == at and len(op.outputs) == 1, "the layers are not one chain")
            at = op.outputs[0]
            if op.code == PAD:
                padded = True
                wanted(self.constant(op.inputs[1], "<i4").tolist() == [[0, 0], [0, 0], [1, 1], [0, 0]], "a pad is not of bins")
            elif op.code == CONV_2D:
                layers.append(self.conv(op, padded))
                padded = False
            elif op.code == MAX_POOL_2D:
                layers.append(self.pool(op))
            elif op.code == LEAKY_RELU:
                leak = float(np.int32(op.option(0, "i")).view(np.float32))  # the reader knows whole numbers alone
                wanted(abs(leak - LEAK) < 1e-6, f"the leak is {leak}, wanted {LEAK}")
            else:
                wanted(op.code == MAXIMUM, f"operator {op.code} is not one that this network uses")
                wanted(abs(float(self.constant(op.inputs[1])) - FLOOR) < 1e-6, f"the floor is not {FLOOR}")
                layers[-1]["active"] = True
        wanted(layers and not layers[-1].get("active", True), "the last layer is not a convolution, left as it is")
        wanted(all(layer.get("active", True) for layer in layers[:-1]), "a convolution but the last has no activation")
        return layers

    def conv(self, op: Operator, padded: bool) -> dict[str, Any]:
        weights = self.constant(op.inputs[1])
        wanted(weights.ndim == 4, f"a convolution has weights of shape {weights.shape}")
        _, rows, columns, _ = weights.shape
        pads = padded or op.option(0, "b") == SAME
        wanted(pads == (columns == 3) and (rows == 1 or op.option(0, "b") == VALID), "a convolution is padded otherwise")
        wanted(op.option(1, "i") == op.option(2, "i") == op.option(4, "i", 1) == op.option(5, "i", 1) == 1, "a stride is not 1")
        return {"kind": "conv", "weights": weights, "bias": self.constant(op.inputs[2]), "active": False}

    def pool(self, op: Operator) -> dict[str, Any]:
        columns, rows = op.option(1, "i"), op.option(2, "i")
        wanted((op.option(3, "i"), op.option(4, "i")) == (columns, rows), "a pool's stride is not its size")
        return {"kind": "pool", "rows": rows, "columns": columns}


def _each(layers: list[dict[str, Any]], energies: NDArray[np.uint16]) -> Iterator[Any]:
    """What each layer makes of a batch, in turn: torch tensors (n, channels, rows, columns)."""
    import torch
    from torch.nn import functional

    x = torch.from_numpy(energies.astype(np.float32) * np.float32(UNIT) + np.float32(AT_ZERO))[:, None]
    for layer in layers:
        if layer["kind"] == "pool":
            x = functional.max_pool2d(x, (layer["rows"], layer["columns"]))
        else:
            weights = torch.from_numpy(layer["weights"].transpose(0, 3, 1, 2).copy())
            x = functional.conv2d(x, weights, torch.from_numpy(layer["bias"].copy()), padding=(0, weights.shape[3] // 2))
            if layer["active"]:
                x = functional.leaky_relu(x, LEAK).clamp(min=FLOOR)
        yield x


def embed(network: Mapping[str, Any], energies: NDArray[np.uint16]) -> Floats:
    """The float network's embeddings (n, steps, 96) of energies (n, frames, 32), frames from the first on."""
    import torch

    made = []
    with torch.no_grad():
        for at in range(0, len(energies), _BATCH):
            *_, last = _each(network["layers"], energies[at : at + _BATCH])
            made.append(last[:, :, :, 0].permute(0, 2, 1).numpy())
    return np.concatenate(made)


def ranges(network: Mapping[str, Any], energies: NDArray[np.uint16], share: float) -> list[tuple[float, float]]:
    """Of each layer, between what its values lie but for `share` of them on each side: the mean over batches."""
    import torch

    found: list[list[tuple[float, float]]] = [[] for _ in network["layers"]]
    with torch.no_grad():
        for at in range(0, len(energies), _BATCH):
            for values, x in zip(found, _each(network["layers"], energies[at : at + _BATCH]), strict=True):
                low, high = np.quantile(x.numpy(), [share, 1 - share])
                values.append((float(low), float(high)))
    return [(float(np.mean([low for low, _ in v])), float(np.mean([high for _, high in v]))) for v in found]


def quantiser() -> tuple[dict[str, int], float]:
    """The input's quantiser, and the step of what it makes; the padding's 0 is exactly its zero point."""
    step = AT_ZERO / STEPS_AT_ZERO
    ratio, shift = Fraction(UNIT) / Fraction(step), 38
    return {"multiplier": round(ratio * 2**shift), "shift": shift, "offset": STEPS_AT_ZERO - 128, "zero": -128}, step


def quantise(network: Mapping[str, Any], energies: NDArray[np.uint16], share: float = 1e-6) -> dict[str, Any]:
    """The arguments of `kernels.Embedder`, and `output_scale`."""
    scaling, step = quantiser()
    bounds = ranges(network, energies, share)
    layers: list[dict[str, Any]] = []
    for layer, (low, high) in zip(network["layers"], bounds, strict=True):
        if layer["kind"] == "pool":
            layers.append(dict(layer))
            continue
        low = FLOOR if layer["active"] else low
        scale = (high - low) / 255
        zero = round(-128 - low / scale)
        own = np.maximum(np.abs(layer["weights"].astype(np.float64)).max(axis=(1, 2, 3)), 1e-9) / 127
        multiplier, shift = modelfile.quantise_multiplier(step * own / scale)
        layers.append({
            "kind": "conv",
            "weights": np.round(layer["weights"] / own[:, None, None, None]).astype(np.int8),
            "bias": np.round(layer["bias"] / (step * own)).astype(np.int32),
            "multiplier": multiplier, "shift": shift, "zero": zero,
            "floor": round(FLOOR / scale) if layer["active"] else LOWEST,
            "leak": round(LEAK * 1024) if layer["active"] else LINEAR,
        })  # fmt: skip
        step = scale
    return {"bins": BINS, "quantiser": scaling, "layers": layers, "output_scale": step}


def write(path: Path, network: Mapping[str, Any]) -> None:
    """The safetensors file that `farfield.embedding` reads."""
    tensors = {f"layers.{n}.{key}": layer[key] for n, layer in enumerate(network["layers"]) for key in TENSORS if key in layer}
    described = {
        "format": FORMAT, "rate": RATE, "bins": network["bins"], "quantiser": network["quantiser"],
        "layers": [{key: value for key, value in layer.items() if key not in TENSORS} for layer in network["layers"]],
        "output_scale": network["output_scale"],
        "source": "speech_embedding, Google, tfhub.dev/google/speech_embedding/1, as openWakeWord publishes it; "
                  "Lin, Kilgour, Roblek, Sharifi, ICASSP 2020; made int8 by farfield",
        "licence": "Apache-2.0",
    }  # fmt: skip
    modelfile.write(path, described, tensors)


def embedder(network: Mapping[str, Any], most_frames: int = 150) -> kernels.Embedder:
    """What runs the integers of `quantise`, for calls of up to `most_frames` frames. TypeError, ValueError: as of the kernel."""
    return kernels.Embedder(network["bins"], network["quantiser"], network["layers"], most_frames=most_frames)


def agreement(real: Mapping[str, Any], whole: Mapping[str, Any], energies: NDArray[np.uint16]) -> Floats:
    """Of each embedding of the energies (n, frames, 32), the cosine between the float and the int8 network's."""
    frames = energies.shape[1]
    made = embedder(whole, frames)
    newest = energies[:, (frames - made.field) % made.hop :]
    a, zero = embed(real, newest), whole["layers"][-1]["zero"]
    heard = []
    for one in newest:
        made.reset()
        heard.append(made.process(np.ascontiguousarray(one)))
    b = np.stack(heard).astype(np.float32) - zero
    return np.asarray((a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)), np.float32)


@click.command()
@click.argument("tflite", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("calibration", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file to write.")
def main(tflite: Path, calibration: Path, output: Path) -> None:
    """Writes the int8 network of TFLITE, with the ranges that CALIBRATION, energies uint16 (n, frames, 32), shows."""
    energies = np.load(calibration, allow_pickle=False)
    if energies.dtype != np.uint16 or energies.ndim != 3 or energies.shape[2] != BINS:
        raise click.UsageError(f"{calibration}: got {energies.dtype} {energies.shape}, wanted uint16 (n, frames, {BINS})")
    real = convert(tflite)
    whole = quantise(real, energies)
    write(output, whole)
    told = agreement(real, whole, energies)
    click.echo(f"{output}: cosine to the float network, median {np.median(told):.4f}, 5 % below {np.quantile(told, 0.05):.4f}")


if __name__ == "__main__":
    main()
