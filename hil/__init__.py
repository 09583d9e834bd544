"""The bench: recorded rooms, replayed, and every detection held against the truth."""

from farfield.hil.replay import Replay, replay
from farfield.hil.room import Room, Spoken, demo_room, load_room
from farfield.hil.scoring import Hit, Score, match

__all__ = ["Hit", "Replay", "Room", "Score", "Spoken", "demo_room", "load_room", "match", "replay"]
