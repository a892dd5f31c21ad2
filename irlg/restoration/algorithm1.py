"""Algorithm 1 of the appendix, vectorised: embeddings, probabilities, equation (6), rounding."""

from functools import partial

import torch
from torch import Tensor

from irlg.observation import Observation
from irlg.restoration.method import Method, plain_divisor
from irlg.restoration.result import Restoration
from irlg.restoration.rounding import round_counts


def class_embeddings(grad_weight: Tensor, grad_bias: Tensor) -> Tensor:
    """Line 3: e^i = ∇W_i / ∇b_i, one row a class.

    Where ∇b_i is 0, or so small that the quotient overflows, e^i is undefined and its row is 0;
    line 4 then falls back to softmax(b).

    **Arguments:** `grad_weight` (C, m), `grad_bias` (C,). **Returns:** (C, m).
    """
    rows = grad_weight / grad_bias[:, None]
    return torch.where(torch.isfinite(rows).all(dim=1, keepdim=True), rows, 0.0)


def class_probabilities(embeddings: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Line 4: p^i = softmax(W e^i + b).

    **Arguments:** `embeddings` (C, m), `weight` (C, m), `bias` (C,). **Returns:** (C, C), row i = p^i.
    """
    logits = embeddings @ weight.T + bias
    # Two opposite infinities make NaN: that embedding is as undefined as a division by zero.
    logits = torch.where(torch.isfinite(logits).all(dim=1, keepdim=True), logits, bias)
    return torch.softmax(logits, dim=1)


def solve_counts(probabilities: Tensor, grad_bias: Tensor, batch_size: int) -> Tensor:
    """Line 7: the least-squares solution of equation (6), of least norm where it is not unique.

    Equation (6) has C + 1 equations: Σ_i n_i = K and Σ_i n_i p^i_j − n_j = K∇b_j for every j. The
    last C sum to zero on the left, so the least-squares solution centres K∇b and then solves all of
    them exactly; adding the first, over C, to each of them makes that one square system.

    **Arguments:** `probabilities` (C, C), `grad_bias` (C,), `batch_size` K.
    **Returns:** (C,), real numbers.
    """
    classes = len(grad_bias)
    identity = torch.eye(classes, dtype=probabilities.dtype, device=probabilities.device)
    system = probabilities.T - identity
    right = batch_size * grad_bias
    square = system + 1 / classes
    inverse, info = torch.linalg.inv_ex(square)
    condition = torch.linalg.matrix_norm(square, 1) * torch.linalg.matrix_norm(inverse, 1)
    # Beyond 1e8 the answer depends on which singular values count as zero (probabilities that
    # underflow to one-hot rows decouple the classes): only the pseudo-inverse is defined there.
    if int(info) == 0 and float(condition) < 1e8:
        centred = right - right.mean() + batch_size / classes
        counts = inverse @ centred
        return counts + inverse @ (centred - square @ counts)  # one refinement step
    bordered = torch.cat([torch.ones_like(system[:1]), system])
    total = torch.full_like(right[:1], batch_size)
    return torch.linalg.pinv(bordered) @ torch.cat([total, right])


def _irlg(observation: Observation) -> Restoration:
    """Algorithm 1."""
    grad_bias, bias = (each.double() for each in observation.biases)
    embed = partial(class_embeddings, observation.grad_weight, grad_bias)
    probabilities = class_probabilities(embed(), observation.weight.double(), bias)
    mean = grad_bias * (plain_divisor(observation) / observation.size)
    raw = solve_counts(probabilities, mean, observation.size)
    counts = round_counts(raw, observation.size)
    return Restoration(counts, raw, probabilities, "irlg", embed)


METHOD = Method("irlg", _irlg, needs=frozenset({"bias", "size"}))
