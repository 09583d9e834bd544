"""Sound files as blocks: bit for bit where they can be, aligned in time where they are resampled, refused in one line."""

import random
import struct

import numpy as np
import pytest
import scipy.signal
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from farfield.errors import InputError
from farfield.profile import Profile, load_profile
from farfield.source import FileSource, SoundFile

RATE = 16_000
RATES = (8_000, 22_050, 44_100, 48_000, 192_000)
STORED = {  # subtype -> worst difference from the sample that was meant, in 16-bit steps, when rounded
    ("WAV", "PCM_16"): 0,
    ("WAV", "PCM_24"): 0,
    ("WAV", "PCM_32"): 0,
    ("WAV", "FLOAT"): 0,
    ("WAV", "DOUBLE"): 0,
    ("WAV", "PCM_U8"): 256,
    ("FLAC", "PCM_16"): 0,
    ("FLAC", "PCM_24"): 0,
}


def noise(frames, channels=1, seed=0):
    return np.random.default_rng(seed).integers(-32_768, 32_768, (frames, channels)).astype(np.int16)


def written(folder, samples, rate=RATE, format="WAV", subtype=None):
    path = folder / f"sound.{format.lower()}"
    if samples.dtype == np.int16 and subtype not in (None, "PCM_16"):
        samples = samples / 32_768
    soundfile.write(path, samples, rate, format=format, subtype=subtype)
    return path


def read(path, frames=512):
    file = SoundFile(path)
    try:
        return np.concatenate(list(file.chunks(frames)))
    finally:
        file.close()


def complaint(path, *parts, use=read) -> str:
    with pytest.raises(InputError) as caught:
        use(path)
    message = str(caught.value)
    assert message.isprintable() and message.startswith(f"{path}: ") and len(message) < 400
    for part in parts:
        assert part in message
    return message


@pytest.mark.parametrize("kind", STORED, ids="-".join)
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_sixteen_bits_at_16_khz_come_out_bit_for_bit(tmp_path, kind, channels):
    """From every way of storing them that is finer; coarser ones are off by no more than their own step."""
    samples = noise(5_000, channels)
    samples[:2] = [[-32_768] * channels, [32_767] * channels]
    got = read(written(tmp_path, samples, format=kind[0], subtype=kind[1]))
    assert got.dtype == np.int16 and got.shape == samples.shape
    assert np.abs(got.astype(int) - samples).max() <= STORED[kind]


@pytest.mark.parametrize(("value", "wanted"), [(0.49 / 32_768, 0), (0.51 / 32_768, 1), (-1.0, -32_768), (1.0, 32_767),
                                               (-7.5, -32_768), (3e38, 32_767), (1e-40, 0)])  # fmt: skip
def test_floats_are_rounded_and_clipped(tmp_path, value, wanted):
    got = read(written(tmp_path, np.full((20, 1), value, np.float32), subtype="FLOAT"))
    assert got.tolist() == [[wanted]] * 20


