"""Mutated model files: each must load or raise ModelError, in bounded time and memory.

    python tests/fuzz_models.py --count 20000 [--seed 0] [--seconds 600] [FILE ...]

Without files: the models of the installed pymicro-wakeword, as `.tflite` and saved as `.safetensors`. Prints what came of
it; exit status 1 if anything but ModelError was raised, a load took over two seconds, or memory grew by over 100 MB.
"""

import argparse
import json
import random
import resource
import struct
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from farfield.errors import ModelError
from farfield.model import load_model

WORDS = [0, 1, 2, 3, 4, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF]
VALUES = [b"-1", b"9", b"0", b"99999999999", b"1e9", b"null", b"true", b"[]", b'""']


def mutate(data: bytes, random_: random.Random) -> bytes:
    """One to six changes: flipped bits, random bytes, 32-bit lengths and offsets, cuts, moved, doubled pieces, JSON digits."""
    made = bytearray(data)
    header = 4096 if random_.random() < 0.5 else len(made)  # the front holds most of the structure
    for _ in range(random_.randint(1, 6)):
        if len(made) < 16:
            break
        at = random_.randrange(min(header, len(made) - 8))
        kind = random_.randrange(9)
        if kind == 0:
            made[at] ^= 1 << random_.randrange(8)
        elif kind == 1:
            made[at] = random_.randrange(256)
        elif kind in (2, 3):
            at &= ~3
            value = random_.choice([*WORDS, len(made), len(made) - at, random_.randrange(len(made))])
            made[at : at + 4] = struct.pack("<I", value & 0xFFFFFFFF)
        elif kind == 4:
            at &= ~3
            (value,) = struct.unpack_from("<I", made, at)
            made[at : at + 4] = struct.pack("<I", (value + random_.choice([-8, -4, -1, 1, 4, 8])) & 0xFFFFFFFF)
        elif kind == 5:
            del made[random_.randrange(len(made)) :]
        elif kind == 6:
            size = random_.randint(1, 64)
            end = random_.randrange(len(made))
            made[at : at + size] = made[end : end + size]
        elif kind == 7:
            made[at:at] = bytes(random_.randrange(256) for _ in range(random_.randint(1, 16)))
        else:
            digits = [i for i in range(min(len(made), 8192)) if 48 <= made[i] < 58]
            if digits:
                spot = random_.choice(digits)
                made[spot : spot + 1] = random_.choice(VALUES)
    return bytes(made)


def tell_json_apart(data: bytes, random_: random.Random) -> bytes:
    """A change of the description inside a safetensors file with its header length kept right, so that it is read."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    description = json.loads(header["__metadata__"]["farfield"])
    place: dict | list = description
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = random_.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and random_.random() < 0.85:
            place = place[key]
            continue
        if random_.random() < 0.2:
            del place[key]
        else:
            place[key] = random_.choice([None, True, -1, 0, 1, 2, 5, 127, 128, 255, 1 << 20, 1 << 31, 1 << 63, 10**30, 0.5, -0.0,
                                         1e308, "", "x" * 500, "\ud800", [], {}, [[]], [0] * 300])  # fmt: skip
        break
    header["__metadata__"]["farfield"] = json.dumps(description)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def sources(folder: Path) -> list[Path]:
    import pymicro_wakeword

    found = []
    for path in sorted((Path(pymicro_wakeword.__file__).parent / "models").glob("*.tflite")):
        load_model(path).save(folder / f"{path.stem}.safetensors")
        found += [path, folder / f"{path.stem}.safetensors"]
    return found


def run(files: list[Path], folder: Path, count: int, seed: int, seconds: float = 1e9) -> dict:
    """Mutate and load; figures of what came of it, with every failure's seed."""
    originals = [(path.suffix, path.read_bytes()) for path in files]
    loaded = refused = 0
    slowest, failures = 0.0, []
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    end = time.monotonic() + seconds
    features = np.full((4, 40), 300, np.uint16)
    for index in range(count):
        if time.monotonic() > end:
            break
        random_ = random.Random(f"{seed}.{index}")
        suffix, data = originals[index % len(originals)]
        described = suffix == ".safetensors" and random_.random() < 0.5
        made = tell_json_apart(data, random_) if described else mutate(data, random_)
        path = folder / f"mutated{suffix}"
        path.write_bytes(made)
        begun = time.process_time()
        try:
            load_model(path).scorer().process(features)
            loaded += 1
        except ModelError as error:
            refused += 1
            if "\n" in str(error) or len(str(error)) > 1000:
                failures.append(f"{seed}.{index}: message is no short line: {str(error)[:100]!r}")
        except BaseException as error:
            failures.append(f"{seed}.{index} {suffix}: {type(error).__name__}: {str(error)[:200]}")
        slowest = max(slowest, time.process_time() - begun)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    if slowest > 2:
        failures.append(f"a load took {slowest:.1f} s")
    if grown > 100:
        failures.append(f"memory grew by {grown:.0f} MB")
    return {"loaded": loaded, "refused": refused, "slowest_ms": round(slowest * 1e3, 1), "grown_mb": round(grown, 1),
            "failures": failures}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = run(given.files or sources(folder), folder, given.count, given.seed, given.seconds)
    for line in figures.pop("failures"):
        print(line)
        figures["failed"] = True
    print(json.dumps(figures))
    return 1 if figures.get("failed") else 0


if __name__ == "__main__":
    sys.exit(main())
