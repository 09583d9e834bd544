"""Fitting networks to segments: for all the words at once one listener, second looks, and what tells phones apart.

All of it can be cut short and taken up again: each round depends on its number and the seed alone.
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
from farfield.training.batches import PHONE_OUTPUTS, Batches, ListenerBatches, LookBatches, PhoneBatches, Pools
from farfield.training.files import Kind, Pool, Progress
from farfield.training.network import LISTENER, SECOND_LOOK, SHORT_SPELLER, SPELLER, Network

ROUND = 250  # optimiser steps
LOOKS = 4  # that read a spelling together: their mean is mistaken less often than any of them
_WIDELY, _ELSEWHERE = 1, 3  # the first looks that learn so (`LookBatches`)
PHONE_KINDS = ("phones", "sounds")  # of networks that tell phones apart
_WEIGHT_DECAY = 1e-2


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


def phones_course(rounds: int) -> Course:
    """A network that tells phones apart, from nothing."""
    return Course(max(5, rounds), 2e-3, ramp=0.0, quantise_from=0.8, average_from=0.85)


def short_phones_course(rounds: int) -> Course:
    """The same by half a second alone."""
    return phones_course(rounds * 2 // 3)


@dataclass(frozen=True)
class Task:
    """A network to fit. left_out: the part that it may not know. number: of the looks, which say together what they find.

    kind: `listener`; `look`, a second look; `phones` or `sounds`, by which a look reads a spelling, at length or in half seconds.
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
        courses = {"listener": listener_course, "look": look_course, "phones": phones_course, "sounds": short_phones_course}
        return courses[self.kind](rounds)

    def network(self, words: int) -> Network:
        """An unfitted one."""
        shape = {"listener": LISTENER, "look": SECOND_LOOK, "phones": SPELLER, "sounds": SHORT_SPELLER}[self.kind]
        return Network(shape, PHONE_OUTPUTS if self.kind in PHONE_KINDS else words)


def fit_all(folder: Path, words: int, parts: Sequence[int | None], rounds: int, seed: int, progress: Progress) -> None:
    """For each of `parts` to leave out (None: none) a listener and its second looks: files in `folder`.

    Runs on all processors, a network on each; what each becomes does not depend on how many there are.
    """
    kinds = ["listener", *(PHONE_KINDS if knows_phones(folder) else ())]
    looks = [Task(left_out, "look", number) for number in range(looks_taken(folder)) for left_out in parts]
    stages = [[Task(left_out, kind) for kind in kinds for left_out in parts], looks]
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
    """A fitted network, ready to be measured or written."""
    net = task.network(words)
    net.load_state_dict(torch.load(task.file(folder), weights_only=True))
    net.eval()
    net.quantise()
    return net


def fit(task: Task, folder: Path, words: int, rounds: int, seed: int, done: Callable[[int], None]) -> None:
    """Fit one network; done: told how many rounds have been. What is there already stays."""
    torch.set_num_threads(1)
    torch.manual_seed(seed + task.number)
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
    if task.kind in PHONE_KINDS:
        batches = PhoneBatches(Pool(folder, Kind("told"), parts))
    elif task.kind == "look":
        listener = load_network(folder, Task(task.left_out), words)
        batches = LookBatches(pools, listener, widely=task.number >= _WIDELY, elsewhere=task.number >= _ELSEWHERE)
    seeds = [seed, 0 if task.left_out is None else task.left_out + 1, *([task.number] if task.number else [])]
    net = go_over(net, batches, course, path.with_suffix(".state"), seeds, done)
    part = path.with_suffix(".part")
    torch.save(net.state_dict(), part)
    part.replace(path)


def knows_phones(folder: Path) -> bool:
    """Whether there are segments whose phones are known, and so networks that tell phones apart."""
    return any(folder.glob(f"{Kind('told').name}-*-ends.npy"))


def looks_taken(folder: Path) -> int:
    """How many second looks there are: without phones one, for a file that reads no spelling holds one network."""
    return LOOKS if knows_phones(folder) else 1


def _parts(folder: Path) -> list[int]:
    return sorted({int(path.name.split("-")[1]) for path in folder.glob("other-*-ends.npy")})


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
