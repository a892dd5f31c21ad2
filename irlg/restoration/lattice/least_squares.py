"""Class embeddings and logits by generalised least squares (design, equation 3)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from irlg.restoration.lattice.layer import Problem, combined

OMEGA = 0.8  # share of the variance of embeddings that is within a class: flat from 0.5 to 0.9 (design)
KAPPA = 0.02  # variance of a row beside what follows from counts and embeddings: 0.02 to 0.25 are alike


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """Posterior mean embeddings of equation (3): μ + δ_c for `classes` (r,), those with n > 0, μ for others.

    `mu` (m,); Δ by the combinations of the rows of ∇W that it is, `of_delta` (r, C).
    """

    classes: Tensor
    mu: Tensor
    of_delta: Tensor

    def embeddings(self, grad_weight: Tensor) -> Tensor:
        """(C, m), float64, of the observed ∇W (C, m)."""
        embeddings = self.mu.repeat(len(grad_weight), 1)
        embeddings[self.classes] += combined(self.of_delta, grad_weight)
        return embeddings

    def row_of(self, classes: Tensor) -> Tensor:
        """Which of r + 1 rows stands for each of `classes`, int64 of its shape."""
        rows = torch.full((self.of_delta.shape[1],), len(self.classes), device=classes.device)
        rows[self.classes] = torch.arange(len(self.classes), device=classes.device)
        return rows[classes]


@dataclass(frozen=True, eq=False)
class Fit:
    """Equation (3): the classes' `means`, mean logits `Z` (r + 1, C), their deviations `Zd` (r, C) from the
    common mean; `B` (r, C), `M` (C, r), `D` (r,), `h`."""

    means: ClassMeans
    Z: Tensor
    Zd: Tensor
    B: Tensor
    M: Tensor
    D: Tensor
    h: Tensor


def row_noise(n: Tensor, v: Tensor, P: Tensor | None, s2: Tensor | None) -> Tensor:
    """ρ of equation (3): count uncertainty and within-class fluctuation, (C,).

    **Arguments:** `n` (r,), `v` (C,); `P` and `s2` (r, C), `None` on the first pass.
    """
    if P is None or s2 is None:
        return KAPPA + v
    return KAPPA + v + OMEGA * ((n - 1).clamp(min=0) @ (P**2 * s2))


def least_squares(given: Problem, n: Tensor, P: Tensor | None, rho: Tensor) -> Fit:
    """Equation (3): generalised least squares for the class logits.

    **Arguments:** `n` (C,); `P` (r, C), rows of the classes with n > 0, or `None` on the first pass;
    `rho` (C,).
    """
    classes = torch.nonzero(n)[:, 0]
    n = n[classes]
    D = (1 - OMEGA) + OMEGA / n.clamp(min=1)
    M = torch.zeros(len(rho), len(n), dtype=n.dtype, device=n.device) if P is None else P.T * n
    M[classes, torch.arange(len(n), device=n.device)] -= n
    # V = M D Mᵀ + diag(ρ) = U Uᵀ + diag(ρ), with a column more in U: that of the sum over classes,
    # which is 0 by construction and no observation. V⁻¹ = ρ⁻¹ − ρ⁻¹U (I + Uᵀρ⁻¹U)⁻¹ Uᵀρ⁻¹.
    U = M * D.sqrt()
    level = ((U**2).sum() + rho.sum()) / len(rho)
    U = torch.cat([U, level.sqrt().expand(len(rho), 1)], dim=1)
    scaled = U / rho[:, None]
    inner = U.T @ scaled
    inner.diagonal().add_(1)
    solved = torch.cholesky_solve(scaled.T, torch.linalg.cholesky(inner))  # Uᵀ V⁻¹, (r + 1, C)
    weighted = given.y / rho - scaled @ (solved @ given.y)  # V⁻¹ y
    h = (given.y @ weighted).clamp(min=torch.finfo(rho.dtype).tiny)
    B = D.sqrt()[:, None] * solved[:-1]  # diag(D) Mᵀ V⁻¹
    # μ and Δ are combinations of Y's rows, and their logits the same combinations of H's.
    of_mu = given.batch_size * weighted / h
    of_delta = given.batch_size * B - torch.outer(B @ given.y, of_mu)
    logits = given.layer.logits(torch.cat([of_delta, of_mu[None]]))
    Zd, Z = logits[:-1], logits[-1] + given.bias + torch.cat([logits[:-1], torch.zeros_like(logits[:1])])
    return Fit(ClassMeans(classes, given.layer.embeddings(of_mu), of_delta), Z, Zd, B, M, D, h)
