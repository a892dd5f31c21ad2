"""Methods of restoration side by side on the same batches of a network: a row a batch and method."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import exp
from time import perf_counter

from torch import Tensor

from irlg.appendix.networks import Network
from irlg.data.sampling import Indices
from irlg.metrics import scores
from irlg.observation import Observation
from irlg.restoration import LatticeRestoration, Restoration, restore

Restorer = Callable[[Observation], Restoration]
# What is said of a restoration beside its scores, by the network and the images of the batch.
Remark = Callable[[Network, Indices, Restoration], Mapping[str, object]]

METHODS: dict[str, Restorer] = {
    "irlg": partial(restore, method="irlg"),
    "uniform": partial(restore, method="uniform"),
    "lattice": restore,
    "lattice, told": partial(restore, nonnegative=True),
    "lattice, no search": partial(restore, search=False),
}


def trials(
    network: Network,
    draws: Sequence[str],
    count: int,
    seed: int,
    methods: Mapping[str, Restorer],
    remark: Remark = lambda network, indices, restored: {},
) -> Iterator[dict[str, object]]:
    """Restore `count` batches of each of `draws` with each method, and score them: a row each.

    Restorers that are told of non-negative embeddings are left out where these are not.
    """
    for what in draws:
        for trial in range(count):
            indices = network.draw(what, trial, seed)
            observation, true = network.observe(indices)
            for name, method in methods.items():
                if name == "lattice, told" and not network.nonnegative:
                    continue
                restored, row = timed(method, observation, true)
                about = {"network": network.name, "training": network.training, "draw": what}
                place = {"initialisation": network.initialisation, "trial": trial, "method": name}
                yield {**about, **place, **row, **remark(network, indices, restored)}


def timed(method: Restorer, observation: Observation, true: Tensor) -> tuple[Restoration, dict[str, object]]:
    """A restoration, and its `score` with the seconds that it took."""
    start = perf_counter()
    restored = method(observation)
    seconds = perf_counter() - start
    return restored, score(restored, true) | {"seconds": seconds}


def score(restored: Restoration, true: Tensor) -> dict[str, object]:
    """Scores of one restoration; for the lattice its probability and misfit too, and whether instances were found."""
    row = scores(restored.counts, true)
    if isinstance(restored, LatticeRestoration):
        row |= {
            "probability": exp(restored.log_probability),
            "misfit": restored.diagnostics["misfit"],
            "found": restored.instances is not None,
        }
    return row
