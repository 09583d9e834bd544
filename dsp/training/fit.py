"""Fitting networks to segments: one listener for all the words at once, and one second look.

Segments are made once, into files, a part's from that part's people alone. A network goes over those of the parts that it may
know, each batch said otherwise than before. All of it can be cut short and taken up again: each file and each round depends
on its number and the seed alone.

Both networks have an output for each word. For the listener hard negatives weigh more and more. The second look is larger
and hears 1.5 s up to a candidate and no more: a word itself, or the places where the listener came nearest to being woken.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import Manager
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from farfield.profile import RATE
from farfield.training import network as design
from farfield.training.network import LISTENER, SECOND_LOOK, Network
from farfield.training.segments import NO_WORD, WINDOWS, Material, features, segment, sounding_like

Progress = Callable[[str, int, int], None]
Seen = NDArray[np.uint8]
Ends = NDArray[np.int32]
PER_FILE = 500
ROUND = 250  # optimiser steps
POSITIVES, NEGATIVES, NEAR = 72, 96, 24  # segments in a batch: with a word, without, with what only sounds like one
_EARLIEST_S, _LATEST_S = 0.0, 0.24  # after the word's end: where a step must say yes
_UNCERTAIN_S = (-0.12, 0.75)  # around it: where a step may say either
_WEIGHT_DECAY = 1e-2
_NEGATIVE_WEIGHT = (4.0, 25.0)  # against the word's, ramped
_HARD_SHARE = (0.5, 0.05)  # of the steps that should say no, ramped alike
_SCORED_AT_ONCE = 256  # segments
_WAVE = 25  # frames over which a tempo holds
LOOK_FRAMES = 150  # of features that a second look hears
LOOK_STEPS = 2  # of its last ones of which one must say yes
_LOOK_SHORT = 0.3  # of the batches hear less than that, as at the start of a stream
_LOOK_SHORTEST = 60  # frames
_LOOK_HARDEST = 0.05  # of the segments without the word
_LOOK_NEAREST = 0.5  # of those with what only sounds like it
_LOOK_NEAR = 0.1  # of the segments without the word in a batch
_LOOK_WEIGHT = 2.0  # of one of them, against one of the word
_OTHER_WORD = 0.3  # of another word said in full


@dataclass(frozen=True)
class Course:
    """How a network is gone over. ramp, quantise_from, average_from: shares of its rounds."""

    rounds: int
    rate_most: float
    ramp: float
    quantise_from: float
    average_from: float


def listener_course(rounds: int) -> Course:
    """From nothing."""
    return Course(rounds, 1.5e-3, ramp=0.6, quantise_from=0.75, average_from=0.85)


def look_course(rounds: int) -> Course:
    """A second look, from nothing."""
    return Course(max(5, rounds * 5 // 6), 1.5e-3, ramp=0.0, quantise_from=0.8, average_from=0.85)


# --- segments in files

_materials: Sequence[Material] = ()


@dataclass(frozen=True)
class Counts:
    """Segments of all parts: without a word; with each word; with what only sounds like it."""

    others: int
    words: int
    near: int


def make_segments(materials: Sequence[Material], folder: Path, counts: Counts, seed: int, progress: Progress) -> None:
    """Fill `folder` with files of segments of each part's material. What is there already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    words = range(len(materials[0].words))
    wanted = {Kind("other"): counts.others}
    wanted |= {Kind("word", n): counts.words for n in words} | {Kind("near", n): counts.near for n in words}
    files = {kind: -(-count // (PER_FILE * len(materials))) for kind, count in wanted.items()}
    jobs = [
        (folder, kind, part, number, seed)
        for number in range(max(files.values()))
        for kind in wanted
        for part in range(len(materials))
        if number < files[kind]
    ]
    todo = [job for job in jobs if not _file(*job[:4], what="ends").exists()]
    with ProcessPoolExecutor(initializer=_share, initargs=(materials,)) as pool:
        for done, _ in enumerate(pool.map(_make, todo), len(jobs) - len(todo) + 1):
            progress("segments", done, len(jobs))


def _share(materials: Sequence[Material]) -> None:
    global _materials
    _materials = materials
    os.nice(5)


@dataclass(frozen=True)
class Kind:
    """What is in a segment: `other` speech, or the `word` of that number, or what is `near` it."""

    what: str
    number: int = 0

    @property
    def name(self) -> str:
        """In names of files."""
        return self.what if self.what == "other" else f"{self.what}{self.number}"

    @property
    def seed(self) -> int:
        """Another for every kind."""
        return {"other": 0, "word": 1 + self.number, "near": 1000 + self.number}[self.what]


def _file(folder: Path, kind: Kind, part: int, number: int, what: str) -> Path:
    return folder / f"{kind.name}-{part}-{number:04}-{what}.npy"


def _make(job: tuple[Path, Kind, int, int, int]) -> None:
    folder, kind, part, number, seed = job
    seen = np.empty((PER_FILE, WINDOWS, design.FEATURES), np.uint8)
    ends = np.full(PER_FILE, NO_WORD, np.int32)
    for n in range(PER_FILE):
        random = np.random.default_rng([seed, kind.seed, part, number * PER_FILE + n])
        if kind.what == "near":
            samples = sounding_like(_materials[part], kind.number, random)
        else:
            samples, ends[n] = segment(_materials[part], kind.number if kind.what == "word" else None, random)
        seen[n] = features(samples)
    for what, array in (("seen", seen), ("ends", ends)):  # the ends last: they say that the file is whole
        path = _file(folder, kind, part, number, what)
        part_written = path.with_suffix(".part.npy")
        np.save(part_written, array)
        part_written.replace(path)


class Pool:
    """The segments of one kind in some parts, read from their files as they are asked for."""

    def __init__(self, folder: Path, kind: Kind, parts: Sequence[int]) -> None:
        files = [path for part in parts for path in sorted(folder.glob(f"{kind.name}-{part}-[0-9][0-9][0-9][0-9]-ends.npy"))]
        self._seen = [np.load(path.with_name(path.name.replace("-ends", "-seen")), mmap_mode="r") for path in files]
        self._ends = np.concatenate([np.load(path) for path in files])

    def __len__(self) -> int:
        return len(self._ends)

    def take(self, picks: NDArray[np.int64]) -> tuple[Seen, Ends]:
        """Features (picks, WINDOWS, 40) and the sample at which the word ends in each, or NO_WORD."""
        return np.stack([self._seen[pick // PER_FILE][pick % PER_FILE] for pick in picks.tolist()]), self._ends[picks]


# --- courses


@dataclass(frozen=True)
class Task:
    """A network to fit: the listener, or the second look. left_out: the part that it may not know."""

    left_out: int | None
    look: bool = False

    def file(self, folder: Path) -> Path:
        """Where the fitted network is kept."""
        known = "all" if self.left_out is None else f"without-{self.left_out}"
        return folder / f"{'look' if self.look else 'listener'}-{known}.pt"

    def course(self, rounds: int) -> Course:
        return look_course(rounds) if self.look else listener_course(rounds)

    def network(self, words: int) -> Network:
        return Network(SECOND_LOOK if self.look else LISTENER, words)


def fit_all(folder: Path, words: int, parts: Sequence[int | None], rounds: int, seed: int, progress: Progress) -> None:
    """For each of `parts` to leave out (None: none) a listener and its second look: files in `folder`.

    Runs on all processors, a network on each; what each becomes does not depend on how many there are.
    """
    stages = [[Task(left_out, look) for left_out in parts] for look in (False, True)]
    total = sum(task.course(rounds).rounds for stage in stages for task in stage)
    done = 0
    with Manager() as manager, ProcessPoolExecutor() as pool:
        told = manager.Queue()
        for stage in stages:
            running = [pool.submit(fit, task, folder, words, rounds, seed, told.put) for task in stage]
            while any(not job.done() for job in running) or not told.empty():
                try:
                    done += told.get(timeout=1.0)
                    progress("fit", done, total)
                except Empty:
                    pass
            for job in running:
                job.result()


def load_network(folder: Path, task: Task, words: int) -> Network:
    """A fitted network of all words, ready to be measured or written."""
    net = task.network(words)
    net.load_state_dict(torch.load(task.file(folder), weights_only=True))
    net.eval()
    net.quantise()
    return net


def fit(task: Task, folder: Path, words: int, rounds: int, seed: int, done: Callable[[int], None]) -> None:
    """Fit one network; done: told how many rounds have been. What is there already stays."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    course = task.course(rounds)
    path = task.file(folder)
    if path.exists():
        done(course.rounds)
        return
    parts = [part for part in _parts(folder) if part != task.left_out]
    pools = Pools(
        [Pool(folder, Kind("word", number), parts) for number in range(words)],
        [Pool(folder, Kind("near", number), parts) for number in range(words)],
        Pool(folder, Kind("other"), parts),
    )
    net = task.network(words)
    batches: Batches = ListenerBatches(pools)
    if task.look:
        batches = LookBatches(pools, load_network(folder, Task(task.left_out), words))
    seeds = [seed, 0 if task.left_out is None else task.left_out + 1]
    net = go_over(net, batches, course, path.with_suffix(".state"), seeds, done)
    part = path.with_suffix(".part")
    torch.save(net.state_dict(), part)
    part.replace(path)


def _parts(folder: Path) -> list[int]:
    return sorted({int(path.name.split("-")[1]) for path in folder.glob("other-*-ends.npy")})


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
    """What a second look hears: words that have just ended, and the places at which its listener came nearest to waking."""

    def __init__(self, pools: Pools, listener: Network) -> None:
        self._words = pools.words
        of = [*pools.words, pools.others]
        found = [highest(listener, pool) for pool in of]
        words = range(len(pools.words))
        self._hard = [
            Hardest(
                [pool for n, pool in enumerate(of) if n != word],
                [(logits[word], steps[word]) for n, (logits, steps) in enumerate(found) if n != word],
                _LOOK_HARDEST,
            )
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
            for hard, count in ((self._hard[number], of_word - near), (self._near[number], near)):
                like, steps = hard.take(count, random)
                taken.append(like)
                stops.append(LISTENER.field + LISTENER.stride * steps + random.integers(-6, 7, len(steps)))
            word += [number] * (len(ends) + of_word)
            said += [True] * len(ends) + [False] * of_word
        seen = _up_to(np.concatenate(taken), np.concatenate(stops))
        if random.random() < _LOOK_SHORT:
            seen = seen[:, -int(random.integers(_LOOK_SHORTEST, LOOK_FRAMES + 1)) :]
        _mask(seen, random)
        logits = net(warped(seen, np.full(len(seen), seen.shape[1] - 1), random), True)[:, :, -LOOK_STEPS:]
        own = np.arange(len(self._words))[:, None] == np.array(word)
        yes = own & np.array(said)
        weight = np.where(yes, 1.0, np.where(own, _LOOK_WEIGHT, _OTHER_WORD * np.array(said))).astype(np.float32)
        wanted = torch.from_numpy(yes.astype(np.float32))[:, :, None].expand_as(logits)
        loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(2)
        return (loss * torch.from_numpy(weight)).sum() / float(weight.sum())


Batches = ListenerBatches | LookBatches


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


def go_over(net: Network, batches: Batches, course: Course, state: Path, seed: list[int], done: Callable[[int], None]) -> Network:
    """The network after its course, the average of its last rounds; kept in `state` after each round."""
    optimiser = torch.optim.AdamW(net.parameters(), course.rate_most, weight_decay=_WEIGHT_DECAY)
    total = course.rounds * ROUND
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, course.rate_most, total_steps=total, pct_start=0.15)
    net.half_products = design.half_is_faster()
    first, average = 0, {}
    if state.exists():
        held = torch.load(state, weights_only=True)
        net.load_state_dict(held["network"])
        optimiser.load_state_dict(held["optimiser"])
        schedule.load_state_dict(held["schedule"])
        first, average = held["round"], held["average"]
        done(first)
    for number in range(first, course.rounds):
        net.train()
        if number >= int(course.rounds * course.quantise_from):
            net.quantise()
        random = np.random.default_rng([*seed, number])
        torch.manual_seed(int(random.integers(1 << 62)))  # what is dropped is drawn by torch
        for step in range(ROUND):
            ramped = min(1.0, (number * ROUND + step) / (course.ramp * total)) if course.ramp else 1.0
            loss = batches.loss(net, ramped, random)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        if number >= int(course.rounds * course.average_from):
            for name, value in net.state_dict().items():
                average[name] = average.get(name, 0) + value.double()
        _keep(state, net, optimiser, schedule, number + 1, average)
        done(1)
    averaged = course.rounds - int(course.rounds * course.average_from)
    net.load_state_dict({name: (average[name] / averaged).to(value.dtype) for name, value in net.state_dict().items()})
    return net


def _keep(path: Path, net: Network, optimiser: Any, schedule: Any, number: int, average: dict[str, Tensor]) -> None:
    part = path.with_suffix(".state-part")
    held = {"network": net.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
    torch.save(held | {"round": number, "average": average}, part)
    part.replace(path)


def batch_loss(net: Network, batch: Batch, ramped: float, random: np.random.Generator) -> Tensor:
    """Of the words' steps and of the others, most of all the hardest."""
    offset = int(random.integers(0, net.shape.stride))  # of the steps against the segments
    seen, ends = batch.seen[:, offset:], np.where(batch.ends == NO_WORD, NO_WORD, batch.ends - 160 * offset)
    _mask(seen, random)
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


def _mask(seen: Seen, random: np.random.Generator) -> None:
    """Takes a few neighbouring channels out of most segments, and a few frames out of half (Park et al., "SpecAugment", 2019)."""
    for one in np.flatnonzero(random.random(len(seen)) < 0.7):
        lowest = int(random.integers(0, design.FEATURES - 1))
        seen[one, :, lowest : lowest + int(random.integers(1, 8))] = 0
    for one in np.flatnonzero(random.random(len(seen)) < 0.5):
        first = int(random.integers(0, seen.shape[1] - 1))
        seen[one, first : first + int(random.integers(1, 6))] = 0


def warped(seen: Seen, pivots: NDArray[np.int64], random: np.random.Generator) -> Tensor:
    """Half of the segments said otherwise: at a tempo that wavers, around a frame of each that stays, by another throat.

    Channels are moved up or down in proportion (after Jaitly, Hinton, "Vocal tract length perturbation", 2013). pivots:
    frames. Returns features as float32, whole numbers.
    """
    batch, frames, channels = seen.shape
    which = np.flatnonzero(random.random(batch) < 0.5)
    count = len(which)
    wavering = np.repeat(random.normal(1.0, 0.1, (count, -(-frames // _WAVE))), _WAVE, 1)[:, :frames]
    at = np.cumsum(wavering * random.uniform(0.85, 1.18, (count, 1)), 1)
    at += (pivots[which] - at[np.arange(count), pivots[which]])[:, None]
    throat = np.arange(channels) * random.uniform(0.88, 1.14, (count, 1))
    grid = np.empty((count, frames, channels, 2), np.float32)
    grid[..., 0] = (2 * throat / (channels - 1) - 1)[:, None, :]
    grid[..., 1] = (2 * at / (frames - 1) - 1)[:, :, None]
    made = torch.from_numpy(seen).float()
    moved = functional.grid_sample(
        made[which][:, None], torch.from_numpy(grid), mode="bilinear", padding_mode="zeros", align_corners=True
    )
    made[which] = torch.round(moved[:, 0])
    return made


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
