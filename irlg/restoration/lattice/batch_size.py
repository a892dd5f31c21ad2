"""How many instances a batch held, where the server is not told."""

import numpy as np
import torch
from scipy.special import gammaln

from irlg.observation import Observation
from irlg.restoration.lattice import layer, passes, shrinkage
from irlg.restoration.lattice.bounds import presence_proofs
from irlg.restoration.lattice.instances import rounding

# Evidence is a sum over classes whose errors are not independent, least of all on trained networks:
# differences between candidates count a tenth.
TEMPER = 10.0


def rank(observation: Observation) -> int:
    """Rank of [∇W, ∇b] beyond rounding: a batch has at least so many instances, and as many while they
    are independent and fewer than C."""
    both = torch.cat([observation.grad_weight, observation.grad_bias[:, None]], dim=1).double()
    singular = torch.linalg.svdvals(both)
    return int((singular > rounding(observation) * singular[0]).sum())


def posterior(observation: Observation, nonnegative: bool | None, largest: int) -> tuple[list[int], np.ndarray]:
    """Candidates for K, most likely first, and their probabilities: each is tried, and its evidence weighed.

    Gradients are means, so a batch and its copies are the same observation. What speaks against the
    larger K is the prior: labels are taken to be drawn uniformly, and all counts to have a common
    divisor is then a rare event. Signs are used as first guessed, not tried both ways (`passes.solve`), which
    would take twice as long. Empty where no candidate up to `largest` can be.
    """
    least = max(1, rank(observation))
    given = layer.problem(observation.of(least))
    sizes, scores, misfits = list[int](), list[float](), list[float]()
    for size in range(least, largest + 1):
        proofs, scaled = presence_proofs(observation.of(size), nonnegative), given.of(size)
        found = passes.estimate(scaled, proofs)[0] or shrinkage.answer(scaled, proofs, None)
        counts = found.beam.vectors[0]
        prior = gammaln(size + 1) - gammaln(counts + 1).sum() - size * np.log(len(counts))
        sizes.append(size)
        scores.append(found.score - 2 * prior)
        misfits.append(found.misfit)
    if not sizes:
        return [], np.zeros(0)
    order = np.argsort(scores, kind="stable")
    weights = np.exp(-(np.array(scores) - scores[order[0]])[order] / (2 * TEMPER * misfits[order[0]]))
    return [sizes[i] for i in order], weights / weights.sum()
