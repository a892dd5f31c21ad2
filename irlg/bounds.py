"""What the gradients prove about a batch without any model: bounds that every count vector obeys."""

from dataclasses import dataclass

import torch
from torch import Tensor

from irlg.observation import Observation, precision


@dataclass(frozen=True, eq=False)
class PresenceProofs:
    """Lower bounds of the counts, and how they came about.

    `lower_bounds` (C,) int64; `certain` (C,) bool, the classes that are certainly in the batch;
    `unsigned` (C,) bool, the classes whose row of ∇W has no negative entry: where embeddings are
    non-negative these are very likely absent; `nonnegative`, whether the sign test was used.
    """

    lower_bounds: Tensor
    certain: Tensor
    unsigned: Tensor
    nonnegative: bool


def presence_proofs(observation: Observation, nonnegative: bool | None = None) -> PresenceProofs:
    """Which classes are certainly in the batch, and at least how often (design, equation 1).

    n_j > −K∇b_j always, because Σ_k p_{k,j} > 0. And where embeddings are non-negative (after a
    ReLU, say), the row of ∇W of an absent class is Σ_k p_{k,j} e_k ≥ 0: a negative entry proves
    presence. Noise or compression on the gradient voids both.

    **Arguments:** `nonnegative`: whether embeddings are; `None` finds out, and takes them to be
    where at least one row of ∇W has no negative entry.
    """
    grad_weight, grad_bias = observation.grad_weight, observation.grad_bias.double()
    rounding = 16 * torch.finfo(precision(observation.grad_bias)).eps
    # S_j may be as small as the rounding of ∇b_j, and −K∇b_j then a little more than n_j.
    proven = torch.floor(-observation.size * (grad_bias + rounding)) + 1
    lower = proven.clamp(min=0)
    least, greatest = (end.double() for end in grad_weight.aminmax(dim=1))
    unsigned = least >= -1e-6 * torch.maximum(-least, greatest)
    used = bool(unsigned.any()) if nonnegative is None else nonnegative
    if used:
        lower = torch.maximum(lower, (~unsigned).double())
    if float(lower.sum()) > observation.size:  # not the gradients that they are taken for
        lower, used = torch.zeros_like(lower), False
    lower = lower.to(torch.int64)
    return PresenceProofs(lower, lower > 0, unsigned, used)
