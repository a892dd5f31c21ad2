"""Restoration beyond the paper's tables: settings that tell methods apart, and what each part is worth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from math import exp, inf
from time import perf_counter
from unittest import mock

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from irlg import decoding, estimator, lattice, restoration
from irlg.bounds import PresenceProofs, presence_proofs
from irlg.decoding import decode
from irlg.metrics import i_rec, le_acc, ln_acc
from irlg.networks import Network
from irlg.observation import Observation
from irlg.restoration import LatticeRestoration, Restoration, restore
from irlg.sampling import stream

Method = Callable[[Observation], Restoration]
METHODS: dict[str, Method] = {
    "irlg": partial(restore, method="irlg"),
    "uniform": partial(restore, method="uniform"),
    "lattice": restore,
    "lattice, told": partial(restore, nonnegative=True),
    "lattice, no search": partial(restore, search=False),
}
# What is drawn in each setting, by network and training (see `Network.draw`).
_ANY = ("100 × 1", "100 × 2", "100 × 10", "100 × 40", "random 1024", "random 4096")
SETTINGS = {
    **{(name, "untrained"): _ANY for name in ("LeNet-5", "LeNet-5 SiLU", "LeNet-5 LeakyReLU")},
    ("LeNet-5", "1 epoch"): ("random 24", "random 128"),
    ("LeNet-5", "3 epochs"): ("random 24", "random 128", "100 × 1"),
    ("LeNet-5", "12 epochs"): ("random 24", "random 128", "100 × 1", "random 512"),
    ("FCN-3", "untrained"): ("random 64", "random 256"),
    ("FCN-3", "100 steps"): ("random 24",),
    ("FCN-3", "1,000 steps"): ("random 8", "random 24"),
}
LARGEST = 64  # K that is tried where it is not told
EASY, LEARNT = (1000, 4096, 64), (1000, 512, 256)  # C, m and K of the timed problems


def trials(
    network: Network, draws: Sequence[str], count: int, seed: int, methods: Mapping[str, Method]
) -> Iterator[dict[str, object]]:
    """Restore `count` batches of each of `draws` with each method, and score them: a row each.

    Methods that are told of non-negative embeddings are left out where these are not.
    """
    for what in draws:
        for trial in range(count):
            observation, true = network.observe(network.draw(what, trial, seed))
            for name, method in methods.items():
                if name == "lattice, told" and not network.nonnegative:
                    continue
                start = perf_counter()
                restored = method(observation)
                seconds = perf_counter() - start
                about = {"network": network.name, "training": network.training, "draw": what}
                place = {"initialisation": network.initialisation, "trial": trial, "method": name}
                yield about | place | score(restored, true) | {"seconds": seconds}


def score(restored: Restoration, true: Tensor) -> dict[str, object]:
    """Scores of one restoration; for the lattice its probability and misfit too, and whether instances were found."""
    counts = restored.counts
    row: dict[str, object] = {
        "K": int(true.sum()),
        "le_acc": le_acc(counts, true),
        "ln_acc": ln_acc(counts, true),
        "i_rec": i_rec(counts, true),
        "total": int(counts.sum()),
        "exact": bool((counts == true).all()),
    }
    if isinstance(restored, LatticeRestoration):
        row |= {
            "probability": exp(restored.log_probability),
            "misfit": restored.diagnostics["misfit"],
            "found": restored.instances is not None,
        }
    return row


def decoders(network: Network, draws: Sequence[str], count: int, seed: int) -> pd.DataFrame:
    """Exact or not, of the same real-valued counts and covariances: rounding, bootstrapping, beam."""
    rows = []
    for what in draws:
        for trial in range(count):
            observation, true = network.observe(network.draw(what, trial, seed))
            restored = restore(observation, search=False)
            x, covariance = restored.raw_counts.cpu().numpy(), restored.count_covariance.cpu().numpy()
            lower, size = restored.lower_bounds.cpu().numpy(), observation.size
            for name, width in (("rounding", 0), ("bootstrapping", 1), ("beam of 64", decoding.WIDTH)):
                if width:
                    found = decode(x, covariance, lower, np.zeros(len(x)), size, width).vectors
                    counts = found[0] if len(found) else np.zeros(len(x))
                else:
                    counts = np.maximum(np.rint(x), 0)
                exact = bool((counts == true.cpu().numpy()).all())
                rows.append({"draw": what, "K": size, "trial": trial, "decoder": name, "exact": exact})
    return pd.DataFrame(rows)


def unknown_sizes(network: Network, draws: Sequence[str], count: int, seed: int) -> Iterator[dict[str, object]]:
    """Restore batches whose K is not told, only that it is at most `LARGEST`: a row each."""
    for what in draws:
        for trial in range(count):
            observation, true = network.observe(network.draw(what, trial, seed))
            restored = restore(replace(observation, batch_size=None), largest_batch=LARGEST)
            size, probability = restored.batch_sizes[0], restored.batch_size_weights[0]
            yield {
                "network": network.name,
                "training": network.training,
                "draw": what,
                "initialisation": network.initialisation,
                "trial": trial,
                "K": observation.size,
                "K found": size,
                "right": size == observation.size,
                "probability": probability,
                "exact": bool((restored.counts == true).all()),
            }


@contextmanager
def _without(*patches: tuple[object, str, object]) -> Iterator[None]:
    with ExitStack() as stack:
        for target, name, value in patches:
            stack.enter_context(mock.patch.object(target, name, value))
        yield


def _no_bounds(observation: Observation, nonnegative: bool | None = None) -> PresenceProofs:
    proofs = presence_proofs(observation, nonnegative)
    none = torch.zeros_like(proofs.lower_bounds)
    return replace(proofs, lower_bounds=none, certain=none > 0, nonnegative=False)


def _ablated(observation: Observation, *patches: tuple[object, str, object]) -> Restoration:
    with _without(*patches):
        return restore(observation, search=False)


# The lattice less one of its parts, by name. Instances are not searched for, which would hide the loss.
ABLATIONS: dict[str, Method] = {
    "nothing": partial(restore, search=False),
    "hard bounds and sign test": lambda o: _ablated(o, (restoration, "presence_proofs", _no_bounds)),
    "sign test": partial(restore, search=False, nonnegative=False),
    "beam (width 1)": lambda o: _ablated(o, (decoding, "WIDTH", 1)),
    "spread within a class (ω = 0)": lambda o: _ablated(o, (lattice, "OMEGA", 0.0)),
    "isotropic prior (ν₀ = 0)": lambda o: _ablated(o, (lattice, "NU_0", 0.0)),
    "further passes (two only)": lambda o: _ablated(o, (estimator, "PASSES", 2)),
    "ignorance as a rival": lambda o: _ablated(o, (estimator, "REJECTED", inf)),
}


def lattice_seconds(seed: int) -> dict[str, float]:
    """Seconds on two problems with C = 1,000, each the best of three, and of what the first is compared with.

    `easy`: an untrained layer, m = 4,096 and K = 64; `product` and `cholesky` are those of its
    H = W (K∇W)ᵀ and of a C × C factorisation. `learnt`: a head that its embeddings lean to, m = 512, K = 256.
    """
    observation = layer(*EASY, lean=0.0, seed=seed)
    classes, size = observation.num_classes, observation.size
    weight, target = observation.weight.double(), size * observation.grad_weight.double()
    matrix = 2 * torch.eye(classes, dtype=torch.float64) + 1 / classes
    return {
        "product": _seconds(lambda: weight @ target.T),
        "cholesky": _seconds(lambda: torch.linalg.cholesky(matrix)),
        "easy": _seconds(lambda: restore(observation)),
        "learnt": _seconds(partial(restore, layer(*LEARNT, lean=0.6, seed=seed), search=False)),
    }


def layer(classes: int, width: int, size: int, lean: float, seed: int) -> Observation:
    """A random batch on a random last layer; embeddings lean to their label's row of the weights."""
    rng = stream(seed, "G layer", classes, width, size)
    labels = torch.as_tensor(rng.integers(classes, size=size))
    spread = 0.3 if lean else width**-0.5 / 3**0.5  # PyTorch's initialisation has the latter
    weight = torch.as_tensor(rng.normal(size=(classes, width)) * spread).float()
    mean, noise = (torch.as_tensor(rng.normal(size=shape)).float() for shape in (width, (size, width)))
    embeddings = (mean.clamp(min=0) + lean * weight[labels] + 0.5 * noise).clamp(min=0)
    head = nn.Linear(width, classes)
    head.weight.data, head.bias.data = weight, torch.zeros(classes)
    return Observation.from_embeddings(embeddings, labels, head)


def _seconds(work: Callable[[], object], times: int = 3) -> float:
    taken = []
    for _ in range(times):
        start = perf_counter()
        work()
        taken.append(perf_counter() - start)
    return min(taken)
