"""From raw microphones to the signals that are scored: aligner, echo canceller, fixed beams, direction, int16."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from farfield import geometry, kernels
from farfield.block import Block, Frame
from farfield.cancel import cancel
from farfield.direction import Direction, estimate
from farfield.errors import InputError
from farfield.profile import MOST_REFERENCES, RATE, Profile

STAGES = ("echo", "beam", "all")
_LONGEST_SPAN_S = 4.0  # the longest stretch over which a direction can be asked for afterwards


class Frontend:
    """Aligner and echo canceller for each microphone, superdirective fixed beams and SRP-PHAT direction, for one profile.

    profile: the device's layout. references: how many reference columns the blocks carry (None: the profile's).
    stages: `echo` stops before the beams, `beam` leaves the echo canceller out, `all` is both. azimuths_deg: where the
    beams look (None: the profile's number of beams, spread evenly).
    With neither references nor a second microphone the int16 samples pass through bit for bit.

    `delay_samples` is what the stages hold back. Frames come out shifted back by it: sample `index` of a frame is what was
    captured at `index`. A gap in the stream (a jump of the index, or a new epoch) starts every stage anew.
    """

    def __init__(
        self,
        profile: Profile,
        references: int | None = None,
        *,
        stages: str = "all",
        azimuths_deg: tuple[float, ...] | None = None,
    ) -> None:
        if stages not in STAGES:
            raise InputError(f"stages: got {stages!r}, wanted one of {', '.join(STAGES)}")
        self.profile = profile
        self.microphones = len(profile.microphones)
        self.references = len(profile.references) if references is None else references
        if not 0 <= self.references <= MOST_REFERENCES:
            raise InputError(f"references: got {self.references}, wanted 0 to {MOST_REFERENCES}")
        self.array = geometry.Array(profile.positions_mm)
        self._aligner = self._echo = self._beamformer = self._finder = None
        if self.references and stages != "beam":
            if profile.align:
                late = profile.reference_late_ms * RATE // 1000
                self._aligner = kernels.Aligner(self.microphones, self.references, late_samples=late)
            tail = profile.tail_ms * RATE // 1000
            self._echo = kernels.EchoCanceller(self.microphones, self.references, tail_samples=tail)
        self.beam_azimuths_deg: tuple[float, ...] = ()
        if self.microphones > 1 and stages != "echo":
            self.beam_azimuths_deg = azimuths_deg or tuple(self.array.spread(profile.beams))
            self._beamformer = kernels.Beamformer(self.array.superdirective(self.beam_azimuths_deg))
        if self.microphones > 1:
            self._finder = kernels.DirectionFinder(profile.positions_mm)
        held = (stage.delay_samples for stage in (self._aligner, self._echo, self._beamformer) if stage is not None)
        self.delay_samples: int = sum(held)
        self.signals: int = len(self.beam_azimuths_deg) or self.microphones
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

    def reset(self) -> None:
        """Back to the state of a new object."""
        for stage in (self._aligner, self._echo, self._beamformer, self._finder):
            if stage is not None:
                stage.reset()
        self._expected: tuple[int, int] | None = None
        self._start = self._heard = 0
        self._maps: deque[tuple[int, NDArray[np.float32]]] = deque()

    def forget(self) -> None:
        """Zero the microphones' sound that is held beyond what has yet to leave; what was learnt of the room stays.

        The stages' delays stay filled, less than 60 ms in all, and so does what the loudspeaker played.
        """
        if self._aligner is not None:
            self._aligner.forget()

    def process(self, block: Block) -> Frame:
        """The frame that `block` completes: as long as the block, less what the stages hold back at a stream's start.

        InputError: samples that are not int16 (frames, microphones + references).
        """
        samples = block.samples
        wanted = self.microphones + self.references
        if samples.dtype != np.int16 or samples.ndim != 2 or samples.shape[1] != wanted:
            raise InputError(f"block: got {samples.dtype} {samples.shape}, wanted int16 (frames, {wanted})")
        if self._expected != (block.epoch, block.index):
            self.reset()
            self._start = block.index
        self._expected = (block.epoch, block.end)
        heard: NDArray[np.int16 | np.float32] = np.ascontiguousarray(samples[:, : self.microphones])
        if self._echo is not None:
            played: NDArray[np.int16 | np.float32] = np.ascontiguousarray(samples[:, self.microphones :])
            if self._aligner is None:
                heard = self._echo.process(heard, played)
            else:
                heard = cancel(self._aligner, self._echo, heard, played, block.index - self._start)
        maps, ends = self._directions(heard)
        signals = heard if self._beamformer is None else self._beamformer.process(heard)
        index = block.index - self.delay_samples
        early = min(max(self._start - index, 0), len(signals))  # what came out before the first captured sample
        return Frame(_to_int16(signals[early:]), index + early, block.epoch, block.host_ns, block.end, maps, ends)

    def _directions(self, heard: NDArray[np.int16 | np.float32]) -> tuple[NDArray[np.float32], tuple[int, ...]]:
        """The maps that these samples complete, and the capture index at which each ends."""
        if self._finder is None:
            return np.empty((0, 0), np.float32), ()
        update = self._finder.update_samples
        late = sum(stage.delay_samples for stage in (self._aligner, self._echo) if stage is not None)
        before = self._heard // update
        maps = self._finder.process(heard)
        self._heard += len(heard)
        ends = tuple(self._start + (before + 1 + n) * update - late for n in range(len(maps)))
        self._maps.extend(zip(ends, maps, strict=True))
        while self._maps and self._maps[0][0] < self._start + self._heard - len(heard) - _LONGEST_SPAN_S * RATE:
            self._maps.popleft()
        return maps, ends

    def direction(self, start: int, end: int) -> Direction | None:
        """Where the sound between two capture indices came from; None for one microphone, or where nothing was heard.

        The maps that end within the stretch, widened to one map, are summed; only the last 4 s are remembered.
        """
        if self._finder is None:
            return None
        update = self._finder.update_samples
        summed = [map_ for at, map_ in self._maps if start < at <= max(end, start + update)]
        if not summed:
            return None
        return estimate(np.sum(summed, axis=0), self._finder.azimuths_deg, self.array)


def _to_int16(samples: NDArray[np.int16 | np.float32]) -> NDArray[np.int16]:
    """Floats rounded to int16, what exceeds full scale clipped; int16 as it is."""
    if samples.dtype == np.int16:
        return np.ascontiguousarray(samples, np.int16)
    return np.asarray(np.clip(np.rint(samples * np.float32(32_768)), -32_768, 32_767).astype(np.int16))
