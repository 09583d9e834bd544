"""The chain, and what becomes of the sound once it has decided: nothing before the word, an utterance after it."""

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from farfield.block import Block, Frame, Rejected, WakeEvent
from farfield.capture import memory
from farfield.capture.indicator import Indicator, State
from farfield.capture.keeper import Keeper, Opening
from farfield.capture.ring import Ring
from farfield.capture.utterance import LONGEST_GAP, Capturing, Consumer, Ending, Utterance
from farfield.chain import Chain
from farfield.errors import InputError
from farfield.model import Model
from farfield.profile import RATE

_LEAST_RING = RATE
_LEAST_LONGEST_S, _MOST_LONGEST_S = 3.0, 15.0
_MOST_PREROLL_MS = 2_000


class Listener:
    """A chain with its ring: takes blocks and gives events as a Chain does, and captures the utterance that follows a word.

    chain: used by nobody else from then on. A gap that it bridges is bridged for its detectors alone: what was made up, and what
    its stages made of that, is neither in the ring nor in an utterance.
    keeper: what keeps utterances (None: nothing is kept). consumers: have them as they
    are spoken, kept or not. preroll_ms: of sound before the word, 0 to 2,000. longest_s: of an utterance, pre-roll included, 3 to
    15. indicator: who shows the state. note: told in one line what is not as it should be. ended: told
    of each utterance that is over, without its sound, once it is known whether it was kept: with the block that comes after that.
    A context manager: leaving it stops.

    An utterance goes from the word's start less the pre-roll, or from where there is sound, to the end of speech (endpoint.py),
    to another word, to a gap of more than 0.8 s, or to its longest; it is the beam nearest to where the word came from. Shorter
    gaps are in it as gaps, with as much on either side as the stages' windows reach into what was lost. Blocks are zeroed once
    they have been processed. Stop and mute zero the ring and all that the chain holds. A candidate that is rejected is zeroed, in
    the ring and, as far as it need not unlearn the room, in the chain: at once where a word is accepted that began after it, else
    when it can no longer be a word's beginning, a word's length later (`settling`, in samples), or when the utterance is over.
    Used by one thread. InputError: numbers out of range, memory that cannot be locked.
    """

    def __init__(
        self,
        chain: Chain,
        keeper: Keeper | None = None,
        consumers: Sequence[Consumer] = (),
        *,
        preroll_ms: int = 500,
        longest_s: float = _MOST_LONGEST_S,
        indicator: Indicator | None = None,
        note: Callable[[str], None] = lambda text: None,
        ended: Callable[[Utterance], None] = lambda utterance: None,
    ) -> None:
        if not 0 <= preroll_ms <= _MOST_PREROLL_MS:
            raise InputError(f"preroll_ms: got {preroll_ms}, wanted 0 to {_MOST_PREROLL_MS}")
        if not _LEAST_LONGEST_S <= longest_s <= _MOST_LONGEST_S:
            raise InputError(f"longest_s: got {longest_s:g}, wanted {_LEAST_LONGEST_S:g} to {_MOST_LONGEST_S:g}")
        memory.overwrite_freed()
        self.chain = chain
        self._keeper, self._consumers = keeper, tuple(consumers)
        self._preroll = preroll_ms * RATE // 1000
        self._longest = round(longest_s * RATE)
        self._indicator = indicator or Indicator()
        self._note, self._ended = note, ended
        self._told: str | None = None
        self.settling = max((_word_samples(detector.model) for detector in chain.detectors), default=0)
        self._ring = Ring(max(self._preroll + self.settling, _LEAST_RING), chain.frontend.signals)
        self._capturing: Capturing | None = None
        self._endings: deque[Ending] = deque()  # not told of yet, for the keeper is not done
        self._rejected: list[int] = []  # where candidates were rejected that may yet turn out to be a word's beginning
        self._next: tuple[int, int] | None = None
        self._indicator.enter(State.LISTENING)

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def state(self) -> State:
        """What it does."""
        return self._indicator.state

    def process(self, block: Block) -> list[WakeEvent]:
        """The wake events that this block completes. Its samples are zeroed. ValueError: the listener is muted or stopped."""
        if self.state in (State.MUTED, State.STOPPED):
            raise ValueError(f"block at {block.index}: got one while {self.state.value}, wanted none")
        lost = block.index - self._next[1] if self._next and self._next[0] == block.epoch else -1
        if not 0 <= lost <= LONGEST_GAP:
            self._end("gap")
            self._ring.restart(block.index)
            self._rejected.clear()
        self._next = (block.epoch, block.end)
        self._tell_endings(wait=False)
        bridge = self.chain.bridge
        bridged = bridge.bridged if bridge else 0
        events = self.chain.process(block)
        frame = self.chain.frame
        assert frame is not None
        if 0 < lost <= LONGEST_GAP:
            # Where it was bridged, the stages' windows reach back into what was made up.
            made_up = bridge is not None and bridge.bridged > bridged
            self._skip(block.index + (self.chain.frontend.delay_samples if made_up else 0))
        self._take(frame, events, frame.index + len(frame.beams))
        frame.beams.fill(0)
        block.samples.fill(0)
        return events

    def flush(self, silence: int = 0) -> list[WakeEvent]:
        """The events that are still held at the stream's end, as `Chain.flush`; an utterance ends with the last sample heard."""
        if self._next is None:
            return []
        events = self.chain.flush(silence)
        frame = self.chain.frame
        assert frame is not None
        self._take(frame, events, self._next[1])
        self._end("stopped")
        self._forget()
        self._tell_endings(wait=True)
        return events

    def mute(self) -> None:
        """Forget everything: the ring, what the chain holds, an utterance that is being captured. Waits for the keeper."""
        try:
            self._end("muted")
            self._tell_endings(wait=True)
        finally:
            self._forget()
            self._indicator.enter(State.MUTED)

    def unmute(self) -> None:
        """Listen again."""
        self._indicator.enter(State.LISTENING)

    def close(self) -> None:
        """Stop: the utterance that is being captured ends, all sound is zeroed, the ring's memory is given back.

        Waits for the keeper.
        """
        if self.state is State.STOPPED:
            return
        try:
            self._end("stopped")
        finally:
            self._forget()
            self._ring.close()
            try:
                self._tell_endings(wait=True)
            finally:
                self._indicator.enter(State.STOPPED)

    def _forget(self) -> None:
        """No sound stays, in the ring, in the chain, or in what was freed."""
        self._ring.zero()
        self._rejected.clear()
        if self.chain.frame is not None:
            self.chain.frame.beams.fill(0)
        self.chain.reset()
        self._next = None
        memory.sweep()

    def _take(self, frame: Frame, events: list[WakeEvent], end: int) -> None:
        """The frame's samples before `end`, and what was decided, each where it was decided."""
        late = self.chain.frontend.delay_samples
        decided: list[tuple[int, WakeEvent | Rejected]] = [(event.decision - late, event) for event in events]
        for detector in self.chain.detectors:
            decided += [(rejected.given_up, rejected) for rejected in detector.rejected if rejected.epoch == frame.epoch]
        at = max(frame.index, self._ring.end)  # beyond the frame's first sample after a gap that was bridged
        for index, what in sorted(decided, key=lambda one: one[0]):
            at = self._write(frame, at, min(max(index, at), end))
            if isinstance(what, WakeEvent):
                self._open(what)
            else:
                self._rejected.append(index)
        self._write(frame, at, end)

    def _write(self, frame: Frame, start: int, end: int) -> int:
        """The frame's samples from `start` to `end` into the ring, and out of it where an utterance is captured."""
        while start < end:
            look = end
            if self._capturing is not None:
                look = self._capturing.next_look
            elif self._rejected:
                look = self._rejected[0] + self.settling
            stop = min(end, max(look, start + 1))
            self._ring.write(frame.beams[start - frame.index : stop - frame.index])
            start = stop
            self._advance()
            self._settle(self._ring.end - self.settling)
        return start

    def _skip(self, index: int) -> None:
        """What comes before a sample is lost, the newest of what the stages held too."""
        missing = index - self._ring.end
        if self._capturing is not None:
            self._capturing.make_room(missing)
        self._ring.skip(missing)
        self._advance()
        self._settle(self._ring.end - self.settling)

    def _advance(self) -> None:
        if self._capturing is None:
            return
        reason = self._capturing.advance()
        if reason is not None:
            self._end(reason)

    def _open(self, event: WakeEvent) -> None:
        """The word was accepted."""
        now = self._capturing
        if now is not None:
            if now.opening.epoch == event.epoch and event.start < now.opening.word_end:
                return  # another model's word for the same sound
            self._end("word")
        self._settle(event.start)
        self._indicator.enter(State.HEARD)
        start = self._ring.first(max(event.start - self._preroll, self._ring.start))
        opening = Opening(event.word, event.score, event.epoch, start, event.start, event.end, event.direction_deg)
        sealing = self._keeper.begin(opening) if self._keeper is not None else None
        why_not = self._keeper.why_not if self._keeper is not None and sealing is None else None
        if (sealing is not None or self._consumers) and not self._indicator.enter(State.CAPTURING):
            why_not = f"indicator: {self._indicator.why_not}; nothing is captured that it does not show"
            if sealing is not None:
                sealing.abort()
        self._tell(why_not)
        shown = self.state is State.CAPTURING
        self._capturing = Capturing(
            opening,
            self._ring,
            self._signal(event),
            sealing if shown else None,
            self._consumers if shown else (),
            self._longest,
        )
        self._capturing.begin()
        self._advance()

    def _signal(self, event: WakeEvent) -> int:
        """The beam that looks nearest to where the word came from; where that is not known, the one that has most of it."""
        azimuths = self.chain.frontend.beam_azimuths_deg
        if event.direction_deg is None or not azimuths:
            return self._ring.loudest(event.start, event.end)
        away = [abs((azimuth - event.direction_deg + 180) % 360 - 180) for azimuth in azimuths]
        return int(np.argmin(away))

    def _settle(self, until: int) -> None:
        """Candidates that were rejected up to a sample were no beginning of a word: nothing of them stays.

        What is being captured was accepted, and stays until that ends.
        """
        settled = [index for index in self._rejected if index <= until]
        if settled and self._capturing is None:
            del self._rejected[: len(settled)]
            self._reject(settled[-1])

    def _reject(self, index: int) -> None:
        """Zero what was heard up to a sample."""
        self._ring.forget(index)
        self.chain.frontend.forget()
        memory.sweep()

    def _end(self, reason: str) -> None:
        """The utterance that is being captured is over."""
        if self._capturing is None:
            return
        capturing, self._capturing = self._capturing, None
        self._endings.append(capturing.end(reason))
        self._tell_endings(wait=False)
        self._settle(self._ring.end - self.settling)
        if reason not in ("word", "muted"):
            self._indicator.enter(State.LISTENING)

    def _tell_endings(self, wait: bool) -> None:
        """Of each utterance that is over, in their order, as far as it is known what became of it."""
        while self._endings and (wait or self._endings[0].is_known):
            utterance, why_not = self._endings.popleft().settled()
            if why_not is not None:
                self._tell(why_not)
            self._ended(utterance)

    def _tell(self, what: str | None) -> None:
        """A trouble once, and once more when it comes again after it was gone."""
        if what is not None and what != self._told:
            self._note(what)
        self._told = what


def _word_samples(model: Model) -> int:
    """How long before the sample at which it is decided a word can have begun."""
    return max(0, model.word_ms + model.end_lag_ms) * RATE // 1000 + model.stride * RATE // 100
