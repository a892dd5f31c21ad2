"""How many instances a batch held, where the server is not told."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from scipy.special import gammaln

from irlg.observation import Observation
from irlg.restoration.lattice import layer, passes, shrinkage
from irlg.restoration.lattice.bounds import presence_proofs
from irlg.restoration.lattice.instances import rounding, spectral

# Evidence is a sum over classes whose errors are not independent, least of all on trained networks:
# differences between candidates count a tenth.
TEMPER = 10.0


def rank(observation: Observation) -> int:
    """Rank of [∇W, ∇b] beyond rounding: a batch has at least so many instances, and as many while they
    are independent and fewer than C."""
    both = observation.grad_weight.double()
    if observation.grad_bias is not None:
        both = torch.cat([both, observation.grad_bias.double()[:, None]], dim=1)
    singular = torch.linalg.svdvals(both)
    return int((singular > max(rounding(observation) * float(singular[0]), spectral(observation))).sum())


def sizes_of(observation: Observation, least: int, largest: int) -> Iterator[tuple[int, Observation]]:
    """Every K in a range, and the observation with it, but for those that a told divisor rules out."""
    for size in range(max(1, least), largest + 1):
        with contextlib.suppress(ValueError):
            yield size, observation.of(size)


def posterior(observation: Observation, nonnegative: bool | None, largest: int) -> tuple[list[int], np.ndarray]:
    """Candidates for K, most likely first, and their probabilities: each is tried, and its evidence weighed.

    Gradients are means, so a batch and its copies are the same observation. What speaks against the
    larger K is the prior: labels are taken to be drawn uniformly, and all counts to have a common
    divisor is then a rare event. Signs are used as first guessed, not tried both ways (`passes.solve`), which
    would take twice as long. Empty where no candidate up to `largest` can be.
    """
    least = rank(observation)
    last = layer.Layer(observation)
    sizes, scores, misfits = list[int](), list[float](), list[float]()
    for size, told in sizes_of(observation, least, largest):
        proofs, given = presence_proofs(told, nonnegative), layer.problem(told, last)
        found = passes.estimate(given, proofs)[0] or shrinkage.answer(given, proofs, None)
        counts = found.beam.vectors[0]
        prior = gammaln(size + 1) - gammaln(counts + 1).sum() - size * np.log(len(counts))
        sizes.append(size)
        scores.append(found.score - 2 * prior)
        misfits.append(found.misfit)
    order, weights = weighed(scores, misfits)
    return [sizes[i] for i in order], weights


def weighed(scores: list[float], misfits: list[float]) -> tuple[list[int], np.ndarray]:
    """The order of candidates by their scores, least first, and their probabilities in that order."""
    order = np.argsort(scores, kind="stable").tolist()
    if not order:
        return [], np.zeros(0)
    weights = np.exp(-(np.array(scores)[order] - scores[order[0]]) / (2 * TEMPER * misfits[order[0]]))
    return order, weights / weights.sum()
