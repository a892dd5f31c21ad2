"""Restoration beyond the paper's tables: settings that tell methods apart."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd

from irlg.appendix.methods import METHODS, Restorer, trials
from irlg.appendix.networks import LONG_TAILED, Network
from irlg.appendix.published import DISTRIBUTIONS, row_name
from irlg.artifact.progress import progress
from irlg.observation import Observation
from irlg.restoration import restore
from irlg.restoration.lattice import decoding
from irlg.restoration.lattice.decoding import decode

# What is drawn in each setting, by network and training (see `Network.draw`).
_ANY = ("100 × 1", "100 × 2", "100 × 10", "100 × 40", "random 1024", "random 4096")
_LEARNT = ("random 24", "random 128", "100 × 1", "90 × 2", "70 × 5", "32 × 16", "8 × 16")
_SKEWED = ("random 24", "random 128", "random 512", "100 × 4", "90 × 2", "70 × 5", "32 × 16", "own 128", "own 512")
SETTINGS = {
    **{(name, "untrained"): _ANY for name in ("LeNet-5", "LeNet-5 SiLU", "LeNet-5 LeakyReLU", "LeNet-5 Tanh")},
    **{(name, "3 epochs"): _LEARNT for name in ("LeNet-5 SiLU", "LeNet-5 LeakyReLU", "LeNet-5 Tanh")},
    **{(name, "long tail"): _SKEWED for name in LONG_TAILED},
    ("LeNet-5", "1 epoch"): ("random 24", "random 128"),
    ("LeNet-5", "3 epochs"): _LEARNT,
    ("LeNet-5", "12 epochs"): (
        *("random 24", "random 128", "100 × 1", "random 512"),
        *("100 × 4", "50 × 2", "32 × 16", "8 × 16"),
    ),
    ("FCN-3", "untrained"): ("random 64", "random 256"),
    ("FCN-3", "100 steps"): ("random 24", "random 64"),
    ("FCN-3", "1,000 steps"): ("random 8", "random 24", "10 × 8", "3 × 20", "5 × 20"),
}
LARGEST = 96  # K that is tried where it is not told


def easy_batches(
    kinds: Sequence[Network], count: int, seed: int, settings: int
) -> dict[tuple[str, str], list[Observation]]:
    """What the server sees in the first `count` trials of `everywhere` on untrained networks of 100 classes."""
    batches: dict[tuple[str, str], list[Observation]] = {}
    for network in kinds:
        if network.training == "untrained" and network.head.out_features == 100:
            for what, trial in product(SETTINGS[network.name, network.training][:settings], range(count)):
                observation, _ = network.observe(network.draw(what, trial, seed))
                batches.setdefault((network.name, what), []).append(observation)
    return batches


def everywhere(
    kinds: Sequence[Network],
    count: int,
    seed: int,
    methods: Mapping[str, Restorer],
    sources: Mapping[str, str],
    settings: int,
) -> pd.DataFrame:
    """`trials` of every network in its first `settings`; `sources`: the data, by the first word of its name."""
    rows = [
        row
        for n in progress(kinds, "networks")
        for row in trials(n, SETTINGS[n.name, n.training][:settings], count, seed, methods)
    ]
    frame = pd.DataFrame(rows)
    trained = np.where(frame.training == "untrained", "untrained", "trained")
    return frame.assign(trained=trained, data=frame.network.map(lambda name: sources[name.split()[0]]))


def table_4(kinds: Sequence[Network], count: int, seed: int) -> pd.DataFrame:
    """`trials` of Table 4's rows on each of `kinds`, by Algorithm 1, the guess and the lattice."""
    rows = {
        f"{noc} × {mroc}": row_name(group, noc, mroc) for group, pairs in DISTRIBUTIONS.items() for noc, mroc in pairs
    }
    three = {name: METHODS[name] for name in ("irlg", "uniform", "lattice")}
    frame = pd.DataFrame(row for n in progress(kinds, "Table 4") for row in trials(n, list(rows), count, seed, three))
    return frame.assign(row=frame.draw.map(rows))


def decoders(kinds: Sequence[Network], draws: Sequence[str], count: int, seed: int) -> pd.DataFrame:
    """Exact or not, of the same real-valued counts and covariances: rounding, bootstrapping, beam."""
    rows = []
    for network, what, trial in progress(product(kinds, draws, range(count)), "decoders"):
        observation, true = network.observe(network.draw(what, trial, seed))
        restored = restore(observation, search=False)
        x, covariance = restored.raw_counts.cpu().numpy(), restored.count_covariance.cpu().numpy()
        given = (x, covariance, restored.lower_bounds.cpu().numpy(), np.zeros(len(x)), observation.size)
        one = decode(*given, width=1)
        found = {"rounding": np.maximum(np.rint(x), 0)[None], "bootstrapping": one.vectors}
        found[f"beam of {decoding.WIDTH}"] = decode(*given).vectors
        for name, vectors in found.items():
            exact = len(vectors) > 0 and bool((vectors[0] == true.cpu().numpy()).all())
            rows.append({"draw": what, "K": observation.size, "trial": trial, "decoder": name, "exact": exact})
    return pd.DataFrame(rows)


def unknown_sizes(kinds: Sequence[Network], draws: Sequence[str], count: int, seed: int) -> pd.DataFrame:
    """Restore batches whose K is not told, only that it is at most `LARGEST`: a row each."""
    rows = []
    for network, what, trial in progress(product(kinds, draws, range(count)), "K not told"):
        observation, true = network.observe(network.draw(what, trial, seed))
        restored = restore(replace(observation, batch_size=None), largest_batch=LARGEST)
        about = {"network": network.name, "training": network.training, "draw": what}
        size = restored.batch_sizes[0]
        found = {"K": observation.size, "K found": size, "right": size == observation.size}
        sure = {"probability": restored.batch_size_weights[0], "exact": bool((restored.counts == true).all())}
        rows.append(about | {"initialisation": network.initialisation, "trial": trial} | found | sure)
    return pd.DataFrame(rows)
