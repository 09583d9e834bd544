"""Fitting the network to segments: made once into files, gone over with hard negatives weighing more and more, then once
more with what woke it in everything that it may not wake to.

All of it can be cut short and taken up again: each file of segments and each round depends on its number and the seed alone.
"""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from farfield import kernels
from farfield.model import Model
from farfield.profile import RATE
from farfield.training import augment, export
from farfield.training import network as design
from farfield.training.augment import Sound
from farfield.training.network import Network
from farfield.training.segments import NO_WORD, WINDOWS, Material, around, features, segment

Progress = Callable[[str, int, int], None]
Pool = tuple[NDArray[np.uint8], NDArray[np.int32]]
PER_FILE = 500
ROUND = 250  # optimiser steps
POSITIVES, NEGATIVES = 64, 160  # segments in a batch
_EARLIEST_S, _LATEST_S = 0.0, 0.24  # after the word's end: where a step must say yes
_UNCERTAIN_S = (-0.12, 0.75)  # around it: where a step may say either
_RATE_MOST, _WEIGHT_DECAY = 1.5e-3, 1e-2
_FROM_START = 0.35  # of the further fitting's batches begin a stream, whose first second may neither fire nor miss
_QUANTISE_FROM, _AVERAGE_FROM = 0.7, 0.85  # of the rounds
_NEGATIVE_WEIGHT = (4.0, 25.0)  # against the word's, ramped over the first six tenths of the steps
_HARD_SHARE = (0.5, 0.05)  # of the steps that should say no, over the same tenths

MINED = ("mined",)  # one name for each time that a network's false accepts are looked for
_MINED_SHARE = 0.3  # of the negatives, once there are any
_WOKEN = 64  # of 255: from which score on a place is worth learning from
_LEAST = RATE // 10  # samples of a sound that must have been heard before it can be to blame
_REFIT_RATE_MOST = 4e-4
_PLAIN = {"smoothing_steps": 1, "threshold": 0.5, "refractory_ms": 0, "end_lag_ms": 0, "word_ms": 500}

_material: Material | None = None
_model: Model | None = None


def make_segments(material: Material, folder: Path, counts: tuple[int, int], seed: int, progress: Progress) -> None:
    """Fill `folder` with files of segments: counts = (without the word, with it). What is there already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder, positive, n, seed) for positive, count in enumerate(counts) for n in range(-(-count // PER_FILE))]
    todo = [job for job in jobs if not _file(*job[:3]).exists()]
    with ProcessPoolExecutor(initializer=_share, initargs=(material,)) as pool:
        for done, _ in enumerate(pool.map(_make, todo), len(jobs) - len(todo) + 1):
            progress("segments", done, len(jobs))


def _share(material: Material, model: Model | None = None) -> None:
    global _material, _model
    _material, _model = material, model
    os.nice(5)


def _file(folder: Path, positive: int, number: int) -> Path:
    return _named(folder, "word" if positive else "other", number)


def _named(folder: Path, kind: str, number: int) -> Path:
    return folder / f"{kind}-{number:04}.npz"


def _make(job: tuple[Path, int, int, int]) -> None:
    folder, positive, number, seed = job
    assert _material is not None
    seen = np.empty((PER_FILE, WINDOWS, design.FEATURES), np.uint8)
    ends = np.empty(PER_FILE, np.int32)
    for n in range(PER_FILE):
        samples, ends[n] = segment(_material, bool(positive), number * PER_FILE + n, seed)
        seen[n] = features(samples)
    path = _file(folder, positive, number)
    part = path.with_suffix(".part.npz")
    np.savez(part, features=seen, ends=ends)
    part.replace(path)


def mine(material: Material, net: Network, folder: Path, kind: str, count: int, seed: int, progress: Progress) -> int:
    """Fill `folder` with `count` segments of a `kind` in MINED around what the network takes for the word and is none.

    Returns how many such places there are. Where it is never woken nothing is made. What is there already stays.
    """
    model = export.to_model(net, word="word", detector=_PLAIN, card={})
    sounds = [*material.speech, *material.near, *material.noise]
    places: list[tuple[int, int]] = []
    with ProcessPoolExecutor(initializer=_share, initargs=(material, model)) as pool:
        found = pool.map(_wakes, sounds, chunksize=32)
        for number, ends in enumerate(found):
            places += [(number, end) for end in ends]
            if number % 500 == 0:
                progress("listening for false accepts", number, len(sounds))
        if not places:
            return 0
        todo = [n for n in range(-(-count // PER_FILE)) if not _named(folder, kind, n).exists()]
        jobs = [(folder, kind, places, n, seed) for n in todo]
        for done, _ in enumerate(pool.map(_make_mined, jobs), 1):
            progress("segments of false accepts", done, len(jobs))
    return len(places)


def _wakes(sound: Sound) -> list[int]:
    """The samples at which the model is surest of the word, one a second at most, in a sound that has none."""
    assert _model is not None
    lead = RATE
    heard = np.concatenate([np.zeros(lead, np.int16), augment.to_int16(0.5 * sound / (np.abs(sound).max() + 1e-9))])
    scores = _model.scorer().process(kernels.Features().process(heard))
    ends: list[int] = []
    for step in np.argsort(scores)[::-1].tolist():
        if scores[step] < _WOKEN:
            break
        at = 480 + 160 * (design.STRIDE * (step + 1) - 1) - lead
        if at > _LEAST and all(abs(at - other) > RATE for other in ends):
            ends.append(at)
    return ends


def _make_mined(job: tuple[Path, str, list[tuple[int, int]], int, int]) -> None:
    folder, kind, places, number, seed = job
    assert _material is not None
    sounds = [*_material.speech, *_material.near, *_material.noise]
    seen = np.empty((PER_FILE, WINDOWS, design.FEATURES), np.uint8)
    for n in range(PER_FILE):
        random = np.random.default_rng([seed, 3 + MINED.index(kind), number, n])
        which, end = places[random.integers(len(places))]
        seen[n] = features(around(_material, sounds[which], end, random))
    path = _named(folder, kind, number)
    part = path.with_suffix(".part.npz")
    np.savez(part, features=seen, ends=np.full(PER_FILE, NO_WORD, np.int32))
    part.replace(path)


def load(folder: Path, kind: str) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Features (segments, windows, 40) and the sample at which the word ends in each, or NO_WORD."""
    files = sorted(path for path in folder.glob(f"{kind}-*.npz") if ".part" not in path.name)
    seen = np.empty((PER_FILE * len(files), WINDOWS, design.FEATURES), np.uint8)
    ends = np.empty(PER_FILE * len(files), np.int32)
    for n, path in enumerate(files):
        with np.load(path) as held:
            seen[n * PER_FILE : (n + 1) * PER_FILE] = held["features"]
            ends[n * PER_FILE : (n + 1) * PER_FILE] = held["ends"]
    return seen, ends


