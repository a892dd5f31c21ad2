"""Methods by labelled auxiliary instances, a class's own and others': RLU, and by posteriors."""

import torch
from torch import Tensor

from irlg.observation import Observation
from irlg.restoration.auxiliary import Auxiliary
from irlg.restoration.method import Method
from irlg.restoration.result import Restoration
from irlg.restoration.rivals.gradients import bias_gradient, counted


def _by_class(auxiliary: Auxiliary, values: Tensor, own_too: bool) -> tuple[Tensor, Tensor]:
    """Means of `values` (N, C) over a class's own instances and over all others, (C, C) each, a row a class.

    **Raises:** `ValueError` where a class has no others, or, if they are wanted, none of its `own`.
    """
    labels, classes = auxiliary.labelled, values.shape[1]
    size = torch.bincount(labels, minlength=classes).double()[:, None]
    if bool((size == len(labels)).any()):
        raise ValueError("auxiliary: expected instances of at least 2 classes, got one")
    if own_too and bool((size == 0).any()):
        missing = int((size == 0).sum())
        raise ValueError(f"auxiliary: expected instances of each of {classes} classes, got none of {missing}")
    sums = values.new_zeros((classes, classes)).index_add_(0, labels, values)
    return sums / size, (sums.sum(dim=0) - sums) / (len(labels) - size)


def _rlu(observation: Observation, auxiliary: Auxiliary) -> Restoration:
    """H. Chen and H. Vikalo, *Recovering Labels from Local Updates in Federated Learning*, ICML 2024.

    The *erroneous confidence* in class j is the expected entry j of the softmax of instances of other classes.
    u_j = max(that − g_j, 0), n = K u / Σ u, rounded. The expectation is the mean over auxiliary instances; the authors
    draw logits from normals fitted to them, and their released code takes the softmax of mean logits.

    Of an update of several local steps it is the mean over these. The networks between the first and last nobody sees:
    the authors guess counts, simulate how mean logits move, and correct the guess until they end as the network that
    was returned has them. **Our reading** keeps both ends and no simulation: at step t of T logits are (1 − t/T) of
    those at the network before and t/T of those after. Of one step, or without `auxiliary.after`, those before.

    Needs ∇b, K (of all steps) and labelled auxiliary instances of at least two classes. Counts.
    """
    before, steps = auxiliary.logits, auxiliary.local_steps
    after = before if auxiliary.after is None else auxiliary.after.logits
    path = (torch.lerp(before, after, step / steps).softmax(dim=1) for step in range(steps))
    _, others = _by_class(auxiliary, sum(path, torch.zeros_like(before)) / steps, own_too=False)
    share = (others.diagonal() - bias_gradient(observation)).clamp(min=0)
    total = float(share.sum())
    return counted(observation, share * (observation.size / total) if total > 0 else share, "rlu")


def _posterior(observation: Observation, auxiliary: Auxiliary) -> Restoration:
    """R. Zhang, S. Guo and P. Li, *Posterior Probability-based Label Recovery Attack in Federated Learning*, 2024.

    With φ⁺_j and φ⁻_j the mean probability of class j over auxiliary instances of it and of others,
    K g_j = n_j (φ⁺_j − 1) + (K − n_j) φ⁻_j, so n_j = K (φ⁻_j − g_j) / (1 + φ⁻_j − φ⁺_j). That is cross-entropy's case
    of their focal loss. Needs ∇b, K and labelled auxiliary instances of every class. Counts.
    """
    own, others = (each.diagonal() for each in _by_class(auxiliary, auxiliary.probabilities, own_too=True))
    below = 1 + others - own
    if not bool((below > 0).all()):
        raise ValueError("auxiliary: expected classes with a probability below 1 in the mean, got one that is sure")
    raw = observation.size * (others - bias_gradient(observation)) / below
    return counted(observation, raw, "posterior")


RLU = Method("rlu", _rlu, needs=frozenset({"bias", "size", "auxiliary"}), options=("auxiliary",))
POSTERIOR = Method("posterior", _posterior, needs=frozenset({"bias", "size", "auxiliary"}), options=("auxiliary",))
