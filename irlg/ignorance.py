"""The constant guess as the lattice's rival: what is known of the counts but for embeddings, and when to take it."""

import math

import numpy as np
import torch
from torch import Tensor

from irlg import lattice
from irlg.bounds import PresenceProofs
from irlg.decoding import Beam, decode
from irlg.estimator import FAILURES, MISSED, Pass, Passes, doubtful, penalty, weigh

DEVIATIONS = 3.0  # standard deviations beyond which a uniform draw is ruled out
SPREAD = 1.2  # how much more than ∇b allows counts may spread (see `_spread`)


def answer(given: lattice.Problem, proofs: PresenceProofs, passes: Passes) -> Pass:
    """The best pass, or ignorance of the embeddings where that is the better account.

    Where the pass is doubtful, ignorance competes. If the batch may be a uniform draw from all classes, both
    are weighed by what the counts of such a draw look like, spread included: errors add to it, and a covariance need
    not have told of them. A batch more even than such a draw, or even but for absent classes, is still a good
    guess; there ignorance wins if the pass has counts spread more than ∇b allows.
    """
    chosen = passes.best
    if chosen is None:
        return ignorance(given, proofs)
    if doubtful(chosen):
        ignorant, entries = ignorance(given, proofs), len(given.y) - 1
        (evidence, _), (rival, distance) = (_as_draw(one, given.batch_size) for one in (chosen, ignorant))
        fits = distance <= entries + DEVIATIONS * math.sqrt(2 * entries)
        drawn = _may_be_drawn(given, proofs)
        if (drawn and fits and rival > evidence) or ((fits or not drawn) and _spread(given, chosen) > SPREAD):
            return ignorant
    return chosen


def ignorance(given: lattice.Problem, proofs: PresenceProofs) -> Pass:
    """S_j = Σ_k p_{k,j} the same for all classes but for a variance of K/C, and no more of ∇W than its signs.

    The variance is that of a confident network, whose probabilities sum to the counts of a batch
    drawn at random. The bounds hold all the same, and the counts sum to K. A class without a sign of
    presence is the likelier to be absent, the more such a batch leaves out; one called absent
    has S = y, and the others share the rest.
    """
    size, classes = given.batch_size, len(given.y)
    level, absent = size / classes, (1 - 1 / classes) ** size
    cost = penalty(proofs, absent / (1 - absent) if _may_be_drawn(given, proofs) else 1.0)
    out = torch.as_tensor((cost > 0) & ~(cost > 0).all()).to(given.y.device)
    x = torch.where(out, 0.0, (size - given.y[out].sum()) / (~out).sum() - given.y)
    covariance = level * (torch.eye(classes).to(x) - 1 / (classes + 1e-6))
    lower = proofs.presumed.cpu().numpy()
    try:
        beam = decode(x.cpu().numpy(), covariance.cpu().numpy(), lower, cost, size)
    except FAILURES:
        beam = Beam(np.zeros((0, classes), dtype=np.int64), np.zeros(0), 0.0)
    if len(beam.vectors) == 0:
        nearest = largest_remainder(x, proofs.presumed, size).cpu().numpy()
        beam = Beam(nearest[None], np.full(1, np.inf), 0.0)
    P = torch.full_like(x, 1 / classes)[None]
    return weigh(x, covariance, beam, P, torch.zeros_like(P), None)


def _may_be_drawn(given: lattice.Problem, proofs: PresenceProofs) -> bool:
    """Whether no more classes show no sign of presence than after a uniform draw, but for chance."""
    classes, size = len(given.y), given.batch_size
    absent = classes * (1 - 1 / classes) ** size
    missed = MISSED * (classes - absent)
    variance = classes * (classes - 1) * (1 - 2 / classes) ** size + absent - absent**2 + missed
    return int((proofs.unsigned & proofs.nonnegative).sum()) <= absent + missed + DEVIATIONS * math.sqrt(variance)


def _as_draw(one: Pass, size: int) -> tuple[float, float]:
    """x as that of a uniform draw, N(K/C, K/C (I − 11ᵀ/C) + R): log-density but for a constant, squared distance."""
    level = size / len(one.x)
    covariance = one.covariance + level * (torch.eye(len(one.x)).to(one.x) - 1 / len(one.x))
    factor, failed = torch.linalg.cholesky_ex(covariance[:-1, :-1])  # the sum is known
    if failed:
        return -math.inf, math.inf
    residual = torch.linalg.solve_triangular(factor, (one.x - level)[:-1, None], upper=False)
    distance = float(residual.square().sum())
    return -float(factor.diagonal().log().sum()) - distance / 2, distance


def _spread(given: lattice.Problem, one: Pass) -> float:
    """How many times the counts' variance is what ∇b allows.

    If a network gives a class β of an instance's probability more where the instance is of it, then
    S = K/C + β(n − K/C) + rest, and y = S − n has (1 − β)² of the variance of n, and that of the rest.
    """
    n = torch.as_tensor(one.beam.vectors[0]).to(given.y)
    classes = torch.arange(len(n), device=n.device)
    own, mean = one.P[one.rows(classes), classes], (one.x + given.y) / given.batch_size
    beta = float(n @ (own - mean)) / given.batch_size
    return float(n.var() / given.y.var()) * (1 - beta) ** 2


def largest_remainder(x: Tensor, lower: Tensor, total: int) -> Tensor:
    """Whole counts near `x` (C,), at least `lower` (C,), that sum to `total`, (C,) int64."""
    room = (x - lower).clamp(min=0)
    room = room if float(room.sum()) > 0 else torch.ones_like(room)
    share = room * ((total - lower.sum()) / room.sum())
    counts = lower + share.floor().to(torch.int64)
    first = torch.argsort(share - share.floor(), descending=True, stable=True)
    counts[first[: total - int(counts.sum())]] += 1
    return counts
