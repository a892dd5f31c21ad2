"""Doubtful counts: what the fit, the constant guess and a prior on counts say together.

On trained networks R, the fit's covariance, is too narrow, and the constant guess S_j = K/C, which looks at nothing
but ∇b, is the better on some batches. Of r classes that may be present, with a = K/r instances each on average, let g
be the counts of the guess and x those of the fit. The model, class by class:

    n_j = 0 with probability π, else normal with mean a/(1 − π) and variance T²;
    g_j − a = (1 − β)(n_j − a) − ε_j       for S_j varies by ε about a line of slope β in n;
    x_j − n_j = η_j                        the fit's error;
    Var ε_j = σ²,   Var η_j = τ_j²,   corr(η_j, −ε_j) = ρ.

Two kinds of head are held possible (`HEADS`). A fair one has little noise in S, and fits that miss what the guess
misses (ρ > 0), in whatever class (τ_j² = τ²). One that favours some classes whatever it sees, as after training on a
long tail of them, has an S far from K/C, but R knows in which classes fits err (τ_j² = τ² R_jj / mean R, ρ = 0).
Nothing is known of T, σ, τ, β, π and the kind of head but their ranges: all are integrated over grids, weighted by the
likelihood of g and x. So a fit that is off counts for little, a guess that is off likewise, and even counts, which vary
little beside S, are drawn to their mean (empirical Bayes: Efron and Morris, *Stein's Estimation Rule and Its
Competitors*, 1973). Whole counts are decoded from the posterior mean of n with its posterior variance.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from irlg.restoration.lattice.bounds import TOLD, PresenceProofs
from irlg.restoration.lattice.decoding import Beam
from irlg.restoration.lattice.layer import Problem
from irlg.restoration.lattice.passes import BORNE_OUT, FAILURES, Pass, decoded, weigh
from irlg.restoration.rounding import largest_remainder


@dataclass(frozen=True)
class Head:
    """What is supposed of a last layer: its `prior` probability; values of σ²/a and of β; ρ; whether R knows errors."""

    prior: float
    noise: tuple[float, ...]
    slope: tuple[float, ...]
    tie: float
    known: bool


# Measured on networks of development (seeds 7001 and 7002), batches of 8 to 512: after fair training σ²/a is 0.05 to
# 0.5, β 0.03 to 0.25, ρ 0 to 0.6 and mostly 0.2 to 0.5; after a long tail σ²/a is 0.5 to 6, β up to 0.9, ρ −0.1 to 0.2.
# Of the prior, 0.01 and 0.05 are alike; ρ = 0.35 is the best of 0, 0.15, 0.25, 0.35, 0.45 and 0.5.
HEADS = (
    Head(0.99, noise=(0.05, 0.1, 0.2, 0.4), slope=(0.0, 0.15, 0.3), tie=0.35, known=False),
    Head(0.01, noise=(0.5, 1.0, 2.0, 4.0, 8.0), slope=(0.0, 0.3, 0.6, 0.9), tie=0.0, known=True),
)
# Grids of T²/a, of π, and of τ² in units of R as large as its misfit asks. Wider and finer ones gain 0.003 of LnAcc.
VARIANCE = (0.02, 0.1, 0.5, 1.5, 5.0)
ABSENT = (0.0, 0.1, 0.3, 0.5, 0.7)
SCALE = (0.5, 1.2, 3.0, 7.0)
# Classes up to which the fit is left out where the network has learnt: on networks of development IRec is 0.87 without
# and 0.66 with it at C = 2, 0.82 and 0.78 at 3, as much at 4 and 6; exact batches 0.37 and 0.18, 0.26 and 0.27.
HARDLY = 3


def answer(given: Problem, proofs: PresenceProofs, fit: Pass | None) -> Pass:
    """The fit's pass or, where that is doubtful, one of counts that are drawn as the model above says."""
    if fit is not None and (not fit.doubtful() or int(proofs.lower_bounds.sum()) == given.batch_size):
        return fit  # sure, or all that the bounds leave
    if fit is not None and fit.untold(HARDLY):
        fit = None
    there = ~proofs.unlikely | proofs.unlikely.all()  # if all seem absent, none is
    size = given.batch_size
    guess = given.guess()
    guess = torch.where(there, guess + guess[~there].sum() / there.sum(), 0.0)
    mean, variance = guess.clone(), torch.full_like(guess, 1e-4)  # of classes that seem absent: 0, all but surely
    if fit is None:  # then S may be anything, and follow n: no more is known than of a uniform draw
        P = torch.full_like(guess, 1 / len(guess))[None]
        s2, means, misfit, share = torch.zeros_like(P), None, 1.0, 0.0
        variance[there] = size / there.sum()
    else:
        spread = fit.misfit * fit.covariance.diagonal()
        # Classes that show a sign are there: without that, a fit that is off would make few of many.
        shown = (proofs.presumed[there] > 0) & proofs.nonnegative
        if proofs.why != TOLD:  # a guess at signs misses more of them: it is taken where it misses none
            shown = shown.all().expand_as(shown)
        mean[there], variance[there], share = posterior(guess[there], fit.x[there], spread[there], shown)
        P, s2, means, misfit = fit.P, fit.s2, fit.means, fit.misfit
    variance = variance + given.y_variance / given.loss.hit**2
    mean = mean + (size - mean.sum()) * variance / variance.sum()
    covariance = torch.diag(variance).addr_(variance, variance / (variance.sum() + 1e-6), alpha=-1)
    try:
        beam = decoded(given, proofs, mean, covariance)
    except FAILURES:
        beam = Beam(np.zeros((0, len(mean)), dtype=np.int64), np.zeros(0), 0.0)
    if len(beam.vectors) == 0:
        beam = Beam(largest_remainder(mean, proofs.presumed, size).cpu().numpy()[None], np.full(1, np.inf), 0.0)
    drawn = weigh(mean, covariance, beam, P, s2, means)
    return replace(drawn, share=share, misfit=max(drawn.misfit, misfit), trust=drawn.trust * BORNE_OUT)


