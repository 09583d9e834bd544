"""The suppressor's equations in float64 NumPy, a hop at a time; nothing but the equations."""

import numpy as np

from reference.once import once

SIZE, HOP, BINS = 512, 96, 257
LONG = SIZE - HOP
FLOOR, SPECK = 1e-12, 1e-15
n = np.arange(SIZE)
ANALYSIS = np.where(n < LONG, np.sin(np.pi * (n + 0.5) / (2 * LONG)), np.cos(np.pi * (n - LONG + 0.5) / (2 * HOP)))
HANN = np.sin(np.pi * (np.arange(2 * HOP) + 0.5) / (2 * HOP)) ** 2
SYNTHESIS = HANN / ANALYSIS[LONG - HOP :]


def spread(q, weights=(0.1, 0.2, 0.4, 0.2, 0.1)):
    return np.convolve(np.pad(q, 2, mode="reflect"), weights, "valid")


class SuppressorReference:
    """As in the head of suppress.pyx, all in float64; `parameters` change single constants of it, for planted faults."""

    def __init__(self, microphones, *, echo=True, noise=False, comfort_noise=False, **parameters):
        constants = {"step": 0.015, "release": 0.76, "decision": 0.9, "hold": 0.96, "beta": 8.0, "wary": 0.8, "least": 0.1}
        self.of = constants | parameters
        self.echo, self.noise, self.comfort_noise = echo, noise, comfort_noise
        self.E = np.zeros((microphones, SIZE))
        self.D = np.zeros((microphones, SIZE))
        self.tail = np.zeros((microphones, HOP))
        self.P = np.zeros(BINS)
        self.U1, self.U3, self.N = (np.full(BINS, FLOOR) for _ in range(3))
        self.A1, self.A3 = np.full(BINS, 0.3), np.full(BINS, 0.03)
        self.present, self.G = np.zeros(BINS), np.ones(BINS)
        self.hops, self.v, self.level, self.random = 0, 0.0, 0.0, 1

    def uniform(self):
        for shift in (13, -17, 5):
            self.random ^= (self.random << shift if shift > 0 else self.random >> -shift) & 0xFFFFFFFF
        return (self.random - (self.random >> 31 << 32)) / 2.0**31

    def far_end(self):
        d = self.D[0]
        Q = np.mean(np.abs(np.fft.rfft(ANALYSIS * self.D)) ** 2, axis=0)
        self.U1 = np.maximum(spread(Q) + FLOOR + 0.003 * Q.mean(), self.of["release"] * self.U1)
        self.level = max(np.mean(d**2), 0.999 * self.level)
        C = np.abs(np.fft.rfft(ANALYSIS * d**3 / (self.level + FLOOR))) ** 2
        self.U3 = np.maximum(spread(C) + FLOOR, self.of["release"] * self.U3)

    def learn(self, P):
        R1, R3 = self.A1 * self.U1, self.A3 * self.U3
        total = R1 + R3 + self.N
        x, share = self.of["step"] * (P - total) / (P + total), R1 / (R1 + R3)
        x = np.where(x > 0, x * (1 - self.of["wary"] * self.v), x)
        self.A1 = np.clip(self.A1 * (1 + x * share * self.U1 / (self.U1 + 0.1 * self.N)), 1e-4, 2)
        self.A3 = np.clip(self.A3 * (1 + x * (1 - share) * self.U3 / (self.U3 + 0.1 * self.N)), 1e-5, 2)
        return self.A1 * self.U1 + self.A3 * self.U3

    def background(self, P):
        if P.mean() <= 1e-9:
            return
        if self.hops < 10:
            self.hops += 1
            self.N = self.N + (P - self.N) / self.hops
            return
        e = (1 + np.minimum(0.969347 * P / self.N, 60) / 32) ** 32
        p = e / (e + 32.6228)
        self.present += 0.1 * (p - self.present)
        p = np.minimum(p, 1 - 0.1 * np.maximum(self.present - 0.9, 0))
        self.N = self.N + 0.1 * (1 - p) * (P - self.N)

    def block(self, left, mic):
        """One hop: left and mic (hop, M), in time with each other -> what leaves (hop, M)."""
        self.E = np.concatenate([self.E[:, HOP:], left.T], axis=1)
        self.D = np.concatenate([self.D[:, HOP:], (mic - left).T], axis=1)
        E = np.fft.rfft(ANALYSIS * self.E)
        before, P = self.P, np.mean(np.abs(E) ** 2, axis=0) + FLOOR
        if self.echo:
            self.far_end()
        self.background(P)
        R = self.learn(P) if self.echo else np.zeros(BINS)
        band = slice(9, 160)
        beyond = np.maximum(P - 8 * R - 2 * self.N, 0)[band].sum() / P[band].sum()
        self.v = max(min(2.5 * beyond - 0.5, 1), self.of["hold"] * self.v)
        B = self.of["beta"] * 16**-self.v * R + self.noise * self.N + SPECK
        xi = self.of["decision"] * self.G**2 * before / B + (1 - self.of["decision"]) * np.maximum(P / B - 1, 0)
        self.G, self.P = np.maximum(xi / (1 + xi), self.of["least"] * 3**self.v), P
        gain = np.convolve(np.pad(self.G, 1, mode="edge"), (0.25, 0.5, 0.25), "valid")
        E = E * gain
        if self.comfort_noise:
            more = np.sqrt(1.5 * self.N * np.maximum(1 - gain**2, 0))
            for m in range(len(E)):
                drawn = np.array([self.uniform() for _ in range(2 * BINS)])
                E[m] += more * (drawn[::2] + 1j * drawn[1::2])
            E[:, [0, -1]] = E[:, [0, -1]].real
        y = np.fft.irfft(E)[:, LONG - HOP :] * SYNTHESIS
        done, self.tail = self.tail + y[:, :HOP], y[:, HOP:]
        return done.T


@once
def suppress(left, mic=None, *, late_samples=0, **parameters):
    """Whole streams (frames, M) -> what the kernel gives, two hops late, (frames, M)."""
    frames, microphones = left.shape
    reference = SuppressorReference(microphones, **parameters)
    left = left.astype(np.float64)
    mic = left if mic is None else mic.astype(np.float64)
    mic = np.concatenate([np.zeros((late_samples, microphones)), mic])
    out = [reference.block(left[t : t + HOP], mic[t : t + HOP]) for t in range(0, frames - HOP + 1, HOP)]
    return np.concatenate([np.zeros((HOP, microphones)), *out, np.zeros((HOP, microphones))])[:frames]
