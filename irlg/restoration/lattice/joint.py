"""All instances of a batch at once: Gauss and Newton on what they leave of the gradients.

Each instance on its own has C − K equations for K − 1 unknowns. All together have the C K of T R = Σ_k ĝ_k (Rᵀ ê_k)ᵀ,
with R a basis of the row space, for as many unknowns. That matters where K is near C/2, and where an instance is so
weak that the errors of the others hide it. While some are missing, the best matrix of their rank stands for them: it is
projected out (variable projection: Golub and Pereyra, 1973, with Kaufman's derivative).
"""

import math
from time import monotonic

import torch
from torch import Tensor

from irlg.observation import Observation
from irlg.restoration.lattice.angles import Solutions

ROUNDS = 40  # of Gauss and Newton, each a least-squares problem: 12 are enough where none is missing
STEPS = 150  # of conjugate gradients for it
SETTLED = 0.97  # of what is left after a round: no more will come of it


class _Batch:
    """The instances of an observation, of `labels` (F,), each some `times` (F,): what is the same wherever they lie."""

    def __init__(self, observation: Observation, rows: Tensor, labels: Tensor, times: Tensor) -> None:
        weight, loss, bias = observation.weight.double(), observation.loss, observation.bias
        self.slope = weight @ rows[: weight.shape[1]]
        self.level = weight.new_zeros(len(weight)) if bias is None else bias.double()
        self.targets, self.total = loss.targets(labels), loss.total[labels][:, None]
        self.times = times[:, None].double()
        # With a bias the last entry of ê is the constant, and stays.
        self.fixed = torch.zeros_like(rows[0]) if bias is None else rows[-1] / rows[-1].norm()


class _Sum:
    """Σ_k ĝ_k (Rᵀ ê_k)ᵀ at coordinates `t` (F, r) of ê_k in the row space, its `gradients` (F, C), and its derivative
    by t in units of 1/|ĝ_k|, in which weak instances weigh as much as others."""

    def __init__(self, batch: _Batch, t: Tensor) -> None:
        self.batch, self.t = batch, t
        self.softmax = torch.softmax(batch.level + t @ batch.slope.T, dim=1)
        self.gradients = batch.total * self.softmax - batch.targets
        self.value = (batch.times * self.gradients).T @ t
        self.scale = 1 / (batch.times * self.gradients.norm(dim=1, keepdim=True)).clamp(min=1e-300)

    def moved(self, step: Tensor) -> "_Sum":
        return _Sum(self.batch, self.t + self._free(self.scale * step))

    def forward(self, change: Tensor) -> Tensor:
        """Derivative (C, r) along a `change` (F, r)."""
        change = self._free(self.scale * change)
        gradient = self.batch.total * self._softmax_by(change @ self.batch.slope.T)
        return (self.batch.times * gradient).T @ self.t + (self.batch.times * self.gradients).T @ change

    def backward(self, residual: Tensor) -> Tensor:
        """The same transposed: of (C, r) to (F, r)."""
        of_logits = self._softmax_by(self.batch.total * self.batch.times * (self.t @ residual.T))
        return self._free(of_logits @ self.batch.slope + self.batch.times * (self.gradients @ residual)) * self.scale

    def _softmax_by(self, logits: Tensor) -> Tensor:
        along = self.softmax * logits
        return along - self.softmax * along.sum(dim=1, keepdim=True)

    def _free(self, change: Tensor) -> Tensor:
        return change - torch.outer(change @ self.batch.fixed, self.batch.fixed)


class _Remainder:
    """What a sum leaves of what is `wanted` (C, r), `value` (C, r), but for the best matrix of rank `left`."""

    def __init__(self, wanted: Tensor, of: _Sum, left: int) -> None:
        self.of, self.value = of, wanted - of.value
        self.size = math.inf
        self.columns = self.rows = None
        if not bool(torch.isfinite(self.value.sum())):
            return
        if left:
            columns, _, rows = torch.linalg.svd(self.value, full_matrices=False)
            self.columns, self.rows = columns[:, :left], rows[:left]
            self.value = self._outside(self.value)
        self.size = float(self.value.norm())

    def forward(self, change: Tensor) -> Tensor:
        return self._outside(self.of.forward(change))

    def backward(self, residual: Tensor) -> Tensor:
        return self.of.backward(self._outside(residual))

    def _outside(self, matrix: Tensor) -> Tensor:
        if self.columns is None or self.rows is None:
            return matrix
        matrix = matrix - self.columns @ (self.columns.T @ matrix)
        return matrix - matrix @ self.rows.T @ self.rows


def refined(
    observation: Observation,
    target: Tensor,
    rows: Tensor,
    start: Solutions,
    times: Tensor,
    left: int = 0,
    deadline: float = math.inf,
) -> Solutions:
    """The solutions that leave the least of the `target` T (C, m + 1), near those to `start` from, `times` (F,) each.

    **Arguments:** `rows` (m + 1, r), an orthonormal basis of the row space; `left`, the instances that are missing.
    Without a bias all are (…, m). `deadline`, of `time.monotonic`.
    """
    wanted = target @ rows
    t = start.embeddings @ rows
    if observation.bias is not None:
        t = t + torch.outer(start.embeddings[:, -1] - t @ rows[-1], rows[-1] / rows[-1].square().sum())
    now = _Remainder(wanted, _Sum(_Batch(observation, rows, start.labels, times), t), left)
    for _ in range(ROUNDS):
        if monotonic() > deadline:
            break
        step = _least_squares(now)
        ahead = (_Remainder(wanted, now.of.moved(step / 4**halving), left) for halving in range(4))
        nearest = min(ahead, key=lambda remainder: remainder.size)
        if not nearest.size < now.size:
            break
        now, before = nearest, now.size
        if now.size > SETTLED * before:
            break
    return Solutions(start.labels, now.of.t @ rows.T, now.of.gradients, start.sine)


def _least_squares(at: _Remainder) -> Tensor:
    """The step (F, r) that the linear model asks for, by conjugate gradients (CGLS: Björck, 1996)."""
    step, residual = torch.zeros_like(at.of.t), at.value
    steepest = direction = at.backward(residual)
    first = size = steepest.square().sum()
    for _ in range(STEPS):
        if not size > 1e-12 * first:
            break
        image = at.forward(direction)
        length = size / image.square().sum()
        step, residual = step + length * direction, residual - length * image
        steepest = at.backward(residual)
        size, last = steepest.square().sum(), size
        direction = steepest + size / last * direction
    return step
