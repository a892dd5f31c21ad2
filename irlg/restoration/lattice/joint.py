"""All instances of a batch at once: Gauss and Newton on what they leave of the gradients.

Each instance on its own has C − K equations for K − 1 unknowns. All together have the C K of T R = Σ_k ĝ_k (Rᵀ ê_k)ᵀ,
with R a basis of the row space, for as many unknowns. That matters where K is near C/2, and where an instance is so
weak that the errors of the others hide it.
"""

import torch
from torch import Tensor

from irlg.observation import Observation
from irlg.restoration.lattice.angles import Solutions

ROUNDS = 12  # of Gauss and Newton, each a least-squares problem
STEPS = 150  # of conjugate gradients for it
SETTLED = 0.9  # of what is left after a round: no more will come of it


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


def refined(observation: Observation, target: Tensor, rows: Tensor, start: Solutions, times: Tensor) -> Solutions:
    """The solutions that leave the least of the `target` T (C, m + 1), near those to `start` from, `times` (F,) each.

    **Arguments:** `rows` (m + 1, r), an orthonormal basis of the row space. Without a bias all are (…, m).
    """
    wanted = target @ rows
    t = start.embeddings @ rows
    if observation.bias is not None:
        t = t + torch.outer(start.embeddings[:, -1] - t @ rows[-1], rows[-1] / rows[-1].square().sum())
    now = _Sum(_Batch(observation, rows, start.labels, times), t)
    for _ in range(ROUNDS):
        step = _least_squares(now, wanted - now.value)
        before = (wanted - now.value).norm()
        ahead = [now.moved(step / 4**halving) for halving in range(4)]
        nearest = min(ahead, key=lambda sum_: float((wanted - sum_.value).norm().nan_to_num(nan=torch.inf)))
        after = (wanted - nearest.value).norm()
        if not after < before:
            break
        now = nearest
        if after > SETTLED * before:
            break
    return Solutions(start.labels, now.t @ rows.T, now.gradients, start.sine)


def _least_squares(at: _Sum, wanted: Tensor) -> Tensor:
    """The step (F, r) that the linear model asks for, by conjugate gradients (CGLS: Björck, 1996)."""
    step, residual = torch.zeros_like(at.t), wanted
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
