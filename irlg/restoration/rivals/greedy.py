"""Methods that give labels one by one, each to the class with the smallest entry: LLG, LLG*, EBI and LLBG.

Each takes every label to subtract an *impact* M < 0 from its class's entry, and what classes get without labels to be
an *offset*. First every class with a negative entry gets a label; then, with the offset off, the smallest entry's class
does until K are given. Where more than K classes are negative, as under noise, more than K labels are given.
"""

import numpy as np
import torch
from torch import Tensor

from irlg.observation import Observation
from irlg.restoration.auxiliary import Auxiliary
from irlg.restoration.method import Method
from irlg.restoration.result import Restoration
from irlg.restoration.rivals.gradients import bias_gradient, counted, row_sums, unscaled


def one_by_one(entries: Tensor, impact: float, offset: Tensor | float, size: int) -> Tensor:
    """Counts (C,) int64 of `size` labels given to `entries` (C,), each of which takes `impact` from its entry."""
    given = (entries < 0).to(torch.int64)
    left = (entries - impact * given - offset).cpu().numpy().copy()
    counts = given.cpu().numpy().copy()
    for _ in range(size - int(counts.sum())):
        smallest = np.argmin(left)
        counts[smallest] += 1
        left[smallest] -= impact
    return torch.as_tensor(counts, device=entries.device)


def _answer(observation: Observation, counts: Tensor, method: str) -> Restoration:
    return counted(observation, counts.double(), method, counts)


def _negative(entries: Tensor) -> float:
    return float(entries.clamp(max=0).sum())


def _llg(observation: Observation) -> Restoration:
    """A. Wainakh et al., *User-Level Label Leakage from Gradients in Federated Learning*, PoPETs 2022: of gradients.

    By a_j = Σ_d ∇W_{j,d}, with M = (1 + 1/C) Σ_{a_j < 0} a_j / K and no offset. Needs K and e ≥ 0. Counts.
    """
    entries, size = unscaled(observation), observation.size
    impact = (1 + 1 / observation.num_classes) * _negative(entries) / size
    return _answer(observation, one_by_one(entries, impact, 0.0, size), "llg")


def _llg_star(observation: Observation, auxiliary: Auxiliary) -> Restoration:
    """LLG* of the same paper: impact and offset are measured on dummy batches at the network, with labels made up.

    A dummy batch of K that is all class j gives a_j = mean (p_j − 1) Σ_d e_d, one without it a_j = mean p_j Σ_d e_d:
    M is the mean of the former over classes, times (1 + 1/C) / K, the offset of class j is the latter. Labels of the
    auxiliary instances are not looked at: noise will do. Needs K, e ≥ 0 and auxiliary instances. Counts.
    """
    classes, size = observation.num_classes, observation.size
    without = (auxiliary.probabilities * auxiliary.sums[:, None]).mean(dim=0)
    impact = (1 + 1 / classes) * float((without - auxiliary.sums.mean()).mean()) / size
    return _answer(observation, one_by_one(row_sums(observation), impact, without, size), "llg-star")


def _ebi(observation: Observation) -> Restoration:
    """ "bias-corrected" of the package `breaching` (J. Geiping et al.), LLG on ∇b.

    By g = ∇b, with M = Σ_{g_j < 0} g_j / K and no offset. Needs ∇b and K. Counts.
    """
    entries, size = unscaled(observation, bias=True), observation.size
    return _answer(observation, one_by_one(entries, _negative(entries) / size, 0.0, size), "ebi")


def _llbg(observation: Observation, auxiliary: Auxiliary | None) -> Restoration:
    """N. Gat and M. Sharif, *Harmful Bias: A General Label-Leakage Attack on Federated Learning from Bias Gradients*,
    AISec 2024.

    By g = ∇b, with M = −(1 − γ) / K and the offset 1/C, a step's: of several steps an observation is the mean. γ is
    the confidence to expect of an instance's own class: 0, as of an untrained network, or what labelled auxiliary
    instances have in the mean, where they are given. Needs ∇b and K. Counts.
    """
    confidence = 0.0
    if auxiliary is not None:
        confidence = float(auxiliary.probabilities.gather(1, auxiliary.labelled[:, None]).mean())
    impact, offset = -(1 - confidence) / observation.size, 1 / observation.num_classes
    return _answer(observation, one_by_one(bias_gradient(observation), impact, offset, observation.size), "llbg")


LLG = Method("llg", _llg, needs=frozenset({"sign", "size"}))
LLG_STAR = Method("llg-star", _llg_star, needs=frozenset({"sign", "size", "auxiliary"}), options=("auxiliary",))
EBI = Method("ebi", _ebi, needs=frozenset({"bias", "size"}))
LLBG = Method("llbg", _llbg, needs=frozenset({"bias", "size"}), options=("auxiliary",))
