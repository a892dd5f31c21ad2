"""Batches that clients send after noise or compression, and in several steps: a row a batch."""

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import pandas as pd
import torch
from torch import nn

from irlg.appendix.clients import Clients, after_steps
from irlg.appendix.corruptions import CORRUPTIONS
from irlg.appendix.h_clients.networks import restored, rivals
from irlg.artifact.progress import progress
from irlg.defences import Gradients
from irlg.observation import Observation

SIZES = (24, 128)  # K
SIZE = 24  # K of an update's step, and of losses
RATES = (0.1, 0.01, 0.001)
STEP = {"weight_decay": 5e-4, "momentum": 0.9, "nesterov": True}  # of a single step
STEPS = (1, 5, 10)  # E


def corrupted(everyone: Sequence[Clients], count: int, seed: int) -> pd.DataFrame:
    """The same `count` batches of each network and K, sent in every way of `CORRUPTIONS`.

    `true` is the root mean square of what was done to an entry, `measured` what the server makes of it.
    """
    return pd.DataFrame(
        row
        for clients, size, trial in progress(product(everyone, SIZES, range(count)), "batches sent")
        for row in _corrupted(clients, size, trial, seed)
    )


def _corrupted(clients: Clients, size: int, trial: int, seed: int) -> Iterator[dict[str, Any]]:
    chosen = clients.draw(size, trial, seed)
    clean, true = clients.observe(chosen), clients.counts(chosen)
    for name, corruption in CORRUPTIONS.items():
        sent = send(clean, name, clients, trial, seed)
        about = {"setting": name, "kind": corruption.kind, "std": corruption.std, "trial": trial, "K": size}
        make = partial(Observation, *sent, clean.weight, clean.bias, size)
        about["true"] = _difference(sent, clean)
        yield clients.about | about | restored(make, true) | rivals(make, true)


def send(clean: Observation, name: str, clients: Clients, trial: int, seed: int) -> Gradients:
    """What the server gets of a batch's gradients by one of `CORRUPTIONS`."""
    assert clean.grad_bias is not None
    rng = clients.stream(seed, "sent", name, clean.size, trial)
    return CORRUPTIONS[name].send((clean.grad_weight, clean.grad_bias), rng)


def _difference(sent: Gradients, clean: Observation) -> float:
    assert clean.grad_bias is not None
    parts = [sent[0] - clean.grad_weight, (sent[1] - clean.grad_bias)[:, None]]
    return float(torch.cat(parts, dim=1).double().square().mean().sqrt())


def single_steps(everyone: Sequence[Clients], count: int, seed: int) -> pd.DataFrame:
    """A step of SGD on the head, with weight decay and Nesterov's momentum, at each of `RATES`.

    Of a single step the head's update doesn't depend on the other layers': their embeddings do for it.
    """
    rows = []
    for clients, rate, trial in progress(product(everyone, RATES, range(count)), "single steps"):
        chosen = clients.draw(SIZE, trial, seed)
        before, after = clients.model.head, copy.deepcopy(clients.model.head)
        optimiser = torch.optim.SGD(after.parameters(), lr=rate, **STEP)  # type: ignore[arg-type]
        loss = nn.functional.cross_entropy(after(clients.embeddings[chosen]), clients.labels[chosen])
        torch.autograd.backward(loss)
        optimiser.step()
        make = partial(Observation.from_update, before, after, rate, SIZE, **STEP)  # type: ignore[arg-type]
        about = {"rate": rate, "trial": trial, "K": SIZE}
        rows.append(clients.about | about | restored(make, clients.counts(chosen)))
    return pd.DataFrame(rows)


def local_steps(everyone: Sequence[Clients], count: int, seed: int) -> pd.DataFrame:
    """E steps of plain SGD on the whole network, of K images each, for each of `STEPS` and `RATES`."""
    rows = []
    for clients, steps, rate, trial in progress(product(everyone, STEPS, RATES, range(count)), "local steps"):
        chosen = clients.draw(SIZE * steps, trial, seed)
        model = after_steps(clients, torch.split(chosen, SIZE), rate)
        make = partial(Observation.from_update, clients.model, model, rate, SIZE, local_steps=steps)
        about = {"E": steps, "rate": rate, "trial": trial}
        rows.append(clients.about | about | restored(make, clients.counts(chosen)))
    return pd.DataFrame(rows)
