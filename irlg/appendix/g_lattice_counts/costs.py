"""Seconds and memory of the lattice, measured in a process of its own: what notebook G claims of them."""

import ctypes
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from irlg.appendix.random_layers import random_layer
from irlg.artifact.claims import Claim, on_real
from irlg.artifact.timing import best_seconds
from irlg.data.sampling import stream
from irlg.observation import Observation
from irlg.restoration import restore

Shape = tuple[int, int, int]
EASY, LEARNT = (1000, 4096, 64), (1000, 512, 256)  # C, m and K of the two random problems
SURE = 0.99  # mean probability above which a setting is easy
_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


@dataclass(frozen=True)
class Costs:
    """Seconds of restorations on the CPU, class embeddings left out, and of what the first is compared with.

    `easy`: an untrained layer, the best of ten; `product` and `cholesky`, those of its H = W (K∇W)ᵀ and of a
    C × C factorisation; `learnt`: a head that its embeddings lean to, without the search for instances, which would
    take all the time that it is given and find none, the best of three; `medians`: of the batches given, by their
    keys, the best of three of each. `memory`: what `easy` takes at most beside its input, in C × C float64 arrays,
    NaN where the system doesn't tell.
    """

    product: float
    cholesky: float
    easy: float
    learnt: float
    medians: dict[tuple[str, str], float]
    memory: float


def costs(
    batches: Mapping[tuple[str, str], Sequence[Observation]],
    seed: int,
    easy: Shape = EASY,
    learnt: Shape = LEARNT,
) -> Costs:
    """Measure random problems of shapes `easy` and `learnt`, and restorations of `batches`, in fresh processes.

    In a large one, a notebook's say, the same work takes longer by a varying share. Nothing else
    should run meanwhile. A script that calls this needs its `if __name__ == "__main__":`.
    """
    threads = (torch.get_num_threads(),)
    here = {key: [_on_cpu(one) for one in some] for key, some in batches.items()}
    with ProcessPoolExecutor(
        1, get_context("spawn"), torch.set_num_threads, threads, max_tasks_per_child=1
    ) as pool:  # a process each
        memory = pool.submit(_memory, seed, easy).result()
        # By value: left to itself, torch hands tensors over in shared memory, which is scarce.
        return pool.submit(_costs, pickle.dumps(here), seed, easy, learnt, memory).result()


def _costs(pickled: bytes, seed: int, shape: Shape, learnt_shape: Shape, memory: float) -> Costs:
    easy, learnt, batches = _layer(*shape, 0.0, seed), _layer(*learnt_shape, 0.6, seed), pickle.loads(pickled)
    weight, target = easy.weight.double(), easy.size * easy.grad_weight.double()
    matrix = 2 * torch.eye(easy.num_classes, dtype=torch.float64) + 1 / easy.num_classes
    return Costs(
        product=best_seconds(lambda: weight @ target.T, times=10),
        cholesky=best_seconds(lambda: torch.linalg.cholesky(matrix), times=10),
        easy=best_seconds(lambda: restore(easy), times=10),
        learnt=best_seconds(lambda: restore(learnt, search=False)),
        medians={key: float(np.median([_seconds(one) for one in some])) for key, some in batches.items()},
        memory=memory,
    )


def _memory(seed: int, shape: Shape) -> float:
    """In a process that has made no arrays: memory that the allocator keeps of them is given out again uncounted,
    and kept again when it is freed."""
    try:
        # From now on all of 64 KiB or more is asked of the system and given back to it.
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**16)
        easy = _layer(*shape, 0.0, seed)
        return _peak(lambda: restore(easy)) / (8 * easy.num_classes**2)
    except (AttributeError, KeyError, OSError):
        return math.nan


def _on_cpu(one: Observation) -> Observation:
    grad_bias, bias = one.biases
    return Observation(one.grad_weight.cpu(), grad_bias.cpu(), one.weight.cpu(), bias.cpu(), one.batch_size)


def _seconds(observation: Observation) -> float:
    return best_seconds(lambda: restore(observation))


def _layer(classes: int, width: int, size: int, lean: float, seed: int) -> Observation:
    embeddings, labels, head = random_layer(stream(seed, "G layer", classes, width, size), classes, width, size)
    if lean:  # weights and embeddings that point to each other
        head.weight.data *= 0.5 * np.sqrt(width)
        embeddings = (embeddings + lean * head.weight.detach()[labels]).clamp(min=0)
    return Observation.from_embeddings(embeddings.float(), labels, head.float())


def _peak(work: Callable[[], object]) -> float:
    """Bytes that `work` takes at most beside what the process holds, on Linux: the least of three."""
    work()  # what libraries take for themselves at first
    taken = []
    for _ in range(3):
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak: what is held now is the new one
        before = _resident_peak()
        work()
        taken.append(_resident_peak() - before)
    return min(taken)


def _resident_peak() -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * float(lines["VmHWM"].split()[0])


def cost_claims(costs: Costs, table: pd.DataFrame) -> list[Claim]:
    """What `costs` bear out, and `table` of the settings that they were taken in."""
    reference = costs.product + 3 * costs.cholesky
    ratio = costs.easy / reference

    def claim(text: str, shape: Sequence[int], ours: str, interval: str, good: bool) -> Claim:
        classes, width, size = shape
        return Claim(
            claim=f"Lattice, C = {classes:,}, m = {width:,}, K = {size}: {text}",
            paper="n/a",
            ours=ours,
            n=1,
            interval=f"one problem, {interval}, without class embeddings",
            data="random layer",
            verdict="holds" if good else "more",
        )

    in_units = f"{ratio:.2f} ({costs.easy:.2f} s against {reference:.2f} s)"
    units = "time in units of W(K∇W)ᵀ and three factorisations, at most 1.5"
    found = [
        claim(units, EASY, in_units, "best of ten", ratio <= 1.5),
        claim(
            "seconds on a head like a trained one, without the search, at most 3",
            LEARNT,
            f"{costs.learnt:.1f}",
            "best of three",
            costs.learnt <= 3,
        ),
    ]
    if not math.isnan(costs.memory):
        arrays = "memory beside the input in C × C float64 arrays, at most five"
        found.append(claim(arrays, EASY, f"{costs.memory:.1f}", "least of three", costs.memory <= 5))
    ours = table[(table.training == "untrained") & (table.method == "lattice")]
    timed = {(row.network, row.draw): row for row in ours.itertuples() if (row.network, row.draw) in costs.medians}
    measured = {setting: row for setting, row in timed.items() if row.probability > SURE} or timed
    slowest = max(measured, key=lambda setting: costs.medians[setting])
    network, draw = slowest
    found.append(
        Claim(
            claim=f"Lattice, C = 100, m = 84, untrained, mean p > {SURE}: slowest setting in ms, at most 20",
            paper="n/a",
            ours=f"{1000 * costs.medians[slowest]:.0f} ({network}, {draw})",
            n=int(measured[slowest].N),
            interval="median of batches, best of three each",
            data=measured[slowest].data,
            verdict=on_real(measured[slowest].data, "holds" if costs.medians[slowest] <= 0.02 else "more"),
        )
    )
    return found
