"""Each instance on its own: where K < C/2, the gradients give away every single instance.

With ĝ_k = p_k − y_k and ê_k the embedding with a constant behind it, T = [K∇W, K∇b] = Σ_k ĝ_k ê_kᵀ (without a bias,
ê_k is the embedding, and all else the same). While the K outer products are independent, every ĝ_k lies in the column
space and every ê_k in the row space of T, both of dimension K. So an instance of class c solves

    softmax(W e + b) − 1_c  ∈  column space,    (e, constant) ∈ row space:

C − K equations for K − 1 unknowns, whatever the network has learnt. Solutions are looked for from the embeddings that
the lattice has for classes. Which solutions are instances of the batch, and how often, T⁺ tells: ê_iᵀ T⁺ ĝ_j is 1 for
i = j and 0 otherwise, and 1/2 for one that is there twice (Wedderburn's rank reduction). By the same rule each that is
found takes a dimension from the row space of the others.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from irlg.checks import precision
from irlg.observation import Observation
from irlg.restoration.lattice.angles import Solutions

TOLERANCE = 1e-5  # sine of the angle between ĝ and the column space, beside what rounding and noise make of it
ROUNDED = 2.0  # units of rounding by which an entry of ĝ is off: that of softmax
LARGEST = 0.1  # sine beyond which an instance is not told from others, whatever the noise
APART = 0.03  # how far from 0 or 1 ê_iᵀ T⁺ ĝ_j may be
REPEATED = 0.003  # how far from whole the times of one that is there more than once: two alike are nearly one twice
OVERSAMPLED = 16  # dimensions more than a space has, in the search for it
RESOLVED = 20  # units of rounding from which on a singular value is not noise
SMOOTHED = 0.5  # label smoothing beyond which any label would explain an instance


@dataclass(frozen=True, eq=False)
class Span:
    """T as columns · diag(singular) · rowsᵀ: orthonormal `columns` (C, r) and `rows` (m + 1, r), without the last entry
    where there is no bias, and `singular` values (r,), above those that may be `noise`; and the sine, by length |ĝ| |ê|
    and by length |ĝ| of an instance, up to which it may be out of these spaces, `blurred` and `rounded`."""

    columns: Tensor
    singular: Tensor
    rows: Tensor
    noise: float
    blurred: float
    rounded: float

    def overlaps(self, embeddings: Tensor, gradients: Tensor) -> Tensor:
        """ê_iᵀ T⁺ ĝ_j (N, M) of extended embeddings (N, m + 1) and gradients (M, C)."""
        return (embeddings @ self.rows / self.singular) @ (self.columns.T @ gradients.T)

    def rows_without(self, found: Solutions | None) -> Tensor:
        """An orthonormal basis (m + 1, r − F) of the row space of all others than the F found."""
        if found is None:
            return self.rows
        taken = (self.columns.T @ found.gradients.T) / self.singular[:, None]
        return self.rows @ torch.linalg.qr(taken, mode="complete").Q[:, taken.shape[1] :]

    def explains(self, found: Solutions) -> Tensor:
        """(N,) bool, whether solutions are in the spaces up to rounding and noise."""
        length, size = found.gradients.norm(dim=1), found.embeddings.norm(dim=1)
        allowed = TOLERANCE + (self.rounded + self.blurred / size) / length
        return found.sine < allowed.clamp(max=LARGEST)


def can_be_told(observation: Observation) -> bool:
    """Whether instances of such a batch are unique (2K < C) and of a form that is looked for.

    Those of more than one class, and a sum over them of unknown scale, are not.
    """
    unique = 2 * observation.size < observation.num_classes
    hard = not observation.soft_labels and observation.label_smoothing <= SMOOTHED
    return unique and hard and observation.known_divisor is not None


def span(observation: Observation, target: Tensor) -> Span:
    """The spaces of T (C, m + 1), the sum of K outer products: its largest singular vectors, but for noise."""
    size, divisor = observation.size, observation.known_divisor or 1.0
    columns, singular, rows = _largest(target, size)
    noise = max(rounding(observation) * float(singular[0]), divisor * spectral(observation))
    rank = min(size, int((singular > noise).sum()))
    blurred = divisor * observation.noise * math.sqrt(len(target))
    eps = torch.finfo(precision(observation.grad_weight)).eps
    return Span(columns[:, :rank], singular[:rank], rows[:, :rank], noise, blurred, ROUNDED * eps)


def _largest(target: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """At least `size` singular values of the target and their vectors, as U, S and V; a randomised range finder where
    they are few (Halko, Martinsson and Tropp, *Finding Structure with Randomness*, 2011, with two power iterations)."""
    width = size + OVERSAMPLED
    if 4 * width > min(target.shape):
        columns, singular, rows = torch.linalg.svd(target, full_matrices=False)
        return columns, singular, rows.T
    drawn = torch.randn(target.shape[1], width, generator=torch.Generator().manual_seed(0), dtype=target.dtype)
    sketch = target @ drawn.to(target.device)
    for _ in range(2):
        sketch = target @ (target.T @ torch.linalg.qr(sketch).Q)
    basis = torch.linalg.qr(sketch).Q
    columns, singular, rows = torch.linalg.svd(basis.T @ target, full_matrices=False)
    return basis @ columns, singular, rows.T


def rounding(observation: Observation) -> float:
    """Singular values of gradients below this share of the largest may be rounding alone."""
    return RESOLVED * torch.finfo(precision(observation.grad_weight)).eps


def spectral(observation: Observation) -> float:
    """The largest singular value that noise of the observed level has (Marčenko and Pastur)."""
    classes, width = observation.grad_weight.shape
    return observation.noise * (math.sqrt(classes) + math.sqrt(width + 1))


def independent(whole: Span, near: Solutions, found: Solutions | None, left: int) -> tuple[Tensor, Tensor]:
    """Which solutions are instances of the whole, and how many times each, (F,) each: at most `left` in all."""
    order = torch.argsort(near.sine * near.gradients.norm(dim=1), stable=True)
    overlap = whole.overlaps(near.embeddings[order], near.gradients[order])
    times = 1 / overlap.diagonal()
    fits = (times > 0.5) & ((times - times.round()).abs() < torch.where(times < 1.5, APART, REPEATED))
    if found is not None:
        fits &= whole.overlaps(found.embeddings, near.gradients[order]).abs().amax(dim=0) < APART
    kept = list[int]()
    for i in torch.nonzero(fits)[:, 0].tolist():
        apart = all(max(abs(float(overlap[i, j])), abs(float(overlap[j, i]))) < APART for j in kept)
        if apart and times[i].round() <= left:
            kept.append(i)
            left -= int(times[i].round())
    index = torch.tensor(kept, dtype=torch.long, device=times.device)
    return order[index], times[index].round().long()
