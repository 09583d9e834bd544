"""Damages lines of mic board frames and feeds them to the decoder: python tests/fuzz_wire.py --megabytes 100 [--seed N].

Frames and noise follow each other; frames are damaged at random places. Every frame that was left whole must arrive, in order,
none that was damaged may, and nothing may be raised.
"""

import argparse
import json
import sys

import numpy as np

from farfield.board import wire
from farfield.board.wire import Decoder, Packet


def damaged(data, random):
    """The frame's bytes with one of many things done to them, never what they were; its last zero may be gone."""
    kind = random.integers(5)
    if kind == 0:
        return data[: int(random.integers(1, len(data) - 1))] + b"\0"
    if kind == 1:
        at = int(random.integers(len(data) - 1))
        return data[:at] + bytes([data[at] ^ int(random.integers(1, 256))]) + data[at + 1 :]
    if kind == 2:
        return data[:-1] + random.integers(1, 256, int(random.integers(1, 40)), np.uint8).tobytes() + b"\0"
    if kind == 3:
        at = int(random.integers(1, len(data) - 1))
        return data[:at] + b"\0" + data[at:]
    return data[int(random.integers(1, len(data) - 1)) :]


def run(megabytes, seed):
    """Counts of what was sent, and what went wrong."""
    random = np.random.default_rng(seed)
    decoder, done, whole, spoilt, failures = Decoder(), 0, 0, 0, []
    while done < megabytes * 1e6:
        sent, line = [], b"\0"
        for sequence in range(20):
            payload = random.integers(0, 256, int(random.integers(0, 1_500)), np.uint8).tobytes()
            packet = Packet(int(random.integers(256)), int(random.integers(65_536)), sequence, payload)
            data = wire.encode(packet)
            if random.random() < 0.3:
                line += damaged(data, random)
                spoilt += 1
            else:
                line += data
                sent.append(packet)
            if random.random() < 0.1:
                line += random.integers(0, 256, int(random.integers(1, 200)), np.uint8).tobytes() + b"\0"
        found = []
        at = 0
        try:
            while at < len(line):
                size = int(random.integers(1, 3_000))
                found += decoder.feed(line[at : at + size])
                at += size
        except Exception as error:  # whatever it is, it is what is looked for
            failures.append(f"{type(error).__name__}: {error}")
            decoder = Decoder()
        if found != sent:
            failures.append(f"at {done} bytes: {len(sent)} whole frames were sent, {len(found)} others or in part arrived")
        done += len(line)
        whole += len(sent)
    return {"bytes": done, "whole": whole, "spoilt": spoilt, "damaged": decoder.damaged, "failures": failures[:20]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=100.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    figures = run(asked.megabytes, asked.seed)
    print(json.dumps(figures))
    sys.exit(1 if figures["failures"] else 0)
