"""The patch network's arithmetic in 64-bit integers, a layer at a time, as the kernel's header states it."""

import numpy as np


def divide(values, power):
    """values / 2^power to nearest, ties up; power may differ along the last axis."""
    power = np.asarray(power, np.int64)
    return np.where(power == 0, values, (values + (np.int64(1) << np.maximum(power - 1, 0))) >> power)


def quantise(energies, quantiser):
    scaled = divide(energies.astype(np.int64) * quantiser["multiplier"], quantiser["shift"]) + quantiser["offset"]
    return np.clip(scaled, -128, 127)


def conv(layer, x, zero):
    """x (rows, columns, channels) with its zero point, to the layer's output with its own."""
    weights = layer["weights"].astype(np.int64)
    _, rows, columns, _ = weights.shape
    padding = (columns - 1) // 2
    x = np.pad(x - zero, ((0, 0), (padding, padding), (0, 0)))
    tall, wide = x.shape[0] - rows + 1, x.shape[1] - columns + 1
    acc = np.tile(layer["bias"].astype(np.int64), (tall, wide, 1))
    for r in range(rows):
        for k in range(columns):
            acc += x[r : r + tall, k : k + wide] @ weights[:, r, k].T
    shift = layer["shift"].astype(np.int64)
    r = divide((acc << np.maximum(shift, 0)) * layer["multiplier"].astype(np.int64), 31)
    r = divide(r, np.maximum(-shift, 0))
    r = np.where(r >= 0, r, (r * layer["leak"] + 512) >> 10)
    return np.clip(np.maximum(r, layer["floor"]) + layer["zero"], -128, 127)


def pool(layer, x):
    tall, wide = x.shape[0] // layer["rows"], x.shape[1] // layer["columns"]
    x = x[: tall * layer["rows"], : wide * layer["columns"]]
    return x.reshape(tall, layer["rows"], wide, layer["columns"], -1).max(axis=(1, 3))


def run(quantiser, layers, energies):
    """(steps, outputs) of exactly these frames, from the first one on."""
    x, zero = quantise(energies, quantiser)[:, :, None], quantiser["zero"]
    for layer in layers:
        if layer["kind"] == "pool":
            x = pool(layer, x)
        else:
            x, zero = conv(layer, x, zero), layer["zero"]
    return x[:, 0].astype(np.int8)
