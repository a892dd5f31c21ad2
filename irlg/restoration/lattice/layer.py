"""The last layer as observed: centred over classes, scaled by K, in float64 some columns at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from irlg.checks import precision
from irlg.losses import CrossEntropy
from irlg.observation import Observation

EXCESS = 3.0  # standard deviations from which on the sum of a column is no chance
NEGLIGIBLE = 3e-3  # noise of y that is not looked at
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

    def along(self, direction: Tensor) -> Tensor:
        """∇W times `direction` (m,): (C,)."""
        parts = zip(_columns(self._grad_weight), torch.split(direction, COLUMNS), strict=True)
        return torch.stack([gradient @ part for gradient, part in parts]).sum(dim=0)

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


def noise_in(column: Tensor, noise: float) -> float:
    """Standard deviation of an entry of a `column` (C,) of [∇W, ∇b], or of a combination of length 1 of them.

    It is the `noise` of all, if that is independent between entries. If not, as that of dropped ones, or more on some,
    the sum of the column shows it.
    """
    shown = abs(float(column.sum())) / len(column) ** 0.5
    return shown if shown > EXCESS * noise else noise


def _filled(column: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """A column (C,) of the gradient as it may have been before small entries of it were dropped, and its variance (C,).

    Those that are 0 were no larger than the least that is left, and their mean is what the sum, 0, asks for. The others
    are as they were, unless they are multiples of the least: then all are rounded, and have noise as any.
    """
    kept = column != 0
    least = column[kept].abs().min() if bool(kept.any()) else column.new_zeros(())
    steps = column / least
    if bool(kept.all()) or not bool(least > 0) or bool(((steps - steps.round()).abs() < 1e-3).all()):
        return column, torch.full_like(column, noise_in(column, noise) ** 2)
    mean = (-column.sum() / (~kept).sum()).clamp(-least, least)
    filled = torch.where(kept, column, mean)
    return filled, torch.where(kept, 0.0, least**2 / 3) + noise_in(filled, 0.0) ** 2


def centred(rows: Tensor) -> Tensor:
    """Rows (..., C) less the mean of each."""
    return rows - rows.mean(dim=-1, keepdim=True)


@dataclass(frozen=True, eq=False)
class Problem:
    """An observation of `batch_size` instances, centred over classes, float64: Y = divisor ∇W (C, m), which
    `layer` multiplies by, and y = divisor ∇b (C,), of `grad_bias` ∇b, which has the `variance` (C,) and is known to a
    relative `rounding`; `bias` (C,); the `loss`; the `noise` of an entry of ∇W.

    `divisor`, and its relative standard deviation `unsure`, 0 where it is told (see `scale` for where not);
    `measured`: whether ∇b was observed, and is not what stands for it where there is no bias.
    """

    layer: Layer
    grad_bias: Tensor
    variance: Tensor
    bias: Tensor
    batch_size: int
    divisor: float
    unsure: float
    measured: bool
    loss: CrossEntropy
    rounding: float
    noise: float

    @cached_property
    def y(self) -> Tensor:
        """divisor ∇b (C,)."""
        return self.divisor * self.grad_bias

    @cached_property
    def y_variance(self) -> Tensor:
        """That of the noise on y, and of the rounding of ∇b, uniform, which shows in bfloat16, (C,)."""
        return self.divisor**2 * self.variance + (self.rounding * self.y) ** 2 / 12

    @cached_property
    def noisy(self) -> bool:
        """Whether there is noise that counts could show: more than a tenth of the floor of `counts`."""
        return self.divisor * self.noise > NEGLIGIBLE

    def counts(self, softmax: Tensor) -> Tensor:
        """The counts (C,) that go with `softmax` Σ_k ω_k p_k (C,): the loss's identity."""
        return (softmax - self.y - self.batch_size * self.loss.spread) / self.loss.hit

    def guess(self) -> Tensor:
        """The counts (C,) of the constant guess, that all softmax are 1/C: they sum to K."""
        none = self.counts(torch.zeros_like(self.y))
        rise = 1 / self.loss.hit
        return none + rise * ((self.batch_size - none.sum()) / rise.sum())


def problem(
    observation: Observation,
    layer: Layer | None = None,
    grad_bias: Tensor | None = None,
    divisor: float | None = None,
) -> Problem:
    """Centre the gradients over classes (their column sums are 0 but for noise) and scale by the divisor.

    **Arguments:** `layer`, of the same gradients, if it is there already; `grad_bias` (C,), taken for that of a head
    without a bias; `divisor`, where the observation's is not known, as that of a mean with class weights.
    """
    measured, size = grad_bias is None, observation.size
    observed, bias = observation.biases if grad_bias is None else (grad_bias, torch.zeros_like(grad_bias))
    grad_bias, variance = _filled(observed.double(), observation.noise)
    grad_bias = grad_bias - grad_bias.mean()
    # Weights and their mean's divisor may have any common factor: here the weights' mean is 1.
    loss, weight = observation.loss, observation.loss.class_weight.mean()
    if loss.weighted:
        loss = CrossEntropy(loss.label_smoothing, loss.class_weight / weight)
    if divisor is None:
        divisor = observation.known_divisor or size * float(weight)
    return Problem(
        layer or Layer(observation),
        grad_bias,
        variance,
        bias.double(),
        size,
        divisor / float(weight),
        0.0,
        measured,
        loss,
        torch.finfo(precision(observed)).eps,
        observation.noise,
    )
