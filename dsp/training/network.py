"""The network in PyTorch: strided first convolution, mixed depthwise and pointwise blocks, a dense last window.

Quantisation in the loop: with `quantised` set, weights and activations take only values that int8 can hold, and gradients
pass straight through the rounding (Jacob et al., 2018). Inputs are int8 features plus 128, times INPUT_SCALE.

Activations lie as (channels, batch, time), so that every layer is one product of matrices: a pointwise layer multiplies by
its weights, a depthwise one multiplies each channel by the Toeplitz matrix of its kernel. Computed so, an optimiser step takes
less than half of what it takes with PyTorch's own grouped convolutions on a processor.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUT_SCALE = 0.1
FEATURES = 40
_DROPPED = 0.1  # of the last channels while training, so that no few of them carry the word
_RANGE_QUANTILE = 0.9995  # of the activations that a range covers; the few beyond saturate


@dataclass(frozen=True)
class Shape:
    """first, channels: outputs of the first layer and of each block. blocks: the kernels that each block's channels share."""

    first: int
    channels: int
    blocks: tuple[tuple[int, ...], ...]
    last: int
    first_kernel: int = 5
    stride: int = 3

    @property
    def field(self) -> int:
        """Feature frames that one logit depends on."""
        return self.first_kernel + self.stride * (sum(max(kernels) - 1 for kernels in self.blocks) + self.last - 1)


LISTENER = Shape(first=40, channels=64, blocks=((5,), (5, 9), (7, 11), (9, 13), (11, 19)), last=5)
"""Listens all the time: 1.0 million multiply-adds a second."""
SECOND_LOOK = Shape(first=64, channels=128, blocks=((5,), (5, 9), (7, 11), (9, 13), (11, 19)), last=5)
"""Looks once more at what the listener takes for its word: 96,000 weights, run for 1.5 s of features at a time."""


class _Rounded(torch.autograd.Function):
    """Rounded to whole steps between two bounds; the gradient passes where nothing was clipped."""

    @staticmethod
    def forward(context: Any, x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
        steps = torch.round(x / step)
        context.save_for_backward((steps >= low) & (steps <= high))
        return steps.clamp_(low, high).mul_(step)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return gradient * context.saved_tensors[0], None, None, None


class Layer(nn.Module):
    """Weights (outputs, inputs, kernel), batch normalisation folded in where it has one; a bias otherwise."""

    def __init__(self, outputs: int, inputs: int, kernel: int, norm: bool) -> None:
        super().__init__()
        bound = (inputs * kernel) ** -0.5
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel).uniform_(-bound, bound))
        self.bias = None if norm else nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))
        self.norm = nn.BatchNorm1d(outputs, momentum=0.05) if norm else None
        self.quantised = False

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weights (outputs, inputs, kernel) and bias with the normalisation's running figures folded in."""
        if self.norm is None:
            assert self.bias is not None
            return self.weight, self.bias
        assert self.norm.running_mean is not None and self.norm.running_var is not None
        gain = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        return self.weight * gain[:, None, None], self.norm.bias - self.norm.running_mean * gain

    def forward(self, x: Tensor) -> Tensor:
        if self.quantised:
            weights, bias = self.folded()
            rounded: Tensor = _Rounded.apply(weights, weight_steps(weights), -127, 127)
            return self.product(rounded, x) + bias[:, None, None]
        y = self.product(self.weight, x)
        if self.norm is None:
            assert self.bias is not None
            return y + self.bias[:, None, None]
        normal: Tensor = self.norm(y.reshape(1, len(y), -1))
        return normal.view_as(y)

    def product(self, weights: Tensor, x: Tensor) -> Tensor:
        """The sums of products over (inputs, batch, time)."""
        raise NotImplementedError


