"""Recursive weighted prediction error in float64 NumPy; nothing but the equations at the head of wpe.pyx."""

import numpy as np

from reference.beam import HOP, SIZE, WINDOW, spectra

BINS = 256
LOADED, START, LEAST, SILENT, MOST_GAIN = 4, 10, 1e-4, 2e-8, 4.0


class WPE:
    """loaded: False leaves out what keeps the recursion well conditioned, and the floor of the power."""

    def __init__(self, microphones, taps=5, late_hops=2, forgetting=0.998, load=0.3, loaded=True):
        self.m, self.taps, self.late, self.loaded = microphones, taps, late_hops, loaded
        self.n = n = microphones * taps
        self.forgetting, self.load = forgetting, load
        self.P = np.tile(np.eye(n, dtype=complex) / (START * n * load), (BINS, 1, 1))
        self.G = np.zeros((BINS, n, microphones), complex)
        self.frames = np.zeros((taps + late_hops, BINS, microphones), complex)
        self.heard = np.zeros(BINS)
        self.hops = 0

    def before(self, hops):
        """u for the frame that is `hops` later than the newest: (bins, n)."""
        chosen = self.frames[self.late - hops :][: self.taps]
        return chosen.transpose(1, 0, 2).reshape(BINS, self.n)

    def hop(self, x):
        """Takes a frame, (bins, microphones); what is left of it, and what is predicted two frames later."""
        self.frames = np.concatenate([x[None], self.frames[:-1]])
        u, n = self.before(0), self.n
        y = x - np.einsum("kim,ki->km", self.G.conj(), u)
        z = np.einsum("kij,kj->ki", self.P, u)
        energy, past = np.sum(np.abs(x) ** 2, axis=1), np.sum(np.abs(u) ** 2, axis=1)
        self.power = np.mean(np.abs(y) ** 2, axis=1)
        if self.loaded:
            self.power = np.maximum(self.power, LEAST * past / n) + SILENT
        d = self.forgetting * self.power + np.einsum("ki,ki->k", u.conj(), z).real
        learns = (energy > SILENT * self.m) & (past > SILENT * n)
        f = np.where(learns, 1 / np.where(learns, d, 1), 0)
        self.G = self.G + f[:, None, None] * z[:, :, None] * y[:, None].conj()
        size = np.sum(np.abs(self.G) ** 2, axis=1, keepdims=True)
        self.G = self.G * np.sqrt(np.minimum(1, MOST_GAIN / np.maximum(size, 1e-300)))
        P = self.P - f[:, None, None] * z[:, :, None] * z[:, None].conj()
        self.P = np.where(learns[:, None, None], P / self.forgetting, P)
        share = past / (n * np.where(self.power > 0, self.power, 1))
        self.heard = np.where(learns, self.forgetting * self.heard + (1 - self.forgetting) * share, self.heard)
        if self.loaded and self.hops % LOADED == 0:
            axis = self.hops // LOADED % n
            v = LOADED * n * (1 - self.forgetting) * self.load * self.heard * learns
            c = self.P[:, :, axis]
            self.P = self.P - (v / (1 + v * c[:, axis].real))[:, None, None] * c[:, :, None] * c[:, None].conj()
        self.hops += 1
        return y, np.einsum("kim,ki->km", self.G.conj(), self.before(2))

    def forget(self):
        self.frames[1:] = 0

    def process(self, x, forgets=()):
        """What the kernel gives for the whole stream: (frames, microphones), no later. forgets: before which hops it forgets."""
        x = x.astype(np.float64)
        predicted = np.zeros((len(x) + 4 * SIZE, self.m))
        for t, spectrum in enumerate(spectra(x)):
            if t in forgets:
                self.forget()
            later = np.pad(self.hop(spectrum[:BINS])[1], ((0, 1), (0, 0)))
            predicted[(t + 1) * HOP : (t + 1) * HOP + SIZE] += WINDOW[:, None] * np.fft.irfft(later, SIZE, axis=0)
        return x - predicted[: len(x)]
