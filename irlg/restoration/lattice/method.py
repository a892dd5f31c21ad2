"""The method `"lattice"`: what all modules of this folder make together."""

import math
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from irlg import checks
from irlg.observation import Observation
from irlg.restoration.lattice import passes, scale, shrinkage
from irlg.restoration.lattice.batch_size import posterior, rank, sizes_of
from irlg.restoration.lattice.bounds import SUPPOSED, PresenceProofs, presence_proofs
from irlg.restoration.lattice.deflation import Found, one_by_one
from irlg.restoration.lattice.layer import Problem, problem
from irlg.restoration.lattice.result import LatticeRestoration
from irlg.restoration.method import Method

SURE = 0.999  # probability from which on instances are not looked for one by one
SUSPICIOUS = 1.5  # misfit from which on they are looked for all the same; right counts have 1, and 2.8 in one of twenty
LEARNT = 3.0  # times 1/C, the mean softmax of a class on its own from which on an instance may leave no trace
HIDING = 1e-4  # standard deviation of y, in instances, that hides what one of which the network is sure leaves
LONGEST = 1e9  # seconds: as good as for ever


def _of_size(
    observation: Observation, proofs: PresenceProofs, sizes: list[int], sure: list[float], given: Problem | None = None
) -> LatticeRestoration:
    """Restore at a K that is told or taken, without a look for instances."""
    given = given or problem(observation)
    proofs, fit, reason = passes.solve(given, proofs)
    best = shrinkage.answer(given, proofs, fit)
    embed = None if best.means is None else partial(best.means.embeddings, observation.grad_weight)
    device = observation.weight.device
    candidates = torch.as_tensor(best.beam.vectors, device=device)
    weights = torch.as_tensor(best.weights, device=device)
    # Where the residual rejects the model, its own probability is not worth much.
    trust = best.trust / (best.misfit if best.misfit > passes.REJECTED else 1.0)
    rows = best.rows(torch.arange(observation.num_classes, device=device))
    noisy, suspicious = float(given.y_variance.max()) > HIDING**2, best.misfit > SUSPICIOUS
    hiding = (observation.label_smoothing or noisy or suspicious) and _has_learnt(best.P[rows], candidates[0])
    if proofs.why == SUPPOSED or hiding:
        trust *= passes.BORNE_OUT
    return LatticeRestoration(
        counts=candidates[0],
        raw_counts=best.x,
        probabilities=best.P[rows],
        method="lattice",
        embed=embed,
        log_probability=float((trust * weights[0]).log()) + math.log(sure[0]),
        class_probabilities=trust * weights @ (candidates == candidates[0]).double(),
        count_covariance=best.covariance,
        lower_bounds=proofs.lower_bounds,
        candidates=candidates,
        weights=weights,
        batch_sizes=sizes[: len(sure)],
        batch_size_weights=sure,
        instances=None,
        diagnostics={
            "misfit": best.misfit,
            "share": best.share,
            "divisor": given.divisor * float(observation.loss.class_weight.mean()),
            "nonnegative": proofs.nonnegative,
            "nonnegative_why": proofs.why,
            "instances": 0,
            "stopped": reason,
        },
    )


def _has_learnt(P: Tensor, counts: Tensor) -> bool:
    """Whether the network knows some class that is there (mean softmax P (C, C) by class).

    One that gives a class as much as label smoothing takes leaves nothing of it in ∇b, nor does one that is sure of an
    instance leave what noise, or a coarse number, does not hide.
    """
    return bool((len(P) * P.diagonal()[counts > 0] > LEARNT).any())


@dataclass(frozen=True)
class _Search:
    """How instances are looked for: where the probability of counts is `below` that, or their misfit is suspicious,
    until `deadline` (`time.monotonic`), with what is told of `nonnegative` embeddings."""

    nonnegative: bool | None
    below: float
    deadline: float

    def improve(
        self, observation: Observation, proofs: PresenceProofs, restored: LatticeRestoration
    ) -> LatticeRestoration:
        """The restoration with the instances that are found, if there are some and they obey the bounds."""
        suspicious = self.below > 0 and float(restored.diagnostics["misfit"]) > SUSPICIOUS
        if not (math.exp(restored.log_probability) < self.below or suspicious):
            return restored

        def of_rest(rest: Observation, counted: Tensor) -> LatticeRestoration:
            if scale.is_sought(rest):
                return _of_unknown_scale(rest, replace(self, below=0.0))
            return _of_size(rest, proofs.without(counted, rest.size), [rest.size], [1.0])

        found = one_by_one(observation, restored, of_rest, self.deadline)
        if found is None or bool((found.counts(len(restored.counts)) < restored.lower_bounds).any()):
            return restored
        better = _with(restored, found)
        surer = found.rest is None or better.log_probability > restored.log_probability
        return better if surer else restored


