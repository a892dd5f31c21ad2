"""RLG: which classes are there, by what separates their rows of a factor of ∇W from all others'."""

import numpy as np
import torch
from scipy.optimize import nnls

from irlg.observation import Observation
from irlg.restoration.method import Method
from irlg.restoration.result import Restoration
from irlg.restoration.rivals.gradients import check_plain, present

NONE = 1e-6  # of a row's length: less is rounding. Present rows of clean gradients leave 1 of theirs, absent ones 1e-9.


def _rlg(observation: Observation) -> Restoration:
    """T. Dang et al., *Revealing and Protecting Labels in Distributed Training*, NeurIPS 2021.

    ∇W = U Σ Vᵀ, cut to rank S = min(K, rank), has the columns of U (C, S) span the (p_k − y_k) where embeddings are
    linearly independent. Each of these is negative at its class alone: so class j is there if and only if some q has
    U_j q < 0 and U_i q ≥ 0 of all others, a linear programme a class. It is solved by its alternative (Farkas), some
    λ ≥ 0 with U_j = Σ_i λ_i U_i, which is 30 times faster; the paper's perceptron before it only spares programmes.
    Needs K < min(m, C), and no signs; with K = C − 1 all classes may pass. Existence only.

    At C = 1,000 and K = 64 it takes ten seconds.
    """
    check_plain(observation)
    size, (classes, width) = observation.size, observation.weight.shape
    if size >= min(classes, width):
        raise ValueError(f"batch_size: expected less than min(m, C) = {min(classes, width)} for 'rlg', got {size}")
    given = observation.grad_weight
    left, values, _ = torch.linalg.svd(given.double(), full_matrices=False)
    tolerance = torch.finfo(given.dtype).eps * max(classes, width) * float(values[0])
    rows = left[:, : min(size, int((values > tolerance).sum()))].cpu().numpy()
    return present(observation, torch.tensor([separable(rows, j) for j in range(classes)]), "rlg")


def separable(rows: np.ndarray, j: int) -> bool:
    """Whether some q has rows[j] · q < 0, and at least 0 of all others."""
    if rows.shape[1] == 0:
        return False  # a gradient of 0 tells nothing
    _, left = nnls(np.delete(rows, j, axis=0).T, rows[j], maxiter=100 * len(rows))
    return bool(left > NONE * np.linalg.norm(rows[j]))


RLG = Method("rlg", _rlg, needs=frozenset({"size"}))
