"""Sound files as a stream of blocks: WAV, FLAC and whatever else libsndfile reads, at any rate, brought to 16 kHz int16."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from farfield.block import Block
from farfield.errors import InputError
from farfield.profile import MOST_REFERENCES, RATE, Profile

SLOWEST, FASTEST = 8_000, 192_000
_FULL_SCALE = 32_768.0
_UNKNOWN_LENGTH = 0x7FFF_0000  # a recorder that writes to a pipe leaves a length at least this large in the header
_UNKNOWN_FRAMES = 2**63 - 1  # what libsndfile gives for a FLAC file whose writer could not go back to fill it in
_LOUDEST = 1_000.0  # what is further beyond full scale is brought down to it, so that resampling cannot overflow


class SoundFile:
    """One file read from front to back as int16 frames at 16 kHz.

    16-bit files at 16 kHz come out bit for bit. Others are resampled by soxr (HQ), whose delay is compensated, and
    rounded; what exceeds full scale is clipped. `rate` and `frames` are the file's own.

    Raises InputError for a file that is missing, empty, truncated, of an unsupported rate, or holds NaN or infinity.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        if not Path(path).is_file():
            raise InputError(f"{self.path}: no such file; wanted a WAV or FLAC file")
        if Path(path).stat().st_size == 0:
            raise InputError(f"{self.path}: the file is empty; wanted a WAV or FLAC file")
        name = os.fsencode(path)  # which need not be UTF-8
        try:
            _refuse_truncated_riff(self.path)
            self._file = soundfile.SoundFile(name)
        except (soundfile.LibsndfileError, OSError) as error:
            reason = str(error).removeprefix(f"Error opening {name!r}: ")
            raise InputError(f"{self.path}: cannot be read as sound ({reason}); wanted a WAV or FLAC file") from error
        self.rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.frames: int = self._file.frames
        if not SLOWEST <= self.rate <= FASTEST:
            self.close()
            raise InputError(f"{self.path}: rate: got {self.rate} Hz, wanted {SLOWEST} to {FASTEST}")
        if self.frames == _UNKNOWN_FRAMES:
            self.close()
            raise InputError(
                f"{self.path}: its header does not give its length, as of a FLAC file written to a pipe; "
                "wanted one that does: ffmpeg -i IN.flac OUT.flac makes it"
            )
        if self.frames == 0:
            self.close()
            raise InputError(f"{self.path}: holds no samples; wanted at least one")
        if self.frames * RATE < self.rate:
            self.close()
            raise InputError(f"{self.path}: holds {self.frames} samples, less than one at {RATE} Hz; wanted more")
        self._as_stored = self.rate == RATE and self._file.subtype == "PCM_16"

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def to_file(self, index: int) -> int:
        """Position in the file's own samples of position `index` at 16 kHz."""
        return round(index * self.rate / RATE)

    def chunks(self, frames: int) -> Iterator[NDArray[np.int16]]:
        """int16 (n, channels) at 16 kHz from the file's start to its end, n about `frames` each."""
        if self._file.tell():
            self._file.seek(0)
        per_read = max(1, frames * self.rate // RATE)
        resampler = None
        if self.rate != RATE:
            resampler = soxr.ResampleStream(self.rate, RATE, self.channels, dtype="float32", quality="HQ")
        done = 0
        while done < self.frames:
            dtype = "int16" if self._as_stored else "float32"
            try:
                samples = self._file.read(per_read, dtype=dtype, always_2d=True)
            except soundfile.LibsndfileError as error:
                raise self._truncated(done) from error
            if len(samples) == 0:
                raise self._truncated(done)
            if not self._as_stored:
                self._refuse_non_finite(samples, done)
                np.clip(samples, -_LOUDEST, _LOUDEST, out=samples)
            done += len(samples)
            if resampler is not None:
                samples = resampler.resample_chunk(samples, last=done >= self.frames)
            if not self._as_stored:
                samples = _to_int16(samples)
            if len(samples):
                yield samples

    def _truncated(self, done: int) -> InputError:
        return InputError(f"{self.path}: truncated: its header promises {self.frames} frames, {done} could be read")

    def _refuse_non_finite(self, samples: NDArray[np.float32], done: int) -> None:
        bad = ~np.isfinite(samples)
        if bad.any():
            frame, channel = np.argwhere(bad)[0]
            raise InputError(
                f"{self.path}: sample {done + frame} of channel {channel}: got {samples[frame, channel]}, wanted finite numbers"
            )


class FileSource:
    """A recording, and what the loudspeaker played meanwhile, as blocks in a profile's channel order.

    `microphones` and `references` count the columns of each block. References come from `reference` (every channel of
    that file) where it is given, else from the recording's own channels that the profile names, else there are none:
    a recording that holds just the profile's microphones is taken as one without loopback channels.
    """

    def __init__(self, path: str | Path, profile: Profile, reference: str | Path | None = None, frames: int = 512) -> None:
        self._frames = frames
        self.file = SoundFile(path)
        self._reference = SoundFile(reference) if reference is not None else None
        self.microphones = len(profile.microphones)
        self._columns = list(profile.microphones)
        if self._reference is not None:
            self.references = self._reference.channels
            if self.references > MOST_REFERENCES:
                raise InputError(f"{reference}: has {self.references} channels, wanted a reference of 1 to {MOST_REFERENCES}")
        elif self.file.channels > max(profile.microphones) + 1 or not _loopback_last(profile):
            self._columns += profile.references
            self.references = len(profile.references)
        else:
            self.references = 0
        missing = [channel for channel in self._columns if channel >= self.file.channels]
        if missing:
            raise InputError(
                f"{path}: channel {missing[0]}: profile {profile.name!r} names it, "
                f"the file has {self.file.channels} (0 to {self.file.channels - 1}); wanted another file or --profile"
            )

    def blocks(self) -> Iterator[Block]:
        """The blocks from the file's start to its end; a reference that ends early is silent from there on."""
        index = 0
        reference = _Rest(self._reference.chunks(self._frames)) if self._reference is not None else None
        for chunk in self.file.chunks(self._frames):
            columns = [chunk[:, self._columns]]
            if reference is not None:
                columns.append(reference.take(len(chunk), self.references))
            samples = np.ascontiguousarray(np.concatenate(columns, axis=1))
            yield Block(samples, index)
            index += len(samples)


class _Rest:
    """Cuts a stream of chunks into pieces of any asked length, with silence after its end."""

    def __init__(self, chunks: Iterator[NDArray[np.int16]]) -> None:
        self._chunks = chunks
        self._held: NDArray[np.int16] | None = None

    def take(self, frames: int, channels: int) -> NDArray[np.int16]:
        taken = np.zeros((frames, channels), np.int16)
        filled = 0
        while filled < frames:
            if self._held is None or len(self._held) == 0:
                self._held = next(self._chunks, None)
                if self._held is None:
                    break
            part = self._held[: frames - filled]
            taken[filled : filled + len(part)] = part
            filled += len(part)
            self._held = self._held[len(part) :]
        return taken


def _loopback_last(profile: Profile) -> bool:
    return all(channel > max(profile.microphones) for channel in profile.references)


def _to_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.asarray(np.clip(np.rint(samples * _FULL_SCALE), -32_768, 32_767).astype(np.int16))


def _refuse_truncated_riff(path: str) -> None:
    """libsndfile shortens a cut-off WAV file without a word, so its header is held against the file's size here."""
    with open(path, "rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return
    promised = int.from_bytes(head[4:8], "little") + 8
    actual = Path(path).stat().st_size
    if promised > actual and 8 < promised < _UNKNOWN_LENGTH:
        raise InputError(f"{path}: truncated: its header promises {promised} bytes, the file has {actual}")
