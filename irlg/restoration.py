"""From an observation to label counts."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from irlg import algorithm1
from irlg.observation import Observation


@dataclass(frozen=True, eq=False)
class Restoration:
    """Restored label counts, on the observation's device.

    `counts` (C,) int64; `raw_counts` (C,) float64, before rounding; `probabilities` (C, C) float64,
    row i the mean softmax that the method takes for class i; `embeddings` (C, m) float64, row i the
    embedding it takes for class i, or `None` where it takes none; `method`.
    """

    counts: Tensor
    raw_counts: Tensor
    embeddings: Tensor | None
    probabilities: Tensor
    method: str


def _irlg(observation: Observation) -> Restoration:
    grad_bias = observation.grad_bias.double()
    embeddings = algorithm1.class_embeddings(observation.grad_weight.double(), grad_bias)
    probabilities = algorithm1.class_probabilities(embeddings, observation.weight.double(), observation.bias.double())
    raw = algorithm1.solve_counts(probabilities, grad_bias, observation.batch_size)
    counts = algorithm1.round_counts(raw, observation.batch_size)
    return Restoration(counts, raw, embeddings, probabilities, "irlg")


def _uniform(observation: Observation) -> Restoration:
    classes, size = observation.num_classes, observation.batch_size
    grad_bias = observation.grad_bias.double()
    raw = size / classes - size * grad_bias
    probabilities = torch.full_like(grad_bias, 1 / classes).repeat(classes, 1)
    return Restoration(algorithm1.round_counts(raw, size), raw, None, probabilities, "uniform")


METHODS: dict[str, Callable[[Observation], Restoration]] = {"irlg": _irlg, "uniform": _uniform}


def restore(observation: Observation, method: str = "irlg") -> Restoration:
    """Restore how many instances of each class the observed batch held.

    **Arguments:** `method`:

    - `"irlg"`: Algorithm 1 of the appendix.
    - `"uniform"`: the constant guess Σ_k p_{k,j} = K/C in n_j = Σ_k p_{k,j} − K∇b_j, which looks at
      nothing but ∇b: the yardstick for every other method.

    Everything is computed in float64. **Raises:** `ValueError` for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"method: expected one of {sorted(METHODS)}, got {method!r}")
    return METHODS[method](observation)
