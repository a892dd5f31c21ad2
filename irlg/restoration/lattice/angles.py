"""Instances whose gradients lie in a given space: Levenberg and Marquardt from many starts at once.

An instance of class c with extended embedding ê = (e, constant) has ĝ = ω softmax(W e + b) − t_c. What is minimised
over ê in the row space is the sine of the angle between ĝ and the column space: C − r equations of r − 1 unknowns.
"""

import math
import time
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from irlg.observation import Observation

STEPS = 30  # Jacobians, at most, a start
DAMPINGS = 8  # that are tried with each of them
STALLED = 0.95  # of its sine, that a start keeps in a step: no more will come of it
CONVERGED = 1e-9
ENTRIES = 2e7  # of the Jacobians, float32, that are in memory at a time


@dataclass(frozen=True, eq=False)
class Solutions:
    """`labels` (N,), extended `embeddings` (N, m + 1), their `gradients` (N, C) ĝ, and the `sine` (N,) of the angle
    between these and the column space. For a head without a bias embeddings are (N, m)."""

    labels: Tensor
    embeddings: Tensor
    gradients: Tensor
    sine: Tensor

    def __getitem__(self, index: Tensor) -> "Solutions":
        return Solutions(*(getattr(self, field.name)[index] for field in fields(self)))


def joined(solutions: list[Solutions]) -> Solutions:
    """All of them, one after the other."""
    return Solutions(*(torch.cat([getattr(each, field.name) for each in solutions]) for field in fields(Solutions)))


class _Angles:
    """The problem in coordinates: ê = rows (origin + free t), whose last entry is the constant whatever t.

    Angles are float64. Jacobians are float32, which is half the time; a step from them is good enough.
    """

    def __init__(self, observation: Observation, labels: Tensor, starts: Tensor, columns: Tensor, rows: Tensor) -> None:
        weight, width = observation.weight.double(), observation.weight.shape[1]
        self.rows, bias = rows, torch.zeros_like(weight[:, 0])
        self.origin, self.free = torch.zeros_like(rows[0]), torch.eye(rows.shape[1]).to(rows)
        if observation.bias is not None:
            last, bias = rows[-1], observation.bias.double()
            self.origin = starts[0, -1] * last / (last @ last)
            self.free = torch.linalg.svd(last[None], full_matrices=True)[2][1:].T
        self.slope = weight @ rows[:width] @ self.free
        self.level = weight @ (rows[:width] @ self.origin) + bias
        self.columns, self.rough = columns, (columns.float(), self.slope.float())
        self.t = (starts @ rows - self.origin) @ self.free
        self.labels, self.target = labels, observation.loss.targets(labels)
        self.total = observation.loss.total[labels][:, None]
        self.gradient, self.outside = self.at(self.t, slice(None))
        self.sine = self.outside.norm(dim=1)
        self.damping = torch.full_like(self.sine, 1e-2)

    def at(self, t: Tensor, which: Tensor | slice) -> tuple[Tensor, Tensor]:
        """ĝ at `t`, and what is outside of the column space of ĝ/|ĝ|, (N, C) each."""
        gradient = self.total[which] * torch.softmax(self.level + t @ self.slope.T, dim=1) - self.target[which]
        outside = gradient - gradient @ self.columns @ self.columns.T
        return gradient, outside / gradient.norm(dim=1, keepdim=True).clamp(min=1e-300)

    def step(self, which: Tensor) -> None:
        """A step of each of `which`, by the first damping with which it gets nearer."""
        normal, right = self._normal(which)
        scale = normal.diagonal(dim1=1, dim2=2)
        least = 1e-7 * scale.mean(dim=1, keepdim=True) + 1e-30
        for _ in range(DAMPINGS):
            damped = normal + torch.diag_embed(self.damping[which, None].float() * scale + least)
            factor, failed = torch.linalg.cholesky_ex(damped)
            change = torch.cholesky_solve(right, factor)[:, :, 0].double()
            ahead = self.t[which] - torch.where((failed == 0)[:, None] & change.isfinite(), change, 0.0)
            gradient, outside = self.at(ahead, which)
            sine = outside.norm(dim=1)
            better = sine < self.sine[which]
            nearer = which[better]
            self.t[nearer], self.sine[nearer] = ahead[better], sine[better]
            self.gradient[nearer], self.outside[nearer] = gradient[better], outside[better]
            self.damping[nearer] = (0.2 * self.damping[nearer]).clamp(min=1e-7)
            self.damping[which[~better]] = (5 * self.damping[which[~better]]).clamp(max=1e8)
            which, normal, right, scale, least = (part[~better] for part in (which, normal, right, scale, least))
            if len(which) == 0:
                break

    def _normal(self, which: Tensor) -> tuple[Tensor, Tensor]:
        """Jᵀ J (N, d, d) and Jᵀ r (N, d, 1), float32, of the Jacobians J of r, what is outside, by t."""
        columns, slope = self.rough
        length = self.gradient[which].norm(dim=1, keepdim=True).clamp(min=1e-300)
        softmax = (self.gradient[which] + self.target[which]) / self.total[which]
        mean = (softmax @ self.slope).float()
        # Classes first: then the projection is one product of large matrices.
        jacobian = slope[:, None, :] - mean
        jacobian *= (self.total[which] * softmax / length).float().T.contiguous()[:, :, None]  # of ĝ/|ĝ|, at |ĝ| fixed
        along = torch.einsum("nc,cnd->nd", (self.gradient[which] / length).float(), jacobian)
        flat = jacobian.view(len(slope), -1)
        flat.addmm_(columns, columns.T @ flat, alpha=-1)
        outside = self.outside[which].float()
        jacobian.addcmul_(outside.T.contiguous()[:, :, None], along, value=-1)
        each = jacobian.permute(1, 0, 2)
        return torch.bmm(each.mT, each), torch.bmm(each.mT, outside[:, :, None])

    def solutions(self) -> Solutions:
        return Solutions(self.labels, (self.origin + self.t @ self.free.T) @ self.rows.T, self.gradient, self.sine)


def solve(
    observation: Observation, labels: Tensor, starts: Tensor, columns: Tensor, rows: Tensor, deadline: float = math.inf
) -> Solutions:
    """Minimise the angle between ĝ and the column space from every start, until `deadline` (`time.monotonic`).

    **Arguments:** `labels` (N,) and `starts` (N, m + 1), extended embeddings; orthonormal bases of the column space,
    `columns` (C, r), and of the row space, `rows` (m + 1, r). Without a bias all are (…, m).
    """
    if len(labels) == 0:
        return Solutions(labels, starts, starts.new_zeros(0, observation.num_classes), starts.new_zeros(0))
    angles = _Angles(observation, labels, starts, columns, rows)
    entries = angles.slope.numel()
    moving = torch.arange(len(labels), device=labels.device)
    for _ in range(STEPS if entries else 0):
        before = angles.sine[moving]
        for part in torch.split(moving, max(1, int(ENTRIES / entries))):
            if time.monotonic() > deadline:
                return angles.solutions()
            angles.step(part)
        after = angles.sine[moving]
        moving = moving[(after < STALLED * before) & (after > CONVERGED)]
        if len(moving) == 0:
            break
    return angles.solutions()
