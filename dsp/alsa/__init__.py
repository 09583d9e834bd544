"""ALSA devices: capture with every lost sample accounted for, playback on record, references from either."""

from farfield.alsa.player import Player
from farfield.alsa.source import AlsaSource

__all__ = ["AlsaSource", "Player"]
