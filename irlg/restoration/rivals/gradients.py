"""What rivals look at, and what they answer with."""

import torch
from torch import Tensor

from irlg.observation import Observation
from irlg.restoration.method import plain_divisor
from irlg.restoration.result import Restoration
from irlg.restoration.rounding import round_counts


def bias_gradient(observation: Observation) -> Tensor:
    """g (C,), ∇b of the mean of plain cross-entropy over K instances."""
    return observation.biases[0].double() * (plain_divisor(observation) / observation.size)


def row_sums(observation: Observation) -> Tensor:
    """a (C,), a_j = Σ_d ∇W_{j,d} of the mean of plain cross-entropy over K instances."""
    return _sums(observation) * (plain_divisor(observation) / observation.size)


def unscaled(observation: Observation, bias: bool = False) -> Tensor:
    """g or a (C,) up to a positive factor, for methods that look at no more: the divisor may be unknown."""
    check_plain(observation)
    return observation.biases[0].double() if bias else _sums(observation)


def check_plain(observation: Observation) -> None:
    """**Raises:** `ValueError` where the loss has settings, of which a method does not know."""
    if not observation.loss.plain:
        raise ValueError("method: expected 'lattice' for a loss with settings, got another")


def present(observation: Observation, found: Tensor, method: str) -> Restoration:
    """The answer of a method that tells which classes are there, `found` (C,) bool, and no counts."""
    counts = found.to(device=observation.weight.device, dtype=torch.int64)
    return _answer(observation, counts, counts.double(), method, existence_only=True)


def counted(observation: Observation, raw: Tensor, method: str, counts: Tensor | None = None) -> Restoration:
    """The answer of a method with counts: those it rounds to itself, or `raw` (C,) rounded as the paper's are."""
    counts = round_counts(raw, observation.size) if counts is None else counts
    return _answer(observation, counts, raw, method)


def _answer(
    observation: Observation, counts: Tensor, raw: Tensor, method: str, existence_only: bool = False
) -> Restoration:
    none = raw.new_empty((0, observation.num_classes))
    return Restoration(counts, raw, none, method, None, existence_only=existence_only)


def _sums(observation: Observation) -> Tensor:
    return observation.grad_weight.sum(dim=1, dtype=torch.float64)
