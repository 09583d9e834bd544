"""`farfield listen`: the always-on loop, from a device to wake events."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import click

from farfield.chain import Chain
from farfield.cli import sources
from farfield.cli.capturing import Service, capture_options
from farfield.cli.realtime import make_realtime
from farfield.cli.report import Report
from farfield.cli.shared import FiniteRange, as_json, note, second_look
from farfield.model import load_model
from farfield.profile import RATE, load_profile


@click.command()
@sources.source_options
@click.option("--profile", metavar="NAME_OR_PATH", help="Layout of the device. [default: the room's, else single]")
@click.option("--model", "names", multiple=True, metavar="NAME_OR_PATH",
              help="A shipped model's name, a .safetensors or a microWakeWord .tflite file; repeatable. "
                   "[default: the profile's words, else alexa]")  # fmt: skip
@click.option("--fa-per-hour", type=FiniteRange(0), metavar="X",
              help="How often something else may wake it where people speak a fifth of the time.")  # fmt: skip
@click.option("--realtime/--no-realtime", default=True, show_default=True,
              help="Run before all other programs, and keep the memory in RAM, where the user may.")  # fmt: skip
@second_look
@capture_options
@as_json
def listen(
    profile: str | None,
    names: tuple[str, ...],
    fa_per_hour: float | None,
    second_look: bool,
    as_json: bool,
    realtime: bool,
    **options: Any,
) -> None:
    """Listen until interrupted, and say each time that a wake word is heard.

    On a terminal with level meters and what was lost; elsewhere, or with --json, one object a line: "heard" with the fields of
    `farfield detect` in samples of the capture clock, "lost" for every gap, "microphone" when one is found dead, clipped, noisy,
    swapped or of another gain (with "fault": null when it is well again), "clocks" every ten seconds, and "end" with what went
    wrong in all. SIGINT and SIGTERM end it cleanly. Nothing that is heard is kept,
    but by --store, where its owner consents.

    With --store, --preroll-ms or --on-state utterances are captured (dsp/capture/PRIVACY.md): SIGUSR1 closes the device (mute),
    SIGUSR2 opens it again, and with --json each change is a "state" and each utterance, without its sound, an "utterance".
    """
    choice = sources.Choice.out_of(options)
    layout = load_profile(profile or choice.default_profile)
    models = [load_model(name, second_look=second_look) for name in names or layout.words or ("alexa",)]
    if fa_per_hour is not None:
        models = [model.deciding_at(model.threshold_for(fa_per_hour)) for model in models]
    service = Service.asked(**options, as_json=as_json or not sys.stdout.isatty())
    with ExitStack() as stack:
        stop = stack.enter_context(_signals())
        if realtime and (denied := make_realtime()):
            note(f"listening without {' and without '.join(denied)}")
        opened = partial(choice.opened, layout)
        if service:
            stack.enter_context(service.guarded(choice.devices, unix_sockets=choice.uses_alsa))
        device: AbstractContextManager[Any] = service.switched(opened) if service else opened()
        source = stack.enter_context(device)
        chain = Chain(layout, models, references=source.references)
        report = stack.enter_context(Report(source, as_json))
        listener = stack.enter_context(service.listener(chain)) if service else chain
        for block in source.blocks(stop.is_set):
            report.block(block)
            for event in listener.process(block):
                report.event(event)
            report.microphones(chain.frontend.faults)
        for event in listener.flush(RATE // 2):
            report.event(event)


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
