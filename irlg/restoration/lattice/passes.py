"""The lattice estimator's passes: fit, decode, and again with what was decoded (docs/estimator.md)."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from irlg.restoration.lattice.bounds import MISSED, NOT_DETECTED, PresenceProofs
from irlg.restoration.lattice.counts import real_counts
from irlg.restoration.lattice.decoding import Array, Beam, decode
from irlg.restoration.lattice.denoising import denoised
from irlg.restoration.lattice.layer import Problem
from irlg.restoration.lattice.least_squares import ClassMeans, design, least_squares, row_noise
from irlg.restoration.lattice.logits import logit_covariance, mean_softmax

PASSES = 3  # on networks of development 2 lose 0.003 of LnAcc, 4 gain as much on some and lose it on others
UNSURE = 0.5  # probability of the counts below which they are doubtful: more likely wrong than right
# Up to FEW classes nothing is left over to see by whether the model holds. It does not where a class that is there
# gives another less than LITTLE of 1/C, that is where the network has learnt: on networks of development (seeds 7003 to
# 7011, C = 2 to 10) 552 of 1,139 answers at p > 0.999 were wrong there, 2 of 1,709 elsewhere; 1 of 2,407 at C = 12, 16.
FEW, LITTLE = 10, 0.25
REJECTED = 4.0  # misfit above which the residual rejects the model; right counts have 1 to 2 on networks of development
FAILURES = (np.linalg.LinAlgError, torch.linalg.LinAlgError)  # type: ignore[attr-defined]
# Share of the mean embedding, by size, that may be negative where signs are supposed: on trained networks of
# development below 0.02 after a ReLU, a leaky one, a SiLU or a GELU (FCN-3: 0.08), and above 0.5 after a tanh.
NEGATIVE = 0.1
BORNE_OUT = 0.98  # probability, at most, of counts that rest on what was guessed: a choice, no measurement


@dataclass(frozen=True, eq=False)
class Pass:
    """What one pass found: real-valued counts `x` and their covariance, and the decoded vectors.

    `P` and `s2` (r + 1, C) and `means` are those of equations (3) to (6); `means` is `None` where nothing was fitted.
    `misfit` is above 1 where the residual is larger than R admits; `score` is minus twice the log-evidence, up to a
    constant; `weights` are those of the beam's vectors among each other, and the probability of each is its weight
    times `trust`; `share` of `x` is the fit's, the rest that of the guess and the prior (see `shrinkage`).
    """

    x: Tensor
    covariance: Tensor
    beam: Beam
    misfit: float
    weights: np.ndarray
    score: float
    P: Tensor
    s2: Tensor
    means: ClassMeans | None
    trust: float
    share: float = 1.0

    def rows(self, classes: Tensor) -> Tensor:
        """Which rows of `P` and `s2` stand for each of `classes`."""
        return torch.zeros_like(classes) if self.means is None else self.means.row_of(classes)

    def doubtful(self) -> bool:
        """Whether its counts are not sure, its misfit rejects the model, or too few classes tell whether that holds."""
        return self.untold(FEW) or bool(self.weights[0] < UNSURE or self.misfit > REJECTED)

    def untold(self, few: int) -> bool:
        """Whether up to so many classes, which the network has learnt, are too few to tell whether the model holds."""
        return self.P.shape[1] <= few and bool(self.P[:-1].min() * self.P.shape[1] < LITTLE)


def estimate(given: Problem, proofs: PresenceProofs) -> tuple[Pass | None, str]:
    """Run the passes, and say why they stopped. **Returns:** the last that worked, if any did, and the reason.

    None is run where the bias gradient is 0 but for rounding, which says nothing of the counts.
    """
    rounding = 16 * min(given.rounding, torch.finfo(torch.float32).eps)
    if float(given.y.abs().max()) <= rounding * given.batch_size:
        return None, "the gradients are 0 but for rounding"
    n, v, last = _start(given, proofs), torch.zeros_like(given.y), None
    for _ in range(PASSES):
        before = last
        try:
            last = _pass(given, proofs, n, v, before)
        except FAILURES as error:
            return before, f"a factorisation failed ({str(error).splitlines()[0]})"
        if before is not None and (before.beam.vectors[0] == last.beam.vectors[0]).all():
            return last, "the counts repeat"
        vectors = torch.as_tensor(last.beam.vectors, dtype=n.dtype, device=n.device)
        weights = torch.as_tensor(last.weights, device=n.device)
        n = weights @ vectors
        v = weights @ (n - vectors) ** 2
    return last, f"{PASSES} passes are done"


def solve(given: Problem, proofs: PresenceProofs) -> tuple[PresenceProofs, Pass | None, str]:
    """`estimate`, and once more with signs that nobody told of, where the fit bears them out.

    That is where the counts are not sure without them and the mean embedding of the fit is hardly anywhere negative.
    """
    found, reason = estimate(given, proofs)
    if proofs.why != NOT_DETECTED or not (found is None or found.doubtful()):
        return proofs, found, reason
    signed = proofs.supposing(given.batch_size)
    if int(signed.presumed.sum()) <= given.batch_size and not signed.same_as(proofs):
        rival, why = estimate(given, signed)
        if rival is not None and _positive(found or rival):
            return signed, rival, why
    return proofs, found, reason


def _positive(found: Pass) -> bool:
    """Whether hardly any of the mean embedding is negative, as after a ReLU, a leaky one, a SiLU or a GELU."""
    if found.means is None:
        return False
    mu = found.means.mu
    return bool((-mu).clamp(min=0).sum() <= NEGATIVE * mu.abs().sum())


def _start(given: Problem, proofs: PresenceProofs) -> Tensor:
    """Real-valued counts, (C,), from which the passes begin: the constant guess, but at least the bounds."""
    lower = proofs.presumed.double()
    guess = given.guess()
    n = torch.where(guess < 0.5, lower, torch.maximum(guess, lower))  # absent until more is known
    if not bool(n.any()):  # a few instances, of which the network is sure
        n = guess.clamp(min=0)
    return n * (given.batch_size / n.sum())


def _pass(given: Problem, proofs: PresenceProofs, n: Tensor, v: Tensor, last: Pass | None) -> Pass:
    """Equations (3) to (7) once, from counts `n` (C,) of variance `v` (C,) and the pass before, if there is one."""
    classes = torch.nonzero(n)[:, 0]
    rows = None if last is None else last.rows(classes)
    P, s2 = (None, None) if last is None else (last.P[rows], last.s2[rows])
    M, D = design(given, n, P)
    given = denoised(given, M, D)
    fit = least_squares(given, n, M, D, row_noise(given, n, v, P, s2))
    counts = torch.cat([n[classes], n.new_zeros(1)])  # with that of the other classes
    omega = logit_covariance(given, fit, counts[:-1])
    P = mean_softmax(fit.Z, omega, counts)
    x, covariance, s2 = real_counts(given, fit, omega, P, counts)
    if not bool(torch.isfinite(covariance.sum() + x.sum())):  # one that is not makes the sum so
        raise np.linalg.LinAlgError("the covariance of the counts is not finite")
    beam = decoded(given, proofs, x, covariance)
    if len(beam.vectors) == 0:
        raise np.linalg.LinAlgError("no admissible vector of counts was found")
    return weigh(x, covariance, beam, P, s2, fit.means)


def decoded(given: Problem, proofs: PresenceProofs, x: Tensor, covariance: Tensor) -> Beam:
    """Equation (7): whole counts that obey the bounds and sum to K; each without a sign of presence costs."""
    lower, cost = proofs.presumed.cpu().numpy(), -2 * math.log(MISSED) * proofs.unlikely.double().cpu().numpy()
    return decode(x.cpu().numpy(), covariance.cpu().numpy(), lower, cost, given.batch_size)


def weigh(x: Tensor, covariance: Tensor, beam: Beam, P: Tensor, s2: Tensor, means: ClassMeans | None) -> Pass:
    """A pass of these, with the weights of the beam's vectors, and the trust that what it lost leaves them."""
    least = float(beam.costs[0])
    misfit = max(1.0, least / len(x))
    if math.isinf(least):
        return Pass(x, covariance, beam, misfit, np.zeros(1), math.inf, P, s2, means, trust=1.0)
    best = _minus_log(beam.costs[0], len(x))
    weights = np.exp(best - _minus_log(beam.costs, len(x)))
    held, lost = weights.sum(), 0.0
    if math.isfinite(beam.lost):
        lost = math.exp(min(float(best - _minus_log(beam.lost, len(x))), 700.0))
    trust = float(held / (held + lost))
    return Pass(x, covariance, beam, misfit, weights / held, least + beam.log_det, P, s2, means, trust)


def _minus_log(costs: ArrayLike, classes: int) -> Array:
    """Minus the log-weight of vectors, each at the best inflation φ ≥ 1 of R for it: φ^(−C/2) exp(−cost / 2φ)."""
    costs = np.asarray(costs, dtype=np.float64)
    inflation = np.maximum(costs / classes, 1.0)
    return classes / 2 * np.log(inflation) + costs / (2 * inflation)
