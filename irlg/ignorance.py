"""The constant guess, which knows nothing of embeddings but signs: what doubtful counts are drawn towards."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from irlg import lattice
from irlg.bounds import PresenceProofs, most_unsigned
from irlg.decoding import Beam, decode
from irlg.estimator import FAILURES, UNSURE, Pass, Passes, doubtful, penalty, weigh

SPREAD = 0.08  # about ‖S − K/C‖² / K of random batches on trained networks of development, where most have 0.05 to 0.2


def answer(given: lattice.Problem, proofs: PresenceProofs, passes: Passes) -> Pass:
    """The best pass or, where that is doubtful, its real-valued counts drawn towards the constant guess's.

    On trained networks R is too narrow to weigh a pass by. But S itself is only so far from the guess, and a pass
    that is further from it errs. The quotient of both squared distances would be its share if its errors were
    independent of the guess's. They are not, and it is the square of that. The covariances are mixed likewise.
    """
    chosen = passes.best
    if chosen is not None and not doubtful(chosen):
        return chosen
    x, covariance, cost, near = guess(given, proofs)
    P, share, misfit, most = torch.full_like(x, 1 / len(x))[None], 0.0, 1.0, UNSURE
    s2, means = torch.zeros_like(P), None
    if chosen is not None:
        apart = float((chosen.x - x).square().sum())
        share = (near / max(near, apart)) ** 2
        x, covariance = x.lerp(chosen.x, share), covariance.lerp(chosen.covariance, share)
        P, s2, means, misfit, most = chosen.P, chosen.s2, chosen.means, chosen.misfit, float(chosen.weights[0])
    try:
        beam = decode(x.cpu().numpy(), covariance.cpu().numpy(), proofs.presumed.cpu().numpy(), cost, given.batch_size)
    except FAILURES:
        beam = Beam(np.zeros((0, len(x)), dtype=np.int64), np.zeros(0), 0.0)
    if len(beam.vectors) == 0:
        nearest = largest_remainder(x, proofs.presumed, given.batch_size).cpu().numpy()
        beam = Beam(nearest[None], np.full(1, np.inf), 0.0)
    drawn = weigh(x, covariance, beam, P, s2, means)
    # It is no surer than the fit, and what rejects the fit rejects its model.
    trust = min(1.0, most / max(float(drawn.weights[0]), most))
    return replace(drawn, share=share, misfit=max(drawn.misfit, misfit), trust=trust)


def guess(given: lattice.Problem, proofs: PresenceProofs) -> tuple[Tensor, Tensor, np.ndarray, float]:
    """S_j = Σ_k p_{k,j} the same for all classes but for a variance of K/C, and no more of ∇W than its signs.

    The variance is that of a confident network, whose probabilities sum to the counts of a batch
    drawn at random. A class without a sign of presence is the likelier to be absent, the more such a batch
    leaves out; one called absent has S = y, and the others share the rest.

    **Returns:** x (C,), its covariance (C, C), what it costs to call each class present (C,), and about how
    large ‖S − the guess‖² is: in proportion to the spread of the counts, no less than a uniform draw's, and no less
    than the bounds ask for.
    """
    size, classes = given.batch_size, len(given.y)
    absent = (1 - 1 / classes) ** size
    drawn = int(proofs.unlikely.sum()) <= most_unsigned(classes, size, proofs.missed)
    cost = penalty(proofs, absent / (1 - absent) if drawn else 1.0)
    out = torch.as_tensor((cost > 0) & ~(cost > 0).all()).to(given.y.device)
    x = torch.where(out, 0.0, (size - given.y[out].sum()) / (~out).sum() - given.y)
    owed = float((proofs.presumed - x).clamp(min=0).square().sum())
    near = max(SPREAD * max(size, float((x[~out] - x[~out].mean()).square().sum())), owed)
    return x, size / classes * (torch.eye(classes).to(x) - 1 / (classes + 1e-6)), cost, near


def largest_remainder(x: Tensor, lower: Tensor, total: int) -> Tensor:
    """Whole counts near `x` (C,), at least `lower` (C,), that sum to `total`, (C,) int64."""
    room = (x - lower).clamp(min=0)
    room = room if float(room.sum()) > 0 else torch.ones_like(room)
    share = room * ((total - lower.sum()) / room.sum())
    counts = lower + share.floor().to(torch.int64)
    first = torch.argsort(share - share.floor(), descending=True, stable=True)
    counts[first[: total - int(counts.sum())]] += 1
    return counts
