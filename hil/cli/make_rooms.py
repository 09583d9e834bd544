"""`farfield hil make-rooms`: the rooms of a set as folders."""

from pathlib import Path

import click

from farfield import InputError
from farfield.hil.cli.options import clips, room_set
from farfield.hil.material import Material
from farfield.hil.roomset import load_set
from farfield.hil.scene import save


@click.command("make-rooms")
@room_set
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Where the folders go.")
@click.option("--word", default="alexa", show_default=True, help="What is said in them.")
@click.option("--only", multiple=True, metavar="ROOM", help="Only this room of the set; repeatable.")
@clips
def make_rooms(rooms: str, output: Path, word: str, only: tuple[str, ...], clips: Path | None) -> None:
    """Make the rooms of a set and write each as a recorded room: room.toml, mics.flac, ref.flac. Recorded ones are left out."""
    material = Material(clips)
    entries = [entry for entry in load_set(rooms).only(only).entries if entry.recipe is not None]
    if not entries:
        raise InputError(f"{rooms}: has no rooms to make; wanted a set with [room.make] in it")
    for entry in entries:
        if entry.name in (".", "..") or "/" in entry.name or "\0" in entry.name:  # it would lie elsewhere than in the output
            raise InputError(f"room {entry.name!r}: is no folder's name; wanted one without / in it, or --only for the others")
    for entry in entries:
        for scene in entry.scenes(word, material):
            folder = output / scene.name.replace(" ", "-")
            if folder.exists():
                raise InputError(f"{folder}: is there already; wanted a folder to make")
            save(scene, folder)
            print(f"{folder}: {scene.frames / 16_000:.0f} s, {len(scene.words)} words")
