"""What an audit found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from irlg.metrics import i_rec
from irlg.restoration.lattice.method import SURE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEAR = 0.1  # relative distance up to which an embedding is called found


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch: its counts (C,) int64, `true`, `restored` by the server, and `guessed` without the gradient.

    `probability` that the server gives to its counts; `errors` (K,), by image: the relative distance of the embedding
    found to its own, infinite where none with its label was; `changed`, by the defence: a share of the gradients' norm.
    `refused`: why the server could not read what was sent; then it is left with the guess. `rescaled`: whether its
    counts are those of a scale of the gradients that it inferred.
    """

    true: Tensor
    restored: Tensor
    guessed: Tensor
    probability: float
    errors: Tensor
    changed: float
    refused: str = ""
    rescaled: bool = False

    @property
    def exact(self) -> bool:
        """Whether every class's count is right."""
        return torch.equal(self.restored, self.true)

    @property
    def sure(self) -> bool:
        """Whether the server calls its counts sure: p > 0.999."""
        return self.probability > SURE

    @property
    def found(self) -> bool:
        """Whether every image was found, with its label and its embedding within 10 %."""
        return bool((self.errors <= NEAR).all())


@dataclass(frozen=True, eq=False)
class Audit:
    """Batches as a server restored them; as text, what it learns.

    `batch_size` K; `defence` in words; `mode` of the network, train or eval; `searched`, whether images can be looked
    for one by one at all, and for how many seconds a batch, `search_seconds`.
    """

    batches: tuple[Batch, ...]
    batch_size: int
    defence: str
    mode: str
    searched: bool
    search_seconds: float

    @property
    def exact(self) -> int:
        """In how many batches every count is right."""
        return sum(batch.exact for batch in self.batches)

    @property
    def sure(self) -> int:
        """In how many batches the server is sure of its counts."""
        return sum(batch.sure for batch in self.batches)

    @property
    def sure_and_exact(self) -> int:
        """In how many of these it is right."""
        return sum(batch.sure and batch.exact for batch in self.batches)

    @property
    def refused(self) -> int:
        """In how many batches the server could not read what was sent."""
        return sum(bool(batch.refused) for batch in self.batches)

    @property
    def rescaled(self) -> int:
        """In how many batches the server inferred the scale of what was sent."""
        return sum(batch.rescaled for batch in self.batches)

    @property
    def found(self) -> int:
        """In how many batches every image was found, with its label and its embedding."""
        return sum(batch.found for batch in self.batches)

    @cached_property
    def recall(self) -> float:
        """The mean share of a batch's labels that is right (IRec)."""
        return sum(i_rec(batch.restored, batch.true) for batch in self.batches) / len(self.batches)

    @cached_property
    def guessed_recall(self) -> float:
        """The same of a guess without the gradient, K/C of each class or about that."""
        return sum(i_rec(batch.guessed, batch.true) for batch in self.batches) / len(self.batches)

    def __str__(self) -> str:
        from irlg.auditing.report import report  # SciPy's statistics take as long to import as all of irlg

        return report(self)

    def figure(self) -> Figure:
        """The first batch's counts, true and restored, to be saved by `savefig`."""
        from irlg.auditing.picture import picture  # and so does Matplotlib

        return picture(self)
