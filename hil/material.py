"""What rooms are made of: clips of words, speech, noise and music, from folders or from programs, and which of them were used."""

from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farfield import InputError
from farfield.hil.scene import RATE

Sound = NDArray[np.float32]
_SYNTHETIC_SENTENCES = 240
_FADE = 800
_KEPT_BYTES = 256 << 20  # of clips that were read: more are read again when they are used again


class Material:
    """Clips below a folder, or, without one, synthetic voices and noise.

    folder: holds `keywords/WORD/` (spaces as underscores), `speech/`, `noise/`, and where there are any `music/` and
    `responses/`; a FOLDER.tsv beside one of clips gives their transcripts. InputError: no such folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder}: no such folder; wanted one with keywords, speech and noise in it")
        self._folder = folder
        self._read: dict[Path, Sound] = {}  # the one that was used last is the last
        self._held = 0  # bytes of those
        self._spoken: dict[tuple[str, int], tuple[str, Sound]] = {}

    def has(self, voices: str) -> bool:
        """Whether `any`, `clips` or `synthetic` means recorded clips here. InputError: clips, where no folder was given."""
        if voices == "clips" and self._folder is None:
            raise InputError("--clips: not given; wanted a folder with recorded clips, which this set asks for")
        return voices != "synthetic" and self._folder is not None

    def words(self, word: str, count: int, recorded: bool, random: np.random.Generator) -> list[tuple[str, Sound]]:
        """So many times the word, each with who or what says it; recorded clips are gone through once before any comes again."""
        if recorded:
            paths = self._below(f"keywords/{word.replace(' ', '_')}")
            rounds = (random.permutation(len(paths)).tolist() for _ in range(-(-count // len(paths))))
            chosen = [paths[n] for once in rounds for n in once][:count]
            return [(f"clip {path.stem}", self._clip(path)) for path in chosen]
        from farfield.training.voices import speak, voices

        return [(f"{voice.program} {voice.name}", speak(word, voice)) for voice in voices(count, random)]

    def sentence(self, word: str, recorded: bool, random: np.random.Generator) -> tuple[str, Sound]:
        """Something else that somebody says, and its text or its clip's name; never the word, as far as transcripts tell."""
        if recorded:
            paths = self._speech_without(word)
            path = paths[random.integers(len(paths))]
            return path.stem, self._clip(path)
        return self._synthetic(int(random.integers(_SYNTHETIC_SENTENCES)))

    def noise(self, frames: int, recorded: bool, slope: float, random: np.random.Generator) -> Sound:
        """Recorded clips one after the other, each as loud, or coloured noise (slope 0 white, 1 pink); RMS 1."""
        from farfield.training import augment

        return self._joined("noise", frames, random) if recorded else augment.colored(frames, slope, random)

    def music(self, frames: int, random: np.random.Generator) -> Sound:
        """Recorded music where the folder has some, else bars of synthetic chords, each half a minute another; RMS 1."""
        from farfield.training import augment

        if self._folder is not None and (self._folder / "music").is_dir():
            return self._joined("music", frames, random)
        bars = [augment.music(30 * RATE, random) for _ in range(-(-frames // (30 * RATE)))]
        return np.concatenate(bars)[:frames]

    def responses(self) -> list[Path]:
        """Files of measured responses. InputError: none."""
        if self._folder is None:
            raise InputError("--clips: not given; wanted a folder with measured responses, which this set asks for")
        return self._below("responses")

    def told(self, recorded_voices: bool, recorded_noise: bool | None) -> str:
        """Where voices and noise came from, for people."""
        voices = "recorded voices" if recorded_voices else "synthetic voices (espeak-ng, flite, festival)"
        noise = "" if recorded_noise is None else ", recorded noise" if recorded_noise else ", computed noise"
        return voices + noise

    def _synthetic(self, number: int) -> tuple[str, Sound]:
        from farfield.training.voices import speak, voices

        phrases = self._phrases
        text = phrases[number % len(phrases)]
        if (text, number) not in self._spoken:
            (voice,) = voices(1, np.random.default_rng([11, number]))
            self._spoken[text, number] = text, speak(text, voice)
        return self._spoken[text, number]

    @cached_property
    def _phrases(self) -> list[str]:
        text = (resources.files("farfield.training") / "phrases" / "everyday.txt").read_text("utf-8")
        return [line for line in text.splitlines() if line.strip()]

    def _speech_without(self, word: str) -> list[Path]:
        from farfield.training.clips import transcripts

        def said(path: Path) -> str:
            return transcripts(path.parent).get(f"{path.parent.name}/{path.name}", "").casefold()

        parts = word.casefold().split()
        clips = self._below("speech")
        without = [path for path in clips if not any(part in said(path) for part in parts)]
        if not without:
            told = f"by their transcripts all {len(clips)} clips say a word of {word!r}"
            raise InputError(f"{clips[0].parent}: {told}; wanted some that do not")
        return without

    def _below(self, name: str) -> list[Path]:
        from farfield.training.clips import SUFFIXES

        assert self._folder is not None
        folder = self._folder / name
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; wanted one with sound clips")
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not found:
            raise InputError(f"{folder}: holds no sound clips; wanted {', '.join(sorted(SUFFIXES))} files")
        return found

    def _clip(self, path: Path) -> Sound:
        from farfield.training.clips import read

        known = self._read.pop(path, None)
        sound = read(path) if known is None else known
        self._held += sound.nbytes if known is None else 0
        self._read[path] = sound
        while self._held > _KEPT_BYTES and len(self._read) > 1:
            self._held -= self._read.pop(next(iter(self._read))).nbytes
        return sound

    def _joined(self, name: str, frames: int, random: np.random.Generator) -> Sound:
        paths = self._below(name)
        made, have = [], 0
        while have < frames:
            clip = self._clip(paths[random.integers(len(paths))]).copy()
            fade = min(_FADE, len(clip) // 2)
            ramp = np.linspace(0, 1, fade, dtype=np.float32)
            clip[:fade] *= ramp
            clip[len(clip) - fade :] *= ramp[::-1]
            made.append(clip / np.float32(np.sqrt(np.mean(clip**2)) + 1e-9))
            have += len(clip)
        return np.concatenate(made)[:frames]
