"""The adaptive beam in float64 NumPy; nothing but the equations at the head of mvdr.pyx."""

import numpy as np

from reference.beam import HOP, SIZE, WINDOW, spectra
from reference.once import once

FIRST, STOP, STEP = 10, 202, 2  # bins that are searched
START, WARM = 8, 192  # hops
RAMP, LEAST = (0.2, 0.35), 0.1
SOON, SOONEST, LONG, USUAL, LOUDEST = 60, 8, 100, 1 / 64, 30.0
COMES, STAYS, LINGER, PATIENCE = 0.08, 0.02, 40, 250
NEAR, SURE = 0.5, 0.05
FADES = 0.4
FLOOR_DB, SILENT, JUMP = -12.0, 1e-9, 4.0


class MVDR:
    def __init__(self, steering, coherence, forgetting=0.99, loading=0.02, deferral_hops=64, postfilter_db=6):
        self.d = np.asarray(steering, np.complex128)
        self.directions, self.bins, self.m = self.d.shape
        self.loading, self.step = loading, 1 - forgetting
        self.period, slots = (deferral_hops // 4, 5) if deferral_hops else (4, 1)
        loaded = np.asarray(coherence, np.complex128) + loading * np.eye(self.m)
        self.start = np.linalg.inv(loaded)
        self.P, self.power = self.start.copy(), np.zeros(self.bins)
        self.ring = [self.P] * slots
        self.search = np.arange(FIRST, STOP, STEP)
        few = self.d[:, self.search]
        alike = np.abs(np.einsum("gkm,hkm->ghk", few.conj(), few)) / self.m
        self.near = alike.mean(axis=2) > NEAR
        self.num, self.den, self.usual = np.zeros(self.directions), 0.0, np.zeros(self.directions)
        self.over = self.soon = max(SOON / self.m, SOONEST)
        self.along, self.across, self.gain = np.zeros(self.bins), np.zeros(self.bins), np.ones(self.bins)
        self.lowest = 10 ** (-postfilter_db / 20)
        self.look = self.linger = self.age = self.hops = 0
        self.present = self.directions == 1
        self.refresh()
        self.aim()

    def refresh(self):
        self.Q = self.ring[0]
        self.dQd = np.einsum("gkm,kmn,gkn->gk", self.d.conj(), self.Q, self.d).real

    def aim(self):
        """w of the direction looked at: distortionless, its part across d shrunk to keep the white noise gain's floor."""
        d = self.d[self.look]
        along = d / self.m
        across = np.einsum("kmn,kn->km", self.Q, d) / self.dQd[self.look][:, None] - along
        most = 10 ** (-FLOOR_DB / 10) - 1 / self.m
        shrink = np.sqrt(np.minimum(1, most / (np.sum(np.abs(across) ** 2, axis=1) + 1e-30)))
        self.w = along + shrink[:, None] * across

    def due(self):
        """Hops between what is kept: of three lengths the longest of which 16 have been, or the shortest."""
        lengths = [max(1, self.period // by) for by in (1, 2, 4)]
        return next((length for length in lengths if 16 * length <= self.hops), lengths[-1])

    def hop(self, x):
        energy = np.sum(np.abs(x) ** 2, axis=1)
        if self.hops or energy.max() > SILENT:
            self.listen(x, energy)
        return self.gain * np.einsum("km,km->k", self.w.conj(), x)

    def listen(self, x, energy):
        if self.hops >= START and (self.hops - START) % self.due() == 0:
            self.ring = [*self.ring[1:], self.P]
            self.refresh()
            self.aim()
        z = np.einsum("kmn,kn->km", self.Q, x)
        xQx = np.einsum("km,km->k", x.conj(), z).real + 1e-30
        if self.directions > 1:
            self.find(z, xQx)
        d = self.d[self.look]
        rho = np.abs(np.einsum("km,km->k", d.conj(), z)) ** 2 / (self.dQd[self.look] * xQx)
        self.attenuate(rho * xQx, (1 - rho) * xQx)
        gated = self.present and self.age <= PATIENCE
        g = np.clip((RAMP[1] - rho) / (RAMP[1] - RAMP[0]), 0, 1) if gated else np.ones(self.bins)
        self.learn(x, energy, np.where((energy > SILENT) & (g > LEAST), self.step * g, 0))
        self.hops += 1

    def find(self, z, xQx):
        few = self.search
        rho = np.abs(np.einsum("gkm,km->gk", self.d[:, few].conj(), z[few])) ** 2 / (self.dQd[:, few] * xQx[few])
        if np.mean(xQx[few]) < SILENT:
            return
        exceeds = np.sum(np.abs(z[few]) ** 2, axis=1) / np.einsum("kmm->k", self.Q[few]).real
        q = np.clip(exceeds - 1, 0, LOUDEST)
        self.over = min(self.over + 1, LONG) if self.present else self.soon
        self.num = self.num + (np.mean(rho * q, axis=1) - self.num) / self.over
        self.den = self.den + (np.mean(q) - self.den) / self.over
        found = self.num / (self.den + SURE)
        if not self.present or self.age > PATIENCE:
            self.usual = self.usual + max(USUAL, 1 / (self.hops + 1)) * (found - self.usual)
        best = int(np.argmax(found - self.usual))
        before = self.look
        if self.hops >= WARM and found[best] - self.usual[best] > (STAYS if self.present else COMES):
            self.linger, self.present = LINGER, True
        elif self.linger > 0:
            self.linger -= 1
            best = self.look
        else:
            self.present = False
            best = int(np.argmax(found - 2 * self.usual))
        self.age = self.age + 1 if self.present and self.near[best, before] else 0
        self.look = best
        if best != before:
            self.aim()

    def attenuate(self, along, across):
        self.along = self.along + FADES * (along - self.along)
        self.across = self.across + FADES * (across / (self.m - 1) - self.across)
        p, n = (np.convolve(np.pad(of, 1, "edge"), np.ones(3), "valid") for of in (self.along, self.across))
        self.gain = np.maximum(1 - n / (p + 1e-30), self.lowest)

    def learn(self, x, energy, a):
        if self.hops < START:
            self.power += energy / (self.m * START)
            if self.hops == START - 1:
                self.power += SILENT
                self.P = self.start / self.power[:, None, None]
                self.ring = [self.P] * len(self.ring)
            return
        jump = np.maximum(1, a * energy / (self.m * JUMP * self.power))
        self.power *= jump
        P = self.P / jump[:, None, None]
        z = np.einsum("kmn,kn->km", P, x)
        q = np.einsum("km,km->k", x.conj(), z).real
        P = (P - (a / (1 - a + a * q))[:, None, None] * z[:, :, None] * z[:, None].conj()) / (1 - a)[:, None, None]
        self.power = (1 - a) * self.power + a * energy / self.m
        v = a * self.m * self.loading * self.power
        c = P[:, :, self.hops % self.m]
        own = c[:, self.hops % self.m].real
        P = P - (v / (1 + v * own))[:, None, None] * c[:, :, None] * c[:, None].conj()
        self.P = (P + P.conj().swapaxes(1, 2)) / 2  # what rounding makes of the other half would grow by 1 / (1 - a) a hop

    def process(self, x):
        """What the kernel gives for the whole stream: (frames, 1), two hops late."""
        frames = len(x)
        out = np.zeros(frames + 2 * SIZE)
        for t, spectrum in enumerate(spectra(x.astype(np.float64))):
            out[(t + 1) * HOP : (t + 1) * HOP + SIZE] += WINDOW * np.fft.irfft(self.hop(spectrum), SIZE)
        out[(frames // HOP + 1) * HOP :] = 0
        return out[:frames, None]


@once
def beam(steering, coherence, x, **options):
    """The beam of a whole stream; where it looks and whether somebody is there at the end."""
    slow = MVDR(steering, coherence, **options)
    made = slow.process(x)
    return made, slow.look, bool(slow.present)
