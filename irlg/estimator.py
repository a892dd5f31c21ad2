"""The lattice estimator's passes: fit, decode, repeat until stable (design, sections 1 and 2)."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from irlg import lattice
from irlg.bounds import PresenceProofs
from irlg.decoding import Beam, decode

PASSES = 10
KAPPA = (0.25, 0.02)  # regularisation of the first pass; halved in each, down to the second number
ABSENT = 2 * math.log(50)  # cost of calling a class present that shows no sign of it


@dataclass(frozen=True, eq=False)
class Pass:
    """What one pass found: real-valued counts and their covariance, and the decoded vectors."""

    x: Tensor
    covariance: Tensor
    probabilities: Tensor
    fit: lattice.Fit
    beam: Beam
    misfit: float  # fac: above 1 where the residual is larger than R admits
    weights: np.ndarray
    score: float  # minus twice the log-evidence, up to a constant


def estimate(given: lattice.Problem, proofs: PresenceProofs, size: int) -> tuple[list[Pass], str]:
    """Run the passes for a batch of `size`. **Returns:** those that worked, and why they stopped."""
    classes = len(given.y)
    lower = proofs.lower_bounds.cpu().numpy()
    unlikely = proofs.unsigned & (proofs.lower_bounds == 0) & proofs.nonnegative
    penalty = ABSENT * unlikely.double().cpu().numpy()

    n = torch.maximum(size / classes - given.y, proofs.lower_bounds.double())
    n = n * (size / n.sum())
    v, P, P_old, s2 = torch.zeros_like(n), None, None, None
    kappa, passes = KAPPA[0], list[Pass]()
    for _ in range(PASSES):
        try:
            if P is None or s2 is None:
                rho = torch.full_like(n, kappa)
            else:
                rho = lattice.row_noise(n, v, P, P if P_old is None else P_old, s2, kappa)
            fit = lattice.least_squares(given, n, P, rho)
            omega = lattice.logit_covariance(given, fit, n)
            P_old, P = P, lattice.mean_softmax(fit.Z, omega, n)
            x, covariance, s2 = lattice.real_counts(given, fit, omega, P, n)
            if not bool(torch.isfinite(covariance).all() and torch.isfinite(x).all()):
                return passes, "the covariance of the counts is not finite"
            beam = decode(x.cpu().numpy(), covariance.cpu().numpy(), lower, penalty, size)
        except (np.linalg.LinAlgError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
            return passes, f"a factorisation failed ({str(error).splitlines()[0]})"
        if len(beam.vectors) == 0:
            return passes, "no admissible vector of counts was found"
        passes.append(_weigh(x, covariance, P, fit, beam))
        last = passes[-1]
        vectors = torch.as_tensor(beam.vectors, dtype=n.dtype, device=n.device)
        weights = torch.as_tensor(last.weights, device=n.device)
        n = weights @ vectors
        v = weights @ (n - vectors) ** 2
        settled = kappa == KAPPA[1] or (last.weights[0] > 0.99 and last.misfit < 2)
        if len(passes) > 1 and settled and (passes[-2].beam.vectors[0] == beam.vectors[0]).all():
            return passes, "the counts repeat"
        kappa = max(kappa / 2, KAPPA[1])
    return passes, f"{PASSES} passes are done"


def best(passes: list[Pass]) -> Pass:
    """The pass of the highest evidence, but for the first if there are others."""
    return min(passes[1:] or passes, key=lambda one: one.score)


def largest_remainder(x: Tensor, lower: Tensor, total: int) -> Tensor:
    """Whole counts near `x` (C,), at least `lower` (C,), that sum to `total`, (C,) int64."""
    room = (x - lower).clamp(min=0)
    room = room if float(room.sum()) > 0 else torch.ones_like(room)
    share = room * ((total - lower.sum()) / room.sum())
    counts = lower + share.floor().to(torch.int64)
    first = torch.argsort(share - share.floor(), descending=True, stable=True)
    counts[first[: total - int(counts.sum())]] += 1
    return counts


def _weigh(x: Tensor, covariance: Tensor, P: Tensor, fit: lattice.Fit, beam: Beam) -> Pass:
    least = float(beam.costs[0])
    misfit = max(1.0, least / len(x))
    weights = np.exp(-(beam.costs - least) / (2 * misfit))
    return Pass(x, covariance, P, fit, beam, misfit, weights / weights.sum(), least + beam.log_det)
