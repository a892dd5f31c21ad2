"""The same batches under each defence, restored by every method: a row a batch and method."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from irlg.appendix.clients import Clients
from irlg.appendix.comparison import Case, compare, contenders, score
from irlg.appendix.k_defences.defences import DEFENCES, NOISY, TYPICAL, norms, observed, shrunk, without_bias
from irlg.appendix.servers import Server
from irlg.artifact import code, jobs
from irlg.artifact.progress import progress
from irlg.data.datasets import ImageSet
from irlg.restoration import Auxiliary, Restoration

SIZE, LARGER = 24, (128, 512)  # K, and those of the defence that is to send larger batches
TRIVIAL = ("zeros", "prior", "spread")  # answers that look at no gradient, and so are scored once for each K
LATTICE = "lattice"
AS_SENT, UNKNOWN = "lattice, as sent", "lattice, scale unknown"  # of clipped gradients, beside those rescaled
SLOW = ("clipped", "no bias")  # where the lattice has to find the scale


@dataclass(frozen=True, eq=False)
class Target:
    """A `server` to attack, with batches of each of `sizes`; `defences` by name are those that are tried at `SIZE`.

    `under`: the defence that its network was trained under, if any.
    """

    server: Server
    sizes: tuple[int, ...]
    defences: tuple[str, ...]
    under: str = ""

    @cached_property
    def _known(self) -> Tensor:
        """s_k (N,) of the clients' images, NaN where it was not asked for yet."""
        return torch.full_like(self.server.clients.embeddings[:, 0], float("nan"))

    def factors(self, chosen: Tensor) -> Tensor:
        """s_k (K,), by which clipping scales each of these images of the clients."""
        new = chosen[self._known[chosen].isnan()]
        if len(new):
            images = self.server.clients.images
            self._known[new] = _factors(self.server.clients, images.subset(new.cpu().numpy()))
        return self._known[chosen]

    @cached_property
    def typical(self) -> float:
        """The mean of s_k over `TYPICAL` of the server's own images, which is all of it that a server can know."""
        own = self.server.own
        some = own.subset(np.linspace(0, len(own.labels) - 1, min(TYPICAL, len(own.labels))).astype(np.int64))
        return float(_factors(self.server.clients, some).mean())

    def cells(self) -> Iterator[tuple[int, str]]:
        """K and defence of each cell of the study; of those whose gradient is withheld there is nothing to try."""
        held = len(self.server.clients.labels)
        for size in (size for size in self.sizes if size <= held):
            for name in self.defences:
                if name != "withheld" and (size == SIZE or name in NOISY):
                    yield size, name


def _factors(clients: Clients, images: ImageSet) -> Tensor:
    device = str(clients.labels.device)
    pixels = images.load(np.arange(len(images.labels)), device)
    return shrunk(norms(clients.model, pixels, torch.as_tensor(images.labels, device=device)))


def attacked(targets: Sequence[Target], count: int, few: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`count` batches of each cell, `few` of `SLOW` ones: settings, a row a cell, and trials, a row a batch and method.

    Of the trials `setting` is the row of the settings; `le` and `ln` count the classes whose existence and whose
    number are right, `recalled` the instances; `off` is Σ|n̂ − n|, `p` what the lattice states, `ms` milliseconds.
    """
    settings: list[dict[str, Any]] = []
    trials: list[pd.DataFrame] = []
    for target in targets:
        for size, name in progress(target.cells(), f"attacks on {target.server.name}"):
            defence, about = DEFENCES[name], target.server.clients.about
            tries = min(count, few) if name in SLOW else count
            typical = target.typical if defence.multiplier is not None else 1.0
            place = {"setting": len(settings), "defence": name, "kind": defence.kind, "strength": defence.strength}
            settings.append(place | {"K": size, "trials": tries, "typical": typical} | about)
            learnt = float(target.server.clients.embeddings.double().sum())  # tells networks of one name apart
            made_of = (target.under, about, learnt, len(target.server.clients.labels), tries, seed)
            rows = jobs.kept(
                f"k {target.server.name} {size} {name}",
                lambda target=target, size=size, name=name, tries=tries: _cell(target, size, name, tries, seed),  # type: ignore[misc]
                *made_of,
                code.digest(Path(__file__)),
            )
            trials.append(rows.assign(setting=place["setting"]))
    return pd.DataFrame(settings), pd.concat(trials, ignore_index=True)[["setting", *COLUMNS]]


COLUMNS = ["trial", "method", "le", "ln", "recalled", "exact", "off", "p", "ms"]


def _cell(target: Target, size: int, name: str, count: int, seed: int) -> pd.DataFrame:
    rows = [
        {"trial": trial, "method": row["method"]} | _whole(row, size, target.server.clients.about["C"])
        for trial in range(count)
        for row in _tried(target, size, name, trial, seed)
        if row.get("refused", "") == ""
    ]
    whole = dict.fromkeys(("le", "ln", "recalled", "exact", "off"), "Int64")
    return pd.DataFrame(rows, columns=COLUMNS).astype(whole)


def _whole(row: dict[str, Any], size: int, classes: int) -> dict[str, Any]:
    """Scores of `comparison`, as the whole numbers that they are shares of."""
    found: dict[str, Any] = {"le": round(row["le_acc"] * classes), "ms": float(f"{1000 * row['seconds']:.2g}")}
    if "exact" in row:
        found |= {"ln": round(row["ln_acc"] * classes), "recalled": round(row["i_rec"] * size)}
        found |= {"exact": int(row["exact"]), "off": round(row["count_error"] * classes), "p": row["probability"]}
    return found


def _tried(target: Target, size: int, name: str, trial: int, seed: int) -> Iterator[dict[str, Any]]:
    server, defence = target.server, DEFENCES[name]
    clients = server.clients
    chosen = clients.draw(size, trial, seed)
    clipped = defence.multiplier is not None
    factors = target.factors(chosen) if clipped else None

    def case(scale: float) -> Case:
        rng = clients.stream(seed, "sent", name, size, trial)
        seen = observed(server, defence, chosen, rng, factors, scale)
        auxiliary = server.auxiliary
        if seen.bias is None:
            head = without_bias(clients.model.head)
            auxiliary = Auxiliary.from_embeddings(auxiliary.embeddings.to(head.weight), head, auxiliary.labels)
        return Case(seen, seen, clients.counts(chosen), server.nonnegative, auxiliary)

    first = case(target.typical if clipped else 1.0)
    yield from compare(first, left_out=() if name == "none" else TRIVIAL)
    if name == "none":
        yield {"method": "spread", "seconds": 0.0, **score(_spread(first.counts, size), first)}
    if name == "clipped":
        as_sent = case(1.0)
        unknown = replace(as_sent, observation=replace(as_sent.observation, divisor="unknown"))
        others = set(contenders()) - {LATTICE}
        for other, way in ((as_sent, AS_SENT), (unknown, UNKNOWN)):
            yield from (row | {"method": way} for row in compare(other, left_out=others))


def _spread(counts: Tensor, size: int) -> Restoration:
    """K labels over all classes as evenly as they go, the first classes first: the guess that recalls most of a uniform
    draw without looking."""
    even = torch.full_like(counts, size // len(counts))
    even[: size % len(counts)] += 1
    return Restoration(even, even.double(), torch.empty(0, len(counts)), "spread", None)
