"""Rigs that play on an ALSA device and capture from one; the default is a null sink of a private PulseAudio server."""

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from farfield import Block, InputError, Profile
from farfield.alsa import AlsaSource
from farfield.alsa.pcm import OVERRUN, Device, DeviceError, Pcm
from farfield.hil.faults import UNPLUG_AT, Faults
from farfield.hil.pulse import PulseServer, Sink
from farfield.hil.rigs.base import NO_FAULTS, Counted, Rig, Stream
from farfield.hil.rigs.faulty import Faulty
from farfield.hil.scene import RATE, Scene

PERIOD = RATE // 100
_PLAYED_PERIODS = 800  # that the loudspeaker is ahead: it must not run dry on a busy machine
_LEAD, _PILOT, _GAP, _TAIL = (round(seconds * RATE) for seconds in (0.3, 0.25, 0.3, 1.5))
_PEAK = 8_000  # of the pilot
_STARTS_S = 6.0  # a sound server's first frame takes up to 2 s
_POLL_S = 0.1
_LEAST_CORRELATION = 0.25  # of the pilot through a room
_SAMPLES_TOLD_APART = 64


class Loudspeaker:
    """Plays a sound from its start once `begin` is called, on a thread of its own. underruns: times that it ran dry."""

    def __init__(self, device: Device, sound: NDArray[np.int16]) -> None:
        self._device, self._sound = device, sound
        self.underruns = 0
        self.failure = ""
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loudspeaker", daemon=True)

    def begin(self) -> None:
        """Start to play."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and let the device go."""
        self._leaving.set()
        if self._thread.is_alive():
            self._thread.join()
        self._device.close()

    def _run(self) -> None:
        import select

        at = 0
        try:
            while at < len(self._sound) and not self._leaving.is_set():
                # As much as it takes at once: it begins to play with the first write, and must not have a period alone by then.
                written = self._device.write(self._sound[at : at + self._device.buffer].tobytes())
                if written == OVERRUN:
                    self.underruns += 1
                elif written > 0:
                    at += written
                else:
                    poll = select.poll()
                    for handle, events in self._device.descriptors():
                        poll.register(handle, events)
                    self._device.woken(poll.poll(_POLL_S * 1e3))
        except DeviceError as error:
            self.failure = str(error)


class AlsaStream(Stream):
    """A scene behind a pilot, played and captured; the pilot tells which captured sample is the scene's first."""

    def __init__(self, rig: "AlsaRig", scene: Scene, played: NDArray[np.int16], capture: Profile, faults: Faults) -> None:
        super().__init__(scene, faults)
        self._rig = rig
        self._random = np.random.default_rng(rig.seed)
        self._pilot = np.random.default_rng(7).integers(-_PEAK, _PEAK, (_PILOT, played.shape[1])).astype(np.int16)
        lead, gap, tail = (np.zeros((frames, played.shape[1]), np.int16) for frames in (_LEAD, _GAP, _TAIL))
        self._speaker = Loudspeaker(rig.open_playback(played.shape[1]), np.concatenate([lead, self._pilot, gap, played, tail]))
        self._gone_until_ns = 0
        self._faulty: Faulty | None = None
        self._captured = np.zeros((0, scene.samples.shape[1]), np.int16)
        self._captured_from = 0
        self._first_ns: float | None = None  # when the scene's first sample arrived
        try:
            self._source = AlsaSource(rig.capture, capture, opener=self._open)
        except BaseException:
            self._speaker.close()
            raise

    @property
    def counted(self) -> Counted:
        """As the ALSA source counts; a loudspeaker that ran dry is an overrun that nobody can account for."""
        counts = self._source.counts
        xruns = counts.overruns + counts.unannounced
        return Counted(counts.missing_samples, counts.epochs, xruns, doubtful=counts.doubtful_samples)

    @property
    def troubles(self) -> tuple[str, ...]:
        """What the rig's own loudspeaker did wrong."""
        found = []
        if self._speaker.underruns:
            found.append(f"the rig's loudspeaker ran dry {self._speaker.underruns} times")
        if self._speaker.failure:
            found.append(f"the rig's loudspeaker failed: {self._speaker.failure}")
        if self._first_ns is None:
            found.append("the pilot before the scene was not heard")
        return tuple(found)

    def origin(self, block: Block) -> int | None:
        """By the pilot; after a new epoch by what is heard, or where the rig is not exact by the time."""
        if self._first_ns is None:
            return self._by_pilot(block)
        by_time = round((block.host_ns - self._first_ns) * RATE / 1e9) - block.end
        if self._rig.exact and by_time + block.index < self.scene.frames:
            return self.near(block, by_time + block.index)
        return by_time

    def near(self, block: Block, at: int) -> int | None:
        """Origin of the block's epoch by its samples: the place nearest to `at`, within a second, where the scene sounds so."""
        samples = block.samples
        if len(samples) < _SAMPLES_TOLD_APART or not np.any(samples[1:] != samples[:-1]):
            return None
        first, last = at - RATE, at + RATE + len(samples)
        inside = self.scene.samples[max(first, 0) : max(last, 0)]
        before = min(max(-first, 0), last - first)
        # Before the scene and after it there is silence.
        sound = np.pad(inside, ((before, last - first - before - len(inside)), (0, 0)))
        places = np.arange(len(sound) - len(samples) + 1)
        for offset in range(len(samples)):
            places = places[(sound[places + offset] == samples[offset]).all(axis=1)]
            if len(places) == 0:
                return None
        found = first + int(places[np.argmin(np.abs(places - RATE))])
        return found - block.index

    def blocks(self, stop: Callable[[], bool]) -> Iterator[Block]:
        """What is captured, from before the pilot on."""
        until_ns = time.monotonic_ns() + round((_STARTS_S + self.scene.frames / RATE) * 1e9 + 1e10)
        unplugs = round(self.scene.frames * UNPLUG_AT) if self.faults.unplug_s else None
        has_begun = False
        for block in self._source.blocks(lambda: stop() or time.monotonic_ns() > until_ns or bool(self._speaker.failure)):
            if not has_begun:
                has_begun = True
                self._speaker.begin()
            yield block
            if self._first_ns is not None and self._faulty is not None and block.host_ns >= self._first_ns:
                self._faulty.start_losing = True
                if unplugs is not None and (block.host_ns - self._first_ns) * RATE / 1e9 >= unplugs:
                    unplugs = None
                    self._gone_until_ns = time.monotonic_ns() + round(self.faults.unplug_s * 1e9)
                    self._faulty.is_gone = True

    def close(self) -> None:
        """Stop listening and playing."""
        self._source.close()
        self._speaker.close()

    def _open(self) -> Device:
        if time.monotonic_ns() < self._gone_until_ns:
            raise InputError(f"{self._rig.capture}: unplugged")
        device: Device = self._rig.open_capture(self.scene.samples.shape[1])
        if self.faults.lost or self.faults.damaged or self.faults.unplug_s:
            device = self._faulty = Faulty(device, self.faults, self._random)
        return device

    def _by_pilot(self, block: Block) -> int | None:
        follows = self._captured_from + len(self._captured) == block.index
        if not follows:
            self._captured, self._captured_from = block.samples, block.index
        else:
            self._captured = np.concatenate([self._captured, block.samples])
        found = self._pilot_at()
        if found is None:
            drop = max(0, len(self._captured) - 2 * _PILOT - len(block.samples))
            self._captured, self._captured_from = self._captured[drop:], self._captured_from + drop
            return None
        first = self._captured_from + found + _PILOT + _GAP
        self._first_ns = block.host_ns + (first - block.end) * 1e9 / RATE
        self._captured = self._captured[:0]
        return -first

    def _pilot_at(self) -> int | None:
        """Where in what was captured the pilot begins, once all of it is there."""
        captured = self._captured
        if len(captured) < _PILOT or not captured.any():
            return None
        if self._rig.exact:
            places = np.flatnonzero((captured[: len(captured) - _PILOT + 1] == self._pilot[0]).all(axis=1))
            return next((int(at) for at in places if np.array_equal(captured[at : at + _PILOT], self._pilot)), None)
        return correlated(captured[:, 0], self._pilot[:, 0])


