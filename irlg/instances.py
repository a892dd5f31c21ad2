"""The instances of a batch one by one, as a restoration may find them and an inversion use them."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Instances:
    """The instances of a batch in no order: `labels` (K,) int64 and `embeddings` (K, m) float64.

    `residual`: what they do not explain of the gradients, as a share of what the weakest of them
    explains (spectral norms). It serves as the probability that they are not the batch.
    """

    labels: Tensor
    embeddings: Tensor
    residual: float
