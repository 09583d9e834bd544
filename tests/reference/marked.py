"""A marked sound, and where it turns up: in bytes that leave a process, and in its memory."""

import base64
import json
import os
import re
from functools import cache
from io import BytesIO

import numpy as np
import soundfile

PERIOD = 320  # the mark comes again every 20 ms, so that any 21 ms of the sound hold it whole
MARK = np.random.default_rng(20_19).integers(-12_000, 12_000, PERIOD).astype(np.int16)
ANCHOR = MARK[:16]
_CHUNK, _MOST = 1 << 24, 1 << 18


def sound(seconds, channels=1, silent=0):
    """int16 (n, channels + silent) at 16 kHz: the mark over and over in the first channels, nothing in the others."""
    one = np.tile(MARK, int(seconds * 16_000) // PERIOD + 1)[: int(seconds * 16_000)]
    return np.ascontiguousarray(np.stack([one] * channels + [np.zeros_like(one)] * silent, axis=1))


def _coded(samples, subtype, endian):
    made = BytesIO()
    if subtype in ("FLOAT", "DOUBLE"):
        samples = samples / 32_768  # libsndfile would leave whole numbers as they are
    soundfile.write(made, samples, 16_000, format="RAW", subtype=subtype, endian=endian)
    return made.getvalue()


def encodings(anchor=ANCHOR, shape=(1, 0)):
    """How these samples look in bytes: name to texts of which one must be there, alone or as the frames of so many channels."""
    laid = np.stack([anchor] * shape[0] + [0 * anchor] * shape[1], axis=1).ravel()
    found = {"int16 LITTLE": [anchor.astype("<i2").tobytes()], "int16 BIG": [anchor.astype(">i2").tobytes()]}
    for samples, kind in ((anchor, ""), (laid, " interleaved")):
        for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"):
            for endian in ("LITTLE", "BIG"):
                found[f"{subtype} {endian}{kind}"] = [_coded(samples, subtype, endian)]
        for subtype in ("PCM_S8", "PCM_U8", "ULAW", "ALAW"):
            found[f"{subtype}{kind}"] = [_coded(samples, subtype, "FILE")]
        for dtype in ("<f4", ">f4", "<f8", ">f8", "<i4", ">i4", "<i8"):
            found[f"{dtype} of int16{kind}"] = [samples.astype(dtype).tobytes()]
        raw = samples.astype("<i2").tobytes()
        for name, code in (("base64", base64.b64encode), ("base64 for URLs", base64.urlsafe_b64encode)):
            # Three ways to fall into threes; the ends depend on what stands beside them.
            found[f"{name}{kind}"] = [code(b"\0" * lead + raw)[8:-8] for lead in range(3)]
        found[f"base85{kind}"] = [base64.b85encode((b"\0" * lead + raw)[: 4 * (len(raw) // 4)])[10:-10] for lead in range(4)]
        found[f"hexadecimal{kind}"] = [raw.hex().encode(), raw.hex().upper().encode()]
        texts = [str(value) for value in samples.tolist()]
        found[f"decimal{kind}"] = [join.join(texts).encode() for join in (",", ", ", " ", "\n", "\\n", "\r\n")]
        # However many digits are given, and whatever stands between them.
        fractions = [re.escape(json.dumps(value / 32_768)[:6].encode()) for value in samples.tolist()[1:3]]
        found[f"decimal fractions{kind}"] = [b"[0-9e-]*[^0-9]{1,3}".join(fractions)]
    return found


CONTAINERS = (b"fLaC", b"OggS", b"RIFF", b"RIFX", b"FORM", b"caff", b"ID3", b".snd", b"\x1f\x8b\x08", b"\xfd7zXZ", b"BZh9",
              b"\x28\xb5\x2f\xfd", b"PK\x03\x04")  # fmt: skip


def found_in(data, shape=(1, 0)):
    """Names of the encodings in which the mark, or of the containers by which some sound, stands in these bytes."""
    names = [
        name
        for name, texts in encodings(shape=shape).items()
        if any(re.search(text, data) if "fractions" in name else text in data for text in texts)
    ]
    return names + [repr(magic) for magic in CONTAINERS if magic in data]


# --- memory


IN_MEMORY = ("int16 LITTLE", "PCM_16 LITTLE interleaved", "FLOAT LITTLE", "FLOAT LITTLE interleaved", "DOUBLE LITTLE",
             "<f4 of int16", "<f8 of int16", "<i4 of int16", "<i8 of int16", "PCM_16 BIG", "PCM_24 LITTLE", "ULAW")  # fmt: skip


def longest_in_memory(memory, maps, shape=(1, 0)):
    """The longest stretch of the marked sound in a process's memory, in ms, and where: (ms, encoding, mapping).

    memory: an opened /proc/PID/mem. maps: the text of /proc/PID/maps. A stretch is all samples around a mark that are the
    sound's, without a break; infinite where they stand in a code that nothing should have made.
    """
    tiles = encodings(np.tile(MARK, 2), shape)
    searched = {name: tiles[name][0] for name in IN_MEMORY}
    base64ed = encodings(shape=shape)["base64"]
    best = (0.0, "", "")
    for data, line in written(memory, maps):
        for name, tiled in searched.items():
            width = len(tiled) // (2 * PERIOD)
            anchor = tiled[: len(ANCHOR) * width]
            where = data.find(anchor)
            while where >= 0:
                before, after = _reach(data, where, tiled)
                best = max(best, ((before + after) / width / 16, name, line))
                where = data.find(anchor, where + max(after, 1))
        if any(text in data for text in base64ed):
            best = max(best, (np.inf, "base64", line))
    return best


_FRAME, _VECTOR, _ROWS = 512, 16, 4_096
_ALIKE = 1 - 1e-5  # cosine


@cache
def _pieces():
    """Vectors of the sound's frames, and of their spectra, at every phase: float32 (vector, 16), of length 1; kind and phase."""
    window = np.sin(np.pi * (np.arange(_FRAME) + 0.5) / _FRAME)
    frames = window * np.stack([np.resize(np.roll(MARK, -phase), _FRAME) for phase in range(PERIOD)])
    spectra = np.fft.rfft(frames, axis=1)
    cut = {"windowed": [frames[:, at : at + _VECTOR] for at in (64, 256, 432)]}
    cut["spectrum"] = [part[:, at : at + _VECTOR] for part in (spectra.real, spectra.imag) for at in (32, 96)]
    names = [(kind, phase) for kind, vectors in cut.items() for _ in vectors for phase in range(PERIOD)]
    made = np.concatenate([vector for vectors in cut.values() for vector in vectors])
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32), names


def frames_in_memory(memory, maps):
    """Of which of the marked sound's frames a process's memory holds vectors of 16 floats: {(kind, phase)}.

    A frame is 512 samples under a sine window, at whatever level, or the spectrum of that; kind: windowed, spectrum. Searched for
    where the kernels put theirs, at multiples of 64 bytes.
    """
    pieces, names = _pieces()
    found = set()
    for data, _ in written(memory, maps):
        rows = np.frombuffer(data[: len(data) // (4 * _VECTOR) * 4 * _VECTOR], np.float32).reshape(-1, _VECTOR)
        with np.errstate(all="ignore"):
            size = np.linalg.norm(rows, axis=1)
            rows = rows[(size > 1e-6) & (size < 1e6)] / size[(size > 1e-6) & (size < 1e6), None]
        for at in range(0, len(rows), _ROWS):
            found.update(
                names[piece] for piece in np.flatnonzero((np.abs(pieces @ rows[at : at + _ROWS].T) > _ALIKE).any(axis=1))
            )
    return found


def written(memory, maps):
    """What stands in a process's memory where it can have been put, piece by piece, and the line of its mapping.

    Pieces of a mapping lie over each other a little, so that what lies across their border is whole in one of them.
    """
    for line in maps.splitlines():
        span, rights, *_ = line.split(maxsplit=5)
        if "w" not in rights:
            continue  # files as they are on disk, and code: nothing can have been put there
        start, end = (int(part, 16) for part in span.split("-"))
        for at in range(start, end, _CHUNK):
            try:
                yield os.pread(memory.fileno(), min(_CHUNK + _MOST, end - at), at), line
            except OSError:
                continue  # given back meanwhile


def _reach(data, where, tiled):
    """How many bytes before and after a place where a period begins are the sound's."""
    period = len(tiled) // 2
    after = np.frombuffer(data, np.uint8)[where : where + _MOST]
    before = np.frombuffer(data, np.uint8)[max(0, where - _MOST) : where][::-1]
    code = np.frombuffer(tiled, np.uint8)[:period]
    reached = []
    for side, wanted in ((before, code[::-1]), (after, code)):
        same = side == np.resize(wanted, len(side))
        reached.append(len(side) if same.all() else int(np.argmin(same)))
    return reached[0], reached[1]