def fit(folder: Path, rounds: int, seed: int, progress: Progress) -> Network:
    """A network fitted to the folder's segments over `rounds` rounds; its state is kept in the folder after each."""
    torch.manual_seed(seed)
    net = Network()
    pools = [load(folder, "word"), load(folder, "other")]
    return _go_over(net, pools, folder / "fit.pt", rounds, seed, progress, _RATE_MOST, quantise_from=_QUANTISE_FROM)


def refit(net: Network, folder: Path, kind: str, rounds: int, seed: int, progress: Progress) -> Network:
    """A fitted network, fitted further with the segments of false accepts, up to those of a `kind`, among the others."""
    seen, ends = zip(*(load(folder, name) for name in MINED[: MINED.index(kind) + 1]), strict=True)
    pools = [load(folder, "word"), load(folder, "other"), (np.concatenate(seen), np.concatenate(ends))]
    return _go_over(net, pools, folder / f"fit-{kind}.pt", rounds, seed, progress, _REFIT_RATE_MOST, quantise_from=0.0)


def _go_over(
    net: Network, pools: list[Pool], state: Path, rounds: int, seed: int, progress: Progress, rate: float, quantise_from: float
) -> Network:
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=rounds * ROUND, pct_start=0.15)
    ramp = 0.6 if quantise_from else 0.0
    first, average = 0, {}
    if state.exists():
        held = torch.load(state, weights_only=True)
        net.load_state_dict(held["network"])
        optimiser.load_state_dict(held["optimiser"])
        schedule.load_state_dict(held["schedule"])
        first, average = held["round"], held["average"]
    for number in range(first, rounds):
        net.train()
        if number >= int(rounds * quantise_from):
            net.quantise()
        random = np.random.default_rng([seed, number])
        losses = [_step(net, optimiser, schedule, pools, ramp, random) for _ in range(ROUND)]
        if number >= int(rounds * _AVERAGE_FROM):
            for name, value in net.state_dict().items():
                average[name] = average.get(name, 0) + value.double()
        _keep(state, net, optimiser, schedule, number + 1, average)
        missed, woken = np.mean(losses, axis=0)
        progress(f"fit: loss on the word {missed:.3f}, on the hardest rest {woken:.3f}", number + 1, rounds)
    averaged = rounds - int(rounds * _AVERAGE_FROM)
    net.load_state_dict({name: (average[name] / averaged).to(value.dtype) for name, value in net.state_dict().items()})
    net.eval()
    net.quantise()
    return net


