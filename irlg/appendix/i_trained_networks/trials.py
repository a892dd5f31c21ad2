"""Batches of trained networks, in eval and in train mode: a row a batch and method."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from irlg.appendix.i_trained_networks import memorised
from irlg.appendix.methods import METHODS, Restorer, timed
from irlg.appendix.methods import trials as side_by_side
from irlg.appendix.networks import Network
from irlg.appendix.trained import LITE0, Trained, doubt
from irlg.artifact.progress import progress
from irlg.data.sampling import Indices, stream
from irlg.instances import Instances
from irlg.observation import Observation
from irlg.restoration import LatticeRestoration, Restoration, restore

# K, by network; of these, the ones that are tried in train mode too.
SIZES = {
    LITE0: (8, 16, 24, 32, 64, 128, 256),
    "LeNet-5": (24, 48, 128, 512),
    memorised.NAME: (8, 24, 48, 128),
    "ResNet-18": (24, 48),
}
TRAIN_SIZES = {LITE0: (24, 64), "ResNet-18": (24, 48)}
SMALL = 48  # K up to which batches take no time


def methods(network: Network) -> dict[str, Restorer]:
    """What restores batches of a network, by name: a line a method."""
    return {
        "irlg": METHODS["irlg"],
        "uniform": METHODS["uniform"],
        "lattice, no search": METHODS["lattice, no search"],
        # Without a limit on its search, or how fast the machine is would decide what is found.
        "lattice": partial(restore, search_seconds=math.inf),
    }


def eval_mode(
    kinds: Sequence[Network], count: int, count_small: int, largest: int, seed: int, data: Mapping[str, str]
) -> pd.DataFrame:
    """`count` batches of each network and of each of its `SIZES` up to `largest`, `count_small` up to `SMALL`.

    **Arguments:** `data`: what the images of each network are, by its name.
    """
    return pd.DataFrame(
        {**row, "mode": "eval", "data": data[network.name]}
        for network, size in progress(((n, size) for n in kinds for size in sizes(SIZES, n, largest)), "eval mode")
        for row in side_by_side(
            network, [draw(size)], count_small if size <= SMALL else count, seed, methods(network), recovery
        )
    )


def train_mode(kinds: Sequence[Trained], count: int, largest: int, seed: int, data: Mapping[str, str]) -> pd.DataFrame:
    """The first `count` batches of `eval_mode` by autograd through a copy of the network in train mode.

    BatchNorm takes the batch's own statistics, dropout and stochastic depth are at work, the same for the same batch.
    """
    rows = []
    for network in kinds:
        model = copy.deepcopy(network.model).train()
        for size in sizes(TRAIN_SIZES, network, largest):
            for trial in progress(range(count), f"train mode, {network.name}, K = {size}"):
                observation, true = _in_train_mode(network, model, network.draw(draw(size), trial, seed), seed)
                about = {"network": network.name, "training": network.training, "draw": draw(size), "trial": trial}
                place = about | {"initialisation": network.initialisation, "mode": "train", "data": data[network.name]}
                for name, method in methods(network).items():
                    _, row = timed(method, observation, true)
                    rows.append({**place, "method": name, **row})
    return pd.DataFrame(rows)


def sizes(table: Mapping[str, Sequence[int]], network: Network, largest: int) -> Iterator[int]:
    """Those K of a network that are at most `largest`, and that there are images for; where none is, `largest`."""
    most = min(largest, len(network.labels))
    yield from [size for size in table[network.name] if size <= most] or [most]


def draw(size: int) -> str:
    """How a uniform batch of that size is called."""
    return f"random {size}"


def _in_train_mode(network: Trained, model: torch.nn.Module, chosen: Indices, seed: int) -> tuple[Observation, Tensor]:
    device = network.embeddings.device
    labels = torch.as_tensor(network.labels[chosen], device=device)
    with torch.random.fork_rng():
        torch.manual_seed(int(stream(seed, "I dropout", network.name, *map(int, chosen)).integers(2**62)))
        observation = Observation.from_batch(model, network.images.load(chosen, str(device)), labels)
    return observation, torch.bincount(labels, minlength=observation.num_classes)


def recovery(network: Network, chosen: Indices, restored: Restoration) -> dict[str, Any]:
    """How near restored embeddings are, and what the batch's most confident instance leaves of a gradient.

    `weakest`: least 1 − p of the true class; `error` and `worst_error`: median and largest relative error of an
    instance's embedding, where all instances were found and have the right labels.
    """
    row: dict[str, Any] = {"weakest": float(doubt(network, chosen).min()), "error": np.nan, "worst_error": np.nan}
    if isinstance(restored, LatticeRestoration) and restored.instances is not None:
        found = errors(restored.instances, network.embeddings[chosen], network.labels[chosen])
        if found is not None:
            row |= {"error": float(np.median(found)), "worst_error": float(found.max())}
    return row


def errors(found: Instances, embeddings: Tensor, labels: Indices) -> NDArray[np.float64] | None:
    """|ê − e| / |e| of each true instance (K,), each beside a found one of its class, all of them as near as can be.

    `None` where the labels found are not the batch's.
    """
    ours, told = found.labels.cpu().numpy(), found.embeddings.cpu().double()
    true = embeddings.cpu().double()
    if not np.array_equal(np.sort(ours), np.sort(labels)):
        return None
    error = np.empty(len(labels))
    for label in np.unique(labels):
        here, there = np.flatnonzero(labels == label), np.flatnonzero(ours == label)
        distance = torch.linalg.vector_norm(true[here][:, None] - told[there][None], dim=2).numpy()
        rows, columns = linear_sum_assignment(distance)
        error[here[rows]] = distance[rows, columns]
    return error / true.norm(dim=1).numpy()
