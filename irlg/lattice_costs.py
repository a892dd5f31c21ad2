"""Seconds and memory of the lattice, measured in a process of its own: what notebook G claims of them."""

import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from irlg.checks import best_seconds, random_layer
from irlg.observation import Observation
from irlg.restoration import restore
from irlg.sampling import stream

EASY, LEARNT = (1000, 4096, 64), (1000, 512, 256)  # C, m and K of the two random problems


@dataclass(frozen=True)
class Costs:
    """Seconds of restorations on the CPU, class embeddings left out, and of what the first is compared with.

    `easy`: an untrained layer, the best of ten; `product` and `cholesky`, those of its H = W (K∇W)ᵀ and of a
    C × C factorisation; `learnt`: a head that its embeddings lean to, the best of three. `memory`: what `easy`
    takes at most beside its input, in C × C float64 arrays, NaN where the system doesn't tell.
    `medians`: those of the batches given, by their keys.
    """

    product: float
    cholesky: float
    easy: float
    learnt: float
    memory: float
    medians: dict[tuple[str, str], float]


def costs(batches: Mapping[tuple[str, str], Sequence[Observation]], seed: int) -> Costs:
    """Measure the random problems of `EASY` and `LEARNT`, and restorations of `batches`, in a fresh process.

    In a large one, a notebook's say, the same work takes longer by a varying share. Nothing else
    should run meanwhile. A script that calls this needs its `if __name__ == "__main__":`.
    """
    threads = (torch.get_num_threads(),)
    here = {key: [_on_cpu(one) for one in some] for key, some in batches.items()}
    with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, threads) as pool:
        # By value: left to itself, torch hands tensors over in shared memory, which is scarce.
        return pool.submit(_costs, pickle.dumps(here), seed).result()


def _costs(pickled: bytes, seed: int) -> Costs:
    easy, learnt = _layer(*EASY, 0.0, seed), _layer(*LEARNT, 0.6, seed)
    restore(_layer(100, 84, 64, 0.0, seed))  # what libraries take for themselves at first
    _peak()
    before = _peak()
    restore(easy)
    memory = (_peak() - before) / (8 * easy.num_classes**2)
    weight, target = easy.weight.double(), easy.size * easy.grad_weight.double()
    matrix = 2 * torch.eye(easy.num_classes, dtype=torch.float64) + 1 / easy.num_classes
    batches = pickle.loads(pickled)
    return Costs(
        product=best_seconds(lambda: weight @ target.T, times=10),
        cholesky=best_seconds(lambda: torch.linalg.cholesky(matrix), times=10),
        easy=best_seconds(lambda: restore(easy), times=10),
        learnt=best_seconds(lambda: restore(learnt)),
        memory=memory,
        medians={key: float(np.median([_once(one) for one in some])) for key, some in batches.items()},
    )


def _on_cpu(one: Observation) -> Observation:
    return Observation(one.grad_weight.cpu(), one.grad_bias.cpu(), one.weight.cpu(), one.bias.cpu(), one.batch_size)


def _once(observation: Observation) -> float:
    return best_seconds(lambda: restore(observation), times=1)


def _layer(classes: int, width: int, size: int, lean: float, seed: int) -> Observation:
    embeddings, labels, head = random_layer(stream(seed, "G layer", classes, width, size), classes, width, size)
    if lean:  # weights and embeddings that point to each other
        head.weight.data *= 0.5 * np.sqrt(width)
        embeddings = (embeddings + lean * head.weight.detach()[labels]).clamp(min=0)
    return Observation.from_embeddings(embeddings.float(), labels, head.float())


def _peak() -> float:
    """Bytes of memory that this process has held at once since the last call, on Linux."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear.exists():
        return float("nan")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    clear.write_text("5")  # forgets the peak: what is held now is the new one
    return 1024 * float(lines["VmHWM"].split()[0])
