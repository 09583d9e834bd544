"""Makes tests/dsp/capture/mishap.opus, the talk of 2018: python tests/make_mishap.py (needs flite and espeak-ng).

Two people in the background say what is nearly a wake word, then, to each other, what a voice assistant once took for orders:
"send message", a name, "right". Synthetic voices, free to use in any way; nobody was recorded. Noise stands at -56 dB of full
scale, the talk at -20 dB of it.
"""

from pathlib import Path

import numpy as np
import soundfile

from farfield.training.voices import Voice, speak

RATE = 16_000
HER, HIM, OTHER = Voice("flite", "slt", 1.0, 1.0), Voice("flite", "awb", 1.0, 1.0), Voice("espeak-ng", "en-gb+f3", 1.0, 1.0)
TALK = (
    (HER, "we were late and the election was close"),
    (HIM, "ask Alexis about it"),
    (HER, "a Lexus was parked outside"),
    (OTHER, "a Lexus was parked outside"),
    (HIM, "send message"),
    (OTHER, "to Danielle"),
    (HER, "right"),
)
PAUSE_S = 0.6
PATH = Path(__file__).parent / "dsp" / "capture" / "mishap.opus"


def talk():
    """float64 (n,): all of it, over noise."""
    parts = [np.zeros(RATE)]
    for voice, text in TALK:
        spoken = speak(text, voice)
        parts += [spoken / np.abs(spoken).max() * 0.1, np.zeros(round(PAUSE_S * RATE))]
    samples = np.concatenate([*parts, np.zeros(2 * RATE)])
    return samples + np.random.default_rng(2018).normal(0, 10 ** (-56 / 20), len(samples))


if __name__ == "__main__":
    soundfile.write(PATH, talk(), RATE, format="OGG", subtype="OPUS")
    print(f"{PATH}: {PATH.stat().st_size} bytes, {soundfile.info(PATH).duration:.1f} s")
