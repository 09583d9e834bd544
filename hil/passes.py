"""One pass over one room, for tests: what was heard, held against the truth."""

from collections.abc import Sequence
from dataclasses import dataclass

from farfield import Model, WakeEvent
from farfield.hil.faults import Faults
from farfield.hil.listening import Heard, listen
from farfield.hil.rigs.base import NO_FAULTS, Rig
from farfield.hil.room import Spoken
from farfield.hil.scene import RATE, Scene
from farfield.hil.scoring import WITHIN_S, Hit, match


class InvalidPass(RuntimeError):
    """A pass with an unexplained gap: it says nothing of the room."""


@dataclass(frozen=True)
class Pass:
    """What one pass over a scene found; places are in samples at 16 kHz."""

    heard: Heard
    hits: tuple[Hit, ...]
    missed: tuple[Spoken, ...]
    false_accepts: tuple[WakeEvent, ...]

    @staticmethod
    def over(rig: Rig, scene: Scene, models: Sequence[Model], within_s: float = WITHIN_S, faults: Faults | None = None) -> "Pass":
        """Play the scene and listen. InvalidPass: a gap that the source did not account for. InputError: an unfit rig."""
        heard = listen(rig, scene, models, faults or NO_FAULTS)
        if heard.books.unexplained:
            raise InvalidPass(f"{scene.name} on {rig.name}: {'; '.join(heard.books.unexplained)}")
        listened = {model.word.casefold() for model in models}
        words = [word for word in heard.scene.words if word.text.casefold() in listened]
        score = match([timed.event for timed in heard.events], words, RATE, within_s)
        return Pass(heard, score.hits, score.missed, score.false_accepts)

    @property
    def decisions(self) -> list[int]:
        """Every event's decision, in order."""
        return sorted(timed.event.decision for timed in self.heard.events)
