"""Class embeddings and logits by generalised least squares (docs/estimator.md, equation 3)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from irlg.restoration.lattice.layer import Problem, combined

OMEGA = 0.8  # share of the variance of embeddings that is within a class: flat from 0.5 to 0.9 on some of development
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


def row_noise(given: Problem, n: Tensor, v: Tensor, P: Tensor | None, s2: Tensor | None) -> Tensor:
    """ρ of equation (3): count uncertainty, noise, and within-class fluctuation, (C,).

    **Arguments:** `n` and `v` (C,); `P` and `s2` (r, C), `None` on the first pass.
    """
    loss, classes = given.loss, torch.nonzero(n)[:, 0]
    known = KAPPA + (v if loss.plain else v * loss.hit**2)
    if P is None or s2 is None:
        return known
    extra = (n[classes] - 1).clamp(min=0)
    return known + OMEGA * ((extra if loss.plain else loss.total[classes] ** 2 * extra) @ (P**2 * s2))


def design(given: Problem, n: Tensor, P: Tensor | None) -> tuple[Tensor, Tensor]:
    """M (C, r) and D (r,) of equation (3), of the classes with n > 0.

    **Arguments:** `n` (C,); `P` (r, C), rows of these classes, or `None` on the first pass.
    """
    classes, loss = torch.nonzero(n)[:, 0], given.loss
    n, own = n[classes], torch.arange(len(classes), device=n.device)
    D = (1 - OMEGA) + OMEGA / n.clamp(min=1)
    M = torch.zeros(given.y.shape + n.shape, dtype=n.dtype, device=n.device) if P is None else P.T * n
    if not loss.plain and P is not None:
        M = M * loss.total[classes] - torch.outer(loss.spread, n)
    M[classes, own] -= loss.hit[classes] * n
    return M, D


def least_squares(given: Problem, n: Tensor, M: Tensor, D: Tensor, rho: Tensor) -> Fit:
    """Equation (3): generalised least squares for the class logits.

    **Arguments:** `n` (C,); `M` (C, r) and `D` (r,), its `design`; `rho` (C,).
    """
    classes = torch.nonzero(n)[:, 0]
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
    h = given.y @ weighted
    if given.noisy:  # that of y is in both factors, and would make h large and μ small
        noise = given.y_variance @ (1 / rho - (scaled * solved.T).sum(dim=1))
        h = torch.maximum(h - noise, h / 2)
    h = h.clamp(min=torch.finfo(rho.dtype).tiny)
    B = D.sqrt()[:, None] * solved[:-1]  # diag(D) Mᵀ V⁻¹
    # μ and Δ are combinations of Y's rows, and their logits the same combinations of H's.
    of_mu = given.divisor * weighted / h
    of_delta = given.divisor * B - torch.outer(B @ given.y, of_mu)
    logits = given.layer.logits(torch.cat([of_delta, of_mu[None]]))
    Zd, Z = logits[:-1], logits[-1] + given.bias + torch.cat([logits[:-1], torch.zeros_like(logits[:1])])
    return Fit(ClassMeans(classes, given.layer.embeddings(of_mu), of_delta), Z, Zd, B, M, D, h)
