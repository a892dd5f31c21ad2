"""The scale of ∇b where it is not told: after clipping, of a mean with class weights, or for a head without a bias.

Whole counts go with few scales alone, as absent classes have no instances. Each is tried, from the largest that can be,
Σ|∇b| = 2 max ω K / divisor, downwards, and its evidence weighed.

After clipping both gradients are s times too small: their divisor is K/s. With class weights it is Σ_k w of the labels,
and so of the counts. A head without a bias has no ∇b, but where embeddings have a common mean μ, Y = y μᵀ + …, so that
the first left singular vector of ∇W is ∇b but for its length, and for what embeddings differ along μ (see `denoising`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from irlg.observation import Observation
from irlg.restoration.lattice import passes
from irlg.restoration.lattice.batch_size import weighed
from irlg.restoration.lattice.bounds import PresenceProofs
from irlg.restoration.lattice.layer import Layer, Problem, problem
from irlg.restoration.lattice.passes import Pass

STEP = 1.1  # from one scale to the next
STEPS = 36  # down to a thirtieth of the largest
AROUND = 6  # steps up and down from what a mean with class weights is likely divided by


@dataclass(frozen=True, eq=False)
class _Scales:
    """Problems by scale: `of` a scale, where 1 is what those of `steps` are counted from; `most`, the largest."""

    of: Callable[[float], Problem]
    steps: range
    most: float


def posterior(observation: Observation, proofs: PresenceProofs) -> tuple[list[Problem], np.ndarray]:
    """Problems of the likely scales, most likely first, and their probabilities. Where none explains the gradients that
    of the largest, and 0, or none for a mean with class weights. Empty where gradients are 0."""
    shown = observation.grad_weight if observation.grad_bias is None else observation.grad_bias
    if not bool(shown.any()):
        return [], np.zeros(0)
    scales = _scales(observation)
    found = dict[tuple[int, ...], tuple[float, float, Problem]]()  # by counts: score, misfit and problem
    for step in scales.steps:
        first = _tried(replace(scales.of(STEP**step), unsure=STEP - 1), proofs)
        if first is None:
            continue
        scale = min(STEP**step * first[1], scales.most)
        nearer = _tried(scales.of(scale), proofs)
        if nearer is None:
            continue
        # The density of ∇b, not of the counts.
        score = nearer[0].score - 2 * (observation.num_classes - 1) * np.log(scale)
        key = tuple(nearer[0].beam.vectors[0].tolist())
        if key not in found or score < found[key][0]:
            found[key] = score, nearer[0].misfit, scales.of(min(scale * nearer[1], scales.most))
    if not found:  # of a mean with class weights there is a likely one, but not by these
        none = observation.grad_bias is not None and observation.divisor is None
        return ([], np.zeros(0)) if none else ([scales.of(1.0)], np.zeros(1))
    scores, misfits, problems = (list(each) for each in zip(*found.values(), strict=True))
    order, weights = weighed(scores, misfits)
    return [problems[i] for i in order], weights


def is_sought(observation: Observation) -> bool:
    """Whether the scale is not told."""
    if observation.grad_bias is None or observation.divisor == "unknown":
        return True
    return observation.divisor is None and observation.loss.weighted and not observation.soft_labels


def _scales(observation: Observation) -> _Scales:
    layer, down = Layer(observation), range(0, -STEPS, -1)
    if observation.grad_bias is None:
        direction = _direction(observation)
        bare = problem(observation, layer, direction)
        largest = 2 * float(bare.loss.total.max()) * bare.batch_size / bare.divisor
        bare = problem(observation, layer, direction * (largest / direction.abs().sum()))
        return _Scales(lambda scale: replace(bare, grad_bias=scale * bare.grad_bias), down, 1.0)
    given = problem(observation, layer, divisor=1.0)
    size, loss = observation.size, given.loss
    most = 2 * size * float(loss.total.max()) / float(given.grad_bias.abs().sum())
    if observation.divisor == "unknown":
        return _Scales(lambda scale: replace(given, divisor=scale * most), down, 1.0)
    # A mean with class weights, over Σ_k w: were all softmax 1/C, it would be that with which counts sum to K.
    rise = 1 / loss.hit
    left = size * (1 + (loss.spread * rise).sum() - loss.spread.sum() * rise.mean())
    even = float(left / ((1 - loss.label_smoothing) * rise.mean() - given.grad_bias @ rise))
    return _Scales(lambda scale: replace(given, divisor=scale * even), range(-AROUND, AROUND + 1), most / even)


def _direction(observation: Observation) -> Tensor:
    """The first left singular vector of ∇W, centred over classes, (C,): its largest entry is negative."""
    centred = observation.grad_weight.double()
    centred = centred - centred.mean(dim=0)
    first = torch.linalg.eigh(centred @ centred.T).eigenvectors[:, -1]
    return -first * first[first.abs().argmax()].sign()


def _tried(given: Problem, proofs: PresenceProofs) -> tuple[Pass, float] | None:
    """What the passes find, and by how much more ∇b would go with it."""
    found, _ = passes.estimate(given, proofs)
    if found is None:
        return None
    n = torch.as_tensor(found.beam.vectors[0], dtype=given.y.dtype, device=given.y.device)
    P = found.P[found.rows(torch.arange(len(n), device=n.device))]
    expected = P.T @ (given.loss.total * n) - given.loss.hit * n - given.batch_size * given.loss.spread
    more = float(given.y @ expected / given.y.square().sum())
    return (found, more) if 0 < more < np.inf else None
