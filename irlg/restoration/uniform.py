"""The constant guess Σ_k p_{k,j} = K/C, which looks at nothing but ∇b."""

import torch

from irlg.observation import Observation
from irlg.restoration.method import Method, plain_divisor
from irlg.restoration.result import Restoration
from irlg.restoration.rounding import round_counts


def _uniform(observation: Observation) -> Restoration:
    classes, size = observation.num_classes, observation.size
    grad_bias = observation.biases[0].double()
    raw = size / classes - plain_divisor(observation) * grad_bias
    probabilities = torch.full_like(grad_bias, 1 / classes).repeat(classes, 1)
    return Restoration(round_counts(raw, size), raw, probabilities, "uniform", None)


METHOD = Method("uniform", _uniform, needs=frozenset({"bias", "size"}))
