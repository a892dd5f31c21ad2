"""How class logits vary, and the mean softmax that instances of a class have (docs/estimator.md, equations 4 and 5)."""

import torch
from torch import Tensor

from irlg.restoration.lattice import least_squares
from irlg.restoration.lattice.layer import Problem
from irlg.restoration.lattice.least_squares import Fit

# Observations that the isotropic prior of the logits' covariance is worth. On networks of development 2 and 5 are
# alike; without it, fewer batches of 100 × 40 on untrained networks are sure.
NU_0 = 5.0


def logit_covariance(given: Problem, fit: Fit, n: Tensor) -> Tensor:
    """Equation (4): Ω (C, C), an inverse-Wishart mean with an isotropic prior. `n` (r,)."""
    w = n.clamp(max=1) / fit.D
    dof = (n.clamp(max=1).sum() - 1).clamp(min=0)
    S0 = fit.Zd.T @ (w[:, None] * fit.Zd)
    t0 = 0.5 * fit.means.mu.square().mean() * given.layer.spread  # keeps C = 2 honest
    t = (S0.trace() + t0) / (dof + 1)
    S0.diagonal().add_(NU_0 * t / len(S0))
    return S0.div_(dof + NU_0)


def mean_softmax(Z: Tensor, omega: Tensor, n: Tensor) -> Tensor:
    """Equation (5): mean softmax of each row of `Z` (rows, C) under within-class spread. `n` (rows,)."""
    f = least_squares.OMEGA * (1 - 1 / n.clamp(min=1))[:, None]
    P = torch.softmax(Z, dim=1)
    for _ in range(2):
        P = torch.softmax(Z + f / 2 * (omega.diagonal() - 2 * P @ omega).clamp(-4, 4), dim=1)
    return P
