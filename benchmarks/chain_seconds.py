"""So many seconds of sound through the whole chain, in a process of its own, for callgrind to count: chain_seconds.py 2"""

import sys

import numpy as np
from ratio import sound

import farfield
from farfield.block import Block

MICROPHONES, REFERENCES = 6, 2


def chain(word: str = "alexa") -> farfield.Chain:
    """Six microphones, a stereo reference, one word."""
    return farfield.Chain(farfield.load_profile("respeaker-6mic"), [farfield.load_model(word)], references=REFERENCES)


def blocks(seconds: int, frames: int) -> list[Block]:
    """Two channels of music-like bursts, and microphones that hear them together with a talker's."""
    played = sound(seconds, REFERENCES)
    echo = (played[:, :1] // 4 + played[:, 1:] // 8 + sound(seconds, MICROPHONES, seed=2) // 16).astype(np.int16)
    samples = np.concatenate([echo, played], axis=1)
    return [Block(samples[at : at + frames], at) for at in range(0, len(samples), frames)]


if __name__ == "__main__":
    listening = chain()
    for block in blocks(int(sys.argv[1]), 512):
        listening.process(block)
