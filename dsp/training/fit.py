"""Fitting the network to segments: made once into files, then gone over with hard negatives weighing more and more.

Both halves can be cut short and taken up again: each file of segments and each round depends on its number and the seed alone.
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

from farfield.profile import RATE
from farfield.training import network as design
from farfield.training.network import Network
from farfield.training.segments import NO_WORD, WINDOWS, Material, features, segment

Progress = Callable[[str, int, int], None]
PER_FILE = 500
ROUND = 250  # optimiser steps
POSITIVES, NEGATIVES = 64, 160  # segments in a batch
_EARLIEST_S, _LATEST_S = 0.0, 0.24  # after the word's end: where a step must say yes
_UNCERTAIN_S = (-0.12, 0.75)  # around it: where a step may say either
_RATE_MOST, _WEIGHT_DECAY = 1.5e-3, 1e-2
_FROM_START = 0.5  # of the batches begin a stream, whose first second may neither fire nor miss
_QUANTISE_FROM, _AVERAGE_FROM = 0.7, 0.85  # of the rounds
_NEGATIVE_WEIGHT = (4.0, 25.0)  # against the word's, ramped over the first six tenths of the steps
_HARD_SHARE = (0.5, 0.05)  # of the steps that should say no, over the same tenths

_material: Material | None = None


def make_segments(material: Material, folder: Path, counts: tuple[int, int], seed: int, progress: Progress) -> None:
    """Fill `folder` with files of segments: counts = (without the word, with it). What is there already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder, positive, n, seed) for positive, count in enumerate(counts) for n in range(-(-count // PER_FILE))]
    todo = [job for job in jobs if not _file(*job[:3]).exists()]
    with ProcessPoolExecutor(initializer=_share, initargs=(material,)) as pool:
        for done, _ in enumerate(pool.map(_make, todo), len(jobs) - len(todo) + 1):
            progress("segments", done, len(jobs))


def _share(material: Material) -> None:
    global _material
    _material = material
    os.nice(5)


def _file(folder: Path, positive: int, number: int) -> Path:
    return folder / f"{'word' if positive else 'other'}-{number:04}.npz"


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


def load(folder: Path, positive: bool) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Features (segments, windows, 40) and the sample at which the word ends in each, or NO_WORD."""
    files = sorted(path for path in folder.glob(f"{'word' if positive else 'other'}-*.npz") if ".part" not in path.name)
    seen = np.empty((PER_FILE * len(files), WINDOWS, design.FEATURES), np.uint8)
    ends = np.empty(PER_FILE * len(files), np.int32)
    for n, path in enumerate(files):
        with np.load(path) as held:
            seen[n * PER_FILE : (n + 1) * PER_FILE] = held["features"]
            ends[n * PER_FILE : (n + 1) * PER_FILE] = held["ends"]
    return seen, ends


def fit(folder: Path, rounds: int, seed: int, progress: Progress) -> Network:
    """A network fitted to the folder's segments over `rounds` rounds; its state is kept in the folder after each."""
    positive, negative = load(folder, True), load(folder, False)
    torch.manual_seed(seed)
    net = Network()
    optimiser = torch.optim.AdamW(net.parameters(), _RATE_MOST, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE_MOST, total_steps=rounds * ROUND, pct_start=0.15)
    state = folder / "fit.pt"
    first, average = 0, {}
    if state.exists():
        held = torch.load(state, weights_only=True)
        net.load_state_dict(held["network"])
        optimiser.load_state_dict(held["optimiser"])
        schedule.load_state_dict(held["schedule"])
        first, average = held["round"], held["average"]
    for number in range(first, rounds):
        net.train()
        if number >= int(rounds * _QUANTISE_FROM):
            net.quantise()
        random = np.random.default_rng([seed, number])
        losses = [_step(net, optimiser, schedule, positive, negative, random) for _ in range(ROUND)]
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
    positive: tuple[NDArray[np.uint8], NDArray[np.int32]],
    negative: tuple[NDArray[np.uint8], NDArray[np.int32]],
    random: np.random.Generator,
) -> tuple[float, float]:
    """One optimiser step; the mean loss on the word's steps and on the hardest of the others."""
    picks = [(part, np.sort(random.integers(0, len(part[0]), n))) for part, n in ((positive, POSITIVES), (negative, NEGATIVES))]
    offset = int(random.integers(0, design.STRIDE))  # of the steps against the segments
    seen = np.concatenate([part[0][pick][:, offset:] for part, pick in picks])
    ends = np.concatenate([part[1][pick] for part, pick in picks])
    _mask(seen, random)
    x = torch.from_numpy(seen).permute(0, 2, 1).float() * design.INPUT_SCALE
    from_start = bool(random.random() < _FROM_START)
    logits = net(x, from_start)
    field = design.STRIDE if from_start else design.receptive_frames()
    wanted, counts = _targets(ends, offset + field, logits.shape[1])
    loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * counts
    on_word = (loss * wanted).sum() / wanted.sum().clamp(min=1)
    others = loss * (1 - wanted)
    done = min(1.0, schedule.last_epoch / (0.6 * schedule.total_steps))
    weight = _NEGATIVE_WEIGHT[0] + (_NEGATIVE_WEIGHT[1] - _NEGATIVE_WEIGHT[0]) * done
    share = _HARD_SHARE[0] + (_HARD_SHARE[1] - _HARD_SHARE[0]) * done
    hardest = torch.topk(others.flatten(), int(others.numel() * share)).values.mean()
    optimiser.zero_grad()
    (on_word + weight * (0.3 * hardest + 0.7 * others.mean())).backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    schedule.step()
    return float(on_word.detach()), float(hardest.detach())


def _mask(seen: NDArray[np.uint8], random: np.random.Generator) -> None:
    """Takes a few neighbouring channels out of half of the segments, each its own (Park et al., "SpecAugment", 2019)."""
    for one in np.flatnonzero(random.random(len(seen)) < 0.5):
        lowest = int(random.integers(0, design.FEATURES - 1))
        seen[one, :, lowest : lowest + int(random.integers(1, 8))] = 0


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
