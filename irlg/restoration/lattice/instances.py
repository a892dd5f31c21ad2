"""Each instance on its own: where K < C/2, the gradients give away every single instance.

With ĝ_k = p_k − y_k and ê_k the embedding with a constant behind it, [K∇W, K∇b] = Σ_k ĝ_k ê_kᵀ (without a bias,
ê_k is the embedding, and all else the same). While
the K outer products are independent, every ĝ_k lies in the column space and every ê_k in the row
space of that matrix, both of dimension K. So an instance of class c solves

    softmax(W e + b) − 1_c  ∈  column space,    (e, constant) ∈ row space:

C − K equations for K − 1 unknowns, whatever the network has learnt. Solutions are found from many
starts. Those that together make up the gradients, each a whole number of times and K times in all,
are taken for the batch. The idea is the design's (section 3).
"""

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from irlg.checks import precision
from irlg.instances import Instances
from irlg.observation import Observation

# Sine of the angle between ĝ and the column space of a solution, a round each: strict first; what is
# left then is weak beside the rounding of what was found.
TOLERANCES = (1e-5, 1e-5, 1e-4, 1e-4, 1e-3, 1e-3, 1e-2, 1e-2)
STARTS = 6  # a class and round
STEPS = 30  # of Levenberg and Marquardt
WORK = 2e7  # C K³ beyond which the search would take more than some seconds
RESOLVED = 20  # units of rounding from which on a singular value is not noise
SMOOTHED = 0.5  # label smoothing beyond which any label would explain an instance
HARDLY = 4.0  # |ĝ| |ê| is at most √2 √2 mean |e| for a usual instance, and seldom twice as much
UNEXPLAINED = 0.1  # what the batch may leave of the gradients, in units of its weakest instance


@dataclass(frozen=True, eq=False)
class _Solutions:
    """Solutions found: `labels` (N,), extended `embeddings` (N, m + 1), their `gradients` (N, C) ĝ, and
    the `sine` (N,) of the angle between these and the column space, and how many `times` (N,) each."""

    labels: Tensor
    embeddings: Tensor
    gradients: Tensor
    sine: Tensor
    times: Tensor

    def __getitem__(self, index: Tensor) -> "_Solutions":
        return _Solutions(*(getattr(self, field.name)[index] for field in fields(self)))


def explain(observation: Observation, embeddings: Tensor, classes: Tensor) -> Instances | None:
    """Find the batch instance by instance, or `None` if no K instances explain the gradients, if they may
    not be unique (2K ≥ C) or if the search would take too long (C K³ > 2·10⁷).

    **Arguments:** `embeddings` (C, m) near which the classes' instances are looked for; `classes`
    (r,), those that may be present.
    """
    size, count, divisor = observation.size, observation.num_classes, observation.known_divisor
    if 2 * size >= count or count * size**3 > WORK:
        return None
    # Instances of more than one class, and a sum over them of unknown scale, are not looked for.
    if observation.soft_labels or divisor is None or observation.label_smoothing > SMOOTHED:
        return None
    if not bool(torch.isfinite(embeddings).all()):
        return None
    constant = embeddings.norm(dim=1).mean()
    if constant == 0:  # a dead layer: there is nothing to tell instances by
        return None
    target, scale = observation.grad_weight.double(), divisor
    if observation.grad_bias is not None:
        target = torch.cat([target, constant * observation.grad_bias.double()[:, None]], dim=1)
    target = scale * (target - target.mean(dim=0))
    if scale * observation.noise * math.sqrt(target.numel()) > UNEXPLAINED * HARDLY * float(constant):
        return None  # noise alone would be more than what may be left
    noise = (rounding(observation) * torch.linalg.matrix_norm(target, 2)).clamp(min=scale * spectral(observation))
    generator = torch.Generator().manual_seed(0)

    found, rest, left = list[_Solutions](), target, size
    for tolerance in TOLERANCES:
        if left == 1 and observation.grad_bias is not None:
            new = _last(observation, rest, constant)
        else:
            if not bool(torch.isfinite(rest).all()):
                return None
            columns, singular, rows = torch.linalg.svd(rest, full_matrices=False)
            rank = min(left, int((singular > noise).sum()))
            if rank == 0:
                return None
            columns, singular, rows = columns[:, :rank], singular[:rank], rows[:rank].T
            new = _solve(observation, *_starts(embeddings, classes, constant, generator), columns, rows)
            new = _parts(new[new.sine < tolerance], (rows / singular) @ columns.T, left, tolerance**0.5)
            if len(new.labels) == 0:
                continue
            again = _solve(observation, new.labels, new.embeddings, columns, rows)  # to the last digit
            new = replace(again, times=new.times)
        found.append(new)
        rest = rest - torch.einsum("n,nc,nm->cm", new.times, new.gradients, new.embeddings)
        left -= int(new.times.sum())
        if left == 0:
            break
    else:
        return None
    batch = _Solutions(*(torch.cat([getattr(one, field.name) for one in found]) for field in fields(_Solutions)))
    weakest = (batch.gradients.norm(dim=1) * batch.embeddings.norm(dim=1)).min()
    residual = float(rest.norm() / weakest)
    if not residual <= UNEXPLAINED:  # asked so that what is not a number is no explanation
        return None
    times = batch.times.long()
    labels, extended = (part.repeat_interleave(times, dim=0) for part in (batch.labels, batch.embeddings))
    return Instances(labels, extended[:, : observation.weight.shape[1]], residual)


