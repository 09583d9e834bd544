"""The network that ships for what was said, as a vector every 80 ms: which file it is, and how it is read.

The file is a safetensors file as `farfield.modelfile` reads it. Tensors, N counting the layers from 0, of convolutions alone:
    layers.N.weights      int8   (outputs, rows, columns, channels)
    layers.N.bias         int32  (outputs,)   in units of input scale * weight scale
    layers.N.multiplier   int32  (outputs,)   Q31
    layers.N.shift        int8   (outputs,)   the power of two after it

Metadata: one key, `farfield`, a JSON object.
    format          "embedding 1"
    rate            16000, samples a second of what the energies are of
    bins            32, energies a frame of 10 ms, uint16 in 1/1024 of an octave (`kernels.Features`)
    quantiser       {"multiplier", "shift", "offset", "zero"}, as `kernels.Embedder` takes it
    layers          [{"kind": "conv", "zero", "floor", "leak"} or {"kind": "pool", "rows", "columns"}, ...] in the order they run
    output_scale    what one step of an output is worth; its zero point is that of the last layer
    source, licence where the weights come from
"""

from collections.abc import Mapping
from importlib import resources
from typing import Any

from numpy.typing import NDArray

from farfield import kernels, modelfile
from farfield.errors import ModelError
from farfield.profile import RATE

FORMAT = "embedding 1"
TENSORS = ("weights", "bias", "multiplier", "shift")
_FIELDS = ("format", "rate", "bins", "quantiser", "layers", "output_scale", "source", "licence")


def load_embedding(*, most_frames: int = 150) -> kernels.Embedder:
    """The network that ships, ready for calls of up to `most_frames` frames of energies. ModelError: its file is damaged."""
    return from_bytes(_shipped(), "embedding.safetensors", most_frames=most_frames)


def from_bytes(data: bytes, name: str, *, most_frames: int = 150) -> kernels.Embedder:
    """The network of a file's bytes, checked; ModelError that names the file, the field, what came and what was wanted."""
    try:
        description, tensors = modelfile.parse(data, FORMAT)
        return kernels.Embedder(**assemble(description, tensors), most_frames=most_frames)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{name}: {error}") from None


def description() -> dict[str, Any]:
    """What the shipped file says of its network (see above)."""
    return modelfile.parse(_shipped(), FORMAT)[0]


def _shipped() -> bytes:
    return (resources.files("farfield") / "backbone" / "embedding.safetensors").read_bytes()


def assemble(description: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The arguments of `kernels.Embedder`; ValueError or TypeError that names the field."""
    for field in _FIELDS:
        if field not in description:
            raise ValueError(f"{field}: is missing, wanted {', '.join(_FIELDS)}")
    if description["rate"] != RATE:
        raise ValueError(f"rate: got {str(description['rate'])[:80]}, wanted {RATE}")
    layers = modelfile.joined(description["layers"], tensors, TENSORS)
    return {"bins": description["bins"], "quantiser": description["quantiser"], "layers": layers}
