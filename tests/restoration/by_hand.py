"""A batch whose every number is worked out by hand, and auxiliary instances at its network."""

from dataclasses import replace

import numpy as np
import torch

from irlg import Auxiliary, Observation
from irlg.restoration.registry import METHODS
from tests.helpers import linear


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def by_hand(**told):
    """C = 3, m = 2, K = 4 at a head of zeros, so that p = (1, 1, 1)/3: three instances of class 0 with e = (3, 0), one
    of class 1 with (0, 3). All embeddings sum to 3.

    ∇b = p − n/4 = 1/3 − (3, 1, 0)/4 = (−5, 1, 4)/12, and a = 3 ∇b = (−5, 1, 4)/4. By instances,
    4 ∇W_0 = −2/3 · 3 (3, 0) + 1/3 (0, 3) = (−6, 1), 4 ∇W_1 = (3, 0) − 2/3 (0, 3) = (3, −2), 4 ∇W_2 = (3, 1).
    """
    weight, bias = tensor((0, 0), (0, 0), (0, 0)), torch.zeros(3, dtype=torch.float64)
    grad_weight, grad_bias = tensor((-6, 1), (3, -2), (3, 1)) / 4, tensor(-5, 1, 4) / 12
    return Observation(grad_weight, grad_bias, weight, bias, **{"batch_size": 4, **told})


def of_zeros(*embeddings, labels=None, **more):
    """Auxiliary instances at that head."""
    return Auxiliary(tensor(*embeddings), torch.zeros(len(embeddings), 3), labels, **more)


DUMMIES = of_zeros((1, 2), (2, 1))  # p̄ = 1/3, Ō = 3
# p = (4, 1, 1)/6 of class 0, and so on: 2/3 of the own class, 1/6 of each other.
CONFIDENT = Auxiliary(torch.ones(3, 2), tensor((4, 1, 1), (1, 4, 1), (1, 1, 4)).log(), torch.arange(3))
# And one more of class 2, p = 1/3 of each.
UNEVEN = Auxiliary(torch.ones(4, 2), tensor((4, 1, 1), (1, 4, 1), (1, 1, 4), (2, 2, 2)).log(), [0, 1, 2, 2])


def given_to(method, classes=3, width=2, seed=0, head=None):
    """Auxiliary instances for a method that takes some: one a class and two more, of positive sums."""
    if "auxiliary" not in METHODS[method].options:
        return None
    drawn = np.random.default_rng(seed)
    embeddings = torch.as_tensor(np.abs(drawn.normal(size=(classes + 2, width))))
    labels = torch.as_tensor([*range(classes), *drawn.integers(classes, size=2)])
    head = head or linear(torch.zeros(classes, width).double(), torch.zeros(classes).double())
    before = Auxiliary.from_embeddings(embeddings, head, labels)
    return replace(before, after=Auxiliary.from_embeddings(2 * embeddings, head, labels), local_steps=3)
