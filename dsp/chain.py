"""The straight path: blocks in, wake events with their direction out."""

from dataclasses import replace

import numpy as np

from farfield.block import Block, Frame, WakeEvent
from farfield.bridge import Bridge
from farfield.detector import Detector
from farfield.frontend import Frontend
from farfield.model import Model
from farfield.owner import Owner
from farfield.played import PlayedWords
from farfield.profile import RATE, Profile


class Chain:
    """A front end and a detector for each model, for one stream.

    profile: the device's layout. models: the wake words. references: reference columns of the blocks (None: the
    profile's). threshold: the deciding one of every model (None: each model's own). owner: whose voice alone is let through,
    for the models that it is fitted to. Used by one thread; memory is constant. `frame` is what the front end made of the last
    block.
    Where the profile ignores own words, events whose word may be what a reference plays are none, but stand in `played`, those of
    the last block.
    bridges: a gap of up to 40 ms is bridged (`bridge.bridged` counts the samples). Any other, or a new epoch, starts every stage
    anew.
    ModelError: an owner that is fitted to none of the models.
    """

    def __init__(
        self,
        profile: Profile,
        models: list[Model],
        *,
        references: int | None = None,
        threshold: float | None = None,
        owner: Owner | None = None,
        bridges: bool = True,
    ) -> None:
        self.frontend = Frontend(profile, references)
        self.detectors = [
            Detector(model, self.frontend.signals, threshold=threshold, owner=asked)
            for model, asked in zip(models, _owners(owner, models), strict=True)
        ]
        listens = profile.ignore_own_words and self.frontend.references > 0
        self._players = [PlayedWords(model, self.frontend.delay_samples) if listens else None for model in models]
        self.played: list[WakeEvent] = []
        self.bridge = Bridge() if bridges else None
        self.frame: Frame | None = None
        self._last: Block | None = None  # without its sound

    def reset(self) -> None:
        """Back to the state of a new object."""
        self.frontend.reset()
        if self.bridge is not None:
            self.bridge.reset()
        for detector in self.detectors:
            detector.reset()
        for player in self._players:
            if player is not None:
                player.reset()
        self.played = []
        self.frame = self._last = None

    def process(self, block: Block) -> list[WakeEvent]:
        """The wake events that this block completes, in the order of their decisions."""
        block = block if self.bridge is None else self.bridge.over(block)
        self.frame = frame = self.frontend.process(block)
        self._last = Block(block.samples[:0].copy(), block.end, block.epoch, block.host_ns)
        self.played = []
        events: list[WakeEvent] = []
        for detector, player in zip(self.detectors, self._players, strict=True):
            if player is not None:
                player.hear(block, self.frontend.microphones)
            for event in detector.process(frame):
                own = player is not None and player.hold(event.epoch, event.decision)
                (self.played if own else events).append(self._located(event))
        return sorted(events, key=lambda event: event.decision)

    def flush(self, silence: int = 0) -> list[WakeEvent]:
        """The events that are still held at a stream's end, after which nothing more is processed.

        The stages' delay, and `silence` more samples, are filled up with digital silence; decisions beyond the stream's
        last sample are given as falling on it, for it was the last that was heard.
        """
        if self._last is None:
            return []
        last = self._last
        fill = np.zeros((self.frontend.delay_samples + silence, last.samples.shape[1]), np.int16)
        events = self.process(Block(fill, last.end, last.epoch, last.host_ns))
        return [replace(event, decision=min(event.decision, last.end), end=min(event.end, last.end)) for event in events]

    def _located(self, event: WakeEvent) -> WakeEvent:
        # Only what had been heard at the decision counts, whatever more the block held; a tenth of a second holds a map.
        heard = min(event.end, event.decision)
        start = min(event.start, heard - RATE // 10)
        # The stages had to hear that much more before the detector could have its last sample.
        event = replace(event, decision=event.decision + self.frontend.delay_samples)
        found = self.frontend.direction(start, heard, captured=event.decision)
        if found is None:
            return event
        return replace(
            event,
            direction_deg=found.azimuth_deg,
            direction_confidence=found.confidence,
            ambiguous_deg=found.ambiguous_deg,
        )


def _owners(owner: Owner | None, models: list[Model]) -> list[Owner | None]:
    """The owner, for each model that it is fitted to."""
    if owner is None:
        return [None] * len(models)
    found = [owner if owner.belongs_to(model.second_look or model) else None for model in models]
    if not any(found):
        owner.check(models[0].second_look or models[0])
    return found
