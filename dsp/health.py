"""Which microphones of an array have failed: dead, clipped, noisy, swapped, or of another gain, found while listening.

Once a second the sound as it was captured is cut into frames, and the louder half and the quietest quarter of them are looked at.
A channel is held against all others, so that what they share (speech, music, wind, silence) accuses nobody:

    dead      what the others hear in common is not in it, and it is quieter; or it stands still while another one hears
    clipped   flat tops, where the others have none and are not near full scale themselves
    noisy     in the quietest quarter it is louder than the others, and not in common with them
    gain      in common with the others, and 4.5 dB or more off in both parts: a near talker is off in the louder half alone
    swapped   a talker's phases fit the positions far better with two channels exchanged

In common: magnitude-squared coherence from 250 to 1,500 Hz, over what a diffuse field between these positions would have. Each
second speaks for a fault, against it, or says nothing; three more for than against make a fault, and as many clear it.
What cannot be told: two channels exchanged whose positions are mirrored by that in the rest (two microphones; the opposite ones
of a square), which of two microphones is right about the gain, that half of the microphones or more have noise of their own (all
but one: that one is accused), and anything but dead and clipped while the device plays.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from farfield.geometry import Array
from farfield.health_measures import LOUD, QUIET, Fit, Second, expected_coherence, measured
from farfield.profile import RATE

SECOND = RATE
LEFT_OUT = ("dead", "clipped", "noisy", "swapped")
KINDS = (*LEFT_OUT, "gain")
_PROVEN, _MOST = 3, 5  # seconds' balance that makes a fault, and beyond which none are counted
_ALIKE, _UNLIKE = 0.6, 0.3  # coherence over a diffuse field's: heard in common, and not
_HEARS = 64  # steps of int16, from the lowest sample to the highest, that are more than a converter's own
_STEADY_DB = 3.0  # up and down of noise alone: 1 dB
_OVERDRIVEN = 0.1  # share of samples in flat tops that no talker near one microphone makes there alone
_NOTHING_DB = -110.0  # rounding to 16 bits leaves more: digital silence
_GAIN_DB, _GAIN_CLEARS_DB = 4.5, 3.0
_MIRROR_M = 0.002  # what distances may differ by
_FITS, _BETTER = 0.3, 0.04  # share in phase; no exchange of a healthy array's channels gained over 0.023 in simulated rooms
_FOR, _AGAINST, _SILENT = 1, -1, 0

Floats = NDArray[np.float64]
Key = tuple[str, int, int]  # kind, microphone, partner or -1


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a microphone.

    microphone: its place in the profile, from 0. kind: dead, clipped, noisy, swapped or gain. since: capture index at which it
    was found. gain_db: for `gain`, by how much it is louder than the middle of the array. partner: for `swapped`, with which.
    """

    microphone: int
    kind: str
    since: int
    gain_db: float | None = None
    partner: int | None = None

    def __str__(self) -> str:
        """In words; microphones are counted from 0, as in the profile."""
        said = {
            "dead": "is dead: it hears nothing of what the others hear; left out",
            "clipped": "is clipped while the others are not; left out",
            "noisy": "has noise of its own; left out",
            "swapped": f"fits better where microphone {self.partner} sits, the two channels are exchanged; left out",
            "gain": f"is {self.gain_db or 0:+.1f} dB off the middle of the array; made up for",
        }
        return f"microphone {self.microphone} {said[self.kind]}"