def correlated(captured: NDArray[np.int16], pilot: NDArray[np.int16]) -> int | None:
    """Where the pilot begins in a sound that holds it, by normalised cross-correlation; None where nothing stands out."""
    from scipy.signal import correlate

    sound = captured.astype(np.float64)
    wanted = pilot.astype(np.float64)
    matched = correlate(sound, wanted, mode="valid", method="fft")
    sums = np.concatenate([[0.0], np.cumsum(sound**2)])
    energy = sums[len(pilot) :] - sums[: -len(pilot)]
    normed = np.abs(matched) / np.sqrt(np.maximum(energy, 1.0) * np.sum(wanted**2))
    best = int(np.argmax(normed))
    is_whole = best + len(pilot) + PERIOD < len(captured)  # a larger one may still come
    return best if normed[best] >= _LEAST_CORRELATION and is_whole else None


class AlsaRig(Rig):
    """Plays on one PCM, captures from another. seed: of the faults."""

    seed = 0
    sizing_samples = RATE // 500  # a gap in an ALSA stream is sized by the clock, to 2 ms
    capture: str
    playback: str

    def open_playback(self, channels: int) -> Device:
        """The PCM to play on. InputError: it cannot be had."""
        return Pcm(self.playback, capture=False, rate=RATE, channels=channels, period=PERIOD, periods=_PLAYED_PERIODS)

    @abstractmethod
    def open_capture(self, channels: int) -> Device:
        """The PCM to capture from. InputError: it cannot be had."""


class LoopbackRig(AlsaRig):
    """A real ALSA path that needs no sound card: alsa-lib's pulse plugin to a private PulseAudio server's null sink and back.

    period_ms, periods: of the capture PCM.
    """

    name = "loopback"

    def __init__(self, period_ms: int = 10, periods: int = 16, seed: int = 0) -> None:
        self._period, self._periods, self.seed = period_ms * RATE // 1000, periods, seed
        self._server: PulseServer | None = None
        self._channels = 0

    def play(self, scene: Scene, faults: Faults = NO_FAULTS) -> AlsaStream:
        """The scene's channels, microphones and references alike, through the sink of as many."""
        channels = scene.samples.shape[1]
        if self._server is None or self._channels != channels:
            self.close()
            sink = Sink("farfield_bench", channels)
            self.playback, self.capture, self._channels = sink.playback, sink.capture, channels
            self._server = PulseServer(sink)
            self._server.__enter__()
        microphones = len(scene.profile.microphones)
        profile = replace(
            scene.profile,
            rate=RATE,
            channels=channels,
            microphones=tuple(range(microphones)),
            references=tuple(range(microphones, channels)),
        )
        return AlsaStream(self, scene, scene.samples, profile, faults)

    def open_capture(self, channels: int) -> Device:
        """The sink's monitor."""
        return Pcm(self.capture, capture=True, rate=RATE, channels=channels, period=self._period, periods=self._periods)

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            server, self._server = self._server, None
            with suppress(InputError):
                server.__exit__(None, None, None)