def posterior(guess: Tensor, fit: Tensor, spread: Tensor, shown: Tensor) -> tuple[Tensor, Tensor, float]:
    """Posterior mean and variance of the counts, (r,) each, and the share of the fit in them.

    **Arguments:** (r,) each: counts of the guess, which sum to those of all r classes; of the fit; R's diagonal; and
    `shown`, which classes show that they are there: π is 0 of these.
    """
    a = guess.mean().clamp(min=1e-9)
    parts = [_of_head(head, shown, a, guess - a, fit - a, spread.clamp(1e-9, 1e12)) for head in HEADS]
    evidence, means, variances, shares = (torch.cat(part) for part in zip(*parts, strict=True))
    weights = evidence.softmax(dim=0)
    mean = weights @ means
    return a + mean, weights @ (variances + (means - mean) ** 2), float(weights @ shares)


def _of_head(
    head: Head, shown: Tensor, a: Tensor, g: Tensor, x: Tensor, spread: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-evidence (N,), means and variances (N, r), and shares of the fit (N,), at N points of the grids."""
    of_absent = (0.0,) if bool(shown.all()) else ABSENT
    grids = [torch.tensor(values).to(g) for values in (VARIANCE, head.noise, head.slope, SCALE, of_absent)]
    T, noise, slope, scale, absent = (axis.flatten()[:, None] for axis in torch.meshgrid(*grids, indexing="ij"))
    T, noise, kept = a * T, a * noise, 1 - slope  # 1 − β
    average = a / (1 - absent * (~shown).double().mean())  # of the classes that are there
    absent = absent * ~shown
    error = scale * (spread if head.known else spread.mean())
    tied = head.tie * (noise * error).sqrt()

    def component(T: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-likelihood, and mean, variance and the fit's share of the counts, if they are N(m, T)."""
        gg, xx, gx = kept**2 * T + noise, T + error, kept * T + tied
        det, dg, dx = gg * xx - gx**2, g - kept * m, x - m
        likelihood = -det.log() / 2 - (xx * dg**2 - 2 * gx * dg * dx + gg * dx**2) / (2 * det)
        of_g, of_x = T * (kept * xx - gx) / det, T * (gg - kept * gx) / det
        return likelihood, m + of_g * dg + of_x * dx, T * (1 - kept * of_g - of_x), of_x / (of_g + of_x)

    with_some, mean, variance, share = component(T, average - a)
    with_none = component(torch.zeros_like(T), -a)[0] + absent.log()
    likelihood = torch.logaddexp(with_some + (1 - absent).log(), with_none)
    none = (with_none - likelihood).exp()
    blended = (1 - none) * mean - none * a
    variance = (1 - none) * (variance + (mean - blended) ** 2) + none * (a + blended) ** 2
    # a is the mean of g, so that r classes have r − 1 degrees of freedom, and say so much less.
    evidence = likelihood.sum(dim=1) * (1 - 1 / len(g)) + np.log(head.prior / len(T))
    return evidence, blended, variance, share.clamp(0, 1).mean(dim=1)
