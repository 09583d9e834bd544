"""The echo canceller's equations in float64 NumPy, a block at a time: slow, and nothing but the equations."""

import math

import numpy as np

from reference.once import once

RATE = 16_000
FLOOR = 1e-12


def single(x):
    return float(np.float32(x))


class EchoReference:
    """Partitioned-block frequency-domain Kalman filter, as in the head of echo.pyx, with the kernel's parameters.

    The constants that the kernel holds in single precision are rounded to it here too; all else is float64.
    """

    def __init__(
        self, microphones, references, *, hop=128, tail_samples=2048, memory_s=3.0, noise_smoothing=0.5, initial=2.5,
        repair=1,
    ):  # fmt: skip
        self.hop, self.partitions = hop, -(-tail_samples // hop)
        self.repair = min(repair, self.partitions)
        self.a2 = single(math.exp(-2 * hop / (RATE * memory_s)))
        self.changing = min(self.a2, single(math.exp(-2 * hop / (RATE * 0.1))))
        self.calming = 1 - min(self.repair / (1.25 * self.partitions), 1)
        self.smoothing = single(noise_smoothing ** (hop / 128))
        self.width = int(375 * 2 * hop / RATE)
        bins = hop + 1
        shape = np.maximum(10 ** (-6 * np.arange(self.partitions) * hop / (RATE * 0.3)), 10**-1.2)
        self.prior = np.float32(initial * shape / shape.sum()).astype(float)[:, None, None]
        self.x = np.zeros((2 * hop, references))
        self.X = np.zeros((self.partitions, references, bins), complex)
        self.W = np.zeros((microphones, self.partitions, references, bins), complex)
        self.C = np.broadcast_to(self.prior, self.W.shape).copy()
        self.mean = np.zeros((microphones, self.partitions, references, 1))
        self.taps = np.zeros((2, microphones, self.partitions, references, hop))  # when last constrained; their step before
        self.motion = np.zeros((2, microphones))
        self.noise = np.zeros((microphones, bins))
        self.match = np.ones(microphones)
        self.heard, self.played = np.zeros(microphones), 0.0
        self.matching = int(0.5 * RATE / hop)
        self.matched, self.quiet, self.turn = 0, self.partitions + 1, 0
        self.path = np.zeros(microphones)  # the square of its gain, as it was known when the last hop came
        self.learnt = 0
        self.keeping = int(2 * RATE / hop)
        self.kept = [self.state(), self.state()]  # the older one first

    def levels(self, mic, ref):
        """How much louder the microphones are than the references: what `match` becomes."""
        if np.sum(ref**2) <= single(1e-7) * self.hop:
            self.quiet += 1
            return self.match
        self.quiet = 0
        first = self.matched < self.matching
        self.matched += first
        stays = 1 if first else 1 - 1 / self.matching
        self.heard, self.played = stays * self.heard + np.sum(mic**2, axis=0), stays * self.played + np.sum(ref**2)
        unknown = single(3e-6) * self.hop * self.matching
        ratio = (self.heard + unknown) / (self.played + unknown)
        ratio = np.where(ratio > 1, np.maximum(ratio / 16, 1), np.minimum(ratio * 16, 1))
        ratio = np.clip(ratio, 1e-3, 1e3 if first else 1)
        again = (ratio > self.match) & (self.path < single(0.01) * self.match)
        return np.where(first | again, np.minimum(ratio, single(10 ** (0.1 * self.hop / 64)) * self.match), self.match)

    def state(self):
        return self.W.copy(), self.C.copy(), self.mean.copy(), self.match.copy(), self.turn

    def recall(self):
        """What was known 2 to 4 s of played sound ago; references from before this moment are silence."""
        *learnt, self.turn = self.kept[0]
        self.W, self.C, self.mean, match = (x.copy() for x in learnt)
        self.C *= (self.match / match)[:, None, None, None]
        self.path = self.mean.sum((1, 2, 3))
        self.kept, self.learnt = [self.kept[0], self.state()], 0
        self.X[:], self.x[:] = 0, 0
        self.taps = np.stack([np.fft.irfft(self.W)[..., : self.hop], np.zeros(self.taps.shape[1:])])
        self.motion[:] = 0

    def left(self, mic):
        """The microphones' hop without echo, in time."""
        return mic.T - np.fft.irfft((self.X * self.W).sum((1, 2)), 2 * self.hop)[:, self.hop :]

    def block(self, mic, ref):
        """One hop: mic (hop, M), ref (hop, R) -> what is left (hop, M)."""
        hop = self.hop
        self.x = np.concatenate([self.x[hop:], ref])
        self.X = np.roll(self.X, 1, axis=0)
        self.X[0] = np.fft.rfft(self.x, axis=0).T
        power = np.abs(self.X) ** 2
        match = self.levels(mic, ref)
        self.C *= (match / self.match)[:, None, None, None]
        self.match = match
        error = self.left(mic)
        E = np.fft.rfft(np.concatenate([np.zeros_like(error), error], axis=1))
        T = leaked((power * self.C).sum((1, 2)))
        share = np.maximum(2 * self.noise / (T + 2 * self.noise + FLOOR), single(0.1))
        smooth = mean_of_bins(np.abs(E) ** 2, self.width)
        self.noise = self.smoothing * self.noise + (1 - self.smoothing) * share * smooth + FLOOR
        self.path = self.mean.sum((1, 2, 3))
        if self.quiet <= self.partitions:
            self.learnt += 1
            if self.learnt % self.keeping == 0:
                self.kept = [self.kept[1], self.state()]
            heard = ~np.array([clipped(x) for x in mic.T])
            self.learn(power, E, (T + 2 * self.noise)[:, None, None], heard)
        return self.left(mic).T

    def learn(self, power, E, D, heard):
        heard = heard[:, None, None, None]
        self.W = self.W + heard * self.C * np.conj(self.X) * E[:, None, None] / D
        rho = self.motion[0] / (self.motion[1] + FLOOR)
        self.motion *= self.calming
        changing = np.maximum(rho - single(0.05), 0)[:, None, None, None] / (1 - single(0.05))
        a2 = self.a2 + changing * (self.changing - self.a2)
        learnt = self.C - heard * self.C**2 * power / (2 * D)
        may_become = (np.abs(self.W) ** 2 + self.mean) / 2 + single(0.003) * self.prior * np.minimum(self.match, 1)[
            :, None, None, None
        ]
        self.C = a2 * learnt + (1 - a2) * may_become + FLOOR
        for _ in range(self.repair):
            w = np.fft.irfft(self.W[:, self.turn], 2 * self.hop)
            w[..., self.hop :] = 0
            self.W[:, self.turn] = np.fft.rfft(w)
            self.mean[:, self.turn] = np.sum(w**2, axis=-1, keepdims=True)
            last, before = self.taps[:, :, self.turn]
            step = w[..., : self.hop] - last
            self.motion += [np.sum(step * before, (1, 2)), np.sum(step**2 + before**2, (1, 2)) / 2]
            self.taps[:, :, self.turn] = w[..., : self.hop], step
            self.turn = (self.turn + 1) % self.partitions


def leaked(T):
    """Each bin's power spread over its neighbours by the window (0..0, 1..1); mirrored at both ends."""
    padded, bins = np.pad(T, ((0, 0), (5, 5)), mode="reflect"), T.shape[1]
    shares = {m: 2 / (math.pi * m) ** 2 for m in (-5, -3, -1, 1, 3, 5)} | {0: 0.5}
    return sum(share * padded[:, 5 + m : 5 + m + bins] for m, share in shares.items())


def mean_of_bins(power, width):
    padded, bins = np.pad(power, ((0, 0), (width, width)), mode="reflect"), power.shape[1]
    return sum(padded[:, j : j + bins] for j in range(2 * width + 1)) / (2 * width + 1)


def clipped(x):
    """Whether two samples in a row are equal, and at full scale."""
    return bool(np.any((x[1:] == x[:-1]) & (np.abs(x[1:]) >= single(0.99))))


@once
def cancel(mic, ref, recalls=(), **parameters):
    """Whole recordings: mic (frames, M), ref (frames, R) -> what the kernel gives, two hops late, (frames, M).

    recalls: the hops before which `recall` is called; the hop that has not left yet leaves as it was heard.
    """
    reference = EchoReference(mic.shape[1], ref.shape[1], **parameters)
    hop, frames = reference.hop, len(mic)
    mic, ref = mic.astype(np.float64), ref.astype(np.float64)
    left = []
    for n, t in enumerate(range(0, frames - hop + 1, hop)):
        if n in recalls:
            reference.recall()
            left[-1] = mic[t - hop : t]
        left.append(reference.block(mic[t : t + hop], ref[t : t + hop]))
    return np.concatenate([np.zeros((2 * hop, mic.shape[1])), *left])[:frames]
