"""Heads: small networks that find the words in embeddings of speech, and what they are shown.

The embedding has heard far more people than any recordings of a wake word hold; a head only learns which of what it tells apart
is the word. All of its inputs are what the device's own integers make of a segment.
"""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from farfield import embedding
from farfield.history import FIELD, HOP
from farfield.joint import EMBEDDINGS, WIDTH
from farfield.training import network as design
from farfield.training.batches import Pools
from farfield.training.files import Embedded
from farfield.training.network import Activation, Convolution
from farfield.training.segments import NO_WORD, WINDOWS

INPUT_SCALE = 1 / 40  # of an embedding's int8 steps
_HIDDEN = 96
_DROPPED = 0.3
_LOOKED_AT = 7  # of so many activations one, for their range: there are few
_NOISE = 2.0  # deviation of what is added to an embedding, in its steps
_SAID, _OTHER, _NEAR, _HARD = 24, 48, 6, 24  # windows in a batch: of each word, of anything, like each word, hardest for each
_LATE = 3  # windows after a word's end that must say yes
_OTHER_WORD, _ANYTHING, _HARD_WEIGHT = 0.3, 0.5, 2.0  # against the 1 of a word
_HARDEST = 0.04  # of the segments without the word
_FEWEST = 500
_MINED = (1 / 6, 1 / 3, 1 / 2, 3 / 4)  # of the course: when the hardest are sought again
_SCORED_AT_ONCE = 2000  # segments
Row = NDArray[np.float32]  # a value for each word


class Head(nn.Module):
    """Embeddings (batch, steps, WIDTH), int8, to logits (words, batch, steps - EMBEDDINGS + 1)."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.zero = embedding.description()["layers"][-1]["zero"]
        self.first = Convolution(WIDTH, _HIDDEN, 3)
        self.second = Convolution(_HIDDEN, _HIDDEN, EMBEDDINGS - 2)
        self.first_out, self.second_out = (Activation(relu=True, every=_LOOKED_AT) for _ in range(2))
        self.dropped = nn.Dropout(_DROPPED)
        self.last = Convolution(_HIDDEN, words, 1, norm=False)
        self.half_products = False

    def forward(self, heard: Tensor) -> Tensor:
        x = (heard.permute(2, 0, 1).float() - self.zero) * INPUT_SCALE
        if self.training:
            x = x + torch.randn_like(x) * (_NOISE * INPUT_SCALE)
        x = self.dropped(self.first_out(self.first(x)))
        x = self.dropped(self.second_out(self.second(x)))
        logits: Tensor = self.last(x)
        return logits

    def of_word(self, number: int) -> "Head":
        """A head of its own for one of the words, with the same weights, as one that is trained and quantised."""
        own: Head = design.of_word(self, Head(1), number)
        return own

    def quantise(self) -> None:
        """From now on as int8 will have it; the normalisations keep the figures that they have."""
        design.quantise(self)


class HeadBatches:
    """Windows of embeddings: words that have just ended, anything else, and, sought again as it learns, what it takes for one."""

    def __init__(self, pools: Pools) -> None:
        held = [pool.embedded() for pool in (*pools.words, *pools.near, pools.others)]
        self._heard: Embedded = np.concatenate([heard for heard, _ in held])
        ends = np.concatenate([ends for _, ends in held])
        kinds = np.repeat(np.arange(len(held)), [len(ends) for _, ends in held])
        self._words = len(pools.words)
        # The first window that has heard all of the word: embedding n is of frames up to n * HOP + newest, of 480 samples each.
        newest = (WINDOWS - FIELD) % HOP + FIELD - 1
        first = np.ceil(((ends - 480) / 160 - newest) / HOP).astype(np.int64) - (EMBEDDINGS - 1)
        self._windows = self._heard.shape[1] - EMBEDDINGS + 1
        heard_whole = (ends != NO_WORD) & (first >= 0) & (first < self._windows)
        self._first = first
        self._said = [np.flatnonzero(heard_whole & (kinds == word)) for word in range(self._words)]
        self._near = [np.flatnonzero(kinds == self._words + word) for word in range(self._words)]
        self._others = np.flatnonzero(kinds == 2 * self._words)
        self._not = [np.flatnonzero(kinds != word) for word in range(self._words)]
        self._hard: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self._to_mine = list(_MINED)

    def loss(self, net: Head, ramped: float, random: np.random.Generator) -> Tensor:
        """Of a fresh batch. ramped: how much of the course is over, 0 to 1; it may not go back."""
        while self._to_mine and ramped >= self._to_mine[0]:
            self._to_mine.pop(0)
            self._mine(net)
        words = self._words
        windows: list[Tensor] = []
        wanted: list[Row] = []
        weights: list[Row] = []

        def add(segments: NDArray[np.int64], at: NDArray[np.int64], yes: Row, weight: Row) -> None:
            at = np.clip(at, 0, self._windows - 1)
            windows.append(torch.from_numpy(self._heard[segments[:, None], at[:, None] + np.arange(EMBEDDINGS)]))
            wanted.append(np.broadcast_to(yes, (len(segments), words)))
            weights.append(np.broadcast_to(weight, (len(segments), words)))

        none, each = np.zeros(words, np.float32), np.eye(words, dtype=np.float32)
        picks = random.integers(0, len(self._others), _OTHER)
        add(self._others[picks], random.integers(0, self._windows, _OTHER), none, none + np.float32(_ANYTHING))
        for word in range(words):
            own = each[word]
            said = self._said[word][random.integers(0, len(self._said[word]), _SAID)]
            late = random.integers(0, _LATE, _SAID)
            add(said, self._first[said] + late, own, np.where(own > 0, np.float32(1), np.float32(_OTHER_WORD)))
            if len(self._near[word]):
                near = self._near[word][random.integers(0, len(self._near[word]), _NEAR)]
                add(near, random.integers(0, self._windows, _NEAR), none, own)
            if self._hard:
                segments, at = self._hard[word]
                picks = random.integers(0, len(segments), _HARD)
                add(segments[picks], at[picks], none, np.float32(_HARD_WEIGHT) * own)
        logits = net(torch.cat(windows))[:, :, 0].T
        weight = torch.from_numpy(np.concatenate(weights))
        loss = functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(np.concatenate(wanted)), reduction="none")
        return (loss * weight).sum() / weight.sum()

    def _mine(self, net: Head) -> None:
        """For each word the windows of other segments that the head takes most for it."""
        asked = copy.deepcopy(net).eval()
        with torch.no_grad():
            tops = [
                asked(torch.from_numpy(self._heard[start : start + _SCORED_AT_ONCE])).max(2)
                for start in range(0, len(self._heard), _SCORED_AT_ONCE)
            ]
        logits = np.concatenate([top.values.numpy() for top in tops], 1)
        at = np.concatenate([top.indices.numpy() for top in tops], 1)
        self._hard = []
        for word, others in enumerate(self._not):
            count = min(len(others), max(_FEWEST, int(_HARDEST * len(others))))
            hardest = others[np.argsort(-logits[word, others], kind="stable")[:count]]
            self._hard.append((hardest, at[word, hardest]))
