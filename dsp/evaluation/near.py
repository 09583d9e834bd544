"""How many phrases that only sound like the wake word wake the model, spoken by synthetic voices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from farfield.block import Frame
from farfield.detector import Detector
from farfield.model import Model
from farfield.profile import RATE
from farfield.training.voices import Voice, speak

_AROUND_S = 0.5  # silence before and after a phrase: the word may be decided on after it has ended


@dataclass(frozen=True)
class NearMisses:
    """How many utterances were heard, and of which phrases those were that woke the model, a phrase once for each voice."""

    spoken: int
    woken: tuple[str, ...]

    @property
    def rate(self) -> float:
        """Share of the utterances that woke the model; 0 of none."""
        return len(self.woken) / max(self.spoken, 1)


def count(model: Model, phrases: Sequence[str], voices: Sequence[Voice]) -> NearMisses:
    """Every phrase by every voice, each as a stream of its own, at the model's own threshold and the voice's own level.

    InputError, which names the packages, where a voice's program is not installed.
    """
    woken = tuple(phrase for phrase in phrases for voice in voices if wakes(model, phrase, voice))
    return NearMisses(len(phrases) * len(voices), woken)


def wakes(model: Model, phrase: str, voice: Voice) -> bool:
    """Whether the phrase, said by this voice between two silences, wakes the model."""
    silence = np.zeros(round(_AROUND_S * RATE), np.int16)
    said = np.clip(np.rint(speak(phrase, voice) * 32_768), -32_768, 32_767).astype(np.int16)
    stream = np.concatenate([silence, said, silence])[:, None]
    return bool(Detector(model).process(Frame(stream, 0, 0, 0, len(stream))))
