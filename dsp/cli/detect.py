"""`farfield detect`: wake words in recordings."""

import json
import sys
from pathlib import Path

import click
import numpy as np

from farfield.block import WakeEvent
from farfield.chain import Chain
from farfield.cli.shared import FiniteRange, as_json, no_input, note, second_look, sound_options, whole_file
from farfield.errors import InputError
from farfield.model import Model, load_model
from farfield.owner import Owner, load_owner
from farfield.profile import RATE, Profile, load_profile
from farfield.source import FileSource

SILENCE = RATE // 2  # after the file: a word that ends with it is still decided on
Scores = tuple[list[np.ndarray], list[np.ndarray]]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@click.option("--model", "names", multiple=True, metavar="NAME_OR_PATH",
              help="A shipped model's name, a .safetensors or a microWakeWord .tflite file; repeatable. "
                   "[default: the profile's words, else alexa]")  # fmt: skip
@sound_options
@click.option("--threshold", type=float, metavar="X",
              help="Probability to exceed, 0 to 1: the second look's, where there is one. [default: its own]")  # fmt: skip
@click.option("--fa-per-hour", type=FiniteRange(0), metavar="X",
              help="In place of --threshold: how often something else may wake it where people speak a fifth of the time, "
                   "by the model's own measurement.")  # fmt: skip
@second_look
@click.option("--owner", "owner_file", type=click.Path(path_type=Path), metavar="FILE",
              help="Let only this voice through: what `farfield owner fit` wrote for the model.")  # fmt: skip
@click.option("--scores", type=click.Path(path_type=Path), metavar="OUT.npz",
              help="Write t (seconds into FILE) and p (smoothed probability) of every step of the scorer.")  # fmt: skip
@as_json
def detect(
    files: tuple[str, ...],
    names: tuple[str, ...],
    profile: str,
    reference: str | None,
    threshold: float | None,
    fa_per_hour: float | None,
    second_look: bool,
    owner_file: Path | None,
    scores: Path | None,
    as_json: bool,
) -> int:
    """Say where in each FILE the wake word was said, and from which direction.

    start, end and decision are samples of the FILE, counted at its own rate; decision is the first moment at which a device
    could have known. direction is in degrees, counter-clockwise from the profile's x axis, or null for one microphone.
    Where a second look or the owner's voice was asked, second_look and owner are the probabilities by which they agreed.
    Microphones that were found dead, clipped, noisy, swapped or of another gain by the file's end stand in microphone_faults.
    """
    layout = load_profile(profile)
    models = [load_model(name, second_look=second_look) for name in names or layout.words or ("alexa",)]
    if threshold is not None and not 0 <= threshold < 1:
        raise InputError(f"--threshold: got {threshold}, wanted 0 or more and less than 1")
    if fa_per_hour is not None:
        if threshold is not None:
            raise InputError("--fa-per-hour: got --threshold too, wanted one of the two")
        models = [model.deciding_at(model.threshold_for(fa_per_hour)) for model in models]
    if scores is not None and (len(files) > 1 or len(models) > 1):
        raise InputError(f"--scores: got {len(files)} files and {len(models)} models, wanted one of each")
    if scores is not None:
        no_input(scores, *files, reference, owner_file, *names, profile)
    owner = None if owner_file is None else load_owner(owner_file)
    status = 0
    for path in files:
        try:
            _detect_in(path, layout, models, reference, threshold, owner, scores, as_json)
        except InputError as error:
            if len(files) == 1:
                raise
            print(f"farfield: {error}", file=sys.stderr)  # the other files are still worth hearing
            status = 2
    return status


def _detect_in(
    path: str,
    layout: Profile,
    models: list[Model],
    reference: str | None,
    threshold: float | None,
    owner: Owner | None,
    scores: Path | None,
    as_json: bool,
) -> None:
    source = FileSource(path, layout, reference)
    chain = Chain(layout, models, references=source.references, threshold=threshold, owner=owner)
    steps: Scores = ([], [])
    events = []
    for block in source.blocks():
        events += chain.process(block)
        _keep(chain, steps, wanted=scores is not None)
    events += chain.flush(SILENCE)
    _keep(chain, steps, wanted=scores is not None)
    if scores is not None:
        with whole_file(scores) as part, open(part, "wb") as file:
            np.savez(file, t=np.concatenate(steps[0]) / RATE, p=np.concatenate(steps[1]))
    for fault in chain.frontend.faults:
        note(f"{path}: {fault}")
    for event in events:
        found = _in_file(event, path, source)
        if chain.frontend.faults:
            found["microphone_faults"] = {str(fault.microphone): fault.kind for fault in chain.frontend.faults}
        print(json.dumps(found) if as_json else _for_people(found, source.file.rate), flush=True)
    if not events and not as_json:
        print(f"{path}: no wake word ({', '.join(model.word for model in models)})")


def _keep(chain: Chain, steps: Scores, wanted: bool) -> None:
    if wanted:
        made = chain.detectors[0].steps
        steps[0].append(made.index)
        steps[1].append(made.p)


def _in_file(event: WakeEvent, path: str, source: FileSource) -> dict[str, object]:
    start, end, decision = (
        min(max(source.file.to_file(index), 0), source.file.frames) for index in (event.start, event.end, event.decision)
    )
    agreed = {"second_look": event.second_look, "owner": event.owner}
    return {
        "file": path,
        "word": event.word,
        "score": round(event.score, 4),
        "start": start,
        "end": end,
        "decision": decision,
        "direction": None if event.direction_deg is None else round(event.direction_deg, 1),
        "ambiguous": None if event.ambiguous_deg is None else round(event.ambiguous_deg, 1),
        **{name: round(p, 4) for name, p in agreed.items() if p is not None},
    }


def _for_people(found: dict[str, object], rate: int) -> str:
    start, end, decision = (int(str(found[name])) / rate for name in ("start", "end", "decision"))
    text = f"{found['file']}: {found['word']}  {start:.2f} to {end:.2f} s, decided at {decision:.2f} s, score {found['score']}"
    for name, what in (("second_look", "second look"), ("owner", "owner's voice")):
        if name in found:
            text += f", {what} {found[name]}"
    if found["direction"] is not None:
        text += f", from {found['direction']}°"
    if found["ambiguous"] is not None:
        text += f" or {found['ambiguous']}° (a line array cannot tell)"
    return text