def _with(restored: LatticeRestoration, found: Found) -> LatticeRestoration:
    """The restoration of a batch of which instances were found."""
    rest, number = found.rest, len(found.labels)
    counts = torch.bincount(found.labels, minlength=len(restored.counts))
    if rest is None:
        candidates, weights, log_probability = counts[None], torch.ones_like(restored.weights[:1]), 0.0
        each, reason = torch.ones_like(restored.class_probabilities), "every instance was found"
    else:
        candidates, weights, log_probability = counts + rest.candidates, rest.weights, rest.log_probability
        each, stopped = rest.class_probabilities, rest.diagnostics["stopped"]
        reason = f"{number} instances were found; of the others, {stopped}"
    return replace(
        restored,
        counts=candidates[0],
        log_probability=math.log(found.trust) + log_probability,
        class_probabilities=found.trust * each,
        lower_bounds=torch.maximum(restored.lower_bounds, counts),
        candidates=candidates,
        weights=weights,
        # That of K: more instances than there are would not be found, nor fewer explain the gradients.
        batch_size_weights=[1.0] if rest is None else restored.batch_size_weights,
        batch_sizes=restored.batch_sizes[:1] if rest is None else restored.batch_sizes,
        instances=found.instances,
        diagnostics=restored.diagnostics | {"instances": number, "stopped": reason},
    )


def _of_unknown_size(observation: Observation, search: _Search, largest: int) -> LatticeRestoration:
    least = rank(observation)
    # As many instances as the rank has, or a few more that are too confident to add to it: if these are
    # all there is, that needs no prior.
    for size, told in sizes_of(observation, least, min(least + 2, largest) if search.below else 0):
        proofs = presence_proofs(told, search.nonnegative)
        restored = replace(search, below=math.inf).improve(told, proofs, _of_size(told, proofs, [size], [1.0]))
        if restored.instances is not None:
            return restored
    sizes, weights = posterior(observation, search.nonnegative, largest)
    if not sizes:
        why = f"the rank of the gradients, {least} (noise makes it high)"
        if largest >= least:
            why = f"the K that ∇b and its divisor, {observation.divisor}, ask for"
        raise ValueError(f"largest_batch: expected at least {why}, got {largest}")
    told = observation.of(sizes[0])
    restored = _of_size(told, presence_proofs(told, search.nonnegative), sizes, weights.tolist())
    reason = f"{restored.diagnostics['stopped']}; K was sought from {least} to {largest} only"
    return replace(restored, diagnostics=restored.diagnostics | {"stopped": reason})


def _of_unknown_scale(observation: Observation, search: _Search) -> LatticeRestoration:
    proofs = presence_proofs(observation, search.nonnegative)
    problems, weights = scale.posterior(observation, proofs)
    if not problems and observation.grad_bias is not None and observation.divisor is None:
        restored = _of_size(observation, proofs, [observation.size], [1.0])  # by the weights' mean
        return search.improve(observation, proofs, restored)
    if not problems:
        what = "divisor" if observation.grad_bias is not None else "grad_bias"
        raise ValueError(f"{what}: expected to be told, as gradients of 0 say nothing of it")
    given = problems[0]
    told = observation
    if observation.grad_bias is not None:
        divisor = given.divisor * float(observation.loss.class_weight.mean())
        told = replace(observation, divisor=divisor)
    restored = search.improve(told, proofs, _of_size(told, proofs, [observation.size], [1.0], given))
    if restored.diagnostics["instances"]:  # they would not be parts of gradients of another scale
        return restored
    # What was looked for is no measurement, but for a mean over weights, which the counts must go with.
    weighted = observation.grad_bias is not None and observation.divisor is None
    trust = float(weights[0]) * (1.0 if weighted else passes.BORNE_OUT)
    return replace(
        restored,
        log_probability=restored.log_probability + (math.log(trust) if trust else -math.inf),
        class_probabilities=trust * restored.class_probabilities,
    )


def _lattice(
    observation: Observation,
    nonnegative: bool | None,
    search: bool | Literal["always"],
    search_seconds: float,
    largest_batch: int,
) -> LatticeRestoration:
    if not isinstance(search, bool) and not (isinstance(search, str) and search == "always"):
        raise ValueError(f'search: expected True, False or "always", got {search!r}')
    number = isinstance(search_seconds, int | float | np.number) and not isinstance(search_seconds, bool)
    if not number or not search_seconds >= 0:
        raise ValueError(f"search_seconds: expected a number of at least 0, or inf, got {search_seconds!r}")
    largest_batch = checks.as_whole("largest_batch", largest_batch, 1)
    if observation.grad_bias is None and observation.divisor == "unknown":
        raise ValueError("divisor: expected to be told for a head without a bias, got 'unknown'")
    below = {True: SURE, False: 0.0, "always": math.inf}[search]
    looked_for = _Search(nonnegative, below, monotonic() + float(min(search_seconds, LONGEST)))
    if observation.batch_size is None and scale.is_sought(observation):
        raise ValueError(
            "batch_size: expected a whole number where the gradients' scale is not known either (a head without a bias,"
            " or class weights without a divisor), got None"
        )
    if observation.batch_size is None:
        return _of_unknown_size(observation, looked_for, largest_batch)
    if scale.is_sought(observation):
        return _of_unknown_scale(observation, looked_for)
    proofs = presence_proofs(observation, nonnegative)
    restored = _of_size(observation, proofs, [observation.batch_size], [1.0])
    return looked_for.improve(observation, proofs, restored)


METHOD = Method("lattice", _lattice, options=("nonnegative", "search", "search_seconds", "largest_batch"))
