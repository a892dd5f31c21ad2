"""The method `"lattice"`: what all modules of this folder make together."""

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from irlg.instances import Instances
from irlg.observation import Observation
from irlg.restoration.lattice import passes, scale, shrinkage
from irlg.restoration.lattice.batch_size import posterior, rank, sizes_of
from irlg.restoration.lattice.bounds import SUPPOSED, PresenceProofs, presence_proofs
from irlg.restoration.lattice.instances import explain
from irlg.restoration.lattice.layer import Problem, problem
from irlg.restoration.method import Method
from irlg.restoration.result import Restoration

SURE = 0.999  # probability from which on instances are not looked for one by one


@dataclass(frozen=True, eq=False)
class LatticeRestoration(Restoration):
    """What `method="lattice"` returns beside the counts, which sum to K and obey the bounds.

    `log_probability` of the whole vector of counts, and of K with it where that was inferred (−inf where nothing
    could be decoded); `class_probabilities` (C,) of each count; `count_covariance` (C, C) of `raw_counts`;
    `lower_bounds` (C,) int64, see `irlg.presence_proofs`; `candidates` (B, C) int64, the best vectors found, best
    first, and their `weights` (B,) among each other. The probability is the first weight, or less of it: without
    what a vector that the beam dropped may claim, 1/misfit where that is above 4, and 0.98 where counts are
    doubtful and drawn (see `shrinkage`), signs are used because the fit bears them out, or the scale of ∇b was
    looked for (see `scale`).

    `batch_sizes` and `batch_size_weights`: K and its probability, 1 where it was told; the candidates, most likely
    first, where not; K is meant up to whole copies of the batch, which have the same gradients. `instances`: the
    batch's instances one by one, if they were looked for and found; then counts, candidates and weights are theirs,
    and all else is what it was without. `diagnostics`: misfit (above 1 where the residual is larger than the
    covariance admits), the share of the fit in the counts (below 1 where these were drawn, before instances were
    found), the divisor of the sum over instances, whether embeddings were taken to be non-negative and why, and why
    it stopped.
    """

    log_probability: float
    class_probabilities: Tensor
    count_covariance: Tensor
    lower_bounds: Tensor
    candidates: Tensor
    weights: Tensor
    batch_sizes: list[int]
    batch_size_weights: list[float]
    instances: Instances | None
    diagnostics: dict[str, int | float | bool | str]


def _of_size(
    observation: Observation,
    proofs: PresenceProofs,
    search_below: float,
    sizes: list[int],
    sure: list[float],
    given: Problem | None = None,
) -> LatticeRestoration:
    """Restore at a K that is told or taken; instances are looked for below a probability of the counts."""
    given = given or problem(observation)
    proofs, fit, reason = passes.solve(given, proofs)
    best = shrinkage.answer(given, proofs, fit)
    embed = None if best.means is None else partial(best.means.embeddings, observation.grad_weight)
    device = observation.weight.device
    candidates = torch.as_tensor(best.beam.vectors, device=device)
    weights = torch.as_tensor(best.weights, device=device)
    # Where the residual rejects the model, its own probability is not worth much.
    trust = best.trust / (best.misfit if best.misfit > passes.REJECTED else 1.0)
    if proofs.why == SUPPOSED:
        trust *= passes.BORNE_OUT

    instances = None
    if trust * weights[0] < search_below and embed is not None:
        possible = proofs.presumed > 0
        if not proofs.nonnegative or proofs.why == SUPPOSED:
            possible |= candidates.sum(dim=0) > 0
        instances = _instances(observation, embed(), possible, proofs.lower_bounds)
    if instances is not None:
        candidates = torch.bincount(instances.labels, minlength=observation.num_classes)[None]
        weights, trust, sure = torch.ones_like(weights[:1]), 1 - instances.residual, [1.0]
        reason = "every instance was found"
    return LatticeRestoration(
        counts=candidates[0],
        raw_counts=best.x,
        probabilities=best.P[best.rows(torch.arange(observation.num_classes, device=device))],
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
        instances=instances,
        diagnostics={
            "misfit": best.misfit,
            "share": best.share,
            "divisor": given.divisor * float(observation.loss.class_weight.mean()),
            "nonnegative": proofs.nonnegative,
            "nonnegative_why": proofs.why,
            "stopped": reason,
        },
    )


