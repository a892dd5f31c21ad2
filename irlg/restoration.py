"""From an observation to label counts."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Literal, overload

import torch
from torch import Tensor

from irlg import algorithm1, estimator, ignorance, lattice
from irlg.batch_size import posterior, rank
from irlg.bounds import SUPPOSED, presence_proofs
from irlg.instances import Instances, explain
from irlg.observation import Observation


@dataclass(frozen=True, eq=False)
class Restoration:
    """Restored label counts, on the observation's device.

    `counts` (C,) int64; `raw_counts` (C,) float64, before rounding; `probabilities` (C, C) float64,
    row i the mean softmax that the method takes for class i; `method`; `embed`, what computes `embeddings`.
    """

    counts: Tensor
    raw_counts: Tensor
    probabilities: Tensor
    method: str
    embed: Callable[[], Tensor] | None = field(repr=False)

    @cached_property
    def embeddings(self) -> Tensor | None:
        """(C, m) float64, row i the embedding that the method takes for class i; `None` where it takes none.

        Computed when first asked for, from the observation's ∇W, which is not to be changed before.
        """
        return None if self.embed is None else self.embed()


def _irlg(observation: Observation) -> Restoration:
    grad_bias = observation.grad_bias.double()
    embed = partial(algorithm1.class_embeddings, observation.grad_weight, grad_bias)
    probabilities = algorithm1.class_probabilities(embed(), observation.weight.double(), observation.bias.double())
    raw = algorithm1.solve_counts(probabilities, grad_bias, observation.size)
    counts = algorithm1.round_counts(raw, observation.size)
    return Restoration(counts, raw, probabilities, "irlg", embed)


def _uniform(observation: Observation) -> Restoration:
    classes, size = observation.num_classes, observation.size
    grad_bias = observation.grad_bias.double()
    raw = size / classes - size * grad_bias
    probabilities = torch.full_like(grad_bias, 1 / classes).repeat(classes, 1)
    return Restoration(algorithm1.round_counts(raw, size), raw, probabilities, "uniform", None)


@dataclass(frozen=True, eq=False)
class LatticeRestoration(Restoration):
    """What `method="lattice"` returns beside the counts, which sum to K and obey the bounds.

    `log_probability` of the whole vector of counts, and of K with it where that was inferred (−inf
    where nothing could be decoded); `class_probabilities` (C,) of each count; `count_covariance` (C, C)
    of `raw_counts`; `lower_bounds` (C,) int64, see `irlg.presence_proofs`; `candidates` (B, C) int64, the
    best vectors found, best first, and their `weights` (B,) among each other. The probability is the first
    weight, or less of it: without what a vector that the beam dropped may claim, 1/misfit where that is above 4,
    half of the guess's share where counts are drawn towards it, and 0.98 where signs are used because the
    fit's embeddings bear them out.

    `batch_sizes` and `batch_size_weights`: K and its probability, 1 where it was told; the candidates,
    most likely first, where not; K is meant up to whole copies of the batch, which have the same
    gradients. `instances`: the batch's instances one by one, if they were looked for and found; then
    counts, candidates and weights are theirs, and all else is what it was without. `diagnostics`: passes
    that worked, misfit (above 1 where the residual is larger than the covariance admits), the share of
    the fit in the counts (below 1 where it is doubtful and they are drawn towards the constant guess), whether
    embeddings were taken to be non-negative and why, and why it stopped.
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


def _lattice(
    observation: Observation, nonnegative: bool | None, search_below: float, sizes: list[int], sure: list[float]
) -> LatticeRestoration:
    """Restore at a K that is told or taken; instances are looked for below a probability of the counts."""
    given = lattice.problem(observation)
    proofs, passes = estimator.solve(given, presence_proofs(observation, nonnegative))
    best, reason = ignorance.answer(given, proofs, passes), passes.stopped
    means = best.means or (passes.last.means if passes.last else None)
    embed = None if means is None else partial(means.embeddings, observation.grad_weight)
    device = observation.weight.device
    candidates = torch.as_tensor(best.beam.vectors, device=device)
    weights = torch.as_tensor(best.weights, device=device)
    # Where the residual rejects the model, its own probability is not worth much.
    trust = best.trust / (best.misfit if best.misfit > estimator.REJECTED else 1.0)
    if proofs.why == SUPPOSED:
        trust *= estimator.BORNE_OUT

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
            "passes": passes.count,
            "misfit": best.misfit,
            "share": best.share,
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


