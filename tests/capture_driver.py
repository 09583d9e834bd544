"""`farfield listen`, as it is, but for faults that are planted, and for pauses in which its memory can be looked at.

python tests/capture_driver.py FAULTS ARGUMENTS...   FAULTS: names joined by commas, or `none`

It prints a line and waits for one on stdin: `over` after it has stopped, `rejected` after each candidate that was where
`pause-when-rejected` is among the faults. What it does beyond the command is here alone.
"""

import base64
import mmap
import socket
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from farfield.capture import listener, memory, ring, sandbox
from farfield.capture.listener import Listener
from farfield.capture.ring import Ring
from farfield.cli import main

KEPT = []


def pause(what):
    print(what, flush=True)
    sys.stdin.readline()


def leaking(name):
    """Ring.write that lets out what it is given, in one way of many."""
    write = Ring.write
    folder = Path(tempfile.gettempdir())
    turns = []

    def leaked(self, samples):
        turns.append(None)
        write(self, samples)
        one = np.ascontiguousarray(samples[:, 0])
        if name == "file":
            with open(folder / "leak.raw", "ab") as file:
                file.write(one.tobytes())
        elif name == "datagram":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
                line.sendto((one / np.float32(32_768)).astype(np.float32).tobytes(), ("127.0.0.1", 9))
        elif name == "log":
            print(base64.b64encode(one.tobytes()).decode(), file=sys.stderr, flush=True)
        elif name == "shared":
            with open(folder / "shared.raw", "w+b") as file:
                file.truncate(4_096)
                with mmap.mmap(file.fileno(), 4_096) as shared:
                    shared[: min(4_096, one.nbytes)] = one.tobytes()[:4_096]
        elif name == "flac":
            soundfile.write(folder / "leak.flac", one, 16_000)
        elif name == "trickle":
            with open(folder / "leak.bits", "ab") as file:  # a vocoder's share: no pattern tells it, its amount does
                file.write(bytes(np.packbits(one[::8] > 0)))

    Ring.write = leaked


def plant(fault):
    if fault == "open":  # no sandbox, or the leaks could not happen
        listener_sandbox = sandbox
        listener_sandbox.landlock = lambda *_: None
        listener_sandbox.seccomp = lambda *_: None
    elif fault.startswith("leak-"):
        leaking(fault.removeprefix("leak-"))
    elif fault == "ring-stays":
        ring.Ring.restart = lambda self, index: (setattr(self, "start", index), setattr(self, "end", index))
    elif fault == "freed-stays":
        memory.restart = memory.overwrite_freed = memory.sweep = lambda: None
    elif fault == "aligner-stays":
        from farfield.frontend import Frontend

        Frontend.forget = lambda self: None
    elif fault == "history-stays":
        from farfield.history import History

        History.reset = lambda self: None
    elif fault == "chain-stays":
        from farfield.chain import Chain

        Chain.reset = lambda self: None
    elif fault == "sealing-keeps":
        from farfield.store.sealing import FileSealing

        write_sealed = FileSealing.write

        def sealing(self, samples):
            KEPT.append(samples.tobytes())
            write_sealed(self, samples)

        FileSealing.write = sealing
    elif fault == "look-agrees":  # whatever the first network takes for the word
        from farfield.look import Look, Verifier

        Verifier.look = lambda self, history, frame, listener: Look(1.0, None, True, True)
    elif fault == "stays-open":
        from farfield.board.source import SerialSource

        SerialSource.__exit__ = lambda self, *_: None
    elif fault == "keeps-blocks":
        process = Listener.process

        def keeping(self, block):
            KEPT.append(block.samples.tobytes())
            del KEPT[:-30]
            return process(self, block)

        Listener.process = keeping
    elif fault == "pause-when-rejected":
        reject = listener.Listener._reject

        def rejecting(self, index):
            reject(self, index)
            pause("rejected")

        listener.Listener._reject = rejecting
    elif fault != "none":
        raise SystemExit(f"fault: got {fault!r}, wanted one that is planted here")


for asked in sys.argv[1].split(","):
    plant(asked)
try:
    main(sys.argv[2:])
finally:
    pause("over")
