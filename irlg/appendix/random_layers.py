"""Last layers drawn at random, and observations as arrays: what oracles are fed with."""

import numpy as np
import torch
from torch import Tensor, nn

from irlg.observation import Observation
from irlg.restoration.pseudocode import Array


def random_layer(
    rng: np.random.Generator, classes: int, width: int, batch_size: int
) -> tuple[Tensor, Tensor, nn.Linear]:
    """A batch at an untrained last layer, in float64.

    **Returns:** embeddings (K, m), absolute values of normal numbers, as after a ReLU; labels (K,),
    uniform; a layer with PyTorch's initial weights, uniform within ±1/√m.
    """
    head = nn.Linear(width, classes, dtype=torch.float64)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.as_tensor(rng.uniform(-1, 1, parameter.shape) / np.sqrt(width)))
    embeddings = torch.as_tensor(np.abs(rng.normal(size=(batch_size, width))))
    return embeddings, torch.as_tensor(rng.integers(classes, size=batch_size)), head


def arrays(observation: Observation) -> tuple[Array, Array, Array, Array]:
    """∇W, ∇b, W and b of an observation as float64 arrays, for `pseudocode.algorithm_1`."""
    names = ("grad_weight", "grad_bias", "weight", "bias")
    grad_weight, grad_bias, weight, bias = (getattr(observation, n).double().cpu().numpy() for n in names)
    return grad_weight, grad_bias, weight, bias
