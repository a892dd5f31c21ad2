"""Exact counts by generalised least squares and lattice decoding: the equations of the design.

n_j = Σ_k p_{k,j} − K∇b_j exactly. Class embeddings are taken as draws around a common mean, so that
K∇W is linear in them with rows of known covariance, and least squares gives class logits,
probabilities, and real-valued counts with their covariance; the most likely whole counts under it
are decoded, and all is repeated with them until it is stable.

Symbols: C classes, embeddings of width m, K instances; n (C,) counts and v (C,) their variances,
row c of P the mean softmax of class c. One function stands for one group of equations.

A class of no instances has no column in M, so only the r classes with n > 0 are computed, and V is
diagonal plus low rank. Arrays by class have those r rows; where they have one more, it is the last,
which stands for every other class: its embedding is the common mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from irlg.observation import Observation, precision

OMEGA = 0.8  # share of the variance of embeddings that is within a class
NU_0 = 5.0  # observations that the isotropic prior of the logits' covariance is worth
FLOOR = 0.03  # standard deviation that the model cannot do without, in counts
BLOCK = 256  # rows of W Wᵀ at a time
COLUMNS = 256  # of W and ∇W at a time


class Layer:
    """The last layer as observed, ∇W and W (C, m), and what is made of them once.

    Both are taken to float64 some columns at a time: copies of the whole would be most of the memory.
    """

    def __init__(self, observation: Observation) -> None:
        self._grad_weight, self._weight = observation.grad_weight, observation.weight
        # In single precision where the weights are: it enters as a prior and nowhere else.
        single = observation.weight.to(torch.promote_types(observation.weight.dtype, torch.float32))
        self.gram = _gram(single)  # W Wᵀ (C, C)

    @cached_property
    def product(self) -> Tensor:
        """W ∇Wᵀ, (C, C)."""
        parts = zip(_columns(self._weight), _columns(self._grad_weight), strict=True)
        product = torch.zeros_like(self.gram, dtype=torch.float64)
        for weight, gradient in parts:
            product.addmm_(weight, gradient.T)
        return product

    def embeddings(self, rows: Tensor) -> Tensor:
        """`rows` (..., C), centred, times ∇W: (..., m)."""
        return _embeddings(rows, self._grad_weight)

    def logits(self, rows: Tensor) -> Tensor:
        """`embeddings` of `rows` (r, C) times Wᵀ: (r, C)."""
        rows = centred(rows)
        if 8 * len(rows) > len(self.gram):
            return rows @ self.product.T
        logits = torch.zeros_like(rows)  # where the product would cost more than all passes save
        for weight, gradient in zip(_columns(self._weight), _columns(self._grad_weight), strict=True):
            logits.addmm_(rows @ gradient, weight.T)
        return logits


def _embeddings(rows: Tensor, grad_weight: Tensor) -> Tensor:
    rows = centred(rows)
    return torch.cat([rows @ gradient for gradient in _columns(grad_weight)], dim=-1)


def _columns(matrix: Tensor) -> Iterator[Tensor]:
    """Some columns after others, in float64."""
    return (part.double() for part in torch.split(matrix, COLUMNS, dim=1))


def centred(rows: Tensor) -> Tensor:
    """Rows (..., C) less the mean of each."""
    return rows - rows.mean(dim=-1, keepdim=True)


def _gram(weight: Tensor) -> Tensor:
    """W Wᵀ, half of it computed and half mirrored, in blocks."""
    classes = len(weight)
    gram = weight.new_zeros(classes, classes)
    for start in range(0, classes, BLOCK):
        rows = slice(start, start + BLOCK)
        gram[rows, : start + BLOCK] = weight[rows] @ weight[: start + BLOCK].T
        gram[:start, rows] = gram[rows, :start].T
    return gram


@dataclass(frozen=True, eq=False)
class Problem:
    """An observation of `batch_size` instances, centred over classes, float64: Y = K∇W (C, m), which
    `layer` multiplies by, and `y` = K∇b (C,), known to a relative `rounding`; `bias` (C,)."""

    layer: Layer
    y: Tensor
    bias: Tensor
    batch_size: int
    rounding: float

    def of(self, batch_size: int) -> "Problem":
        """The same gradients, taken to be those of another K."""
        return replace(self, y=batch_size / self.batch_size * self.y, batch_size=batch_size)


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
        embeddings[self.classes] += _embeddings(self.of_delta, grad_weight)
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


def problem(observation: Observation) -> Problem:
    """Centre the gradients over classes (their column sums are 0 but for rounding) and scale by K."""
    grad_bias, size = observation.grad_bias.double(), observation.size
    y, rounding = size * (grad_bias - grad_bias.mean()), torch.finfo(precision(observation.grad_bias)).eps
    return Problem(Layer(observation), y, observation.bias.double(), size, rounding)


def row_noise(n: Tensor, v: Tensor, P: Tensor, P_old: Tensor, s2: Tensor, kappa: float) -> Tensor:
    """ρ of equation (3): count uncertainty, linearisation and within-class fluctuation, (C,).

    **Arguments:** `n` (r,), `v` (C,); `P`, `P_old` and `s2` (r, C).
    """
    linearisation = n**2 @ (P - P_old) ** 2
    within = OMEGA * ((n - 1).clamp(min=0) @ (P**2 * s2))
    return kappa + v + linearisation + within


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


def logit_covariance(given: Problem, fit: Fit, n: Tensor) -> Tensor:
    """Equation (4): Ω (C, C), an inverse-Wishart mean with an isotropic prior. `n` (r,)."""
    w = n.clamp(max=1) / fit.D
    dof = (n.clamp(max=1).sum() - 1).clamp(min=0)
    S0 = fit.Zd.T @ (w[:, None] * fit.Zd)
    spread = given.layer.gram.trace().double().clamp(min=torch.finfo(n.dtype).tiny)
    t0 = 0.5 * fit.means.mu.square().mean() * spread  # keeps C = 2 honest
    t = (S0.trace() + t0) / (dof + 1)
    return S0.add_(given.layer.gram, alpha=float(NU_0 * t / spread)).div_(dof + NU_0)


def mean_softmax(Z: Tensor, omega: Tensor, n: Tensor) -> Tensor:
    """Equation (5): mean softmax of each row of `Z` (rows, C) under within-class spread. `n` (rows,)."""
    f = OMEGA * (1 - 1 / n.clamp(min=1))[:, None]
    P = torch.softmax(Z, dim=1)
    for _ in range(2):
        P = torch.softmax(Z + f / 2 * (omega.diagonal() - 2 * P @ omega).clamp(-4, 4), dim=1)
    return P


def real_counts(given: Problem, fit: Fit, omega: Tensor, P: Tensor, n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Equation (6): x (C,), its covariance R (C, C) given Σ x = K, and s2 (r + 1, C) for the next pass.

    **Arguments:** `omega` (C, C), whose memory R takes; `P` (r + 1, C) and `n` (r + 1,), whose last is 0.
    """
    P_omega = P @ omega
    var = omega.diagonal() - 2 * P_omega + (P_omega * P).sum(dim=1, keepdim=True)
    s2 = OMEGA * var.clamp(min=0)
    P, P_omega, var, n = P[:-1], P_omega[:-1], var[:-1].clamp(min=0), n[:-1]
    x = P.T @ n - given.y
    # G = diag(q) − Pᵀ diag(n∘u) P has low rank beside its diagonal: G Ω Gᵀ is multiplied out.
    scaled = (n * (1 - fit.B @ given.y))[:, None] * P
    q = scaled.sum(dim=0)
    half = (P_omega @ P.T / 2) @ scaled - P_omega * q  # scaledᵀ half and its transpose are added, C × C each
    R = omega.mul_(q).mul_(q[:, None]).addmm_(scaled.T, half).addmm_(half.T, scaled).div_(fit.h)
    psi = (fit.D - (fit.B * fit.M.T).sum(dim=1) * fit.D).clamp(min=0)
    counts, bernoulli = n[:, None], P * (1 - P)
    of_means = torch.minimum(psi[:, None] * counts**2 * P**2 * var, counts**2 * bernoulli)
    spread = s2[:-1]
    third_order = torch.expm1(spread.clamp(max=50)) - spread  # the bound takes over long before
    of_instances = counts * torch.minimum(P**2 * third_order, bernoulli)
    of_rounding = (given.rounding * given.y) ** 2 / 12  # that of ∇b, uniform; it shows in bfloat16
    R.diagonal().add_((of_means + of_instances).sum(dim=0) + of_rounding + FLOOR**2)
    ones = R.sum(dim=1)
    # The sum is known; a thousandth of an instance is left to keep R positive definite.
    return x, R.addr_(ones, ones / (ones.sum() + 1e-6), alpha=-1), s2
