"""The echo canceller's equations in float64 NumPy, a block at a time: slow, and nothing but the equations."""

import math

import numpy as np

RATE = 16_000
FLOOR = 1e-12


class EchoReference:
    """Partitioned-block frequency-domain Kalman filter, as in the head of echo.pyx, with the kernel's parameters.

    The constants that the kernel holds in single precision are rounded to it here too; all else is float64.
    """

    def __init__(
        self, microphones, references, *, hop=128, tail_samples=2048, memory_s=2.0, noise_smoothing=0.7, initial=0.3,
        repair=2,
    ):  # fmt: skip
        self.hop, self.partitions = hop, -(-tail_samples // hop)
        self.repair = min(repair, self.partitions)
        self.a2 = float(np.float32(math.exp(-2 * hop / (RATE * memory_s))))
        self.smoothing = float(np.float32(noise_smoothing ** (hop / 128)))
        bins = hop + 1
        self.x = np.zeros((2 * hop, references))
        self.X = np.zeros((self.partitions, references, bins), complex)
        self.W = np.zeros((microphones, self.partitions, references, bins), complex)
        self.C = np.full(self.W.shape, float(np.float32(initial)))
        self.noise = np.zeros((microphones, bins))
        self.turn = 0

    def block(self, mic, ref):
        """One hop: mic (hop, M), ref (hop, R) -> error (hop, M)."""
        hop, n = self.hop, 2 * self.hop
        self.x = np.concatenate([self.x[hop:], ref])
        self.X = np.roll(self.X, 1, axis=0)
        self.X[0] = np.fft.rfft(self.x, axis=0).T
        power = np.abs(self.X) ** 2
        echo = np.fft.irfft((self.X * self.W).sum((1, 2)), n)[:, hop:]
        error = mic.T - echo
        E = np.fft.rfft(np.concatenate([np.zeros_like(error), error], axis=1))
        self.noise = self.smoothing * self.noise + (1 - self.smoothing) * np.abs(E) ** 2 + FLOOR
        D = ((power * self.C).sum((1, 2)) + 2 * self.noise)[:, None, None]
        self.W = self.W + self.C * np.conj(self.X) * E[:, None, None] / D
        learnt = self.C - self.C**2 * power / (2 * D)
        self.C = self.a2 * learnt + (1 - self.a2) * np.abs(self.W) ** 2 + FLOOR
        for _ in range(self.repair):
            w = np.fft.irfft(self.W[:, self.turn], n)
            w[..., hop:] = 0
            self.W[:, self.turn] = np.fft.rfft(w)
            self.turn = (self.turn + 1) % self.partitions
        return error.T


def cancel(mic, ref, **parameters):
    """Whole recordings: mic (frames, M), ref (frames, R) -> what the kernel gives, one hop late, (frames, M)."""
    reference = EchoReference(mic.shape[1], ref.shape[1], **parameters)
    hop, frames = reference.hop, len(mic)
    mic, ref = mic.astype(np.float64), ref.astype(np.float64)
    errors = [reference.block(mic[t : t + hop], ref[t : t + hop]) for t in range(0, frames - hop + 1, hop)]
    return np.concatenate([np.zeros((hop, mic.shape[1])), *errors])[:frames]
