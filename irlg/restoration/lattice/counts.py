"""Real-valued counts and their covariance (docs/estimator.md, equation 6)."""

import torch
from torch import Tensor

from irlg.restoration.lattice import least_squares
from irlg.restoration.lattice.layer import Problem
from irlg.restoration.lattice.least_squares import Fit

FLOOR = 0.03  # standard deviation that the model cannot do without, in counts


def real_counts(given: Problem, fit: Fit, omega: Tensor, P: Tensor, n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Equation (6): x (C,), its covariance R (C, C) given Σ x = K, and s2 (r + 1, C) for the next pass.

    **Arguments:** `omega` (C, C), whose memory R takes; `P` (r + 1, C) and `n` (r + 1,), whose last is 0.
    """
    P_omega = P @ omega
    var = omega.diagonal() - 2 * P_omega + (P_omega * P).sum(dim=1, keepdim=True)
    s2 = least_squares.OMEGA * var.clamp(min=0)
    P, P_omega, var, n = P[:-1], P_omega[:-1], var[:-1].clamp(min=0), n[:-1]
    loss, total = given.loss, given.loss.total[fit.means.classes]  # ω of the classes
    x = given.counts(P.T @ (total * n))
    # G = diag(q) − Pᵀ diag(n∘u) P has low rank beside its diagonal: G Ω Gᵀ is multiplied out.
    scaled = (total * n * (1 - fit.B @ given.y))[:, None] * P
    q = scaled.sum(dim=0)
    half = (P_omega @ P.T / 2) @ scaled - P_omega * q  # scaledᵀ half and its transpose are added, C × C each
    R = omega.mul_(q).mul_(q[:, None]).addmm_(scaled.T, half).addmm_(half.T, scaled).div_(fit.h)
    psi = (fit.D - (fit.B * fit.M.T).sum(dim=1) * fit.D).clamp(min=0)
    squares, bernoulli, spread = P**2, P * (1 - P), s2[:-1]
    third_order = torch.expm1(spread.clamp(max=50)) - spread  # the bound takes over long before
    of_means = (total * n) ** 2 @ torch.minimum(psi[:, None] * squares * var, bernoulli)
    of_instances = (total**2 * n) @ torch.minimum(squares * third_order, bernoulli)
    R.diagonal().add_(of_means + of_instances + given.y_variance)
    if given.unsure:
        R.addr_(given.y, given.y, alpha=given.unsure**2)
    if not loss.plain:
        R.div_(loss.hit).div_(loss.hit[:, None])
    R.diagonal().add_(FLOOR**2)
    ones = R.sum(dim=1)
    # The sum is known; a thousandth of an instance is left to keep R positive definite.
    if not loss.plain:  # where it is, x sums to K as it is
        x = x + (given.batch_size - x.sum()) * ones / (ones.sum() + 1e-6)
    return x, R.addr_(ones, ones / (ones.sum() + 1e-6), alpha=-1), s2
