"""Methods by means over auxiliary inputs, p̄ of softmax and Ō of embeddings' sums: ZLG and its average over local steps.

With a_j = Σ_d ∇W_{j,d}, and every instance's embedding summing to Ō, K a_j = Ō (Σ_k p_{k,j} − n_j). No bias is needed.
"""

import torch
from torch import Tensor

from irlg.observation import Observation
from irlg.restoration.auxiliary import Auxiliary
from irlg.restoration.method import Method
from irlg.restoration.result import Restoration
from irlg.restoration.rivals.gradients import counted, row_sums


def _zlg(observation: Observation, auxiliary: Auxiliary) -> Restoration:
    """J. Geng et al., *Towards General Deep Leakage in Federated Learning*, 2021.

    n_j = K p̄_j − K a_j / Ō. Needs K and auxiliary instances, without labels: noise will do. Counts.
    """
    size, total = observation.size, _nonzero(auxiliary.sums.mean())
    raw = size * (auxiliary.probabilities.mean(dim=0) - row_sums(observation) / total)
    return counted(observation, raw, "zlg")


def _dimitrov(observation: Observation, auxiliary: Auxiliary) -> Restoration:
    """D. Dimitrov et al., *Data Leakage in Federated Averaging*, TMLR 2022.

    ZLG for an update of several local steps, whose networks but the first and last nobody sees: at step t of T, p̄ and
    Ō are (1 − t/T) of those at the network before and t/T of those after, and counts the mean of those of all steps,
    rounded to sum to K. Of one step these are ZLG's. Needs K (of all steps) and auxiliary instances at both networks,
    without labels. Counts.
    """
    if auxiliary.after is None:
        raise ValueError("auxiliary: expected instances at the network after the local steps too, got after=None")
    size, steps = observation.size, auxiliary.local_steps
    share = torch.arange(steps, dtype=torch.float64, device=observation.weight.device)[:, None] / steps
    softmax, total = (
        (1 - share) * before.mean(dim=0) + share * after.mean(dim=0)
        for before, after in (
            (auxiliary.probabilities, auxiliary.after.probabilities),
            (auxiliary.sums[:, None], auxiliary.after.sums[:, None]),
        )
    )
    raw = size * (softmax - row_sums(observation) / _nonzero(total)).mean(dim=0)
    return counted(observation, raw, "dimitrov", to_total(raw, size))


def to_total(raw: Tensor, total: int) -> Tensor:
    """Their rounding (C,) int64: down, from 0 to `total`, then by ones to sum to it, the largest remainders first."""
    counts = raw.clamp(min=0, max=total).floor()
    while (missing := total - int(counts.sum())) != 0:
        remainder = raw - counts
        if missing < 0:
            remainder = torch.where(counts > 0, -remainder, -torch.inf)
        movable = int((remainder > -torch.inf).sum())
        counts[remainder.topk(min(abs(missing), movable)).indices] += 1 if missing > 0 else -1
    return counts.to(torch.int64)


def _nonzero(total: Tensor) -> Tensor:
    if not bool((total != 0).all()):
        raise ValueError("auxiliary: expected embeddings whose sums have a mean other than 0, got 0")
    return total


ZLG = Method("zlg", _zlg, needs=frozenset({"size", "auxiliary"}), options=("auxiliary",))
DIMITROV = Method("dimitrov", _dimitrov, needs=frozenset({"size", "auxiliary"}), options=("auxiliary",))
