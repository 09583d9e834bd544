"""Models whose scores are known beforehand, or move with everything that is heard."""

from concurrent.futures import Future

import numpy as np

from farfield.look import trunk
from farfield.model import Model
from farfield.owner import Owner
from reference.networks import random_network


class Planted:
    """A model whose scorers give the tracks that it was given, whatever is heard."""

    word = "planted"
    network: dict = {}  # noqa: RUF012
    second_look = None
    joint = None

    def __init__(self, *tracks, smoothing_steps=1, threshold=0.5, refractory_ms=0, end_lag_ms=0, word_ms=100, stride=2):
        self.tracks = [list(track) for track in tracks]
        self.smoothing_steps, self.threshold, self.refractory_ms = smoothing_steps, threshold, refractory_ms
        self.end_lag_ms, self.word_ms, self.stride = end_lag_ms, word_ms, stride
        self.made = 0

    def scorer(self):
        self.made += 1
        return PlantedScorer(self.tracks[self.made - 1], self.stride)

    def samples(self):
        """As many as the whole track takes."""
        return 320 + 160 * self.stride * len(self.tracks[0])


class PlantedScorer:
    output_scale = 1 / 256

    def __init__(self, track, stride):
        self.track, self.stride = track, stride
        self.reset()

    def reset(self):
        self.frames = 0

    def process(self, features):
        first = self.frames // self.stride
        self.frames += len(features)
        return np.array(self.track[first : self.frames // self.stride], np.uint8)


def known(result):
    """What a sealing's `finish` gives, where there is nothing to wait for."""
    future = Future()
    future.set_result(result)
    return future


def random_model(seed, **fields):
    """A small random network, whose scores move with every input."""
    settings = {"word": "random", "smoothing_steps": 5, "threshold": 0.9, "refractory_ms": 1000, "end_lag_ms": 0, "word_ms": 800}
    return Model(network=random_network(seed, features=40), card={}, **(settings | fields))


class PlantedLook:
    """A second look that gives each stretch of features the scores that `verdict` makes of it, and keeps what it was shown."""

    word = "planted"
    joint = None

    def __init__(self, verdict, *, smoothing_steps=1, threshold=0.5, stride=1):
        self.verdict, self.smoothing_steps, self.threshold, self.stride = verdict, smoothing_steps, threshold, stride
        self.seen = []

    def scorer(self):
        return PlantedVerdict(self)


class PlantedVerdict:
    output_scale = 1 / 256

    def __init__(self, look):
        self.look, self.is_fresh = look, False

    def reset(self):
        self.is_fresh = True

    def process(self, features):
        assert self.is_fresh, "a look starts from the reset state"
        self.is_fresh = False
        self.look.seen.append(features.copy())
        return np.array(self.look.verdict(features), np.uint8)


def planted_owner(model, p):
    """One who finds everybody as probable as `p`."""
    channels = sum(model.network["slots"][slot]["channels"] for slot in trunk(model))
    return Owner(model.word, model.fingerprint, np.zeros(channels), np.ones(channels), np.zeros(channels),
                 float(np.log(p / (1 - p))), 0.5)  # fmt: skip


def layered(start=0, count=1, **fields):
    """Random models that have a trunk."""
    found = []
    while len(found) < count:
        model, start = random_model(start, **fields), start + 1
        if sum(layer["kind"] == "conv" for layer in model.network["layers"]) >= 2:
            found.append(model)
    return found
