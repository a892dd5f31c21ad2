"""The most likely whole counts under a normal distribution of real-valued ones (docs/estimator.md, equation 7)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

WIDTH = 64  # vectors that the beam keeps
BRANCHES = 4  # whole numbers tried for each entry of each
NEGLIGIBLE = 20.0  # minus the logarithm of a vector's weight beside the best, from which on it is dropped
# Standard deviations above their mean that the entries to come of a dropped vector are taken to cost. In draws from the
# model right vectors are often doubted at 0, for a dropped one's sake; from 0 to 3, no wrong one is left 0.01.
MARGIN = 2.0
EASY = 0.05  # standard deviation below which an entry is rounded at once


@dataclass(frozen=True, eq=False)
class Beam:
    """The best count vectors found, best first.

    `vectors` (B, C) int64; `costs` (B,), twice the negative log-likelihood up to a constant, and
    penalties; `log_det`, the log-determinant of the covariance; `lost`, what the best vector that the
    beam dropped might cost if it were right: infinite if there is none.
    """

    vectors: Counts
    costs: Array
    log_det: float
    lost: float = np.inf


def decode(x: Array, covariance: Array, lower: Counts, penalty: Array, total: int, width: int = WIDTH) -> Beam:
    """Minimise (x − n)ᵀ R⁻¹ (x − n) + Σ_j penalty_j [n_j > 0] over whole n ≥ lower with Σ n = total.

    Entries that hardly vary are rounded at once and the others conditioned on them. Those are
    decided one by one in the order of a pivoted LDLᵀ factorisation, by a beam search.

    **Arguments:** `x` (C,), its `covariance` R (C, C), nearly singular along the sum; `lower` (C,);
    `penalty` (C,); `width` of the beam.
    **Returns:** a `Beam`, empty if no admissible vector was found.
    **Raises:** `LinAlgError`, NumPy's or torch's, where R is not positive definite.
    """
    easy = np.diag(covariance) < EASY**2
    beam = _decode(x, covariance, lower, penalty, total, width, easy)
    if len(beam.vectors) == 0 and easy.any():  # what was rounded at once leaves no admissible sum
        beam = _decode(x, covariance, lower, penalty, total, width, np.zeros_like(easy))
    return beam


def _decode(
    x: Array, covariance: Array, lower: Counts, penalty: Array, total: int, width: int, easy: NDArray[np.bool_]
) -> Beam:
    fixed = np.maximum(np.rint(x[easy]), lower[easy])
    hard, cost, log_det = ~easy, 0.0, 0.0
    mean, conditional = x[hard], covariance[np.ix_(hard, hard)]
    if easy.any():
        # By torch, like all else that is large: NumPy's own threads and torch's get in each other's way.
        R, those = torch.from_numpy(covariance), torch.from_numpy(easy.nonzero()[0])
        factor = torch.linalg.cholesky(R if easy.all() else R.index_select(0, those).index_select(1, those))
        sides = np.column_stack([covariance[np.ix_(easy, hard)], fixed - x[easy]])
        solved = torch.linalg.solve_triangular(factor, torch.from_numpy(sides), upper=False)
        cross, residual = solved[:, :-1], solved[:, -1]  # L⁻¹ R_eh and that of the residual
        cost = float(residual @ residual) + float(penalty[easy][fixed > 0].sum())
        log_det = 2 * float(factor.diagonal().log().sum())
        mean, conditional = mean + (cross.T @ residual).numpy(), conditional - (cross.T @ cross).numpy()
    # How much more than the best a vector may cost. Few classes say little of whether the covariance is too
    # narrow, and with a wider one (see `passes`) what costs much more still has some weight.
    window = len(x) * np.expm1(min(2 * NEGLIGIBLE / len(x), 50.0))
    left = total - int(fixed.sum())
    vectors, costs, more, lost = _search(mean, conditional, lower[hard], penalty[hard], left, width, window)
    whole = np.empty((len(vectors), len(x)), dtype=np.int64)
    whole[:, easy], whole[:, hard] = fixed.astype(np.int64), vectors
    right = whole.sum(axis=1) == total
    return Beam(whole[right], costs[right] + cost, log_det + more, lost + cost)


def _search(
    x: Array, covariance: Array, lower: Counts, penalty: Array, total: int, width: int, window: float
) -> tuple[Counts, Array, float, float]:
    """Beam search over entries in the order of their conditional variance, smallest first.

    **Returns:** vectors, their costs, the log-determinant, and `lost` of a `Beam`.
    """
    order, factor, variances = pivoted_ldl(covariance)
    count = len(x)
    errors = np.zeros((1, count))  # q − x̂ of every vector of the beam, in pivot order
    costs, lost = np.zeros(1), np.inf
    offsets = np.arange(float(BRANCHES))
    left = total - np.zeros(1)  # instances that a vector has not given away
    least = lower.astype(float)
    owed = least.sum()  # instances that the bounds claim for entries to come
    alone = np.zeros(1, dtype=np.int64)
    steps = []  # the parent of each vector of the beam and its new entry, step by step
    for i, j in enumerate(order.tolist()):
        owed -= least[j]
        if len(costs) == 1 and not penalty[j]:
            # One vector is left, and mostly one number will do: arrays of one entry would take ten times as long.
            mean, room = float(x[j] + errors[0, :i] @ factor[i, :i]), float(left[0] - owed)
            near = min(max(float(np.rint(mean)), least[j]), room)
            off = near - mean
            if least[j] <= near and (1 - 2 * abs(off)) / variances[i] > window:
                errors[0, i], costs, left = off, costs + off**2 / variances[i], left - near
                steps.append((alone, np.array([near])))
                continue
        centre = x[j] + errors[:, :i] @ factor[i, :i]  # x̂, the conditional means
        upper = left - owed
        first = np.maximum(np.minimum(np.ceil(centre - BRANCHES / 2), upper - (BRANCHES - 1)), least[j])
        options = first[:, None] + offsets  # the nearest admissible whole numbers
        away = options - centre[:, None]
        expanded = costs[:, None] + away**2 / variances[i]
        if penalty[j]:
            expanded += penalty[j] * (options > 0)
        expanded[options > upper[:, None]] = np.inf
        flat = expanded.ravel()
        best = flat.min()
        if not best < np.inf:
            return np.zeros((0, count), dtype=np.int64), np.zeros(0), 0.0, lost
        kept = (flat <= best + window).nonzero()[0]
        if len(kept) > width:
            kept = kept[np.argsort(flat[kept], kind="stable")]
            rest = count - 1 - i  # entries to come: of the right vector's, costs are the squares of standard normals
            lost = min(lost, float(flat[kept[width]]) + rest + MARGIN * (2 * rest) ** 0.5)
            kept = kept[:width]
        parent, entry = kept // BRANCHES, options.ravel()[kept]
        errors, costs, left = errors.take(parent, axis=0), flat[kept], left[parent] - entry
        errors[:, i] = away.ravel()[kept]
        steps.append((parent, entry))
    vector = np.argsort(costs, kind="stable")
    costs, chosen = costs[vector], np.zeros((len(costs), count), dtype=np.int64)
    for j, (parent, entry) in zip(order[::-1], reversed(steps), strict=True):
        chosen[:, j], vector = entry[vector], parent[vector]
    return chosen, costs, float(np.log(variances).sum()), lost


def pivoted_ldl(matrix: Array) -> tuple[NDArray[np.int64], Array, Array]:
    """A[order][:, order] = L D Lᵀ with unit lower L, the smallest conditional variance first.

    Left-looking: only the columns that are due are computed. **Returns:** order (n,), L (n, n), the
    diagonal of D (n,). **Raises:** `numpy.linalg.LinAlgError` at a variance that is not positive.
    """
    count = len(matrix)
    remaining = np.diag(matrix).copy()  # conditional variances
    scaled = np.zeros((count, count))  # rows of L by the matrix's own index
    order, variances = np.zeros(count, dtype=np.int64), np.zeros(count)
    for i in range(count):
        j = int(np.argmin(remaining))
        if not remaining[j] > 0:
            raise np.linalg.LinAlgError(f"conditional variance {remaining[j]} of entry {j}")
        column = matrix[:, j] - scaled[:, :i] @ (variances[:i] * scaled[j, :i])
        order[i], variances[i] = j, remaining[j]
        column /= variances[i]
        remaining -= column**2 * variances[i]
        scaled[:, i], scaled[j, i], remaining[j] = column, 1, np.inf  # above the diagonal, what is of no use
    return order, np.tril(scaled[order]), variances
