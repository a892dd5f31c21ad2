"""Batches under what else a client may do, with a server that is told of it or not: a row a batch."""

from collections.abc import Sequence
from functools import partial
from itertools import product

import pandas as pd

from irlg.appendix.clients import Clients
from irlg.appendix.h_clients.networks import restored
from irlg.appendix.h_clients.trials import SIZE
from irlg.appendix.losses import SETTINGS
from irlg.artifact.progress import progress
from irlg.observation import Observation

UNTOLD = ("LeNet-5", "ResNet-18", "FCN-3")  # networks where the server is not told, which takes a second a batch
LARGEST = 2 * SIZE  # K that is tried after Poisson sampling


def told_or_not(everyone: Sequence[Clients], count: int, count_untold: int, seed: int) -> pd.DataFrame:
    """Batches of each of `SETTINGS`, a row each: `count` where the server is told, `count_untold` of `UNTOLD` else."""
    rows = []
    every = product(everyone, SETTINGS.items(), range(max(count, count_untold)))
    for clients, (name, make), trial in progress(every, "losses"):
        sent = make(clients, clients.draw(SIZE, trial, seed), clients.stream(seed, name, trial))
        for way, settings in sent.ways.items():
            if trial >= (count if way == "told" else count_untold if clients.name in UNTOLD else 0):
                continue
            head = clients.model.head
            grad_weight, grad_bias = sent.gradients
            layer = {"weight": head.weight, "bias": head.bias, "grad_weight": grad_weight, "grad_bias": grad_bias}
            observe = partial(Observation, **{**layer, **settings})
            options = {"largest_batch": LARGEST} if way == "inferred" else {}
            about = {"setting": name, "server": way, "trial": trial, "K": int(sent.counts.sum())}
            rows.append(clients.about | about | restored(observe, sent.counts, **options))
    return pd.DataFrame(rows)