class Convolution(Layer):
    """Every output sees every input over `kernel` frames, each `stride` frames."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, norm: bool = True) -> None:
        super().__init__(outputs, inputs, kernel, norm)
        self.stride = stride

    def product(self, weights: Tensor, x: Tensor) -> Tensor:
        inputs, batch, frames = x.shape
        outputs, _, kernel = weights.shape
        if self.stride > 1:
            x = x.unfold(2, kernel, self.stride).permute(0, 3, 1, 2).reshape(inputs * kernel, -1)
            return (weights.reshape(outputs, -1) @ x).view(outputs, batch, -1)
        # Without a stride, each tap's product over all frames first, then the sum of their shifted selves: nothing is copied.
        taps = (weights.permute(2, 0, 1).reshape(-1, inputs) @ x.reshape(inputs, -1)).view(kernel, outputs, batch, frames)
        steps = frames - kernel + 1
        return sum((tap[:, :, n : n + steps] for n, tap in enumerate(taps[1:], 1)), taps[0, :, :, :steps])


class Depthwise(Layer):
    """Each channel by itself; `kernels` are shared out over the channels in equal runs, all ending at the newest frame."""

    shown: Tensor

    def __init__(self, channels: int, kernels: tuple[int, ...]) -> None:
        super().__init__(channels, 1, max(kernels), norm=False)
        self.kernels = kernels
        shown = torch.zeros(channels, 1, max(kernels))
        for run, kernel in zip(shown.chunk(len(kernels)), kernels, strict=True):
            run[:, :, max(kernels) - kernel :] = 1.0
        self.register_buffer("shown", shown, persistent=False)
        with torch.no_grad():  # as if each kernel had been made by itself
            self.weight.mul_(shown * (max(kernels) / shown.sum(2, keepdim=True)).sqrt())

    def folded(self) -> tuple[Tensor, Tensor]:
        weights, bias = super().folded()
        return weights * self.shown, bias

    def product(self, weights: Tensor, x: Tensor) -> Tensor:
        channels, _, frames = x.shape
        kernel = weights.shape[2]
        steps = frames - kernel + 1
        # Rows of frames + 1 values read again in rows of frames: each row is the one above, moved by one.
        rows = functional.pad((weights * self.shown).expand(channels, steps, kernel), (0, frames + 1 - kernel))
        toeplitz = rows.reshape(channels, -1)[:, : steps * frames].view(channels, steps, frames)
        return torch.bmm(x, toeplitz.transpose(1, 2))


class Activation(nn.Module):
    """An int8 activation whose range is learnt as a moving quantile: 0 to 255 steps after a ReLU, else -128 to 127.

    every: of so many values one is looked at.
    """

    most: Tensor

    def __init__(self, relu: bool, every: int = 997) -> None:
        super().__init__()
        self.relu = relu
        self.every = every
        self.quantised = False
        self.register_buffer("most", torch.zeros(1))

    def step(self) -> Tensor:
        """The size of one step."""
        return self.most / (255 if self.relu else 127)

    def forward(self, x: Tensor) -> Tensor:
        if self.quantised:
            low, high = (0, 255) if self.relu else (-128, 127)
            rounded: Tensor = _Rounded.apply(x, self.step(), low, high)
            return rounded
        x = functional.relu(x) if self.relu else x
        if self.training:
            seen = torch.quantile(x.detach().flatten()[:: self.every].abs(), _RANGE_QUANTILE)
            self.most += (seen - self.most) * (0.05 if bool(self.most > 0) else 1.0)
        return x


def half_is_faster() -> bool:
    """Whether this processor multiplies bfloat16 natively: then a step of training takes half the time."""
    return bool(torch.cpu._is_avx512_bf16_supported())


class Network(nn.Module):
    """Features (batch, frames, 40), uint8, to logits (words, batch, steps), one each `stride` frames once the field is full.

    half_products: until it is quantised, training multiplies in bfloat16 and adds in float32.
    """

    def __init__(self, shape: Shape = LISTENER, words: int = 1) -> None:
        super().__init__()
        self.shape = shape
        self.half_products = False
        self.first = Convolution(FEATURES, shape.first, shape.first_kernel, shape.stride)
        self.first_out = Activation(relu=True)
        widths = [shape.first] + [shape.channels] * len(shape.blocks)
        self.depthwise = nn.ModuleList(Depthwise(width, kernels) for width, kernels in zip(widths, shape.blocks, strict=False))
        self.depthwise_out = nn.ModuleList(Activation(relu=False) for _ in shape.blocks)
        self.pointwise = nn.ModuleList(Convolution(a, b, 1) for a, b in pairwise(widths))
        self.pointwise_out = nn.ModuleList(Activation(relu=True) for _ in shape.blocks)
        self.dropped = nn.Dropout1d(_DROPPED)
        self.last = Convolution(shape.channels, words, shape.last, norm=False)

    def forward(self, seen: Tensor, from_start: bool = False) -> Tensor:
        """from_start: the frames begin a stream, before which the scorer's buffers hold zeros; its first steps count too."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half_products and self.training):
            return self._logits(seen, from_start).float()

    def _logits(self, seen: Tensor, from_start: bool) -> Tensor:
        def held(x: Tensor, frames: int) -> Tensor:
            return functional.pad(x, (frames, 0)) if from_start else x

        x = seen.permute(2, 0, 1).float() * INPUT_SCALE
        x = self.first_out(self.first(held(x, self.shape.first_kernel - self.shape.stride)))
        for kernels, depthwise, middle, pointwise, out in zip(
            self.shape.blocks, self.depthwise, self.depthwise_out, self.pointwise, self.pointwise_out, strict=True
        ):
            x = out(pointwise(middle(depthwise(held(x, max(kernels) - 1)))))
        x = self.dropped(x.transpose(0, 1)).transpose(0, 1)  # a channel of a segment at once
        logits: Tensor = self.last(held(x, self.shape.last - 1))
        return logits

    def of_word(self, number: int) -> "Network":
        """A network of its own for one of the words, with the same weights, as one that is trained and quantised."""
        return of_word(self, Network(self.shape), number)

    def quantise(self) -> None:
        """From now on as int8 will have it; the normalisations keep the figures that they have."""
        self.half_products = False
        quantise(self)


Net = TypeVar("Net", bound=nn.Module)


def of_word(net: Net, own: Net, number: int) -> Net:
    """`own`, of one output, with the weights of `net` for the word of that number, quantised. Both have a layer `last`."""
    state = net.state_dict()
    for name in ("last.weight", "last.bias"):
        state[name] = state[name][number : number + 1]
    own.load_state_dict(state)
    own.eval()
    quantise(own)
    return own


def quantise(net: nn.Module) -> None:
    """Lets its layers and activations take int8's values alone; the normalisations keep the figures that they have."""
    for module in net.modules():
        if isinstance(module, Layer | Activation):
            module.quantised = True
        if isinstance(module, nn.BatchNorm1d):
            module.eval()


def weight_steps(weights: Tensor) -> Tensor:
    """The step of each output's int8 weights."""
    return weights.detach().abs().amax((1, 2), keepdim=True) / 127 + 1e-12


def weight_count(network: nn.Module) -> int:
    """Weights that the int8 model stores, biases left out."""
    layers = [module for module in network.modules() if isinstance(module, Layer)]
    return sum(int(m.shown.sum()) if isinstance(m, Depthwise) else m.weight.numel() for m in layers)
