"""The echo canceller's equations in float64 NumPy, a block at a time: slow, and nothing but the equations."""

import numpy as np


class EchoReference:
    """Partitioned-block frequency-domain Kalman filter, as in the head of echo.pyx; same parameters, float64."""

    def __init__(self, microphones, references, *, hop, partitions, transition, smoothing, initial, floor=1e-10, repair=1):
        self.hop, self.partitions, self.transition, self.smoothing = hop, partitions, transition, smoothing
        self.initial, self.floor, self.repair = initial, floor, repair
        bins = hop + 1
        self.x = np.zeros((2 * hop, references))
        self.X = np.zeros((partitions, references, bins), complex)
        self.W = np.zeros((microphones, partitions, references, bins), complex)
        self.P = np.full((microphones, partitions, references, bins), float(initial))
        self.noise = np.zeros((microphones, bins))
        self.turn = 0
        self.blocks = 0

    def block(self, mic, ref):
        """One hop: mic (hop, M), ref (hop, R) -> error (hop, M)."""
        hop, n = self.hop, 2 * self.hop
        self.x = np.concatenate([self.x[hop:], ref])
        self.X = np.roll(self.X, 1, axis=0)
        self.X[0] = np.fft.rfft(self.x, axis=0).T
        power = np.abs(self.X) ** 2
        out = np.empty_like(mic)
        for m in range(mic.shape[1]):
            echo = np.fft.irfft((self.X * self.W[m]).sum((0, 1)), n)[hop:]
            error = mic[:, m] - echo
            E = np.fft.rfft(np.concatenate([np.zeros(hop), error]))
            self.noise[m] = self.smoothing * self.noise[m] + (1 - self.smoothing) * np.abs(E) ** 2
            total = (power * self.P[m]).sum((0, 1)) + 2 * self.noise[m] + self.floor
            gain = self.P[m] / total
            self.W[m] = self.W[m] + gain * np.conj(self.X) * E
            a2 = self.transition**2
            self.P[m] = a2 * (1 - 0.5 * gain * power) * self.P[m] + (1 - a2) * np.abs(self.W[m]) ** 2
            out[:, m] = error
        for _ in range(self.repair):
            w = np.fft.irfft(self.W[:, self.turn], n, axis=-1)
            w[..., hop:] = 0
            self.W[:, self.turn] = np.fft.rfft(w, axis=-1)
            self.turn = (self.turn + 1) % self.partitions
        return out


def cancel(mic, ref, **parameters):
    """Whole recordings: mic (frames, M), ref (frames, R) in whole hops -> error (frames, M)."""
    filter_ = EchoReference(mic.shape[1], ref.shape[1], **parameters)
    hop = parameters["hop"]
    return np.concatenate([filter_.block(mic[t : t + hop], ref[t : t + hop]) for t in range(0, len(mic) - hop + 1, hop)])
