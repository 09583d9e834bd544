"""What `farfield listen` does beyond telling: utterances are captured, shown by an indicator, muted."""

import gc
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farfield.capture import memory, sandbox
from farfield.capture.indicator import CommandHook, Indicator, State
from farfield.capture.listener import Listener
from farfield.capture.switched import Opened, Switched
from farfield.capture.utterance import Utterance
from farfield.chain import Chain
from farfield.cli.shared import Command, need, note
from farfield.profile import RATE

if TYPE_CHECKING:
    from farfield.store import Store

_OPTIONS = (
    click.option("--store", type=click.Path(path_type=Path), metavar="FOLDER",
                 help="Keep what is said after the word there, sealed, with consent; set up by: farfield store setup."),
    click.option("--preroll-ms", type=click.IntRange(0, 2000), metavar="MS",
                 help="Sound before the word that an utterance begins with. [default: 500]"),
    click.option("--on-state", "on_state", metavar="COMMAND",
                 help="A shell command, run with each state: listening, heard, capturing, muted, stopped. What it has not "
                      "shown within 0.2 s is not captured."),
)  # fmt: skip


def capture_options(command: Command) -> Command:
    """Any of them makes `farfield listen` capture: `Service.asked(**options)`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class Service:
    """What stands around the loop of `farfield listen` where it captures; SIGUSR1 mutes it, SIGUSR2 unmutes it."""

    def __init__(self, store: Path | None, preroll_ms: int | None, on_state: str | None, as_json: bool) -> None:
        self._store, self._on_state, self._json = store, on_state, as_json
        self._preroll_ms = 500 if preroll_ms is None else preroll_ms
        self._listener: Listener | None = None

    @classmethod
    def asked(cls, store: Path | None, preroll_ms: int | None, on_state: str | None, as_json: bool) -> "Service | None":
        """None where no option asks for it; else the program has been started with the memory that it needs."""
        if store is None and preroll_ms is None and on_state is None:
            return None
        memory.restart()
        return cls(store, preroll_ms, on_state, as_json)

    @contextmanager
    def guarded(self, devices: list[Path], unix_sockets: bool = False) -> Iterator[None]:
        """The store and the indicator's helper are there, and the process may touch nothing else from now on.

        devices: the folders of the devices, which may have to be opened again. unix_sockets: whether that takes some.
        """
        with ExitStack() as stack:
            store = self._keeper = self._opened_store()
            hooks: list[Callable[[State], None]] = []
            if self._on_state:
                command = CommandHook(self._on_state)
                stack.callback(command.close)
                hooks.append(command)
            if self._json:
                hooks.append(self._told)
            self._indicator = Indicator(*hooks)
            if not memory.overwrites_what_it_frees():
                note("memory: what is freed cannot be overwritten here; pieces of sound may outlast stop and mute in it")
            if not memory.hide():
                note("memory: only the ring is locked; the rest may be swapped, unless LimitMEMLOCK=infinity or CAP_IPC_LOCK")
            there = [folder for folder in devices if folder.is_dir()]  # a sound server's devices are none of the kernel's
            for why_not in (sandbox.landlock(self._store, there), sandbox.seccomp(unix_sockets)):
                if why_not:
                    note(f"sandbox: {why_not}")
            if store is not None:
                from farfield.store.retention import Retention

                stack.enter_context(Retention(store, self._noted))
            yield

    def _opened_store(self) -> "Store | None":
        if self._store is None:
            return None
        need("cryptography", "cryptography", "store")
        from farfield.store import Store

        return Store(self._store)

    @contextmanager
    def switched(self, opened: Opened) -> Iterator[Switched]:
        """The source behind the mute signals."""
        with Switched(opened, self._mute, self._unmute) as source:
            asked = {signal.SIGUSR1: source.mute, signal.SIGUSR2: source.unmute}
            before = {number: signal.signal(number, lambda *_, do=do: do()) for number, do in asked.items()}
            try:
                yield source
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    def listener(self, chain: Chain) -> Listener:
        """The chain, and what it hears captured; a context manager."""
        self._listener = Listener(
            chain,
            self._keeper,
            preroll_ms=self._preroll_ms,
            indicator=self._indicator,
            note=self._noted,
            ended=self._ended,
        )
        gc.freeze()  # or each sweep would go through all that was imported, which takes longer than a block
        return self._listener

    def _mute(self) -> None:
        if self._listener:
            self._listener.mute()

    def _unmute(self) -> None:
        if self._listener:
            self._listener.unmute()

    def _told(self, state: State) -> None:
        self._say("state", {"state": state.value})

    def _noted(self, text: str) -> None:
        note(text)

    def _ended(self, utterance: Utterance) -> None:
        opening = utterance.opening
        fields = {"word": opening.word, "epoch": opening.epoch, "start": opening.start, "word_start": opening.word_start,
                  "word_end": opening.word_end, "speech_end": utterance.speech_end, "end": utterance.end,
                  "gaps": utterance.gaps, "reason": utterance.reason, "kept": utterance.kept or None,
                  "kept_end": utterance.kept_end if utterance.kept else None}  # fmt: skip
        if self._json:
            self._say("utterance", fields)
        elif utterance.kept:
            note(f"Kept {utterance.kept}: {(utterance.kept_end - opening.start) / RATE:.1f} s, sealed.")

    def _say(self, what: str, fields: dict[str, Any]) -> None:
        print(json.dumps({"type": what} | fields), flush=True)
