"""Runs of a set whose only room is a scene that is planted, and results by their verdict."""

import json
from functools import cache

from farfield.hil.bounds import Bounds
from farfield.hil.material import Material
from farfield.hil.rigs import FileRig
from farfield.hil.roomset import Entry, RoomSet
from farfield.hil.run import run
from reference.scenes import noise, planted, word

SCENE = noise(4.0, words=[word(8_000, 16_000), word(24_000, 32_000), word(40_000, 48_000)])
AT = [16_000 // 160, 24_000 // 160, 56_000 // 160]  # decisions 320 later: two hits, and one false accept


class Fixed(Entry):
    """An entry of scenes that are there already."""

    def scenes(self, word, material):
        return iter([SCENE])


class Named:
    """A planted model with what a result says of a real one."""

    def __new__(cls, *steps):
        made = planted(SCENE, *steps)
        made.deciding_threshold, made.fingerprint = 0.5, "0" * 64
        return made


def rooms(bounds=None, goals=None):
    entry = Fixed("hall", None, None, bounds or Bounds(), goals or Bounds())
    return RoomSet("set", "about it", ("planted",), 0.5, (entry,))


def ran(*steps, bounds=None, goals=None, rig=None, decides=False, **arguments):
    return run(rooms(bounds, goals), rig or FileRig(), [Named(*(steps or AT))], Material(), goals=decides, **arguments)


@cache
def one_run():
    """As JSON: its callers may change what they read of it."""
    return json.dumps(ran(100))


def judged(verdict, *reasons, hits=(), missed=(), **others):
    """A run of one room by its verdict. hits: (start, latency in ms, error of direction); missed: starts."""
    made = json.loads(one_run())
    (entry,) = made["entries"]
    (room,) = entry["rooms"]
    room["hits"] = [
        {"text": "planted", "start": start, "latency_ms": late, "direction_error_deg": off} for start, late, off in hits
    ]
    room["missed"] = [{"text": "planted", "start": start} for start in missed]
    entry |= {"verdict": verdict, "reasons": list(reasons)}
    return made | others
