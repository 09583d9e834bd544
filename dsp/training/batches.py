"""What networks are shown of the segments: batches for a listener and for a second look, each said otherwise than before.

A network has an output for each word. For the listener hard negatives weigh more and more. The second look hears 1.5 s up to a
candidate and no more: a word itself, or the places where the listener came nearest to being woken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from farfield.history import LOOK_FRAMES
from farfield.profile import RATE
from farfield.training.files import Ends, Pool, Seen
from farfield.training.hearing import elsewhere, knock, mask, warped
from farfield.training.network import LISTENER, Network
from farfield.training.segments import NO_WORD

POSITIVES, NEGATIVES, NEAR = 72, 96, 24  # segments in a batch: with a word, without, with what only sounds like one
_EARLIEST_S, _LATEST_S = 0.0, 0.24  # after the word's end: where a step must say yes
_UNCERTAIN_S = (-0.12, 0.75)  # around it: where a step may say either
_NEGATIVE_WEIGHT = (4.0, 25.0)  # against the word's, ramped
_HARD_SHARE = (0.5, 0.05)  # of the steps that should say no, ramped alike
_SCORED_AT_ONCE = 256  # segments
LOOK_STEPS = 2  # of a look's last ones of which one must say yes
_LOOK_SHORT = 0.3  # of the batches hear less than LOOK_FRAMES, as at the start of a stream
_LOOK_SHORTEST = 60  # frames
_LOOK_HARDEST = 0.05  # of the segments without the word
_LOOK_HARD = 0.3  # of them, for the other half
_LOOK_NEAREST = 0.5  # of those with what only sounds like it
_LOOK_NEAR = 0.1  # of the segments without the word in a batch
_LOOK_WEIGHT = 2.0  # of one of them, against one of the word
_OTHER_WORD = 0.3  # of another word said in full


@dataclass(frozen=True)
class Batch:
    """Segments, the sample at which a word ends in each (NO_WORD: none does), and which word it is."""

    seen: Seen
    ends: Ends
    word: NDArray[np.int64]


@dataclass(frozen=True)
class Pools:
    """What a network may know: for each word segments with it and with what only sounds like it; and other segments."""

    words: Sequence[Pool]
    near: Sequence[Pool]
    others: Pool


class ListenerBatches:
    """All the words alike, and what is none."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    def loss(self, net: Network, ramped: float, random: np.random.Generator) -> Tensor:
        """Of a fresh batch. ramped: how far the weight of negatives has come, 0 to 1."""
        words = len(self._pools.words)
        shares, near = ([len(share) for share in np.array_split(np.arange(count), words)] for count in (POSITIVES, NEAR))
        pools = [*self._pools.words, *self._pools.near, self._pools.others]
        counts = [*shares, *near, NEGATIVES]
        taken = [pool.take(random.integers(0, len(pool), n)) for pool, n in zip(pools, counts, strict=True)]
        word = np.repeat(np.arange(words + 1), [*shares, sum(near) + NEGATIVES])
        seen, ends = (np.concatenate(part) for part in zip(*taken, strict=True))
        return batch_loss(net, Batch(seen, ends, word), ramped, random)


