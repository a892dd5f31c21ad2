"""Every method of the registry on the very same gradients, each with what the setting lets it know: a row a method."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import exp
from time import perf_counter
from typing import Any

import numpy as np
from torch import Tensor

from irlg.metrics import le_acc, scores
from irlg.observation import Observation
from irlg.restoration import Auxiliary, LatticeRestoration, Restoration, restore
from irlg.restoration.registry import METHODS

MARK = "*"  # after the name of a method that uses the server's own images


@dataclass(frozen=True, eq=False)
class Case:
    """What a server has of one batch, of true `counts` (C,).

    `observation`: the gradients, with what is told of the loss; `plain`: the same as those of plain cross-entropy, for
    methods that know no other loss. `nonnegative`: whether embeddings cannot be negative. `auxiliary`: the server's own
    images. `times`: how often each instance is in the gradients, as over local epochs.
    """

    observation: Observation
    plain: Observation
    counts: Tensor
    nonnegative: bool
    auxiliary: Auxiliary
    times: int = 1


def contenders() -> dict[str, tuple[str, bool]]:
    """By name, which method of the registry it is, and whether it uses auxiliary images; such have a `MARK`."""
    found = {}
    for name, method in METHODS.items():
        if "auxiliary" not in method.needs:
            found[name] = (name, False)
        if "auxiliary" in method.options:
            found[name + MARK] = (name, True)
    return found


def compare(case: Case, left_out: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """A row a contender: its scores, or why it refuses."""
    for name, (method, marked) in contenders().items():
        if name not in left_out:
            yield {"method": name, **_row(case, method, marked)}


def _row(case: Case, method: str, marked: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"auxiliary": case.auxiliary} if marked else {}
    if {"sign"} & METHODS[method].needs or "nonnegative" in METHODS[method].options:
        options["nonnegative"] = case.nonnegative
    refused = ""
    for observation in dict.fromkeys((case.observation, case.plain)):
        start = perf_counter()
        try:
            restored = restore(observation, method, **options)
        except ValueError as error:
            refused = refused or str(error)
        else:
            return score(restored, case) | {"seconds": perf_counter() - start, "refused": ""}
    return {"refused": refused}


def score(restored: Restoration, case: Case) -> dict[str, Any]:
    """Scores of a restoration; of one that tells existence alone, that alone."""
    # To the nearest count of one epoch; halves go up.
    found = (2 * restored.counts + case.times).div(2 * case.times, rounding_mode="floor")
    if restored.existence_only:
        return {"le_acc": le_acc(restored.counts, case.counts)}
    row = scores(found, case.counts)
    del row["K"]
    row["count_error"] = float((found - case.counts).abs().double().mean())
    row["probability"] = np.nan
    if isinstance(restored, LatticeRestoration) and case.times == 1:  # else it is of the counts of all epochs
        row["probability"] = exp(restored.log_probability)
    return row
