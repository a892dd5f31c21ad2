"""What every method of restoration returns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Restoration:
    """Restored label counts, on the observation's device.

    `counts` (C,) int64; `raw_counts` (C,) float64, before rounding; `probabilities` (C, C) float64,
    row i the mean softmax that the method takes for class i, or (0, C) where it takes none; `method`; `embed`, what
    computes `embeddings`; `existence_only`, whether the method tells which classes are there and not how many:
    `counts` are then 0 and 1, to be scored on existence alone.
    """

    counts: Tensor
    raw_counts: Tensor
    probabilities: Tensor
    method: str
    embed: Callable[[], Tensor] | None = field(repr=False)
    existence_only: bool = field(default=False, kw_only=True)

    @cached_property
    def embeddings(self) -> Tensor | None:
        """(C, m) float64, row i the embedding that the method takes for class i; `None` where it takes none.

        Computed when first asked for, from the observation's ∇W, which is not to be changed before.
        """
        return None if self.embed is None else self.embed()