class LookBatches:
    """What a second look hears: words that have just ended, and the places at which its listener came nearest to waking.

    Half of the places are from where it did not come as near, for a listener knows what it has learnt by heart. Each segment is
    heard in another place than before (`hearing.elsewhere`), some under knocks and barks.
    """

    def __init__(self, pools: Pools, listener: Network) -> None:
        self._words = pools.words
        of = [*pools.words, pools.others]
        found = [highest(listener, pool) for pool in of]
        words = range(len(pools.words))
        self._hard = [
            [
                Hardest(
                    [pool for n, pool in enumerate(of) if n != word],
                    [(logits[word], steps[word]) for n, (logits, steps) in enumerate(found) if n != word],
                    share,
                )
                for share in (_LOOK_HARDEST, _LOOK_HARD)
            ]
            for word in words
        ]
        near = [highest(listener, pool) for pool in pools.near]
        self._near = [Hardest([pools.near[word]], [(near[word][0][word], near[word][1][word])], _LOOK_NEAREST) for word in words]

    def loss(self, net: Network, ramped: float, random: np.random.Generator) -> Tensor:
        """Of a fresh batch; nothing is ramped.

        To what sounds like a word only that word's output must say no: it may well be another.
        """
        taken, stops, word, said = [], [], [], []
        asked = NEGATIVES + NEAR
        for number, pool in enumerate(self._words):
            segments, ends = pool.take(random.integers(0, len(pool), POSITIVES // len(self._words)))
            late = random.uniform(_EARLIEST_S, _LATEST_S, len(ends)) * RATE
            taken.append(segments)
            stops.append(((ends + late) // 160 - 2).astype(np.int64))
            of_word = asked // len(self._words)
            near = max(1, round(_LOOK_NEAR * of_word))
            shared = np.array_split(np.arange(of_word - near), len(self._hard[number]))
            counts = [*map(len, shared), near]
            for hard, count in zip([*self._hard[number], self._near[number]], counts, strict=True):
                like, steps = hard.take(count, random)
                taken.append(like)
                stops.append(LISTENER.field + LISTENER.stride * steps + random.integers(-6, 7, len(steps)))
            word += [number] * (len(ends) + of_word)
            said += [True] * len(ends) + [False] * of_word
        seen = _up_to(np.concatenate(taken), np.concatenate(stops))
        if random.random() < _LOOK_SHORT:
            seen = seen[:, -int(random.integers(_LOOK_SHORTEST, LOOK_FRAMES + 1)) :]
        mask(seen, random)
        knock(seen, random)
        elsewhere(seen, random)
        logits = net(warped(seen, np.full(len(seen), seen.shape[1] - 1), random), True)[:, :, -LOOK_STEPS:]
        own = np.arange(len(self._words))[:, None] == np.array(word)
        yes = own & np.array(said)
        weight = np.where(yes, 1.0, np.where(own, _LOOK_WEIGHT, _OTHER_WORD * np.array(said))).astype(np.float32)
        wanted = torch.from_numpy(yes.astype(np.float32))[:, :, None].expand_as(logits)
        loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(2)
        return (loss * torch.from_numpy(weight)).sum() / float(weight.sum())


Found = tuple[NDArray[np.float32], NDArray[np.int64]]


class Hardest:
    """The share of the segments, over all pools, that a listener takes most for a word.

    found: for each pool the highest logit in each of its segments, and its step.
    """

    def __init__(self, pools: Sequence[Pool], found: Sequence[Found], share: float) -> None:
        self._pools = pools
        which = np.repeat(np.arange(len(pools)), [len(pool) for pool in pools])
        at = np.concatenate([np.arange(len(pool)) for pool in pools])
        count = max(min(NEGATIVES, len(at)), int(share * len(at)))
        hardest = np.argsort(-np.concatenate([logits for logits, _ in found]), kind="stable")[:count]
        self._at = [at[hardest[which[hardest] == number]] for number in range(len(pools))]
        self._steps = [steps[own] for (_, steps), own in zip(found, self._at, strict=True)]

    def take(self, count: int, random: np.random.Generator) -> tuple[Seen, NDArray[np.int64]]:
        """`count` of them at random and their steps."""
        sizes = np.array([len(own) for own in self._at])
        seen, steps = [], []
        for pool, own, found, n in zip(
            self._pools, self._at, self._steps, random.multinomial(count, sizes / sizes.sum()), strict=True
        ):
            if n:
                picks = random.integers(0, len(own), n)
                seen.append(pool.take(own[picks])[0])
                steps.append(found[picks])
        return np.concatenate(seen), np.concatenate(steps)


def highest(net: Network, pool: Pool) -> Found:
    """The highest logit of each word in each segment, and its step: both (words, segments)."""
    logits, steps = [], []
    with torch.no_grad():
        for start in range(0, len(pool), _SCORED_AT_ONCE):
            seen, _ = pool.take(np.arange(start, min(start + _SCORED_AT_ONCE, len(pool))))
            top = net(torch.from_numpy(seen)).max(2)
            logits.append(top.values.numpy())
            steps.append(top.indices.numpy())
    return np.concatenate(logits, 1), np.concatenate(steps, 1)


def _up_to(seen: Seen, stops: NDArray[np.int64]) -> Seen:
    """The LOOK_FRAMES frames of each segment before its stop."""
    stops = np.clip(stops, LOOK_FRAMES, seen.shape[1])
    return np.stack([one[stop - LOOK_FRAMES : stop] for one, stop in zip(seen, stops.tolist(), strict=True)])


def batch_loss(net: Network, batch: Batch, ramped: float, random: np.random.Generator) -> Tensor:
    """Of the words' steps and of the others, most of all the hardest."""
    offset = int(random.integers(0, net.shape.stride))  # of the steps against the segments
    seen, ends = batch.seen[:, offset:], np.where(batch.ends == NO_WORD, NO_WORD, batch.ends - 160 * offset)
    mask(seen, random)
    pivots = np.where(ends == NO_WORD, random.integers(0, seen.shape[1], len(ends)), ends // 160)
    logits = net(warped(seen, np.minimum(pivots, seen.shape[1] - 1), random))
    wanted, counts = targets(ends, batch.word, net.shape.field, logits.shape)
    loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * counts
    on_word = (loss * wanted).sum() / wanted.sum().clamp(min=1)
    others = loss * (1 - wanted)
    weight = _NEGATIVE_WEIGHT[0] + (_NEGATIVE_WEIGHT[1] - _NEGATIVE_WEIGHT[0]) * ramped
    share = _HARD_SHARE[0] + (_HARD_SHARE[1] - _HARD_SHARE[0]) * ramped
    hardest = torch.topk(others.flatten(), int(others[0].numel() * share)).values.mean()
    return on_word + weight * (0.3 * hardest + 0.7 * others.mean())


def targets(ends: Ends, word: NDArray[np.int64], frames: int, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """What each step should say, and whether it counts: both (words, segments, steps), as the `shape` of the logits.

    frames: that the first step has heard.
    """
    words, _, steps = shape
    heard = 480 + 160 * (frames - 1) + 160 * LISTENER.stride * np.arange(steps)
    late = (heard[None, :] - ends[:, None]) / RATE
    said = (ends != NO_WORD)[:, None]
    yes = said & (late >= _EARLIEST_S) & (late <= _LATEST_S)
    either = said & ~yes & (late >= _UNCERTAIN_S[0]) & (late <= _UNCERTAIN_S[1])
    own = (word[None, :] == np.arange(words)[:, None])[:, :, None]
    wanted, counts = own & yes[None], ~(own & either[None])
    return torch.from_numpy(wanted.astype(np.float32)), torch.from_numpy(counts.astype(np.float32))
