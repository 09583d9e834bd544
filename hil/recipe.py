"""How a semi-recorded room is made: dry clips, through responses, with playback and noise. A table of a room set's file."""

from dataclasses import dataclass
from pathlib import Path

from farfield import Profile, load_profile
from farfield.hil.fields import Fields

NOISES = ("none", "any", "clips", "pink", "white")
MUSICS = ("none", "elsewhere", "own")
RESPONSES = ("none", "simulated", "measured")
VOICES = ("any", "clips", "synthetic")


@dataclass(frozen=True)
class Recipe:
    """seconds: of each room. count: of rooms, each made anew. words: how often the wake word is said in each.

    profile: in the set a shipped one's name, or a .toml file beside the set's. speech_share: of the time between the words in
    which other things are said. voices, noise: `clips` come from the folders that were given, `any` from there where they were
    given and else from programs (espeak-ng, flite, festival; pink noise). snr_db: level of the speech over the noise, at the
    first microphone. music: `elsewhere` comes from another loudspeaker in the room, `own` from the device's, which then has it as
    its reference; music_db: its level over the speech's. level_dbfs: of the speech. responses: `none` (dry, one microphone),
    `simulated` rooms that ring for rt60_s, `measured` ones from the given folders. distance_m: of the talkers, one each.

    Levels are RMS at the first microphone, of speech over the louder half of its 20 ms frames.
    """

    profile: Profile
    seconds: int
    words: int
    count: int = 1
    speech_share: float = 0.0
    voices: str = "any"
    noise: str = "none"
    snr_db: float = 20.0
    music: str = "none"
    music_db: float = 0.0
    level_dbfs: float = -30.0
    responses: str = "simulated"
    rt60_s: float = 0.3
    distance_m: tuple[float, ...] = (1.0, 2.0)
    seed: int = 1

    @staticmethod
    def read(table: Fields, folder: Path) -> "Recipe":
        """The recipe of a set's table. folder: the set's. InputError: a field that is missing, wrong or not known."""
        named = table.text("profile", "single")
        made = Recipe(
            profile=load_profile(folder / named if named.endswith(".toml") else named),
            seconds=table.whole("seconds", 2, 3_600),
            words=table.whole("words", 0, 1_000),
            count=table.whole("count", 1, 10_000, 1),
            speech_share=table.number("speech_share", 0, 1, 0.0),
            voices=table.choice("voices", VOICES, "any"),
            noise=table.choice("noise", NOISES, "none"),
            snr_db=table.number("snr_db", -40, 80, 20.0),
            music=table.choice("music", MUSICS, "none"),
            music_db=table.number("music_db", -40, 40, 0.0),
            level_dbfs=table.number("level_dbfs", -70, -6, -30.0),
            responses=table.choice("responses", RESPONSES, "simulated"),
            rt60_s=table.number("rt60_s", 0.1, 0.9, 0.3),
            distance_m=table.numbers("distance_m", 0.3, 4.0, (1.0, 2.0)),
            seed=table.whole("seed", 0, 2**31 - 1, 1),
        )
        table.done()
        if made.responses == "none" and (len(made.profile.microphones) > 1 or made.music != "none"):
            raise table.wrong("responses", "simulated or measured, for several microphones or music")
        if made.responses == "measured" and made.music != "none":
            raise table.wrong("responses", "simulated, for music: no measured response leads from its loudspeaker")
        return made
