"""`farfield hil demo`: a recorded room through the whole chain, and what was heard held against the truth."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from farfield import InputError, kernels, load_model
from farfield.hil.replay import Replay, replay
from farfield.hil.room import demo_room, load_room
from farfield.hil.scoring import Hit, Score, match

NEXT = """Next, on your own sound:
  farfield detect RECORDING.wav                                         one microphone
  farfield detect MICS.wav --profile respeaker-4mic --ref PLAYED.wav    an array, and what its loudspeaker played
  farfield enhance MICS.wav --profile respeaker-4mic -o CLEAN.wav       listen to what the scorer hears
  farfield devices                                                      what this machine can capture from"""

_PRINTED_COLUMNS = 120  # where there is no terminal to ask


@click.command()
@click.option("--room", type=click.Path(path_type=Path), metavar="DIR", help="A recorded room. [default: the one that ships]")
@click.option("--model", default="alexa", show_default=True, metavar="NAME_OR_PATH")
@click.option("--second-look/--no-second-look", "second_look", default=True, show_default=True,
              help="Whether the larger network that came with the model, where there is one, must agree.")  # fmt: skip
@click.option("--picture", type=click.Path(path_type=Path), default="demo.png", show_default=True, metavar="OUT.png")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of tables.")
def demo(room: Path | None, model: str, second_look: bool, picture: Path, as_json: bool) -> int:
    """Replay a recorded room through echo canceller, beamformer and scorer, and hold what was heard against the truth.

    Exit status 1 where a word was missed, or something else woke it.
    """
    place = load_room(room or demo_room())
    listened = load_model(model, second_look=second_look)
    run = replay(place, [listened])
    score = match(run.events, [word for word in place.words if word.text.casefold() == listened.word.casefold()], place.rate)
    _draw(run, score, picture)
    if as_json:
        print(json.dumps(_as_json(run, score, picture)))
    else:
        _print(run, score, picture)
    return 0 if score.is_clean else 1


def _draw(run: Replay, score: Score, path: Path) -> None:
    from farfield.hil.picture import draw

    try:
        draw(run, score, path)
    except ImportError:
        raise InputError("matplotlib: not installed; install it with: pip install 'farfield[hil]'") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); wanted a file in a folder that is there") from None


def _as_json(run: Replay, score: Score, picture: Path) -> dict[str, Any]:
    return {
        "hits": [asdict(hit) for hit in score.hits],
        "missed": [asdict(word) for word in score.missed],
        "false_accepts": [asdict(event) for event in score.false_accepts],
        "echo_removed_db": run.echo_removed_db,
        "real_time_factor": run.real_time_factor,
        "picture": str(picture),
    }


def _print(run: Replay, score: Score, picture: Path) -> None:
    room = run.room
    console = Console(soft_wrap=True, emoji=False)
    if not console.is_terminal:
        console.width = _PRINTED_COLUMNS
    console.print(
        f"{len(room.profile.microphones)} microphones ({escape(room.profile.name)}), {room.frames / room.rate:.0f} s, "
        f"{'a loudspeaker playing' if room.reference else 'no loudspeaker'}; kernels at level {kernels.cpu_level()}"
    )
    console.print(_timeline(run, score))
    said = len(score.hits) + len(score.missed)
    console.print(f"Heard {len(score.hits)} of {said} words, {len(score.false_accepts)} false accepts.")
    if run.echo_removed_db is not None:
        console.print(f"Echo removed where nobody speaks: {run.echo_removed_db:.1f} dB.")
    elif room.reference:
        console.print("Echo removed: not measured, for nowhere has the loudspeaker played for a second while nobody speaks.")
    console.print(f"Real-time factor: {run.real_time_factor:.4f} of one core.")
    console.print(f"Picture: {escape(str(picture))}\n")
    print(NEXT)


def _timeline(run: Replay, score: Score) -> Table:
    table = Table(title="What was said, and what was heard")
    for name in ("said at", "talker", "text", "heard", "decided after", "end off by", "direction", "off by"):
        table.add_column(name, justify="left" if name in ("talker", "text", "heard") else "right")
    hits = {hit.word: hit for hit in score.hits}
    rows: list[tuple[int, tuple[str, ...]]] = []
    rate = run.room.rate
    for spoken in (*run.room.words, *run.room.speech):
        when = (f"{spoken.start / rate:.2f} s", escape(spoken.talker or ""))
        text = escape(spoken.text)
        if spoken in hits:
            rows.append((spoken.start, (*when, f"[green]{text}[/]", "[green]yes[/]", *_measured(hits[spoken]))))
        elif spoken in score.missed:
            rows.append((spoken.start, (*when, f"[red]{text}[/]", "[red]MISSED[/]")))
        else:
            rows.append((spoken.start, (*when, text, "quiet")))
    for event in score.false_accepts:
        rows.append((event.decision, (f"{event.decision / rate:.2f} s", "", "", "[red]FALSE ACCEPT[/]")))
    for _, row in sorted(rows):
        table.add_row(*row)
    return table


def _measured(hit: Hit) -> tuple[str, ...]:
    shown = [f"{1000 * hit.latency_s:+.0f} ms", f"{1000 * hit.end_error_s:+.0f} ms"]
    if hit.event.direction_deg is not None:
        shown.append(f"{hit.event.direction_deg:.0f}°")
    if hit.direction_error_deg is not None:
        shown.append(f"{hit.direction_error_deg:+.1f}°")
    return tuple(shown)
