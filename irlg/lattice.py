"""Exact counts by generalised least squares and lattice decoding: the equations of the design.

n_j = Σ_k p_{k,j} − K∇b_j exactly. Class embeddings are taken as draws around a common mean, so that
K∇W is linear in them with rows of known covariance, and least squares gives class logits,
probabilities, and real-valued counts with their covariance; the most likely whole counts under it
are decoded, and all is repeated with them until it is stable.

Symbols: C classes, embeddings of width m, K instances; n (C,) counts and v (C,) their variances,
P (C, C) with row c the mean softmax of class c. One function stands for one group of equations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from irlg.observation import Observation

OMEGA = 0.8  # share of the variance of embeddings that is within a class
NU_0 = 5.0  # observations that the isotropic prior of the logits' covariance is worth
FLOOR = 0.03  # standard deviation that the model cannot do without, in counts


@dataclass(frozen=True, eq=False)
class Problem:
    """An observation, centred over classes: Y = K∇W (C, m) and y = K∇b (C,), float64.

    `weight` (C, m) and `bias` (C,); `cross` = W Yᵀ and `gram` = W Wᵀ, both (C, C).
    """

    Y: Tensor
    y: Tensor
    weight: Tensor
    bias: Tensor
    cross: Tensor
    gram: Tensor


@dataclass(frozen=True, eq=False)
class Fit:
    """Equation (3): mean logits `Z` (C, C), row c of class c; their deviations `Zd` from the common
    mean; `B` and `M` (C, C), `D` (C,), `h`; and the common mean embedding `mu` (m,)."""

    Z: Tensor
    Zd: Tensor
    B: Tensor
    M: Tensor
    D: Tensor
    h: Tensor
    mu: Tensor


def problem(observation: Observation) -> Problem:
    """Centre the gradients over classes (their column sums are 0 but for rounding) and scale by K."""
    names = ("grad_weight", "grad_bias", "weight", "bias")
    grad_weight, grad_bias, weight, bias = (getattr(observation, name).double() for name in names)
    Y = observation.batch_size * (grad_weight - grad_weight.mean(dim=0))
    y = observation.batch_size * (grad_bias - grad_bias.mean())
    return Problem(Y, y, weight, bias, weight @ Y.T, weight @ weight.T)


def row_noise(n: Tensor, v: Tensor, P: Tensor, P_old: Tensor, s2: Tensor, kappa: float) -> Tensor:
    """ρ of equation (3): count uncertainty, linearisation and within-class fluctuation, (C,)."""
    linearisation = (n[:, None] ** 2 * (P - P_old) ** 2).sum(dim=0)
    within = OMEGA * ((n - 1).clamp(min=0)[:, None] * P**2 * s2).sum(dim=0)
    return kappa + v + linearisation + within


def least_squares(given: Problem, n: Tensor, P: Tensor | None, rho: Tensor) -> Fit:
    """Equation (3): generalised least squares for the class logits; `P` is `None` on the first pass."""
    D = (1 - OMEGA) + OMEGA / n.clamp(min=1)
    M = -torch.diag(n) if P is None else P.T * n - torch.diag(n)
    V = (M * D) @ M.T + torch.diag(rho)
    V = V + V.diagonal().mean()  # the sum over classes is 0 by construction: no observation
    factor = torch.linalg.cholesky(V)
    weighted = torch.cholesky_solve(given.y[:, None], factor)[:, 0]  # V⁻¹ y
    h = (given.y @ weighted).clamp(min=torch.finfo(V.dtype).tiny)
    mu = given.Y.T @ weighted / h
    W_mu = given.cross @ weighted / h
    B = D[:, None] * torch.cholesky_solve(M, factor).T
    Zd = B @ (given.cross - torch.outer(W_mu, given.y)).T
    return Fit(W_mu + given.bias + Zd, Zd, B, M, D, h, mu)


def class_embeddings(given: Problem, fit: Fit) -> Tensor:
    """Posterior mean embeddings μ + δ_c of equation (3), (C, m)."""
    return fit.mu + fit.B @ (given.Y - torch.outer(given.y, fit.mu))


def logit_covariance(given: Problem, fit: Fit, n: Tensor) -> Tensor:
    """Equation (4): Ω (C, C), an inverse-Wishart mean with an isotropic prior."""
    w = n.clamp(max=1) / fit.D
    dof = (n.clamp(max=1).sum() - 1).clamp(min=0)
    S0 = fit.Zd.T @ (w[:, None] * fit.Zd)
    spread = given.gram.trace().clamp(min=torch.finfo(n.dtype).tiny)
    t0 = 0.5 * (fit.mu @ fit.mu) / given.weight.shape[1] * spread  # keeps C = 2 honest
    t = (S0.trace() + t0) / (dof + 1)
    return (S0 + NU_0 * t * given.gram / spread) / (dof + NU_0)


def mean_softmax(Z: Tensor, omega: Tensor, n: Tensor) -> Tensor:
    """Equation (5): row c is the mean softmax of class c under within-class spread, (C, C)."""
    f = OMEGA * (1 - 1 / n.clamp(min=1))[:, None]
    P = torch.softmax(Z, dim=1)
    for _ in range(2):
        P = torch.softmax(Z + f / 2 * (omega.diagonal() - 2 * P @ omega).clamp(-4, 4), dim=1)
    return P


def real_counts(given: Problem, fit: Fit, omega: Tensor, P: Tensor, n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Equation (6): x (C,), its covariance R (C, C) given Σ x = K, and s2 (C, C) for the next pass."""
    x = P.T @ n - given.y
    P_omega = P @ omega
    var = omega.diagonal() - 2 * P_omega + (P_omega * P).sum(dim=1, keepdim=True)
    var = var.clamp(min=0)
    s2 = OMEGA * var
    scaled = n * (1 - fit.B @ given.y)
    G = torch.diag(P.T @ scaled) - P.T @ (scaled[:, None] * P)
    psi = (fit.D - (fit.B * fit.M.T).sum(dim=1) * fit.D).clamp(min=0)
    counts, bernoulli = n[:, None], P * (1 - P)
    of_means = torch.minimum(psi[:, None] * counts**2 * P**2 * var, counts**2 * bernoulli)
    third_order = torch.expm1(s2.clamp(max=50)) - s2  # the bound takes over long before
    of_instances = counts * torch.minimum(P**2 * third_order, bernoulli)
    R = G @ omega @ G.T / fit.h + torch.diag((of_means + of_instances).sum(dim=0) + FLOOR**2)
    R = (R + R.T) / 2
    ones = R.sum(dim=1)
    # The sum is known; a thousandth of an instance is left to keep R positive definite.
    return x, R - torch.outer(ones, ones) / (ones.sum() + 1e-6), s2