def _keep(path: Path, net: Network, optimiser: Any, schedule: Any, number: int, average: dict[str, Tensor]) -> None:
    part = path.with_suffix(".part")
    torch.save(
        {
            "network": net.state_dict(),
            "optimiser": optimiser.state_dict(),
            "schedule": schedule.state_dict(),
            "round": number,
            "average": average,
        },
        part,
    )
    part.replace(path)


def _step(
    net: Network,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.OneCycleLR,
    pools: list[Pool],
    ramp: float,
    random: np.random.Generator,
) -> tuple[float, float]:
    """One optimiser step; the mean loss on the word's steps and on the hardest of the others."""
    mined = int(NEGATIVES * _MINED_SHARE) if len(pools) > 2 else 0
    counts_of = (POSITIVES, NEGATIVES - mined, mined)
    picks = [(part, np.sort(random.integers(0, len(part[0]), n))) for part, n in zip(pools, counts_of, strict=False)]
    offset = int(random.integers(0, design.STRIDE))  # of the steps against the segments
    seen = np.concatenate([part[0][pick][:, offset:] for part, pick in picks])
    ends = np.concatenate([part[1][pick] for part, pick in picks])
    from_start = len(pools) > 2 and bool(random.random() < _FROM_START)
    if from_start:
        _begin_with_the_word(seen, ends, random)
    _mask(seen, random)
    x = torch.from_numpy(seen).permute(0, 2, 1).float() * design.INPUT_SCALE
    logits = net(x, from_start)
    field = design.STRIDE if from_start else design.receptive_frames()
    wanted, counts = _targets(ends, offset + field, logits.shape[1])
    loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * counts
    on_word = (loss * wanted).sum() / wanted.sum().clamp(min=1)
    others = loss * (1 - wanted)
    done = min(1.0, schedule.last_epoch / (ramp * schedule.total_steps)) if ramp else 1.0
    weight = _NEGATIVE_WEIGHT[0] + (_NEGATIVE_WEIGHT[1] - _NEGATIVE_WEIGHT[0]) * done
    share = _HARD_SHARE[0] + (_HARD_SHARE[1] - _HARD_SHARE[0]) * done
    hardest = torch.topk(others.flatten(), int(others.numel() * share)).values.mean()
    optimiser.zero_grad()
    (on_word + weight * (0.3 * hardest + 0.7 * others.mean())).backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    schedule.step()
    return float(on_word.detach()), float(hardest.detach())


def _begin_with_the_word(seen: NDArray[np.uint8], ends: NDArray[np.int32], random: np.random.Generator) -> None:
    """Drops what comes before the word in six of ten segments: a stream may begin with it as well as with anything else."""
    for one in np.flatnonzero((ends != NO_WORD) & (random.random(len(ends)) < 0.6)):
        dropped = max(0, int(ends[one] - random.uniform(0.45, 1.0) * RATE) // 160)
        seen[one, : seen.shape[1] - dropped] = seen[one, dropped:].copy()
        seen[one, seen.shape[1] - dropped :] = 0
        ends[one] -= 160 * dropped


def _mask(seen: NDArray[np.uint8], random: np.random.Generator) -> None:
    """Takes a few neighbouring channels out of half of the segments, each its own (Park et al., "SpecAugment", 2019)."""
    for one in np.flatnonzero(random.random(len(seen)) < 0.5):
        lowest = int(random.integers(0, design.FEATURES - 1))
        seen[one, :, lowest : lowest + int(random.integers(1, 6))] = 0


def _targets(ends: NDArray[np.int32], frames: int, steps: int) -> tuple[Tensor, Tensor]:
    """What each step should say (segments, steps), and whether it counts. frames: that the first step has heard."""
    heard = 480 + 160 * (frames - 1) + 160 * design.STRIDE * np.arange(steps)
    late = (heard[None, :] - ends[:, None]) / RATE
    wanted = (late >= _EARLIEST_S) & (late <= _LATEST_S)
    counts = wanted | (late < _UNCERTAIN_S[0]) | (late > _UNCERTAIN_S[1])
    without = (ends == NO_WORD)[:, None]
    return (
        torch.from_numpy(np.where(without, False, wanted).astype(np.float32)),
        torch.from_numpy(np.where(without, True, counts).astype(np.float32)),
    )
