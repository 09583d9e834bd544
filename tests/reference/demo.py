"""The demo room's files, and what the command prints of them."""

import json

from farfield.hil import demo_room

ROOM = demo_room()
MICS, REF = str(ROOM / "mics.flac"), str(ROOM / "ref.flac")
ARRAY = ("--profile", "respeaker-4mic", "--ref", REF)
FIELDS = ["file", "word", "score", "start", "end", "decision", "direction", "ambiguous"]


def events(lines):
    return [json.loads(line) for line in lines]
