"""The network in PyTorch: strided first convolution, mixed depthwise and pointwise blocks, a dense last window.

Quantisation in the loop: with `quantised` set, weights and activations take only values that int8 can hold, and gradients
pass straight through the rounding (Jacob et al., 2018). Inputs are int8 features plus 128, times INPUT_SCALE.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUT_SCALE = 0.1
FEATURES, FIRST, CHANNELS, LAST = 40, 32, 64, 6
FIRST_KERNEL, STRIDE = 5, 3
BLOCKS = ((5,), (7, 11), (9, 15), (23,))
_RANGE_QUANTILE = 0.9995  # of the activations that a range covers; the few beyond saturate


class _Rounded(torch.autograd.Function):
    """Rounded to whole steps between two bounds; the gradient passes where nothing was clipped."""

    @staticmethod
    def forward(context: Any, x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
        steps = torch.round(x / step)
        context.save_for_backward((steps >= low) & (steps <= high))
        return steps.clamp(low, high) * step

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return gradient * context.saved_tensors[0], None, None, None


class Convolution(nn.Module):
    """A convolution over time, batch normalisation folded in where it has one."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, norm: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, groups=groups, bias=not norm)
        self.norm = nn.BatchNorm1d(outputs, momentum=0.05) if norm else None
        self.quantised = False

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weights (outputs, inputs, kernel) and bias with the normalisation's running figures folded in."""
        if self.norm is None:
            assert self.conv.bias is not None
            return self.conv.weight, self.conv.bias
        assert self.norm.running_mean is not None and self.norm.running_var is not None
        gain = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        return self.conv.weight * gain[:, None, None], self.norm.bias - self.norm.running_mean * gain

    def forward(self, x: Tensor) -> Tensor:
        if not self.quantised:
            y: Tensor = self.conv(x)
            if self.norm is not None:
                y = self.norm(y)
            return y
        weights, bias = self.folded()
        step = weight_steps(weights)
        rounded = _Rounded.apply(weights, step, -127, 127)
        return functional.conv1d(x, rounded, bias, self.conv.stride, groups=self.conv.groups)


class Activation(nn.Module):
    """An int8 activation whose range is learnt as a moving quantile: 0 to 255 steps after a ReLU, else -128 to 127."""

    most: Tensor

    def __init__(self, relu: bool) -> None:
        super().__init__()
        self.relu = relu
        self.quantised = False
        self.register_buffer("most", torch.zeros(1))

    def step(self) -> Tensor:
        """The size of one step."""
        return self.most / (255 if self.relu else 127)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(x) if self.relu else x
        if self.quantised:
            low, high = (0, 255) if self.relu else (-128, 127)
            rounded: Tensor = _Rounded.apply(x, self.step(), low, high)
            return rounded
        if self.training:
            seen = torch.quantile(x.detach().abs().flatten()[::97], _RANGE_QUANTILE)
            self.most += (seen - self.most) * (0.05 if bool(self.most > 0) else 1.0)
        return x


class Network(nn.Module):
    """Features (batch, 40, frames), scaled, to logits (batch, steps), one each `STRIDE` frames once the field is full."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Convolution(FEATURES, FIRST, FIRST_KERNEL, STRIDE)
        self.first_out = Activation(relu=True)
        widths = [FIRST] + [CHANNELS] * len(BLOCKS)
        self.depthwise = nn.ModuleList(
            nn.ModuleList(
                Convolution(width // len(kernels), width // len(kernels), k, groups=width // len(kernels), norm=False)
                for k in kernels
            )
            for width, kernels in zip(widths, BLOCKS, strict=False)
        )
        self.depthwise_out = nn.ModuleList(Activation(relu=False) for _ in BLOCKS)
        self.pointwise = nn.ModuleList(Convolution(a, b, 1) for a, b in pairwise(widths))
        self.pointwise_out = nn.ModuleList(Activation(relu=True) for _ in BLOCKS)
        self.last = Convolution(CHANNELS, 1, LAST, norm=False)

    def forward(self, x: Tensor, from_start: bool = False) -> Tensor:
        """from_start: the frames begin a stream, before which the scorer's buffers hold zeros; its first steps count too."""

        def held(x: Tensor, frames: int) -> Tensor:
            return functional.pad(x, (frames, 0)) if from_start else x

        x = self.first_out(self.first(held(x, FIRST_KERNEL - STRIDE)))
        for kernels, depthwise, middle, pointwise, out in zip(
            BLOCKS, self.depthwise, self.depthwise_out, self.pointwise, self.pointwise_out, strict=True
        ):
            assert isinstance(depthwise, nn.ModuleList)
            longest = max(kernels)
            parts = torch.split(held(x, longest - 1), x.shape[1] // len(kernels), 1)
            # A shorter kernel sees the newest frames, so that all of a block's outputs speak of the same moment.
            mixed = [group(part[:, :, longest - k :]) for group, part, k in zip(depthwise, parts, kernels, strict=True)]
            x = out(pointwise(middle(torch.cat(mixed, 1))))
        logits: Tensor = self.last(held(x, LAST - 1))[:, 0]
        return logits

    def quantise(self) -> None:
        """From now on as int8 will have it; the normalisations keep the figures that they have."""
        for module in self.modules():
            if isinstance(module, Convolution | Activation):
                module.quantised = True
            if isinstance(module, nn.BatchNorm1d):
                module.eval()


def weight_steps(weights: Tensor) -> Tensor:
    """The step of each output's int8 weights."""
    return weights.detach().abs().amax((1, 2), keepdim=True) / 127 + 1e-12


def receptive_frames() -> int:
    """Feature frames that one logit depends on."""
    return FIRST_KERNEL + STRIDE * (sum(max(kernels) - 1 for kernels in BLOCKS) + LAST - 1)


def weight_count(network: Network) -> int:
    """Weights that the int8 model stores, biases left out."""
    return sum(m.conv.weight.numel() for m in network.modules() if isinstance(m, Convolution))
