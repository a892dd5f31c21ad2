"""The last layer as observed: centred over classes, scaled by K, in float64 some columns at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from irlg.observation import Observation, precision

COLUMNS = 256  # of W and ∇W at a time


class Layer:
    """The last layer as observed, ∇W and W (C, m), and what is made of them once.

    Both are taken to float64 some columns at a time: copies of the whole would be most of the memory.
    """

    def __init__(self, observation: Observation) -> None:
        self._grad_weight, self._weight = observation.grad_weight, observation.weight
        self.spread = sum(part.square().sum() for part in _columns(self._weight))  # tr(W Wᵀ)

    @cached_property
    def product(self) -> Tensor:
        """W ∇Wᵀ, (C, C)."""
        parts = zip(_columns(self._weight), _columns(self._grad_weight), strict=True)
        product = self._weight.new_zeros(2 * self._weight.shape[:1], dtype=torch.float64)
        for weight, gradient in parts:
            product.addmm_(weight, gradient.T)
        return product

    def embeddings(self, rows: Tensor) -> Tensor:
        """`rows` (..., C), centred, times ∇W: (..., m)."""
        return combined(rows, self._grad_weight)

    def logits(self, rows: Tensor) -> Tensor:
        """`embeddings` of `rows` (r, C) times Wᵀ: (r, C)."""
        rows = centred(rows)
        if 8 * len(rows) > len(self._weight):
            return rows @ self.product.T
        logits = torch.zeros_like(rows)  # where the product would cost more than all passes save
        for weight, gradient in zip(_columns(self._weight), _columns(self._grad_weight), strict=True):
            logits.addmm_(rows @ gradient, weight.T)
        return logits


def combined(rows: Tensor, grad_weight: Tensor) -> Tensor:
    """`rows` (..., C), centred, times ∇W (C, m): (..., m), float64."""
    rows = centred(rows)
    return torch.cat([rows @ gradient for gradient in _columns(grad_weight)], dim=-1)


def _columns(matrix: Tensor) -> Iterator[Tensor]:
    """Some columns after others, in float64."""
    return (part.double() for part in torch.split(matrix, COLUMNS, dim=1))


def centred(rows: Tensor) -> Tensor:
    """Rows (..., C) less the mean of each."""
    return rows - rows.mean(dim=-1, keepdim=True)


@dataclass(frozen=True, eq=False)
class Problem:
    """An observation of `batch_size` instances, centred over classes, float64: Y = K∇W (C, m), which
    `layer` multiplies by, and `y` = K∇b (C,), known to a relative `rounding`; `bias` (C,)."""

    layer: Layer
    y: Tensor
    bias: Tensor
    batch_size: int
    rounding: float

    def of(self, batch_size: int) -> "Problem":
        """The same gradients, taken to be those of another K."""
        return replace(self, y=batch_size / self.batch_size * self.y, batch_size=batch_size)


def problem(observation: Observation) -> Problem:
    """Centre the gradients over classes (their column sums are 0 but for rounding) and scale by K."""
    grad_bias, size = observation.grad_bias.double(), observation.size
    y, rounding = size * (grad_bias - grad_bias.mean()), torch.finfo(precision(observation.grad_bias)).eps
    return Problem(Layer(observation), y, observation.bias.double(), size, rounding)