def rounding(observation: Observation) -> float:
    """Singular values of gradients below this share of the largest may be rounding alone."""
    return RESOLVED * torch.finfo(precision(observation.grad_weight)).eps


def spectral(observation: Observation) -> float:
    """The largest singular value that noise of the observed level has (Marčenko and Pastur)."""
    classes, width = observation.grad_weight.shape
    return observation.noise * (math.sqrt(classes) + math.sqrt(width + 1))


def _starts(embeddings: Tensor, classes: Tensor, constant: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Labels (N,) and extended embeddings (N, m + 1) to begin from: between the class's embedding and
    the mean of all, with a spread like that of the classes."""
    labels = classes.repeat_interleave(STARTS)
    known = embeddings[classes]
    mean, spread = known.mean(dim=0), (known - known.mean(dim=0)) / len(known) ** 0.5

    def random(*shape: int, normal: bool = False) -> Tensor:
        draw = torch.randn if normal else torch.rand
        return draw(shape, generator=generator, dtype=torch.float64).to(embeddings.device)

    toward, size = random(len(labels), 1), 1.5 * random(len(labels), 1)
    toward[::STARTS], size[::STARTS] = 1, 0  # the class's embedding itself is the first
    drawn = mean + toward * (embeddings[labels] - mean) + size * (random(len(labels), len(known), normal=True) @ spread)
    return labels, torch.cat([drawn, constant.expand(len(labels), 1)], dim=1)


def _solve(observation: Observation, labels: Tensor, starts: Tensor, columns: Tensor, rows: Tensor) -> _Solutions:
    """Minimise the angle between ĝ and the column space from every start.

    **Arguments:** orthonormal bases of the column space, `columns` (C, r), and of the row space, `rows`
    (m + 1, r).
    """
    weight, width = observation.weight.double(), observation.weight.shape[1]
    starts, bias = starts[:, : len(rows)], torch.zeros_like(weight[:, 0])
    origin, free = torch.zeros_like(rows[0]), torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    if observation.bias is not None:
        # ê = rows (origin + free t), whose last entry is the constant whatever t.
        last, bias = rows[-1], observation.bias.double()
        origin = starts[0, -1] * last / (last @ last)
        free = torch.linalg.svd(last[None], full_matrices=True)[2][1:].T
    slope, level = weight @ rows[:width] @ free, weight @ (rows[:width] @ origin) + bias
    t = (starts @ rows - origin) @ free
    target, total = observation.loss.targets(labels), observation.loss.total[labels][:, None]

    def residual(t: Tensor) -> tuple[Tensor, Tensor]:
        gradient = total * torch.softmax(level + t @ slope.T, dim=1) - target
        outside = gradient - gradient @ columns @ columns.T
        return gradient, outside / gradient.norm(dim=1, keepdim=True).clamp(min=1e-300)

    gradient, r = residual(t)
    sine, damping = r.norm(dim=1), torch.full_like(r[:, 0], 1e-2)
    for _ in range(STEPS if free.shape[1] else 0):
        p, length = (gradient + target) / total, gradient.norm(dim=1)[:, None, None].clamp(min=1e-300)
        direction = gradient[:, :, None] / length
        change = (total * p)[:, :, None] * (slope - (p @ slope)[:, None])  # of ĝ with t, (N, C, r − 1)
        jacobian = (change - direction * (direction.mT @ change)) / length
        jacobian = jacobian - columns @ (columns.T @ jacobian)
        normal = jacobian.mT @ jacobian
        scale = normal.diagonal(dim1=1, dim2=2)
        damped = normal + torch.diag_embed(damping[:, None] * scale + 1e-12 * scale.mean(dim=1, keepdim=True) + 1e-300)
        factor, failed = torch.linalg.cholesky_ex(damped)
        step = torch.cholesky_solve(jacobian.mT @ r[:, :, None], factor)[:, :, 0]
        ahead = torch.where((failed == 0)[:, None] & step.isfinite(), t - step, t)
        gradient_ahead, r_ahead = residual(ahead)
        better = r_ahead.norm(dim=1) < sine
        t = torch.where(better[:, None], ahead, t)
        gradient = torch.where(better[:, None], gradient_ahead, gradient)
        r = torch.where(better[:, None], r_ahead, r)
        sine = r.norm(dim=1)
        damping = torch.where(better, 0.3 * damping, 4 * damping).clamp(1e-12, 1e8)
    return _Solutions(labels, (origin + t @ free.T) @ rows.T, gradient, sine, torch.ones_like(sine))


def _last(observation: Observation, rest: Tensor, constant: Tensor) -> _Solutions:
    """The one instance that is left, which `rest` (C, m + 1) then is; its class has the negative entry."""
    gradient = rest[:, -1] / constant
    label = gradient.argmin()
    embedding = gradient @ rest / (gradient @ gradient)
    # By the network, not by `rest`: if it is no instance, it will not explain `rest`.
    softmax = torch.softmax(observation.weight.double() @ embedding[:-1] + observation.biases[1].double(), dim=0)
    gradient = observation.loss.total[label] * softmax - observation.loss.targets(label[None])[0]
    one = torch.ones_like(constant)[None]
    return _Solutions(label[None], embedding[None], gradient[None], 0 * one, one)


def _parts(found: _Solutions, inverse: Tensor, size: int, near: float) -> _Solutions:
    """Those solutions that are parts of the sum which [K∇W, K∇b] is, and how many times each.

    With T = Σ_k ĝ_k ê_kᵀ of rank K and T⁺ its pseudo-`inverse` (m + 1, C), ê_iᵀ T⁺ ĝ_j = 1 for i = j and 0
    otherwise (Wedderburn's rank reduction): a part can be told, whatever is still missing. An
    instance that is there twice has 1/2.
    """
    found = found[torch.argsort(found.sine, stable=True)]
    overlap = found.embeddings @ inverse @ found.gradients.T
    times = 1 / overlap.diagonal()
    kept, left = list[int](), size
    for i in torch.nonzero((times > 0.5) & ((times - times.round()).abs() < near))[:, 0].tolist():
        apart = all(max(abs(float(overlap[i, j])), abs(float(overlap[j, i]))) < near for j in kept)
        if apart and times[i].round() <= left:
            kept.append(i)
            left -= int(times[i].round())
    index = torch.tensor(kept, dtype=torch.long, device=times.device)
    return replace(found[index], times=times[index].round())