@pytest.mark.parametrize("rate", RATES)
def test_floats_far_beyond_full_scale_clip_when_resampled_too(tmp_path, rate):
    samples = np.zeros((rate // 10, 1), np.float32)
    samples[rate // 20 :] = 3e38
    samples[3 * rate // 40 :] = -3e38
    got = read(written(tmp_path, samples, rate, subtype="FLOAT"))[:, 0]
    assert (got[850:1150] == 32_767).all() and (got[1250:1550] == -32_768).all()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_a_click_stays_where_it_is_in_time(tmp_path, rate, format):
    """Band-limited clicks at known instants come out at those instants to a tenth of a sample, and the length is right."""
    seconds, places = 0.5, (0.1003, 0.25, 0.4111)
    t = np.arange(round(seconds * rate)) / rate
    clicks = sum(np.exp(-0.5 * ((t - place) / 4e-4) ** 2) for place in places)
    got = read(written(tmp_path, (20_000 * clicks).astype(np.int16)[:, None], rate, format=format))[:, 0].astype(float)
    assert len(got) == round(seconds * RATE)
    for place in places:
        near = slice(round((place - 0.01) * RATE), round((place + 0.01) * RATE))
        centroid = np.sum(np.arange(near.start, near.stop) * got[near]) / np.sum(got[near])
        assert abs(centroid - place * RATE) < 0.1
        assert np.max(got[near]) == pytest.approx(20_000, rel=0.01)


@pytest.mark.parametrize("rate", RATES)
def test_resampled_it_is_the_same_sound(tmp_path, rate):
    """A chirp within the band of both rates, held to its own formula at 16 kHz: 60 dB or better."""
    top, seconds = 0.4 * min(rate, RATE), 1.0

    def chirp(at):
        t = np.arange(round(seconds * at)) / at
        return 16_000 * scipy.signal.chirp(t, 100, seconds, top) * np.sin(np.pi * t / seconds)

    stored = np.rint(chirp(rate)).astype(np.int16)
    error = read(written(tmp_path, stored[:, None], rate))[:, 0] - chirp(RATE)
    assert 10 * np.log10(np.mean(chirp(RATE) ** 2) / np.mean(error**2)) > 60


@given(
    rate=st.sampled_from([RATE, *RATES]),
    frames=st.integers(12, 9_000),
    channels=st.integers(1, 3),
    size=st.integers(1, 10_000),
    subtype=st.sampled_from(["PCM_16", "FLOAT"]),
)
def test_the_size_of_the_blocks_changes_nothing(tmp_path, rate, frames, channels, size, subtype):
    path = written(tmp_path, noise(frames, channels, frames), rate, subtype=subtype)
    if size < 20:
        size += 20 * (frames > 2_000)
    got = read(path, size)
    assert got.tobytes() == read(path, 512).tobytes()
    assert abs(len(got) - frames * RATE / rate) <= 0.5 and got.shape[1] == channels


def test_read_twice_it_starts_again(tmp_path):
    file = SoundFile(written(tmp_path, noise(4_000), 48_000))
    first, second = (np.concatenate(list(file.chunks(100))) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("rate", [RATE, *RATES])
def test_positions_are_told_in_the_files_own_samples(tmp_path, rate):
    file = SoundFile(written(tmp_path, noise(rate // 4, 2), rate))
    assert (file.rate, file.channels, file.frames) == (rate, 2, rate // 4)
    assert [file.to_file(index) for index in (0, RATE, 3 * RATE)] == [0, rate, 3 * rate]
    for index in range(0, 2_000, 37):
        assert abs(file.to_file(index) / rate - index / RATE) <= 0.5001 / rate


def test_truncated_wav(tmp_path):
    path = written(tmp_path, noise(4_000))
    data = path.read_bytes()
    for kept in (len(data) - 1, len(data) // 2, 45, 44):
        path.write_bytes(data[:kept])
        complaint(path, "truncated", f"promises {len(data)} bytes, the file has {kept}")
    for kept in (43, 20, 13):
        path.write_bytes(data[:kept])
        complaint(path)


def test_truncated_flac(tmp_path):
    path = written(tmp_path, noise(40_000), format="FLAC")
    data = path.read_bytes()
    for kept in (len(data) - 1, len(data) // 2, 8_300):
        path.write_bytes(data[:kept])
        complaint(path, "truncated: its header promises 40000 frames")
    for kept in (60, 30, 5):
        path.write_bytes(data[:kept])
        complaint(path)


def test_a_wav_file_written_to_a_pipe_is_not_truncated(tmp_path):
    """arecord and ffmpeg leave lengths there that say 'unknown'."""
    samples = noise(4_000)
    path = written(tmp_path, samples)
    data = bytearray(path.read_bytes())
    for riff, chunk in ((0xFFFF_FFFF, 0xFFFF_FFFF), (0x8000_0024, 0x8000_0000), (0x7FFF_FFFF, 0x7FFF_FFDB)):
        data[4:8], data[40:44] = struct.pack("<I", riff), struct.pack("<I", chunk)
        path.write_bytes(data)
        assert read(path).tobytes() == samples.tobytes()


def test_a_flac_file_of_unknown_length(tmp_path):
    """Written to a pipe, its header gives the number of samples as 0; libsndfile cannot read such a file to its end."""
    path = written(tmp_path, noise(40_000), format="FLAC")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    complaint(path, "does not give its length", "ffmpeg -i")


def test_what_is_no_sound_file(tmp_path):
    wav = written(tmp_path, noise(100)).read_bytes()
    (tmp_path / "empty.wav").write_bytes(b"")
    complaint(tmp_path / "empty.wav", "the file is empty", "wanted a WAV or FLAC file")
    (tmp_path / "header.wav").write_bytes(wav[:4] + struct.pack("<I", 36) + wav[8:40] + bytes(4))
    complaint(tmp_path / "header.wav", "holds no samples")
    (tmp_path / "text.wav").write_text("not a sound\n" * 100)
    complaint(tmp_path / "text.wav", "cannot be read as sound", "wanted a WAV or FLAC file")
    (tmp_path / "noise.flac").write_bytes(random.Random(1).randbytes(5_000))
    complaint(tmp_path / "noise.flac", "cannot be read as sound")
    (tmp_path / "folder.wav").mkdir()
    complaint(tmp_path / "folder.wav", "no such file")
    complaint(tmp_path / "missing.wav", "no such file")


@pytest.mark.parametrize("rate", [4_000, 7_999, 192_001, 384_000])
def test_rates_that_are_not_supported(tmp_path, rate):
    complaint(written(tmp_path, noise(4_000), rate), f"rate: got {rate} Hz", "wanted 8000 to 192000")


def test_less_than_one_sample_at_16_khz(tmp_path):
    complaint(written(tmp_path, noise(2), 48_000), "holds 2 samples, less than one at 16000 Hz")
    assert read(written(tmp_path, noise(3), 48_000)).shape == (1, 1)


@pytest.mark.parametrize("rate", [RATE, 44_100])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("frame", [0, 3_000, 3_999])
def test_floats_that_are_no_numbers(tmp_path, rate, subtype, value, frame):
    samples = np.zeros((4_000, 2))
    samples[frame, 1] = value
    path = written(tmp_path, samples, rate, subtype=subtype)
    complaint(path, f"sample {frame} of channel 1: got {value}", "wanted finite numbers")


@given(seed=st.integers(0, 2**32 - 1))
def test_mutated_files_are_refused_in_one_line_or_read(tmp_path, seed):
    """Eight at a time: bits, bytes, lengths, cuts and moved pieces, mostly in the headers. Reading ends by itself."""
    draw = random.Random(seed)
    for _ in range(8):
        format, subtype = draw.choice(list(STORED))
        rate = draw.choice([RATE, 44_100])
        data = bytearray(written(tmp_path, noise(700, 2), rate, format, subtype).read_bytes())
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(min(len(data) - 4, draw.choice([60, 10_000])))
            kind = draw.randrange(5)
            if kind == 0:
                data[at] ^= 1 << draw.randrange(8)
            elif kind == 1:
                data[at] = draw.randrange(256)
            elif kind == 2:
                data[at : at + 4] = struct.pack("<I", draw.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, len(data)]))
            elif kind == 3 and len(data) > 100:
                del data[draw.randrange(50, len(data)) :]
            else:
                data[at:at] = draw.randbytes(draw.randint(1, 8))
        path = tmp_path / f"mutated.{format.lower()}"
        path.write_bytes(data)
        try:
            got = read(path)
        except InputError as error:
            assert str(error).isprintable() and str(error).startswith(f"{path}: ")
        else:
            assert got.dtype == np.int16 and 0 < len(got) <= 40 * len(data)


def blocks(source):
    """The blocks' samples put together, after a look at how they follow each other."""
    at, parts = 0, []
    for block in source.blocks():
        assert (block.index, block.epoch) == (at, 0) and block.samples.dtype == np.int16
        assert block.samples.flags.c_contiguous and block.samples.shape[1] == source.microphones + source.references
        at = block.end
        parts.append(block.samples)
    return np.concatenate(parts)


def test_columns_follow_the_profile(tmp_path):
    profile = Profile("p", "", RATE, 6, (4, 0), (2,), ((0.0, 0, 0), (9.0, 0, 0)))
    samples = noise(3_000, 6)
    path = written(tmp_path, samples)
    source = FileSource(path, profile)
    assert (source.microphones, source.references) == (2, 1)
    assert np.array_equal(blocks(source), samples[:, [4, 0, 2]])


def test_a_recording_of_the_microphones_alone_has_no_references(tmp_path):
    samples = noise(3_000, 6)
    source = FileSource(written(tmp_path, samples), load_profile("respeaker-6mic"))
    assert (source.microphones, source.references) == (6, 0)
    assert np.array_equal(blocks(source), samples)


@pytest.mark.parametrize("channels", [1, 2, 5, 7])
def test_a_channel_that_the_file_lacks(tmp_path, channels):
    path = written(tmp_path, noise(3_000, channels))
    lacks = 7 if channels == 7 else channels
    complaint(path, f"channel {lacks}:", "'respeaker-6mic'", f"the file has {channels} (0 to {channels - 1})",
              use=lambda p: FileSource(p, load_profile("respeaker-6mic")))  # fmt: skip


@pytest.mark.parametrize("frames", [64, 512, 5_000])
@pytest.mark.parametrize("length", [1_000, 3_000, 4_000])
def test_a_reference_file_of_another_length(tmp_path, length, frames):
    """Every channel of it is a reference; where it ends early it is silent, where it is longer its rest is left."""
    samples, played = noise(3_000, 4), noise(length, 2, 9)
    soundfile.write(tmp_path / "ref.wav", played, RATE)
    source = FileSource(written(tmp_path, samples), load_profile("respeaker-4mic"), tmp_path / "ref.wav", frames)
    assert source.references == 2
    got = blocks(source)
    wanted = np.zeros((3_000, 2), np.int16)
    wanted[:length] = played[:3_000]
    assert np.array_equal(got, np.concatenate([samples, wanted], axis=1))


@pytest.mark.parametrize("frames", [100, 512, 3_001])
def test_a_reference_file_of_another_rate_stays_in_step(tmp_path, frames):
    """A click at the same instant in both files lies at the same index."""

    def click(rate):
        t = np.arange(rate // 2) / rate
        return (20_000 * np.exp(-0.5 * ((t - 0.3) / 4e-4) ** 2)).astype(np.int16)[:, None]

    soundfile.write(tmp_path / "ref.wav", click(48_000), 48_000)
    got = blocks(FileSource(written(tmp_path, click(22_050), 22_050), load_profile("single"), tmp_path / "ref.wav", frames))
    assert got.shape == (RATE // 2, 2)
    assert np.abs(got[:, 0].astype(int) - got[:, 1]).max() < 40
    assert np.argmax(got[:, 0]) == round(0.3 * RATE)


def test_a_reference_file_that_cannot_be_used(tmp_path):
    path = written(tmp_path, noise(3_000))
    soundfile.write(tmp_path / "ref.wav", noise(100, 5), RATE)
    complaint(tmp_path / "ref.wav", "has 5 channels", "1 to 4", use=lambda p: FileSource(path, load_profile("single"), p))
    complaint(tmp_path / "none.wav", "no such file", use=lambda p: FileSource(path, load_profile("single"), p))
