"""What happens once the word has been accepted: the utterance, and who keeps it."""

from farfield.capture.keeper import Keeper, Opening, Sealing

__all__ = ["Keeper", "Opening", "Sealing"]
