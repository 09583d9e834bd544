"""Scenes, rigs and models whose outcome is known beforehand."""

from dataclasses import replace

import numpy as np

from farfield import Block, load_profile
from farfield.hil.room import Spoken
from farfield.hil.scene import Scene
from reference.planted import Planted

RATE = 16_000


def noise(seconds, microphones=1, references=0, name="noise", words=()):
    """Noise on every channel, other at every sample."""
    profile = {1: "single", 2: "respeaker-2mic", 4: "respeaker-4mic"}[microphones]
    random = np.random.default_rng(round(1_000 * seconds) + microphones)
    samples = random.integers(-9_000, 9_000, (round(seconds * RATE), microphones + references)).astype(np.int16)
    return Scene(name, load_profile(profile), samples, tuple(words))


def word(start, end, text="planted", talker="A"):
    return Spoken(text, start, end, talker)


def planted(scene, *decisions, channels=1):
    """A model that fires where the decision is `320 + 160 * step`, for each of the steps, whatever is heard."""
    track = [0] * (scene.frames // 160 + 60)
    for step in decisions:
        track[step - 1] = 255
    return Planted(*[track] * 64, stride=1)


class Spoilt:
    """A rig around another that does to its blocks what `spoil` does; it says what the other says of them."""

    def __init__(self, inner, spoil):
        self._inner, self._spoil = inner, spoil
        self.name, self.exact, self.clocked, self.sizing_samples = inner.name, inner.exact, inner.clocked, inner.sizing_samples

    def play(self, scene, faults=None):
        stream = self._inner.play(scene, faults) if faults else self._inner.play(scene)
        blocks = stream.blocks
        stream.blocks = lambda stop: (made for block in blocks(stop) for made in self._spoil(block))
        return stream

    def layout(self, scene):
        return self._inner.layout(scene)

    def close(self):
        self._inner.close()


def silently_lost(at):
    """A block that is not there, those after it moved up: a loss without a trace."""
    state = {"shift": 0}

    def spoil(block):
        if block.index == at:
            state["shift"] = len(block.samples)
            return []
        return [replace(block, index=block.index - state["shift"])]

    return spoil


def left_out(at):
    """A block that is not there, its index left free, and no count of it."""
    return lambda block: [] if block.index == at else [block]


def altered(at):
    """One bit of one sample is another."""

    def spoil(block):
        if block.index <= at < block.end:
            samples = block.samples.copy()
            samples[at - block.index, -1] ^= 1
            return [replace(block, samples=samples)]
        return [block]

    return spoil


def doubled(at):
    """A block that comes twice."""
    return lambda block: [block, block] if block.index == at else [block]


def cut_short(at):
    """Nothing more after a place."""
    return lambda block: [block] if block.end <= at else []


def silenced(at):
    """Silence in the place of sound: a gap passed off as one."""

    def spoil(block):
        return [Block(np.zeros_like(block.samples), block.index, block.epoch, block.host_ns)] if block.index == at else [block]

    return spoil
