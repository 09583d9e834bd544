"""From raw microphones to what is scored: health, aligner, echo canceller, suppressor, dereverberation, beams, direction."""

from collections import deque
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from farfield import geometry, kernels
from farfield.block import Block, Frame
from farfield.cancel import MEMORY_S, PATIENT_MEMORY_S, cancel
from farfield.direction import Direction, estimate
from farfield.errors import InputError
from farfield.health import SECOND, Fault, Health
from farfield.profile import MOST_REFERENCES, RATE, Profile
from farfield.quietest import Quietest

STAGES = ("echo", "beam", "all")
ADAPTIVE, DRY, MICROPHONE, PATIENT = "adaptive", "dry", "microphone", "patient"
_PREDICTED_FROM = 30  # spectra, those of all microphones together, that late reverberation is predicted from
_MOST_TAPS = 15
_ADAPTIVE_DIRECTIONS = 24  # that the adaptive beam tells apart
_PLAYING = 33  # of a reference, -60 dB of full scale: the loudspeaker is heard
_LONGEST_SPAN_S = 4.0  # the longest stretch over which a direction can be asked for afterwards
_BEFORE_S, _LEAST_BEFORE_S = 2.0, 0.5  # by which a direction is told from what was there already
_LEAST_RISEN = 0.35  # of the peak: where less has come, it is the same sound that goes on, and all of it counts


_Made = tuple[NDArray[np.int16 | np.float32], NDArray[np.float32], tuple[int, ...]]  # signals, maps, ends


