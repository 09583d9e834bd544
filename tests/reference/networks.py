"""Random scorer networks for property tests: every kind of layer, odd sizes, extreme weights."""

import numpy as np
from hypothesis import strategies as st


def constants(rng, outputs, extreme):
    multiplier = rng.integers(1 << 30, 1 << 31, outputs, dtype=np.int64).astype(np.int32)
    multiplier[rng.random(outputs) < 0.1] = 0
    # Extreme: right shifts of 0 and left shifts, so that nearly all outputs saturate; else outputs of all sizes.
    shift = rng.integers(-2, 3, outputs) if extreme else rng.integers(-12, -4, outputs)
    return {"multiplier": multiplier, "shift": shift.astype(np.int8), "away_from": int(rng.integers(0, outputs + 1))}


def int8s(rng, shape, extreme):
    if extreme:
        return rng.choice(np.array([-128, 127], np.int8), shape)
    return rng.integers(-128, 128, shape).astype(np.int8)


def weighted(rng, kind, source, first, channels, frames, target, at, outputs, zero, extreme):
    shape = (outputs, frames, channels) if kind == "conv" else (frames, channels)
    low = zero if rng.random() < 0.5 else -128
    return {
        "kind": kind, "source": source, "source_channel": first, "target": target, "target_channel": at,
        "weights": int8s(rng, shape, extreme), "bias": rng.integers(-20000, 20000, outputs).astype(np.int32),
        "low": low, "high": 127, **constants(rng, outputs, extreme),
    }  # fmt: skip


def tabled(rng, source, first, target, at, channels):
    return {"kind": "table", "source": source, "source_channel": first, "target": target, "target_channel": at,
            "table": int8s(rng, (channels, 256), False)}  # fmt: skip


def random_network(seed, features=None):
    """A strided convolution, then blocks (depthwise in groups, pointwise, table, dense), then the score."""
    rng = np.random.default_rng(seed)
    extreme = bool(rng.random() < 0.25)
    zero = lambda: int(rng.integers(-128, 128))  # noqa: E731
    slot = lambda frames, channels: {"frames": frames, "channels": channels, "zero": zero(), "fill": zero()}  # noqa: E731
    stride = int(rng.integers(1, 5))
    inputs = features or int(rng.integers(1, 42))
    slots = [slot(stride + int(rng.integers(0, 4)), inputs)]
    layers = []
    widths = rng.integers(1, 40, int(rng.integers(1, 4)))
    for width in widths:
        source, before = len(slots) - 1, slots[-1]
        slots.append(slot(int(rng.integers(1, 25)), int(width)))
        target = len(slots) - 1
        kind = rng.choice(["conv", "depthwise", "table", "split"])
        if kind == "conv" or (kind != "split" and width != before["channels"]):
            frames = int(rng.integers(1, before["frames"] + 1))
            layers.append(weighted(rng, "conv", source, 0, before["channels"], frames, target, 0, int(width),
                                   slots[target]["zero"], extreme))  # fmt: skip
        elif kind == "split":
            cut = int(rng.integers(0, width + 1))
            for at, outputs in ((0, cut), (cut, int(width) - cut)):
                if outputs:
                    first = int(rng.integers(0, before["channels"]))
                    channels = int(rng.integers(1, before["channels"] - first + 1))
                    frames = int(rng.integers(1, before["frames"] + 1))
                    layers.append(weighted(rng, "conv", source, first, channels, frames, target, at, outputs,
                                           slots[target]["zero"], extreme))  # fmt: skip
        elif kind == "depthwise":
            cut = int(rng.integers(0, width + 1))
            for at, channels in ((0, cut), (cut, int(width) - cut)):
                if channels:
                    frames = int(rng.integers(1, before["frames"] + 1))
                    layers.append(weighted(rng, "depthwise", source, at, channels, frames, target, at, channels,
                                           slots[target]["zero"], extreme))  # fmt: skip
        else:
            layers.append(tabled(rng, source, 0, target, 0, int(width)))
    dense = len(slots)
    slots += [slot(1, 1), slot(1, 1)]
    last = slots[dense - 1]
    zero = slots[dense]["zero"]
    layers.append(weighted(rng, "conv", dense - 1, 0, last["channels"], last["frames"], dense, 0, 1, zero, extreme))
    layers.append(tabled(rng, dense, 0, dense + 1, 0, 1))
    quantiser = {"multiplier": int(rng.integers(1, 1 << 31)), "shift": int(rng.integers(26, 40))}
    return {"stride": stride, "quantiser": quantiser, "slots": slots, "layers": layers}


networks = st.integers(0, 2**32 - 1).map(random_network)
