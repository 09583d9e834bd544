"""The aligner's equations in float64 NumPy, 512 samples at a time: slow, and nothing but the equations."""

import math

import numpy as np

from reference.once import once

RATE = 16_000
HOP, TAPS, PHASES = 512, 32, 256


def single(x):
    return float(np.float32(x))


def taps():
    t = np.arange(TAPS)[None, :] - (TAPS // 2 - 1) - np.arange(PHASES + 1)[:, None] / PHASES
    made = np.sinc(t) * np.i0(8 * np.sqrt(np.maximum(1 - (2 * t / TAPS) ** 2, 0)))
    return made / made.sum(axis=1, keepdims=True)


def between(x, places):
    """x (frames,) read at real places; 0 before its beginning."""
    whole = np.floor(places).astype(int)
    phase = (places - whole) * PHASES
    row = np.minimum(phase.astype(int), PHASES - 1)
    part = (phase - row)[:, None]
    at = whole[:, None] + np.arange(TAPS) - (TAPS // 2 - 1)
    sound = np.where(at >= 0, x[np.maximum(at, 0)], 0)
    table = taps()
    return np.sum(sound * (table[row] * (1 - part) + table[row + 1] * part), axis=1)


class AlignReference:
    """One microphone and one reference, as in the head of align.pyx."""

    def __init__(self, *, late_samples=0, longest_samples=9_600):
        self.delay, self.hold = late_samples + 64, late_samples + 1_056
        self.partitions = -(-(longest_samples + self.hold) // HOP)
        self.late, self.rho, self.slack = float(self.delay), 0.0, 528.0
        self.echo = self.guess = None
        self.at, self.place, self.fine, self.still, self.moves = 0, 0.0, False, 0.0, 0
        self.trial, self.tried = 0.0, 0
        self.power = np.full((2, HOP + 1), 0.0)
        self.begin()

    def begin(self):
        self.slack, self.guess, self.scanned = 528.0, None, 0
        self.played = np.zeros(2 * HOP)
        self.X = np.zeros((self.partitions, HOP + 1), complex)
        self.S = np.zeros_like(self.X)
        self.loud = np.zeros(self.partitions, bool)
        self.peak = np.zeros((self.partitions, 3))
        self.restart_drift()

    def restart_drift(self):
        self.G, self.A, self.before = np.zeros(HOP + 1, complex), np.zeros(HOP + 1, complex), None
        self.stretch = self.voiced = self.pairs = 0

    def align(self, mic, ref):
        """Whole recordings (frames,) -> mic and ref as they leave, (frames,) each, a multiple of 512."""
        frames = len(mic) // HOP * HOP
        held, out = np.concatenate([np.zeros(self.hold), mic]), np.zeros(frames)
        for start in range(0, frames, HOP):
            now, grown = np.arange(start, start + HOP), self.rho * np.arange(1, HOP + 1)
            late, slack = np.maximum(self.late + grown, TAPS // 2), self.slack + (self.rho + self.trial) * np.arange(1, HOP + 1)
            out[start : start + HOP] = between(ref[: start + HOP], now - late)
            self.late, self.slack = late[-1], slack[-1]
            self.hop(held[start : start + HOP], between(ref[: start + HOP], now - slack))
        return np.concatenate([np.zeros(self.delay), mic])[:frames], out

    def hop(self, heard, played):
        self.played = np.concatenate([self.played[HOP:], played])
        self.X, self.loud = np.roll(self.X, 1, axis=0), np.roll(self.loud, 1)
        self.X[0], self.loud[0] = self.normalised(0, np.fft.rfft(self.played * np.hanning(2 * HOP + 1)[:-1]), 0.05)
        windowed = np.concatenate([np.zeros(HOP), heard * np.hanning(HOP + 1)[:-1]])
        Y, loud = self.normalised(1, np.fft.rfft(windowed), 0.01)
        P = Y * np.conj(self.X)
        if loud:
            self.S += self.loud[:, None] * (P - self.S) / 10
        if self.echo is not None:
            self.follow_drift(P[self.at] if loud and self.loud[self.at] else None)
        for _ in range(min(2, self.partitions - self.scanned)):
            x = np.fft.irfft(self.S[self.scanned])[:HOP]
            top = np.argmax(np.abs(x))
            self.peak[self.scanned] = abs(x[top]), self.scanned * HOP + top, x @ x
            known = math.floor((self.echo or 0) - self.slack + self.hold + 0.5) - self.scanned * HOP
            if 0 <= known < HOP:
                self.still = np.abs(x[max(known - 16, 0) : known + 17]).max()
            self.scanned += 1
        if self.scanned == self.partitions:
            self.scanned = 0
            self.decide()
        if self.echo is None:
            self.tried += loud and self.loud[0]
            if self.tried >= 40 and self.guess is None:
                self.tried, self.trial = 0, {0.0: 0.0011, 0.0011: -0.0011, -0.0011: 0.0}[self.trial]
                self.begin()
        if not 24 < self.slack < 1_032:
            self.begin()

    def normalised(self, side, spectrum, pause):
        now = np.abs(spectrum) ** 2
        self.power[side] = 0.97 * self.power[side] + 0.03 * now + 1e-12
        loud = now.sum() > pause * self.power[side].sum()
        return spectrum / (np.sqrt(now) + 0.3 * np.sqrt(self.power[side]) + 1e-6), loud

    def decide(self):
        best = int(np.argmax(self.peak[:, 0]))
        rms = math.sqrt(self.peak[:, 2].sum() / (self.partitions * HOP) + 1e-12)
        echo = self.peak[best, 1] - self.hold + self.slack
        elsewhere = self.echo is not None and abs(echo - self.echo) > 16
        least = 6 * rms
        if elsewhere:
            least = max(least, single(1.2) * self.still, min(9 * rms, 2 * self.still))
        if self.peak[best, 0] <= least:
            self.guess = None
            return
        agreed = self.guess is not None and abs(echo - self.guess) <= 16
        self.guess = echo
        if not agreed:
            return
        place = echo + self.delay - self.late
        if not 8 <= place <= 320:
            near = self.echo is None or abs(echo - self.echo) <= 160
            place = 48 if near else min(max(self.place, 48), 256)
            self.late = min(max(echo + self.delay - place, TAPS // 2), 16_384 - TAPS)
            place = echo + self.delay - self.late
            self.moves += 1
        if self.echo is None or best != self.at or abs(echo - self.echo) > 160:
            self.restart_drift()
        self.rho, self.trial = self.rho + self.trial, 0.0
        self.at, self.echo, self.place = best, echo, place

    def follow_drift(self, P):
        hops = 16 if self.fine else 4
        if P is not None:
            self.G, self.voiced = self.G + P, self.voiced + 1
        self.stretch += 1
        if self.stretch < hops:
            return
        voiced = 2 * self.voiced >= hops
        told = voiced and self.before is not None
        if told:
            self.A, self.pairs = self.A + self.G * np.conj(self.before), self.pairs + 1
        self.before, self.G = self.G if voiced else None, np.zeros(HOP + 1, complex)
        self.stretch = self.voiced = 0
        if not told or self.pairs % 4:
            return
        x = np.fft.irfft(self.A)
        rms = math.sqrt(np.mean(x**2) + 1e-12)
        turns = np.arange(-23, 24)
        best = turns[np.argmax(x[turns])]
        left, top, right = x[best - 1], x[best], x[best + 1]
        sure = top > 9 * rms
        if not sure and not self.fine and self.pairs < 16:
            return
        self.restart_drift()
        if not sure:
            self.fine = False
            return
        bend = left - 2 * top + right
        turned = (best + (0.5 * (left - right) / bend if bend < 0 else 0)) / (hops * HOP)
        if abs(turned) > (50e-6 if not self.fine else 10e-6 if self.rho == 0 else 4e-6):
            self.rho = min(max(self.rho + (0.8 if self.fine else 1) * turned, -0.002), 0.002)
        self.fine = abs(turned) < 150e-6


@once
def align(mic, ref):
    """mic, ref, each float64 (n,): as they leave; and the echo's delay, the drift and the moves at the end."""
    slow = AlignReference()
    mics, refs = slow.align(mic, ref)
    return mics, refs, slow.echo, slow.rho, slow.moves
