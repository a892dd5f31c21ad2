"""What else a client may do, and the server be told of or not: the loss, the scale, how batches come about."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from irlg.appendix.clients import Clients
from irlg.heads import IGNORED
from irlg.observation import Observation

SMOOTHING, LEAST, MOST = 0.1, 0.2, 5.0  # ε; class weights from and to
MIXED = 0.3  # share of the first image in mixup
SCALE = 0.37  # as clipping may leave
CLIENTS = (8, 16, 24)  # K of each client in secure aggregation


@dataclass(frozen=True, eq=False)
class Sent:
    """Gradients, the true `counts` (C,) behind them, and what the server may take them for: settings by name."""

    gradients: tuple[Tensor, Tensor | None]
    counts: Tensor
    ways: Mapping[str, dict[str, Any]]


def _sent(seen: Observation, counts: Tensor, **ways: dict[str, Any]) -> Sent:
    assert seen.grad_bias is not None
    return Sent((seen.grad_weight, seen.grad_bias), counts, {"told": {}, **ways})


def smoothing(clients: Clients, chosen: Tensor, rng: np.random.Generator) -> Sent:
    """Label smoothing."""
    seen = clients.observe(chosen, label_smoothing=SMOOTHING)
    told = {"batch_size": len(chosen), "label_smoothing": SMOOTHING}
    return _sent(seen, clients.counts(chosen), told=told, untold={"batch_size": len(chosen)})


def weights(clients: Clients, chosen: Tensor, rng: np.random.Generator) -> Sent:
    """Class weights."""
    drawn = torch.as_tensor(rng.uniform(LEAST, MOST, clients.model.head.out_features), device=chosen.device)
    seen = clients.observe(chosen, class_weight=drawn)
    told = {"batch_size": len(chosen), "class_weight": drawn}
    return _sent(seen, clients.counts(chosen), told=told, untold={"batch_size": len(chosen)})


def ignored(clients: Clients, chosen: Tensor, rng: np.random.Generator) -> Sent:
    """A quarter of the labels are ignored; told is how many aren't."""
    left = len(chosen) // 4
    labels = clients.labels[chosen].clone()
    labels[:left] = IGNORED
    seen = Observation.from_embeddings(clients.embeddings[chosen], labels, clients.model.head)
    told = {"batch_size": len(chosen) - left}
    return _sent(seen, clients.counts(chosen[left:]), told=told, untold={"batch_size": len(chosen)})


def mixup(clients: Clients, chosen: Tensor, rng: np.random.Generator) -> Sent:
    """Each image mixed with another of the batch."""
    other = chosen[torch.as_tensor(rng.permutation(len(chosen)), device=chosen.device)]
    labels = torch.nn.functional.one_hot(clients.labels, clients.model.head.out_features).to(clients.embeddings)
    embeddings, shares = (MIXED * part[chosen] + (1 - MIXED) * part[other] for part in (clients.embeddings, labels))
    seen = Observation.from_embeddings(embeddings, shares, clients.model.head)
    told = {"batch_size": len(chosen), "soft_labels": True}
    return _sent(seen, clients.counts(chosen), told=told, untold={"batch_size": len(chosen)})


def scale(clients: Clients, chosen: Tensor, rng: np.random.Generator) -> Sent:
    """Gradients times a factor, as clipping leaves them."""
    size = len(chosen)
    seen = clients.observe(chosen, divisor=size / SCALE)
    told = {"batch_size": size, "divisor": size / SCALE}
    unknown = {"batch_size": size, "divisor": "unknown"}
    return _sent(seen, clients.counts(chosen), told=told, unknown=unknown, untold={"batch_size": size})


def poisson(clients: Clients, chosen: Tensor, rng: np.random.Generator) -> Sent:
    """Each image with the same small probability, and the sum over the batch divided by the K expected."""
    expected = len(chosen)
    drawn = torch.as_tensor(rng.random(len(clients.labels)) < expected / len(clients.labels), device=chosen.device)
    batch = drawn.nonzero()[:, 0] if bool(drawn.any()) else chosen[:1]
    seen = clients.observe(batch, divisor=expected)
    told = {"batch_size": len(batch), "divisor": expected}
    inferred = {"batch_size": None, "divisor": expected}
    return _sent(seen, clients.counts(batch), told=told, inferred=inferred, untold={"batch_size": expected})


def aggregated(clients: Clients, chosen: Tensor, rng: np.random.Generator, sizes: Sequence[int] = CLIENTS) -> Sent:
    """The mean over clients of sums over their images, `sizes` of each: all that secure aggregation shows."""
    all_of_them = torch.as_tensor(rng.choice(len(clients.labels), sum(sizes), replace=False), device=chosen.device)
    parts = [clients.observe(part, divisor=1) for part in torch.split(all_of_them, list(sizes))]
    weight = torch.stack([part.grad_weight for part in parts]).mean(dim=0)
    bias = torch.stack([part.grad_bias for part in parts if part.grad_bias is not None]).mean(dim=0)
    told = {"batch_size": sum(sizes), "divisor": len(sizes)}
    ways = {"told": told, "untold": {"batch_size": sum(sizes)}}
    return Sent((weight, bias), clients.counts(all_of_them), ways)


def bare(clients: Clients, chosen: Tensor, rng: np.random.Generator) -> Sent:
    """A head without a bias, and so no ∇b."""
    weight = clients.model.head.weight
    head = nn.Linear(weight.shape[1], len(weight), bias=False, device=weight.device, dtype=weight.dtype)
    head.weight = weight
    seen = Observation.from_embeddings(clients.embeddings[chosen], clients.labels[chosen], head)
    ways = {"without": {"batch_size": len(chosen), "bias": None}}
    return Sent((seen.grad_weight, None), clients.counts(chosen), ways)


SETTINGS: dict[str, Callable[[Clients, Tensor, np.random.Generator], Sent]] = {
    f"label smoothing {SMOOTHING:g}": smoothing,
    f"class weights {LEAST:g} to {MOST:g}": weights,
    "a quarter ignored": ignored,
    "mixup": mixup,
    f"gradients × {SCALE:g}": scale,
    "Poisson sampling": poisson,
    f"{len(CLIENTS)} clients aggregated": aggregated,
    "no bias": bare,
}
LOSSES = tuple(SETTINGS)[:4]  # the others leave the loss as it is