def _instances(
    observation: Observation, embeddings: Tensor, possible: Tensor, lower_bounds: Tensor
) -> Instances | None:
    """The batch instance by instance, of the `possible` classes (C,) bool, if that is found and obeys the bounds."""
    found = explain(observation, embeddings, torch.nonzero(possible)[:, 0])
    if found is None:
        return None
    counts = torch.bincount(found.labels, minlength=observation.num_classes)
    return found if bool((counts >= lower_bounds).all()) else None


def _of_unknown_size(
    observation: Observation, nonnegative: bool | None, search: bool, largest: int
) -> LatticeRestoration:
    least = rank(observation)
    # As many instances as the rank has, or a few more that are too confident to add to it: if these are
    # all there is, that needs no prior.
    for size, told in sizes_of(observation, least, min(least + 2, largest) if search else 0):
        restored = _of_size(told, presence_proofs(told, nonnegative), math.inf, [size], [1.0])
        if restored.instances is not None:
            return restored
    sizes, weights = posterior(observation, nonnegative, largest)
    if not sizes:
        raise ValueError(
            f"largest_batch: expected at least the rank of the gradients, {least}, got {largest} (noise makes it high)"
        )
    told = observation.of(sizes[0])
    restored = _of_size(told, presence_proofs(told, nonnegative), 0.0, sizes, weights.tolist())
    reason = f"{restored.diagnostics['stopped']}; K was sought from {least} to {largest} only"
    return replace(restored, diagnostics=restored.diagnostics | {"stopped": reason})


def _of_unknown_scale(observation: Observation, nonnegative: bool | None, search_below: float) -> LatticeRestoration:
    proofs = presence_proofs(observation, nonnegative)
    problems, weights = scale.posterior(observation, proofs)
    if not problems and observation.grad_bias is not None and observation.divisor is None:
        return _of_size(observation, proofs, search_below, [observation.size], [1.0])  # by the weights' mean
    if not problems:
        what = "divisor" if observation.grad_bias is not None else "grad_bias"
        raise ValueError(f"{what}: expected to be told, as none that was tried explains the gradients")
    given = problems[0]
    told = observation
    if observation.grad_bias is not None:
        divisor = given.divisor * float(observation.loss.class_weight.mean())
        told = replace(observation, divisor=divisor)
    restored = _of_size(told, proofs, search_below, [observation.size], [1.0], given)
    # What was looked for is no measurement, but for a mean over weights, which the counts must go with.
    weighted = observation.grad_bias is not None and observation.divisor is None
    borne_out = 1.0 if weighted else passes.BORNE_OUT
    trust = 1.0 if restored.instances is not None else float(weights[0]) * borne_out
    return replace(
        restored,
        log_probability=restored.log_probability + math.log(trust),
        class_probabilities=trust * restored.class_probabilities,
    )


def _lattice(
    observation: Observation, nonnegative: bool | None, search: bool, largest_batch: int
) -> LatticeRestoration:
    if observation.batch_size is None and scale.is_sought(observation):
        raise ValueError(
            "batch_size: expected a whole number where the gradients' scale is not known either (a head without a bias,"
            " or class weights without a divisor), got None"
        )
    if observation.batch_size is None:
        if not isinstance(largest_batch, int) or largest_batch < 1:
            raise ValueError(f"largest_batch: expected a whole number of at least 1, got {largest_batch!r}")
        return _of_unknown_size(observation, nonnegative, search, largest_batch)
    below = SURE if search else 0.0
    if scale.is_sought(observation):
        return _of_unknown_scale(observation, nonnegative, below)
    return _of_size(observation, presence_proofs(observation, nonnegative), below, [observation.batch_size], [1.0])


METHOD = Method("lattice", _lattice, options=("nonnegative", "search", "largest_batch"))