class Frontend:
    """Aligner and echo canceller for each microphone, superdirective fixed beams and SRP-PHAT direction, for one profile.

    Where the profile says so, a suppressor comes before the beams: of residual echo, where there are references, and of noise;
    and dereverberation of each microphone, after it.

    profile: the device's layout. references: how many reference columns the blocks carry (None: the profile's).
    stages: `echo` stops before the beams, `beam` leaves the echo canceller out, `all` is both. azimuths_deg: where the
    beams look (None: the profile's number of beams, spread evenly).
    With neither references nor a second microphone nor dereverberation the int16 samples pass through bit for bit.
    health: whether several microphones are watched; those that have failed, `faults`, are then left out of beams and direction,
    and a gain that is off is made up for. While nothing is found, that changes nothing.

    What is scored are candidates, of which the best counts, as `candidates` names them: the fixed beams, by where they look;
    where the profile says `adaptive`, a beam that cancels the noise that was there a second ago, steered to whoever is new; where
    it says `dry_beam`, another one, of dereverberated microphones; where it says `best_microphone`, the microphone that was most
    quiet lately, as it is; where it says `patient_echo`, and there are references, the first microphone that has not failed
    behind a canceller of its own, of a longer memory.

    `delay_samples` is what the stages hold back. Frames come out shifted back by it: sample `index` of a frame is what was
    captured at `index`. A gap in the stream (a jump of the index, or a new epoch) starts every stage anew; faults stay known.
    """

    def __init__(
        self,
        profile: Profile,
        references: int | None = None,
        *,
        stages: str = "all",
        azimuths_deg: tuple[float, ...] | None = None,
        health: bool = True,
    ) -> None:
        if stages not in STAGES:
            raise InputError(f"stages: got {stages!r}, wanted one of {', '.join(STAGES)}")
        self.profile = profile
        self.microphones = len(profile.microphones)
        self.references = len(profile.references) if references is None else references
        if not 0 <= self.references <= MOST_REFERENCES:
            raise InputError(f"references: got {self.references}, wanted 0 to {MOST_REFERENCES}")
        self.array = geometry.Array(profile.positions_mm)
        self._aligner = self._echo = self._suppressor = self._beamformer = self._finder = None
        if self.references and stages != "beam":
            if profile.align:
                late = profile.reference_late_ms * RATE // 1000
                self._aligner = kernels.Aligner(self.microphones, self.references, late_samples=late)
            tail = profile.tail_ms * RATE // 1000
            self._echo = kernels.EchoCanceller(self.microphones, self.references, tail_samples=tail, memory_s=MEMORY_S)
        self._patient: kernels.EchoCanceller | None = None
        if self._echo is not None and profile.patient_echo and stages == "all" and azimuths_deg is None:
            self._patient = kernels.EchoCanceller(1, self.references, tail_samples=tail, memory_s=PATIENT_MEMORY_S)
        suppresses_echo = profile.suppress_echo and self._echo is not None
        if suppresses_echo or (profile.suppress_noise and stages != "beam"):
            self._suppressor = kernels.Suppressor(
                self.microphones,
                echo=suppresses_echo,
                noise=profile.suppress_noise,
                comfort_noise=profile.comfort_noise and suppresses_echo,
                late_samples=0 if self._echo is None else self._echo.delay_samples,
            )
        self._dereverberator: kernels.WPE | None = None
        if profile.dereverberate:
            self._dereverberator = kernels.WPE(self.microphones, taps=taps(self.microphones))
        self.beam_azimuths_deg: tuple[float, ...] = ()
        if self.microphones > 1 and stages != "echo":
            self.beam_azimuths_deg = azimuths_deg or tuple(self.array.spread(profile.beams))
            self._hearing = self.array
            weights = self._weights(np.ones(self.microphones, bool), np.zeros(self.microphones))
            self._beamformer = kernels.Beamformer(weights)
        self.health: Health | None = None
        if self.microphones > 1:
            delays_samples = profile.delays_us * RATE / 1e6
            self._finder = kernels.DirectionFinder(profile.positions_mm, delays_samples=delays_samples)
            self.health = Health(self.array, profile.gains_db, profile.delays_us) if health else None
        self._adaptive: kernels.MVDR | None = None
        self._dryer: kernels.WPE | None = None
        self._dry: kernels.MVDR | None = None
        self._quietest: Quietest | None = None
        self.candidates: tuple[str, ...] = tuple(f"beam {azimuth:.0f}" for azimuth in self.beam_azimuths_deg)
        if self._beamformer is not None and azimuths_deg is None:
            if profile.adaptive:
                self._adaptive = self._steered(np.ones(self.microphones, bool), np.zeros(self.microphones))
                self.candidates += (ADAPTIVE,)
            if profile.dry_beam:
                self._dryer = kernels.WPE(self.microphones, taps=taps(self.microphones))
                self._dry = self._steered(np.ones(self.microphones, bool), np.zeros(self.microphones))
                self.candidates += (DRY,)
            if profile.best_microphone:
                self._quietest = Quietest(self.microphones, self._beamformer.delay_samples)
                self.candidates += (MICROPHONE,)
        self.candidates = self.candidates or tuple(f"microphone {number}" for number in range(self.microphones))
        if self._patient is not None:
            self.candidates += (PATIENT,)
        self._late = sum(stage.delay_samples for stage in (self._aligner, self._echo, self._suppressor) if stage is not None)
        self.delay_samples: int = self._late + (0 if self._beamformer is None else self._beamformer.delay_samples)
        lined_up = sum(stage.delay_samples for stage in (self._aligner, self._echo) if stage is not None)
        self._patient_late = self.delay_samples - lined_up
        self.signals: int = len(self.candidates)
        self.reset()

    @property
    def erle_db(self) -> NDArray[np.float64] | None:
        """Echo return loss enhancement lately, per microphone, in dB; None without an echo canceller."""
        return None if self._echo is None else self._echo.erle_db

    @property
    def echo_delay_ms(self) -> float | None:
        """By how much the echo comes later than its reference; None where it is not looked for, or not found yet."""
        found = None if self._aligner is None else self._aligner.echo_samples
        return None if found is None else found * 1000 / RATE

    @property
    def drift_ppm(self) -> float | None:
        """By how much the echo falls behind its reference, in millionths; None where it is not looked for."""
        return None if self._aligner is None else self._aligner.drift_ppm

    @property
    def map_azimuths_deg(self) -> NDArray[np.float64] | None:
        """The grid of a frame's maps, over the circle; None for a single microphone."""
        return None if self._finder is None else self._finder.azimuths_deg

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with the microphones, as far as it has been found."""
        return () if self.health is None else self.health.faults

    def reset(self) -> None:
        """Back to the state of a new object."""
        failed = bool(self.faults)
        if self.health is not None:
            self.health.reset()
        self._restart()
        if failed:
            self._adapt()

    def _restart(self) -> None:
        """As at a stream's beginning, but for what is known of the microphones: a second of sound may well have gaps for that."""
        cancelling = (self._aligner, self._echo, self._patient, self._suppressor, self._dereverberator)
        for stage in (*cancelling, self._beamformer, self._adaptive, self._dryer, self._dry, self._quietest, self._finder):
            if stage is not None:
                stage.reset()
        self._hearing = self.array
        self._first = 0  # microphone of the patient canceller
        self._held = np.zeros((self._patient_late, 1), np.float32)
        if self.faults:
            self._adapt()
        self._expected: tuple[int, int] | None = None
        self._start = self._heard = 0
        self._maps: deque[tuple[int, NDArray[np.float32]]] = deque()

    def _adapt(self) -> None:
        """Beams and direction go on with the microphones that are left."""
        if self.health is None or self._finder is None:
            return
        used = self.health.used
        self._hearing = self.array if used.all() else self.array.only(used)
        self._finder.use(used)
        if self._beamformer is not None:
            self._beamformer.load(self._weights(used, self.health.gains_db))
        if ADAPTIVE in self.candidates:
            self._adaptive = self._steered(used, self.health.gains_db) if used.sum() > 1 else None
        if DRY in self.candidates:
            self._dry = self._steered(used, self.health.gains_db) if used.sum() > 1 else None
        if self._quietest is not None:
            self._quietest.use(used)
        if self._patient is not None and self._first != int(np.argmax(used)):
            self._first = int(np.argmax(used))
            self._patient.reset()

    def _weights(self, used: NDArray[np.bool_], gains_db: NDArray[np.float64]) -> NDArray[np.complex64]:
        """Superdirective beams of the microphones in use, with their gains and delays made up for."""
        made = np.zeros((len(self.beam_azimuths_deg), len(self.array.frequencies_hz), self.microphones), np.complex64)
        made[:, :, used] = self._hearing.superdirective(self.beam_azimuths_deg)
        profile = self.profile
        early = np.exp(2j * np.pi * self.array.frequencies_hz[:, None] * profile.delays_us / 1e6)
        return np.asarray(made * (early / 10 ** ((gains_db + profile.gains_db) / 20)).astype(np.complex64))

    def _steered(self, used: NDArray[np.bool_], gains_db: NDArray[np.float64]) -> kernels.MVDR:
        """An adaptive beam of the microphones in use, which knows their gains and delays."""
        towards = [self._hearing.steering_vector(azimuth) for azimuth in self.array.spread(_ADAPTIVE_DIRECTIONS)]
        late = np.exp(-2j * np.pi * self.array.frequencies_hz[:, None] * self.profile.delays_us / 1e6)
        # an adaptive beam takes magnitudes from 0.5 to 2, and rounding may not carry them over that
        gain = np.clip(10 ** ((gains_db + self.profile.gains_db) / 20), 0.5 * (1 + 4e-6), 2 * (1 - 4e-6))
        steering = np.stack(towards) * (gain * late)[:, used]
        coherence = np.ascontiguousarray(self._hearing.diffuse_coherence())
        self._columns = used.copy()
        return kernels.MVDR(steering.astype(np.complex64), coherence)

    def _cancelled(self, beam: kernels.MVDR | None, heard: NDArray[np.int16 | np.float32]) -> NDArray[np.float32]:
        """An adaptive candidate; silence where fewer than two microphones are left."""
        if beam is None:
            return np.zeros((len(heard), 1), np.float32)
        return beam.process(heard if self._columns.all() else np.ascontiguousarray(heard[:, self._columns]))

    def _patiently(self, left: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the patient canceller left, as late as the other signals."""
        joined = np.concatenate([self._held, left])
        self._held = joined[len(left) :].copy()
        return joined[: len(left)]

    def forget(self) -> None:
        """Zero the microphones' sound that is held beyond what has yet to leave; what was learnt of the room stays.

        The stages' delays stay filled, less than 80 ms in all, and so does what the loudspeaker played.
        """
        for stage in (self._aligner, self._dereverberator, self._dryer, self.health):
            if stage is not None:
                stage.forget()

    def process(self, block: Block) -> Frame:
        """The frame that `block` completes: as long as the block, less what the stages hold back at a stream's start.

        InputError: samples that are not int16 (frames, microphones + references).
        """
        samples = block.samples
        wanted = self.microphones + self.references
        if samples.dtype != np.int16 or samples.ndim != 2 or samples.shape[1] != wanted:
            raise InputError(f"block: got {samples.dtype} {samples.shape}, wanted int16 (frames, {wanted})")
        if self._expected != (block.epoch, block.index):
            self._restart()
            self._start = block.index
        self._expected = (block.epoch, block.end)
        made = [self._signals(samples[at:to], block.index + to) for at, to in self._pieces(len(samples))]
        signals, maps, ends = made[0] if len(made) == 1 else _joined(made)
        while self._maps and self._maps[0][0] < block.index - _LONGEST_SPAN_S * RATE:
            self._maps.popleft()
        index = block.index - self.delay_samples
        early = min(max(self._start - index, 0), len(signals))  # what came out before the first captured sample
        return Frame(_to_int16(signals[early:]), index + early, block.epoch, block.host_ns, block.end, maps, ends)

    def _pieces(self, frames: int) -> list[tuple[int, int]]:
        """A block is cut where the microphones are judged, so that how the stream came in blocks makes no difference."""
        if self.health is None:
            return [(0, frames)]
        edges = [0, *range(self.health.wanted, frames, SECOND), frames]
        return list(pairwise(edges))

    def _signals(self, samples: NDArray[np.int16], end: int) -> _Made:
        raw: NDArray[np.int16] = np.ascontiguousarray(samples[:, : self.microphones])
        heard: NDArray[np.int16 | np.float32] = raw
        captured = heard
        played: NDArray[np.int16 | np.float32] = np.ascontiguousarray(samples[:, self.microphones :])
        playing = bool(played.size) and int(np.abs(played.astype(np.int32)).max()) > _PLAYING
        left: list[NDArray[np.float32]] = []
        if self._echo is not None:
            cancellers = [(self._echo, slice(None))]
            if self._patient is not None:
                cancellers.append((self._patient, slice(self._first, self._first + 1)))
            if self._aligner is None:
                left = [each.process(np.ascontiguousarray(raw[:, columns]), played) for each, columns in cancellers]
            else:
                left, captured, _ = cancel(self._aligner, cancellers, raw, played, end - len(samples) - self._start)
            heard = left[0]
            if self._suppressor is not None:
                heard = self._suppressor.process(heard, captured if self._suppressor.echo else None)
        elif self._suppressor is not None:
            heard = self._suppressor.process(heard)
        if self._dereverberator is not None:
            heard = self._dereverberator.process(heard)
        maps, ends = self._directions(heard)
        signals = heard if self._beamformer is None else self._beamformer.process(heard)
        others = []
        if ADAPTIVE in self.candidates:
            others.append(self._cancelled(self._adaptive, heard))
        if self._dryer is not None:
            others.append(self._cancelled(self._dry, self._dryer.process(heard)))
        if self._quietest is not None:
            others.append(self._quietest.process(heard))
        if self._patient is not None:
            others.append(self._patiently(left[1]))
        if others:
            signals = np.concatenate([signals, *others], axis=1)
        if self.health is not None and self.health.process(raw, end, playing=playing):
            self._adapt()
        return signals, maps, ends

    def _directions(self, heard: NDArray[np.int16 | np.float32]) -> tuple[NDArray[np.float32], tuple[int, ...]]:
        """The maps that these samples complete, and the capture index at which each ends."""
        if self._finder is None:
            return np.empty((0, 0), np.float32), ()
        update = self._finder.update_samples
        before = self._heard // update
        maps = self._finder.process(heard)
        self._heard += len(heard)
        ends = tuple(self._start + (before + 1 + n) * update - self._late for n in range(len(maps)))
        self._maps.extend(zip(ends, maps, strict=True))
        return maps, ends

    def direction(self, start: int, end: int, *, captured: int | None = None) -> Direction | None:
        """Where the sound between two capture indices came from; None for one microphone, or where nothing was heard.

        The maps that end within the stretch, widened to one map, are summed; only the last 4 s are remembered. What had been
        there through most of the 2 s before, music or what is left of an echo, is taken off: that is not what has come.
        captured: how far the stream had come, within the last block; the 4 s before that count then, however long the block is.
        """
        if self._finder is None:
            return None
        update = self._finder.update_samples
        maps = [(at, map_) for at, map_ in self._maps if captured is None or at >= captured - _LONGEST_SPAN_S * RATE]
        summed = [map_ for at, map_ in maps if start < at <= max(end, start + update)]
        if not summed:
            return None
        total = np.stack(summed).sum(axis=0, dtype=np.float64)
        before = [map_ for at, map_ in maps if start - _BEFORE_S * RATE < at <= start]
        if len(before) * update >= _LEAST_BEFORE_S * RATE:
            # Three quarters of the time: speech, which has pauses, is not taken off, though the same talker went on before.
            stayed = np.quantile(np.stack(before), 0.25, axis=0)
            # The last value is how much was heard in all; a direction's confidence is its share in that.
            risen = np.maximum(total[:-1] - len(summed) * stayed[:-1], 0.0)
            if risen.max() > _LEAST_RISEN * total[:-1].max():
                total[:-1] = risen
        return estimate(total, self._finder.azimuths_deg, self._hearing)


def taps(microphones: int) -> int:
    """Of the dereverberation: how many hops of every microphone it predicts from, fewer the more there are."""
    return min(_MOST_TAPS, max(_PREDICTED_FROM // microphones, 2))


def _joined(made: list[_Made]) -> _Made:
    signals, maps, ends = zip(*made, strict=True)
    return np.concatenate(signals), np.concatenate(maps), tuple(end for some in ends for end in some)


def _to_int16(samples: NDArray[np.int16 | np.float32]) -> NDArray[np.int16]:
    """Floats rounded to int16, what exceeds full scale clipped; int16 as it is."""
    if samples.dtype == np.int16:
        return np.ascontiguousarray(samples, np.int16)
    return np.asarray(np.clip(np.rint(samples * np.float32(32_768)), -32_768, 32_767).astype(np.int16))
