"""The constant guess, which knows nothing of embeddings but signs: what doubtful counts are drawn towards."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from irlg.restoration.lattice.bounds import PresenceProofs, most_unsigned
from irlg.restoration.lattice.decoding import Beam, decode
from irlg.restoration.lattice.layer import Problem
from irlg.restoration.lattice.passes import FAILURES, UNSURE, Pass, Passes, assured, doubtful, penalty, weigh
from irlg.restoration.rounding import largest_remainder

SPREAD = 0.08  # about ‖S − K/C‖² / K of random batches on trained networks of development, where most have 0.05 to 0.2
SLOPE = 0.2  # what S grows by with a count: 0.04 on networks of development after 1 epoch, 0.24 after 12
LEAST = 0.02  # share of S's variance that is left to counts however even they look
# Relative variance of S over the classes, above which the head may favour some, and its product with that of K∇b,
# above which a fit can tell. On networks of development both are above in 81 and 86 of 100 batches that a client of a
# long tail of classes draws, in one of 100 where training saw as much of all classes.
FAVOURS, TELLS = 0.5, 0.15
ERRORS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)  # of real-valued counts; more than the last hide what is whole
ODDS = 8.0  # logarithm of the greatest odds of fit against guess that are looked at


def answer(given: Problem, proofs: PresenceProofs, passes: Passes, even: bool = True) -> Pass:
    """The best pass or, where that is doubtful, its real-valued counts drawn towards the constant guess's.

    On trained networks R is too narrow to weigh a pass by; `_share` tells how much of it is kept. The covariances
    are mixed likewise, the fit's as large as its misfit asks for. `even`: see `guess`.
    """
    chosen = passes.best
    if chosen is not None and not doubtful(chosen):
        chosen = assured(given, proofs, chosen)
        if not doubtful(chosen):
            return chosen
    x, covariance, cost, near = guess(given, proofs, even)
    P, share, misfit = torch.full_like(x, 1 / len(x))[None], 0.0, 1.0
    s2, means = torch.zeros_like(P), None
    if chosen is not None:
        share = _share(given, chosen.x, x, possible(cost, x), near)
        x, covariance = x.lerp(chosen.x, share), covariance.lerp(chosen.misfit * chosen.covariance, share)
        P, s2, means, misfit = chosen.P, chosen.s2, chosen.means, chosen.misfit
    try:
        beam = decode(x.cpu().numpy(), covariance.cpu().numpy(), proofs.presumed.cpu().numpy(), cost, given.batch_size)
    except FAILURES:
        beam = Beam(np.zeros((0, len(x)), dtype=np.int64), np.zeros(0), 0.0)
    if len(beam.vectors) == 0:
        nearest = largest_remainder(x, proofs.presumed, given.batch_size).cpu().numpy()
        beam = Beam(nearest[None], np.full(1, np.inf), 0.0)
    drawn = weigh(x, covariance, beam, P, s2, means)
    # The guess tells half of what it seems to, and what rejects the fit rejects its model.
    trust = drawn.trust * (share + (1 - share) * UNSURE)
    return replace(drawn, share=share, misfit=max(drawn.misfit, misfit), trust=trust)


def guess(given: Problem, proofs: PresenceProofs, even: bool = True) -> tuple[Tensor, Tensor, np.ndarray, float]:
    """S_j = Σ_k p_{k,j} the same for all classes but for some noise, and no more of ∇W than its signs.

    The relative variance of the noise is SPREAD C/K. A class without a sign of presence is the likelier to be absent,
    the more a random batch leaves out; one called absent has S = y, and the others share the rest.
    `even`: whether it may notice that classes have about as many instances each, after which a score can't be compared.

    **Returns:** x (C,), its covariance (C, C), what it costs to call each class present (C,), and about how
    large ‖S − the guess‖² is where the head favours no class: in proportion to the spread of the counts, no less than
    a uniform draw's, and no less than the bounds ask for.
    """
    size, classes = given.batch_size, len(given.y)
    absent = (1 - 1 / classes) ** size
    drawn = int(proofs.unlikely.sum()) <= most_unsigned(classes, size, proofs.missed)
    cost = penalty(proofs, absent / (1 - absent) if drawn else 1.0)
    there = possible(cost, given.y)
    level = (size - given.y[~there].sum()) / there.sum()
    x = torch.where(there, level - given.y, 0.0)
    owed = float((proofs.presumed - x).clamp(min=0).square().sum())
    near = max(SPREAD * max(size, _spread(x[there])), owed)
    noise = SPREAD * classes / size * float(level) ** 2
    x, variance = _evened(x, there, noise) if even else (x, torch.full_like(x, noise))
    variance = variance + (given.rounding * given.y) ** 2 / 12  # that of ∇b, which bfloat16 shows
    covariance = torch.diag(variance).addr_(variance, variance / (variance.sum() + 1e-6), alpha=-1)
    return x, covariance, cost, near


def _evened(x: Tensor, there: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """The guess's counts `x` (C,), those that vary hardly more than S does drawn towards their mean; variances (C,).

    x = n + level − S. Where S varies by `noise` about a line in n of slope SLOPE, this is the best linear predictor of
    n, whose variance is what that of x leaves (empirical Bayes: Efron and Morris, *Stein's Estimation Rule and Its
    Competitors*, 1973). So it notices a batch that has about as many instances of each of its classes. Beside the
    three degrees of freedom that this takes, a standard deviation of chance is left to x, lest a few classes that
    happen to be even are drawn. A slope is not known well enough to widen counts by: those that vary like a random
    draw's stay as they are. Only classes of `there` (C,) that look present are drawn, those nearer to their own mean
    than to 0. Where they vary much less than S should, S may go with n, as a confident network's does: that is doubt.
    """
    present = there
    while bool((fewer := present & (x >= x[present].mean() / 2)).sum() < present.sum()):
        present = fewer
    spread = max(_spread(x[present]), SPREAD * noise, torch.finfo(x.dtype).tiny)
    r = int(present.sum())
    kept = min(1.0, max(0.0, 1 - max(0.0, r - 3 - math.sqrt(2 * r)) * noise / spread) / (1 - SLOPE))
    doubt = max(1.0, r * noise / spread) ** 2
    variance = torch.full_like(x, noise)
    variance[present] *= min(max(kept, LEAST) * doubt, 1 / SPREAD)
    return torch.where(present, x[present].mean().lerp(x, kept), x), variance


def possible(cost: np.ndarray, like: Tensor) -> Tensor:
    """Which classes are not called absent by what calling them present costs, (C,) bool; if all are, none is."""
    return torch.as_tensor((cost <= 0) | (cost > 0).all(), device=like.device)


def _share(given: Problem, fit: Tensor, guess: Tensor, there: Tensor, near: float) -> float:
    """How much is kept of the counts of a fit (C,) that are drawn towards the guess's (C,).

    A head that favours some classes whatever it sees, as one trained on few of them, has an uneven S, and the guess
    has no say. Else the more of two is believed, as far as `_whole` bears it out:

    - A fit that is further from the guess than S is errs. The quotient of both squared distances would be its share if
      its errors were independent of the guess's. They are not, and it is the square of that.
    - Errors add to how counts vary over the classes, those that `there` (C,) holds. If they are independent, that of
      fit and guess tells how large those of either are; both are weighed by their cubes: they are not, either.
    """
    apart = float((fit - guess).square().sum())
    level = max(float((guess + given.y)[there].mean()), torch.finfo(fit.dtype).tiny)
    uneven, of_bias = (_spread(of[there] / level) / int(there.sum()) for of in (fit + given.y, given.y))
    uneven -= SPREAD * len(fit) / given.batch_size  # which a fair head's has
    if apart <= near or (uneven > FAVOURS and uneven * of_bias > TELLS):
        return 1.0
    more = min(1.0, max(-1.0, (_spread(guess[there]) - _spread(fit[there])) / apart))
    of_guess, of_fit = (1 + more) ** 3, (1 - more) ** 3
    return _whole(fit[there], guess[there], max((near / apart) ** 2, of_guess / (of_guess + of_fit)))


def _whole(fit: Tensor, guess: Tensor, believed: float) -> float:
    """The share of the fit that is likely once one sees how near to whole numbers its mixtures with the guess are.

    True counts are whole, and errors hide it. So a mixture's fractional parts are taken for a normal distribution
    wrapped around the whole numbers, of any of the standard deviations `ERRORS`, and the log-odds of the
    share for normal, of standard deviation 1, about what is `believed` of it. Returned is that of their posterior mean.
    """
    odds = torch.linspace(-ODDS, ODDS, 65).to(fit)
    mixtures = guess + odds.sigmoid()[:, None] * (fit - guess)
    away = (mixtures - mixtures.round())[..., None] + torch.arange(-2, 3).to(fit)
    of_errors = [torch.exp(-((away / sd) ** 2) / 2).sum(dim=-1).div(sd).log().sum(dim=-1) for sd in ERRORS]
    about = min(ODDS, max(-ODDS, math.log(max(believed, 1e-9) / max(1 - believed, 1e-9))))
    weights = (torch.stack(of_errors).logsumexp(dim=0) - (odds - about) ** 2 / 2).softmax(dim=0)
    return float((weights @ odds).sigmoid())


def _spread(x: Tensor) -> float:
    return float((x - x.mean()).square().sum())
