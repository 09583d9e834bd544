"""The bench: recorded rooms, replayed on rigs, and every detection held against the truth."""

from farfield.hil.faults import Faults
from farfield.hil.listening import Heard, listen
from farfield.hil.passes import InvalidPass, Pass
from farfield.hil.replay import Replay, replay
from farfield.hil.rigs import BoardRig, DeviceRig, FileRig, LoopbackRig, Rig, rig
from farfield.hil.room import Room, Spoken, demo_room, load_room
from farfield.hil.roomset import RoomSet, load_set, shipped_sets
from farfield.hil.scene import Scene, of_room
from farfield.hil.scoring import Hit, Score, match

__all__ = [
    "BoardRig",
    "DeviceRig",
    "Faults",
    "FileRig",
    "Heard",
    "Hit",
    "InvalidPass",
    "LoopbackRig",
    "Pass",
    "Replay",
    "Rig",
    "Room",
    "RoomSet",
    "Scene",
    "Score",
    "Spoken",
    "demo_room",
    "listen",
    "load_room",
    "load_set",
    "match",
    "of_room",
    "replay",
    "rig",
    "shipped_sets",
]
