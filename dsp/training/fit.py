"""Fitting networks to segments: for all the words at once a listener, and what looks again: a larger network and heads.

All of it can be cut short and taken up again, but for a head, which takes minutes: a round depends on its number and the seed.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import Manager
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import torch
from torch import Tensor

from farfield.training import network as design
from farfield.training.batches import ListenerBatches, LookBatches, Pools
from farfield.training.files import Kind, Pool, Progress
from farfield.training.heads import Head, HeadBatches
from farfield.training.network import LISTENER, SECOND_LOOK, Network

ROUND = 250  # optimiser steps
LOOKS, HEADS = 1, 3  # that look together: a mean is mistaken less often than what it is of
_LOOKS_CHANCE = 3  # added to a look's number where chance is drawn, so that it draws what its listener did not


@dataclass(frozen=True)
class Course:
    """How a network is gone over. ramp, quantise_from, average_from: shares of its rounds. decay: of its weights."""

    rounds: int
    rate_most: float
    ramp: float
    quantise_from: float
    average_from: float
    decay: float = 1e-2


def listener_course(rounds: int) -> Course:
    """From nothing."""
    return Course(rounds, 1.5e-3, ramp=0.6, quantise_from=0.75, average_from=0.85)


def look_course(rounds: int) -> Course:
    """A second look, from nothing."""
    return Course(max(5, rounds * 5 // 6), 1.5e-3, ramp=0.0, quantise_from=0.8, average_from=0.85)


def head_course(rounds: int) -> Course:
    """A head, from nothing."""
    return Course(max(5, rounds), 2e-3, ramp=1.0, quantise_from=0.8, average_from=0.85, decay=3e-2)


@dataclass(frozen=True)
class Task:
    """A network to fit. left_out: the part that it may not know. kind: `listener`, `look` (a second look at features) or `head`.

    number: of the looks and of the heads, which say together what they find.
    """

    left_out: int | None
    kind: str = "listener"
    number: int = 0

    def file(self, folder: Path) -> Path:
        """Where the fitted network is kept."""
        known = "all" if self.left_out is None else f"without-{self.left_out}"
        return folder / f"{self.kind}{self.number or ''}-{known}.pt"

    def course(self, rounds: int) -> Course:
        """What it is gone over by."""
        return {"listener": listener_course, "look": look_course, "head": head_course}[self.kind](rounds)

    def network(self, words: int) -> Network | Head:
        """An unfitted one."""
        return Head(words) if self.kind == "head" else Network({"listener": LISTENER, "look": SECOND_LOOK}[self.kind], words)


def fit_all(folder: Path, words: int, parts: Sequence[int | None], rounds: int, seed: int, progress: Progress) -> None:
    """For each of `parts` to leave out (None: none) a listener, its looks and its heads: files in `folder`.

    Runs on all processors, a network on each; what each becomes does not depend on how many there are.
    """
    looks = [Task(left_out, "look", number) for number in range(LOOKS) for left_out in parts]
    heads = [Task(left_out, "head", number) for number in range(HEADS) for left_out in parts]
    stages = [[Task(left_out) for left_out in parts], [*looks, *heads]]  # a look learns from what its listener mistakes
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


def load_network(folder: Path, task: Task, words: int) -> Any:
    """A fitted Network or, for a head's task, a Head, ready to be measured or written."""
    net = task.network(words)
    net.load_state_dict(torch.load(task.file(folder), weights_only=True))
    net.eval()
    net.quantise()
    return net


def fit(task: Task, folder: Path, words: int, rounds: int, seed: int, done: Callable[[int], None]) -> None:
    """Fit one network; done: told how many rounds have been. What is there already stays."""
    torch.set_num_threads(1)
    chance = task.number + (_LOOKS_CHANCE if task.kind == "look" else 0)
    torch.manual_seed(seed + chance)
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
    batches: Any
    if task.kind == "head":
        batches = HeadBatches(pools)
    elif task.kind == "look":
        batches = LookBatches(pools, load_network(folder, Task(task.left_out), words))
    else:
        batches = ListenerBatches(pools)
    seeds = [seed, 0 if task.left_out is None else task.left_out + 1, *([chance] if chance else [])]
    state = None if task.kind == "head" else path.with_suffix(".state")
    net = go_over(net, batches, course, state, seeds, done)
    part = path.with_suffix(".part")
    torch.save(net.state_dict(), part)
    part.replace(path)


def _parts(folder: Path) -> list[int]:
    return sorted({int(path.name.split("-")[1]) for path in folder.glob("other-*-ends.npy")})


def go_over(
    net: Network | Head, batches: Any, course: Course, state: Path | None, seed: list[int], done: Callable[[int], None]
) -> Network | Head:
    """The network after its course, the average of its last rounds; kept in `state`, where one is given, after each round.

    batches: has a method `loss(net, ramped, random)`, as the classes of `batches` and `heads` have.
    """
    optimiser = torch.optim.AdamW(net.parameters(), course.rate_most, weight_decay=course.decay)
    total = course.rounds * ROUND
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, course.rate_most, total_steps=total, pct_start=0.15)
    net.half_products = design.half_is_faster() and isinstance(net, Network)
    first, average = 0, {}
    if state is not None and state.exists():
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
        if state is not None:
            _keep(state, net, optimiser, schedule, number + 1, average)
        done(1)
    averaged = course.rounds - int(course.rounds * course.average_from)
    net.load_state_dict({name: (average[name] / averaged).to(value.dtype) for name, value in net.state_dict().items()})
    return net


def _keep(path: Path, net: Network | Head, optimiser: Any, schedule: Any, number: int, average: dict[str, Tensor]) -> None:
    part = path.with_suffix(".state-part")
    held = {"network": net.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
    torch.save(held | {"round": number, "average": average}, part)
    part.replace(path)