def _lattice_of_unknown_size(
    observation: Observation, nonnegative: bool | None, search: bool, largest: int
) -> LatticeRestoration:
    least = rank(observation)
    # As many instances as the rank has, or a few more that are too confident to add to it: if these are
    # all there is, that needs no prior.
    for size in range(max(1, least), min(least + 3, largest + 1) if search else 0):
        restored = _lattice(observation.of(size), nonnegative, math.inf, [size], [1.0])
        if restored.instances is not None:
            return restored
    sizes, weights = posterior(observation, nonnegative, largest)
    if not sizes:
        raise ValueError(
            f"largest_batch: expected at least the rank of the gradients, {least}, got {largest} (noise makes it high)"
        )
    restored = _lattice(observation.of(sizes[0]), nonnegative, 0.0, sizes, weights.tolist())
    reason = f"{restored.diagnostics['stopped']}; K was sought from {least} to {largest} only"
    return replace(restored, diagnostics=restored.diagnostics | {"stopped": reason})


METHODS = ("lattice", "irlg", "uniform")
LARGEST_BATCH = 256
SURE = 0.999  # probability from which on instances are not looked for one by one


@overload
def restore(
    observation: Observation,
    method: Literal["lattice"] = "lattice",
    nonnegative: bool | None = None,
    search: bool = True,
    largest_batch: int = LARGEST_BATCH,
) -> LatticeRestoration: ...


@overload
def restore(observation: Observation, method: str) -> Restoration: ...


def restore(
    observation: Observation,
    method: str = "lattice",
    nonnegative: bool | None = None,
    search: bool = True,
    largest_batch: int = LARGEST_BATCH,
) -> Restoration:
    """Restore how many instances of each class the observed batch held.

    **Arguments:** `method`:

    - `"lattice"`: least squares over all classes at once, then the most likely whole counts that sum
      to K and obey the hard bounds, with a probability: a `LatticeRestoration`.
    - `"irlg"`: Algorithm 1 of the appendix.
    - `"uniform"`: the constant guess Σ_k p_{k,j} = K/C in n_j = Σ_k p_{k,j} − K∇b_j, which looks at
      nothing but ∇b: the yardstick for every other method.

    The others are for `"lattice"` alone. `nonnegative`: whether embeddings are (as after a ReLU); `None`
    guesses, by a class that shows no sign of presence, or by the mean embedding of the fit.
    `search`: whether to look for each instance on its own where the counts are not sure, K < C/2 and
    C K³ ≤ 2·10⁷; it takes up to some seconds.
    `largest_batch`: the largest K that is tried where the observation does not say it.

    Noise and compression are not in the model, and with two classes their one difference is all there is to
    learn a covariance from: there the probability is no certificate.

    Everything is computed in float64, but for W Wᵀ, which enters a prior. **Raises:** `ValueError` for an
    unknown method or `nonnegative`, for options of `"lattice"` with another, and for an unknown K with
    another or with more instances than `largest_batch`.
    """
    if method not in METHODS:
        raise ValueError(f"method: expected one of {list(METHODS)}, got {method!r}")
    if method != "lattice":
        for name, value, default in (
            ("nonnegative", nonnegative, None),
            ("search", search, True),
            ("largest_batch", largest_batch, LARGEST_BATCH),
        ):
            if value != default:
                raise ValueError(f"{name}: expected {default} for method {method!r}, got {value!r}")
        return _irlg(observation) if method == "irlg" else _uniform(observation)
    if nonnegative not in (None, True, False):
        raise ValueError(f"nonnegative: expected True, False or None, got {nonnegative!r}")
    if observation.batch_size is None:
        return _lattice_of_unknown_size(observation, nonnegative, search, largest_batch)
    return _lattice(observation, nonnegative, SURE if search else 0.0, [observation.batch_size], [1.0])
