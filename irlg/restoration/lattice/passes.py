"""The lattice estimator's passes: fit, decode, repeat until stable (design, sections 1 and 2)."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from irlg.restoration.lattice import decoding
from irlg.restoration.lattice.bounds import PresenceProofs
from irlg.restoration.lattice.counts import real_counts
from irlg.restoration.lattice.decoding import Array, Beam, decode
from irlg.restoration.lattice.layer import Problem
from irlg.restoration.lattice.least_squares import ClassMeans, least_squares, row_noise
from irlg.restoration.lattice.logits import logit_covariance, mean_softmax

PASSES = 10
KAPPA = (0.25, 0.02)  # regularisation of the first pass; halved in each, down to the second number
# Probability below which, and misfit from which on, the counts are doubtful.
UNSURE, REJECTED = 0.5, 4.0
FAILURES = (np.linalg.LinAlgError, torch.linalg.LinAlgError)  # type: ignore[attr-defined]
# Share of the mean embedding, by size, that may be negative where signs are supposed: on trained networks of
# development below 0.02 after a ReLU, a leaky one, a SiLU or a GELU (FCN-3: 0.08), and above 0.5 after a tanh.
NEGATIVE = 0.1
ADMITTED = 1.25  # by what factor signs may make the misfit worse, where they don't tell of absence
CONTRADICTED = 4.0  # by how much the score without signs that were used is the better, a class, for dropping them
# Probability that a beam has lost the likeliest vector on its way from which on one looks for it, how much wider.
STRAYED, WIDER = 1e-3, 16
BORNE_OUT = 0.98  # probability, at most, of counts that rest on such signs: a choice, no measurement


@dataclass(frozen=True, eq=False)
class Pass:
    """What one pass found: real-valued counts `x` and their covariance, and the decoded vectors.

    `P` and `s2` (r + 1, C) and `means` are those of equations (3) to (6); `means` is `None` where nothing was fitted.
    `share` of `x` is the fit's, the rest that of the constant guess (see `guess`). `weights` are those of
    the beam's vectors among each other; the probability of each is its weight times `trust`.
    """

    x: Tensor
    covariance: Tensor
    beam: Beam
    misfit: float  # above 1 where the residual is larger than R admits
    weights: np.ndarray
    score: float  # minus twice the log-evidence, up to a constant
    P: Tensor
    s2: Tensor
    means: ClassMeans | None
    trust: float
    share: float = 1.0

    @property
    def certainty(self) -> float:
        """The probability of the best vector."""
        return float(self.trust * self.weights[0])

    def rows(self, classes: Tensor) -> Tensor:
        """Which rows of `P` and `s2` stand for each of `classes`."""
        return torch.zeros_like(classes) if self.means is None else self.means.row_of(classes)


@dataclass(frozen=True, eq=False)
class Passes:
    """What the passes came to: how many worked, the `best` of them and the `last`, and why they stopped.

    The best is that of the highest evidence, but for the first if there are others. The rest are not
    kept: a pass holds some C × C arrays.
    """

    count: int
    best: Pass | None
    last: Pass | None
    stopped: str


def estimate(given: Problem, proofs: PresenceProofs) -> Passes:
    """Run the passes; none where the bias gradient is 0 but for rounding, which says nothing of the counts."""
    if float(given.y.abs().max()) <= 16 * given.rounding * given.batch_size:
        return Passes(0, None, None, "the gradients are 0 but for rounding")
    n, v = _start(given, proofs), torch.zeros_like(given.y)
    kappa, count, best, recent = KAPPA[0], 0, None, list[Pass]()
    for _ in range(PASSES):
        try:
            last = _pass(given, proofs, n, v, recent, kappa)
        except FAILURES as error:
            reason = f"a factorisation failed ({str(error).splitlines()[0]})"
            break
        count, recent = count + 1, [*recent[-1:], last]
        if best is None or count == 2 or last.score < best.score:
            best = last
        vectors = torch.as_tensor(last.beam.vectors, dtype=n.dtype, device=n.device)
        weights = torch.as_tensor(last.weights, device=n.device)
        n = weights @ vectors
        v = weights @ (n - vectors) ** 2
        settled = kappa == KAPPA[1] or (last.weights[0] > 0.99 and last.misfit < 2)
        if count > 1 and settled and (recent[0].beam.vectors[0] == last.beam.vectors[0]).all():
            reason = "the counts repeat"
            break
        kappa = max(kappa / 2, KAPPA[1])
    else:
        reason = f"{PASSES} passes are done"
    return Passes(count, best, recent[-1] if recent else None, reason)


def solve(given: Problem, proofs: PresenceProofs) -> tuple[PresenceProofs, Passes]:
    """`estimate`, and once more where it was guessed whether signs are used, and the fit speaks for the contrary.

    Clear signs that were not used are, where the counts are not sure without and the mean embedding of the fit is
    hardly anywhere negative; if they don't tell of absence, the residual has to admit them, too. Signs that were used
    are not, where the residual rejects what they ask for but not what is found without, and the score without is
    much better.
    """
    passes = estimate(given, proofs)
    best, supposed = passes.best, not proofs.nonnegative
    other = proofs.supposing(supposed, given.batch_size)
    same = bool((other.presumed == proofs.presumed).all() and (other.unlikely == proofs.unlikely).all())
    asks = best is None or (doubtful(best) if supposed else best.misfit > REJECTED)
    if not proofs.guessed or not asks or same or int(other.presumed.sum()) > given.batch_size:
        return proofs, passes
    rival = estimate(given, other)
    if rival.best is None:
        return proofs, passes
    misfit, score = (math.inf, math.inf) if best is None else (best.misfit, best.score)
    if supposed:
        admitted = bool(other.unlikely.any()) or rival.best.misfit <= max(REJECTED, ADMITTED * misfit)
        taken = admitted and _positive(best or rival.best)
    else:
        taken = rival.best.misfit <= REJECTED and score - rival.best.score > CONTRADICTED * len(given.y)
    return (other, rival) if taken else (proofs, passes)


def _positive(one: Pass) -> bool:
    """Whether hardly any of the mean embedding is negative, as after a ReLU, a leaky one, a SiLU or a GELU."""
    if one.means is None:
        return False
    mu = one.means.mu
    return bool((-mu).clamp(min=0).sum() <= NEGATIVE * mu.abs().sum())


def doubtful(one: Pass) -> bool:
    """Whether its counts are not sure, or its misfit rejects the model."""
    return bool(one.weights[0] < UNSURE or one.misfit > REJECTED)


def assured(given: Problem, proofs: PresenceProofs, one: Pass) -> Pass:
    """A pass whose counts are not doubtful, or the same with a wider beam if its own may have lost a likelier vector.

    All that such a beam holds share a wrong beginning, and the best of them looks sure beside the others. A wider one
    may lose what a narrow one held; then nothing changes.
    """
    if 1 - one.trust < STRAYED:
        return one
    x, covariance, lower = (t.cpu().numpy() for t in (one.x, one.covariance, proofs.presumed))
    beam = decode(x, covariance, lower, penalty(proofs), given.batch_size, WIDER * decoding.WIDTH)
    if len(beam.vectors) == 0 or beam.costs[0] > one.beam.costs[0]:
        return one
    return weigh(one.x, one.covariance, beam, one.P, one.s2, one.means)


def _start(given: Problem, proofs: PresenceProofs) -> Tensor:
    """Real-valued counts, (C,), from which the passes begin: the constant guess, but at least the bounds."""
    lower = proofs.presumed.double()
    guess = given.batch_size / len(given.y) - given.y
    n = torch.where(guess < 0.5, lower, torch.maximum(guess, lower))  # absent until more is known
    return n * (given.batch_size / n.sum())


def _pass(given: Problem, proofs: PresenceProofs, n: Tensor, v: Tensor, earlier: list[Pass], kappa: float) -> Pass:
    """Equations (3) to (7) once, from counts `n` (C,) of variance `v` (C,) and the two passes before, or fewer."""
    classes = torch.nonzero(n)[:, 0]
    if earlier:
        before, last = earlier[0], earlier[-1]
        P_old, P, s2 = before.P[before.rows(classes)], last.P[last.rows(classes)], last.s2[last.rows(classes)]
        fit = least_squares(given, n, P, row_noise(n[classes], v, P, P_old, s2, kappa))
    else:
        fit = least_squares(given, n, None, torch.full_like(n, kappa))
    counts = torch.cat([n[classes], n.new_zeros(1)])  # with that of the other classes
    omega = logit_covariance(given, fit, counts[:-1])
    P = mean_softmax(fit.Z, omega, counts)
    x, covariance, s2 = real_counts(given, fit, omega, P, counts)
    if not bool(torch.isfinite(covariance.sum() + x.sum())):  # one that is not makes the sum so
        raise np.linalg.LinAlgError("the covariance of the counts is not finite")
    lower = proofs.presumed.cpu().numpy()
    beam = decode(x.cpu().numpy(), covariance.cpu().numpy(), lower, penalty(proofs), given.batch_size)
    if len(beam.vectors) == 0:
        raise np.linalg.LinAlgError("no admissible vector of counts was found")
    return weigh(x, covariance, beam, P, s2, fit.means)


def penalty(proofs: PresenceProofs, odds: float = 1.0) -> np.ndarray:
    """What each class that shows no sign of presence costs if it is called present, (C,).

    `odds`: those of absence against presence without a look at signs.
    """
    cost = -2 * math.log(proofs.missed / max(odds, proofs.missed))
    return cost * proofs.unlikely.double().cpu().numpy()


def weigh(x: Tensor, covariance: Tensor, beam: Beam, P: Tensor, s2: Tensor, means: ClassMeans | None) -> Pass:
    """A pass of these, with the weights of the beam's vectors, and the trust that what it lost leaves them."""
    least = float(beam.costs[0])
    misfit = max(1.0, least / len(x))
    if math.isinf(least):
        return Pass(x, covariance, beam, misfit, np.zeros(1), math.inf, P, s2, means, trust=1.0)
    weights = np.exp(_minus_log(beam.costs[:1], len(x)) - _minus_log(beam.costs, len(x)))
    held = weights.sum()
    lost = 0.0
    if math.isfinite(beam.lost):
        lost = math.exp(min(float(_minus_log(beam.costs[0], len(x)) - _minus_log(beam.lost, len(x))), 700.0))
    trust = float(held / (held + lost))
    return Pass(x, covariance, beam, misfit, weights / held, least + beam.log_det, P, s2, means, trust)


def _minus_log(costs: ArrayLike, classes: int) -> Array:
    """Minus the log-weight of vectors, each at the best inflation φ ≥ 1 of R for it: φ^(−C/2) exp(−cost / 2φ)."""
    costs = np.asarray(costs, dtype=np.float64)
    inflation = np.maximum(costs / classes, 1.0)
    return classes / 2 * np.log(inflation) + costs / (2 * inflation)