class Health:
    """Watches the microphones of one stream. array: their positions, two or more.

    gains_db, delays_us: what is known of each, which is no fault.

    faults: what is wrong now, by microphone. used: bool (microphones,), which of them to go on with: all but those that are dead,
    clipped, noisy or swapped; where nobody would be left, one that is swapped, or all.
    gains_db: (microphones,), of those whose gain is off, else 0.
    """

    def __init__(self, array: Array, gains_db: Floats | None = None, delays_us: Floats | None = None) -> None:
        self._known_db = np.zeros(len(array.positions_m)) if gains_db is None else gains_db
        self.microphones = len(array.positions_m)
        self._expected = expected_coherence(array)
        self._fit = Fit(array, delays_us)
        self._mirrored = _mirrored(array)
        self._held = np.zeros((self.microphones, SECOND), np.int16)
        self.reset()

    def reset(self) -> None:
        """Back to the state of a new object: nobody is accused."""
        self.forget()
        self._balance: defaultdict[Key, int] = defaultdict(int)
        self._found: dict[Key, tuple[int, float]] = {}  # since, and the gain then
        self._gains_db = np.zeros(self.microphones)
        self._clips_at = np.ones(self.microphones)
        self.faults: tuple[Fault, ...] = ()
        self.used: NDArray[np.bool_] = np.ones(self.microphones, bool)
        self.gains_db: NDArray[np.float64] = np.zeros(self.microphones)

    def forget(self) -> None:
        """Zero the sound that is held, and begin a new second; what was found stays."""
        self._held[:] = 0
        self._filled, self._played = 0, False

    @property
    def wanted(self) -> int:
        """How many frames are missing to the next verdict."""
        return SECOND - self._filled

    def process(self, samples: NDArray[np.int16], end: int, *, playing: bool = False) -> bool:
        """Takes up to `wanted` frames, int16 (frames, microphones), the last one before `end`; whether faults changed.

        playing: the device's loudspeaker is heard in them, perhaps by one microphone more than by another.
        """
        self._held[:, self._filled : self._filled + len(samples)] = samples.T
        self._filled += len(samples)
        self._played |= playing
        if self._filled < SECOND:
            return False
        before = self.faults
        second = measured(self._held)
        self._judge(replace(second, level_db=second.level_db - self._known_db), end, self._played)
        self._filled, self._played = 0, False
        return self.faults != before

    def _judge(self, second: Second, end: int, playing: bool) -> None:
        dead = {one: self._dead(second, one, self._others(one)) for one in range(self.microphones)}
        unfit = [one for one, verdict in dead.items() if verdict == _FOR]
        clipped = {one: self._clipped(second, one, self._others(one, unfit)) for one in range(self.microphones)}
        unfit += [one for one, verdict in clipped.items() if verdict == _FOR]
        for one in range(self.microphones):
            others = self._others(one, unfit)
            self._count(("dead", one, -1), dead[one])
            self._count(("clipped", one, -1), clipped[one])
            if not playing:
                self._count(("noisy", one, -1), self._noisy(second, one, others))
                self._count(("gain", one, -1), self._gain(second, one, others))
        if not playing:
            for key, verdict in self._swapped(second).items():
                self._count(key, verdict)
        for key, balance in self._balance.items():
            if balance >= _PROVEN:
                self._found.setdefault(key, (end, round(float(self._gains_db[key[1]]), 1)))
            elif balance <= 0:
                self._found.pop(key, None)
        self._conclude()

    def _others(self, microphone: int, unfit: list[int] | None = None) -> NDArray[np.bool_]:
        """Those that a microphone is held against: all but itself that are neither accused nor unfit just now."""
        others = self.used.copy()
        others[[microphone, *(unfit or [])]] = False
        return others

    def _count(self, key: Key, verdict: int) -> None:
        self._balance[key] = min(max(self._balance[key] + verdict, 0), _MOST)

    def _conclude(self) -> None:
        accused: dict[int, Fault] = {}
        for kind in KINDS:  # what is dead is not noisy as well
            for (what, microphone, partner), (since, gain_db) in self._found.items():
                for one, other in ((microphone, partner), (partner, microphone)):
                    if what == kind and one >= 0 and one not in accused:
                        accused[one] = Fault(one, kind, since, gain_db if kind == "gain" else None, other if other >= 0 else None)
        self.faults = tuple(accused[one] for one in sorted(accused))
        self.used = np.array([one not in accused or accused[one].kind == "gain" for one in range(self.microphones)])
        if not self.used.any():  # what is swapped hears as well as any; alone, it has no place to be wrong about
            kinds = [accused[one].kind for one in range(self.microphones)]
            self.used[kinds.index("swapped") if "swapped" in kinds else slice(None)] = True
        self.gains_db = np.zeros(self.microphones)
        for fault in self.faults:
            if fault.kind == "gain":
                self.gains_db[fault.microphone] = fault.gain_db

    def _alike(self, second: Second, part: int, microphone: int, others: NDArray[np.bool_]) -> tuple[float, float]:
        """Coherence of the microphone with the others, and of the others among themselves, over a diffuse field's."""
        coherence, expected = second.coherence[part], self._expected
        own = coherence[microphone, others].sum() / expected[microphone, others].sum()
        if others.sum() < 2:
            return float(own), 1.0
        pairs = np.triu(others[:, None] & others[None], 1)
        return float(own), float(coherence[pairs].sum() / expected[pairs].sum())

    def _steadier(self, second: Second, microphone: int, others: NDArray[np.bool_]) -> bool:
        """Of two microphones that hear nothing in common the one with the steady level is at fault; of more, the odd one."""
        sway_db = second.sway_db[microphone]
        return bool(others.sum() > 1 or (sway_db < _STEADY_DB and _middle(second.sway_db, others) > sway_db + 2))

    def _dead(self, second: Second, microphone: int, others: NDArray[np.bool_]) -> int:
        if not others.any():
            return _SILENT
        if second.swing[microphone] <= 1 and second.swing[others].max() > _HEARS:  # most of them may be dead
            return _FOR
        own, rest = self._alike(second, LOUD, microphone, others)
        off_db = second.level_db[LOUD, microphone] - _middle(second.level_db[LOUD], others)
        if rest >= _ALIKE and own < _UNLIKE and off_db < -6 and self._steadier(second, microphone, others):
            return _FOR
        return _AGAINST if own >= _ALIKE and off_db > -20 else _SILENT

    def _clipped(self, second: Second, microphone: int, others: NDArray[np.bool_]) -> int:
        if not others.any():
            return _SILENT
        flat, peak = second.flat[microphone], second.peak[microphone]
        other_peak = _middle(second.peak, others)
        beside = other_peak < 0.45 or other_peak > 2 * peak or flat > _OVERDRIVEN
        if flat > 0.001 and flat > 4 * _middle(second.flat, others) and beside:
            self._clips_at[microphone] = peak
            return _FOR
        return _AGAINST if flat < 0.0002 and peak > 0.7 * self._clips_at[microphone] else _SILENT

    def _noisy(self, second: Second, microphone: int, others: NDArray[np.bool_]) -> int:
        if not others.any():
            return _SILENT
        own, rest = self._alike(second, QUIET, microphone, others)
        off_db = second.hiss_db[microphone] - _middle(second.hiss_db, others)
        if off_db > 8:
            loud_own, loud_rest = self._alike(second, LOUD, microphone, others)
            # of two that share nothing now, the quieter one may be dead, unless it hears what is louder
            heard = others.sum() > 1 or loud_own >= _UNLIKE
            # where the others share nothing even then, most of them have failed: whoever hears as one of them does is well
            well = loud_rest < _ALIKE and (second.coherence[LOUD] / self._expected)[microphone, others].max() >= _ALIKE
            unlike = own < max(_UNLIKE, rest / 2) and heard and not well
            return _FOR if unlike else _SILENT
        return _AGAINST if off_db < 5 else _SILENT

    def _gain(self, second: Second, microphone: int, others: NDArray[np.bool_]) -> int:
        if not others.any() or _middle(second.level_db[QUIET], others) < _NOTHING_DB:
            return _SILENT
        (own, rest), (loud_own, loud_rest) = (self._alike(second, part, microphone, others) for part in (QUIET, LOUD))
        if min(loud_own, loud_rest) < _ALIKE or own < _UNLIKE < _ALIKE < rest:
            return _SILENT
        off_db = [float(level[microphone] - _middle(level, others)) for level in second.level_db]
        least = min(map(abs, off_db)) if off_db[QUIET] * off_db[LOUD] > 0 else 0.0
        others[microphone] = True
        over_db = float(np.mean([level[microphone] - _middle(level, others) for level in second.level_db]))
        share = 1 / (self._balance["gain", microphone, -1] + 1)
        self._gains_db[microphone] += share * (over_db - self._gains_db[microphone])
        return _FOR if least >= _GAIN_DB else _AGAINST if least < _GAIN_CLEARS_DB else _SILENT

    def _swapped(self, second: Second) -> dict[Key, int]:
        """One verdict on the pair that explains the phases best, and on those that were suspected before."""
        as_they_are = np.arange(self.microphones)
        verdicts = {key: _SILENT for key in self._balance if key[0] == "swapped"}
        suspects = {(one, other) for _, one, other in verdicts}
        asked = self.used.copy()
        for one, other in suspects:  # those left out for it are asked again, to be cleared
            asked[[one, other]] |= ("swapped", one, other) in self._found
        if asked.sum() < 3 or second.strength <= 0:
            return verdicts
        plain, own = self._fit.best(second, asked, as_they_are)
        worst = int(np.argmin(np.where(asked, own, np.inf)))
        if own[worst] < 0.95 * np.median(own[asked]):
            pairs = [(min(worst, other), max(worst, other)) for other in np.flatnonzero(asked).tolist() if other != worst]
            suspects |= {same for pair in pairs for same in self._mirrored[pair] if asked[list(same)].all()}
        fits = {}
        for one, other in suspects:
            order = as_they_are.copy()
            order[[one, other]] = other, one
            fits[one, other] = self._fit.best(second, asked, order)[0]
        for (one, other), fit in fits.items():
            if fit > _FITS and fit > plain + _BETTER and fit > max(fits.values()) - _BETTER / 2:
                verdicts["swapped", one, other] = _FOR
            elif plain > _FITS and plain > fit + _BETTER / 2:
                verdicts["swapped", one, other] = _AGAINST
        return verdicts


def _mirrored(array: Array) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Of each pair those whose exchange leaves the same distances as its own; none where that changes no distance."""
    distance = np.linalg.norm(array.positions_m[:, None] - array.positions_m[None], axis=-1)
    exchanged = {}
    for one, other in combinations(range(len(distance)), 2):
        order = np.arange(len(distance))
        order[[one, other]] = other, one
        exchanged[one, other] = distance[np.ix_(order, order)]
    changing = {pair: d for pair, d in exchanged.items() if np.abs(d - distance).max() > _MIRROR_M}
    return {
        pair: [same for same, d in changing.items() if pair in changing and np.abs(d - changing[pair]).max() <= _MIRROR_M]
        for pair in exchanged
    }


def _middle(values: Floats, of: NDArray[np.bool_]) -> float:
    """The median of those of them."""
    chosen: list[float] = sorted(values[of].tolist())
    return (chosen[(len(chosen) - 1) // 2] + chosen[len(chosen) // 2]) / 2
