"""Makes the room that ships: a simulated room, synthetic voices, and music from a loudspeaker beside the microphones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import soundfile
from numpy.typing import NDArray

from farfield import InputError, Profile, load_profile

RATE = 16_000
SECONDS = 20
SEED = 7
PROFILE = "respeaker-4mic"
SIZE_M = (5.4, 4.2, 2.6)
ARRAY_M = (2.5, 1.9, 0.8)
LOUDSPEAKER_M = (0.03, -0.02, -0.07)  # from the array's centre
RT60_S = 0.3
SPEECH_DBFS, MUSIC_DBFS, SENSOR_LSB = -46.0, -46.0, 0.6  # at the first microphone; speech while it lasts
REFERENCE_DBFS = -40.0
MUSIC_FROM_S = 3.0
BUFFER_MS = 6  # how far the reference runs ahead of the loudspeaker


@dataclass(frozen=True)
class Talker:
    """Who speaks: a synthetic voice, and where it stands, as seen from the array."""

    program: str
    voice: str
    speed: float
    pitch: float
    azimuth_deg: float
    distance_m: float


TALKERS = {
    "Ada": Talker("flite", "slt", 0.95, 1.0, 40.0, 1.6),
    "Ben": Talker("espeak-ng", "en-us+m3", 1.0, 1.0, 205.0, 1.8),
}
SCRIPT = (  # at, talker, text; a wake word stands alone
    (0.15, "Ada", "alexa"),
    (1.1, "Ada", "what time is it"),
    (3.6, "Ben", "Alex is coming for dinner"),
    (6.0, "Ben", "alexa"),
    (7.0, "Ben", "play something else"),
    (9.0, "Ada", "the election was close this year"),
    (11.6, "Ada", "alexa"),
    (12.6, "Ada", "turn the volume down"),
    (14.6, "Ben", "he drives a lexus"),
    (16.2, "Ada", "relax and take a deep breath"),
    (18.6, "Ben", "alexa"),
)
WORD = "alexa"
PROVENANCE = (
    "Made by farfield with `farfield hil make-demo-room`: voices of flite (slt; Carnegie Mellon University, free to use in any "
    "way) and espeak-ng (its m3), room simulated by pyroomacoustics, music of random chords. Nobody's voice was recorded for "
    "it. Apache-2.0."
)


@click.command("make-demo-room")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The folder to make.")
def make_demo_room(output: Path) -> None:
    """Make the recorded room that ships with farfield anew; the same packages give the same room."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be made ({error.strerror}); wanted a folder to make") from None
    try:
        mics, played, said = scene()
    except ImportError as error:
        raise InputError(f"{error.name}: not installed; install it with: pip install 'farfield[hil]'") from None
    soundfile.write(output / "mics.flac", mics, RATE, "PCM_16", compression_level=1.0)
    soundfile.write(output / "ref.flac", played, RATE, "PCM_16", compression_level=1.0)
    (output / "room.toml").write_text(described(said), "utf-8")
    size = sum(path.stat().st_size for path in output.iterdir())
    print(f"{output}: {len(mics) / RATE:.0f} s, {mics.shape[1]} microphones, {size / 1e6:.2f} MB")


def described(said: list[tuple[str, str, int, int]]) -> str:
    """room.toml of what was said: (talker, text, start, end)."""
    lines = [f'profile = "{PROFILE}"', f'provenance = "{PROVENANCE}"']
    for talker, text, start, end in said:
        lines += ["", "[[word]]" if text == WORD else "[[speech]]", f'text = "{text}"', f"start = {start}", f"end = {end}"]
        lines += [f'talker = "{talker}"', f"direction = {TALKERS[talker].azimuth_deg}"]
    return "\n".join(lines) + "\n"


def scene() -> tuple[NDArray[np.int16], NDArray[np.int16], list[tuple[str, str, int, int]]]:
    """Microphones int16 (frames, microphones), reference int16 (frames,), and what was said as it arrives at the array."""
    import pyroomacoustics

    from farfield.training import augment
    from farfield.training.clips import word_span
    from farfield.training.voices import Voice, speak

    random = np.random.default_rng(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - pyroomacoustics draws from the global generator
    frames = SECONDS * RATE
    profile = load_profile(PROFILE)
    dry = {name: np.zeros(frames) for name in TALKERS}
    said = []
    for at_s, name, text in SCRIPT:
        talker = TALKERS[name]
        clip = speak(text, Voice(talker.program, talker.voice, talker.speed, talker.pitch))
        start, end = word_span(clip)
        clip = clip[start:end] / augment.speech_level(clip)
        at = round(at_s * RATE)
        dry[name][at : at + len(clip)] += clip
        travel = round(talker.distance_m / pyroomacoustics.constants.get("c") * RATE)
        said.append((name, text, at + travel, at + travel + len(clip)))
    music = augment.music(frames, random)
    music[: round(MUSIC_FROM_S * RATE)] = 0
    music *= np.minimum(1, np.arange(frames)[::-1] / (0.3 * RATE))
    heard = [_heard(pyroomacoustics, _talker_place(t), dry[name], profile) for name, t in TALKERS.items()]
    wanted = 10 ** (SPEECH_DBFS / 20)
    voices = sum(sound * wanted / augment.speech_level(sound[0].astype(np.float32)) for sound in heard)
    speaker = np.add(ARRAY_M, LOUDSPEAKER_M)
    late = np.concatenate([np.zeros(BUFFER_MS * RATE // 1000), music])[:frames]
    echo = _heard(pyroomacoustics, speaker, np.tanh(0.25 * late) / 0.25, profile)  # the loudspeaker compresses a little
    echo *= 10 ** (MUSIC_DBFS / 20) / np.sqrt(np.mean(echo[0, echo[0] != 0] ** 2))
    sensor = SENSOR_LSB * random.standard_normal((frames, len(profile.microphones)))
    mics = _to_int16((voices + echo).T * 32_768 + sensor)
    return mics, _to_int16(music * 10 ** (REFERENCE_DBFS / 20) * 32_768), said


def _talker_place(talker: Talker) -> NDArray[np.float64]:
    angle = np.radians(talker.azimuth_deg)
    return np.array(ARRAY_M) + talker.distance_m * np.array([np.cos(angle), np.sin(angle), 0.0])


def _heard(pyroomacoustics: Any, place: NDArray[np.float64], sound: NDArray[np.float64], profile: Profile) -> NDArray[np.float64]:
    """The sound at each microphone: float64 (microphones, frames). Fractional delays' lead is taken out."""
    absorption, order = pyroomacoustics.inverse_sabine(RT60_S, SIZE_M)
    room = pyroomacoustics.ShoeBox(SIZE_M, fs=RATE, materials=pyroomacoustics.Material(absorption), max_order=order)
    room.add_source(place, signal=sound)
    room.add_microphone((np.array(ARRAY_M) + profile.positions_mm / 1000).T)
    room.simulate()
    lead = pyroomacoustics.constants.get("frac_delay_length") // 2
    return np.asarray(room.mic_array.signals[:, lead : lead + len(sound)], np.float64)


def _to_int16(sound: NDArray[np.floating]) -> NDArray[np.int16]:
    return np.asarray(np.clip(np.rint(sound), -32_768, 32_767), np.int16)
