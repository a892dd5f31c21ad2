"""From an observation to label counts."""

import math
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor

from irlg import algorithm1, estimator, lattice
from irlg.bounds import PresenceProofs, presence_proofs
from irlg.observation import Observation


@dataclass(frozen=True, eq=False)
class Restoration:
    """Restored label counts, on the observation's device.

    `counts` (C,) int64; `raw_counts` (C,) float64, before rounding; `probabilities` (C, C) float64,
    row i the mean softmax that the method takes for class i; `embeddings` (C, m) float64, row i the
    embedding it takes for class i, or `None` where it takes none; `method`.
    """

    counts: Tensor
    raw_counts: Tensor
    embeddings: Tensor | None
    probabilities: Tensor
    method: str


def _irlg(observation: Observation) -> Restoration:
    grad_bias = observation.grad_bias.double()
    embeddings = algorithm1.class_embeddings(observation.grad_weight.double(), grad_bias)
    probabilities = algorithm1.class_probabilities(embeddings, observation.weight.double(), observation.bias.double())
    raw = algorithm1.solve_counts(probabilities, grad_bias, observation.batch_size)
    counts = algorithm1.round_counts(raw, observation.batch_size)
    return Restoration(counts, raw, embeddings, probabilities, "irlg")


def _uniform(observation: Observation) -> Restoration:
    classes, size = observation.num_classes, observation.batch_size
    grad_bias = observation.grad_bias.double()
    raw = size / classes - size * grad_bias
    probabilities = torch.full_like(grad_bias, 1 / classes).repeat(classes, 1)
    return Restoration(algorithm1.round_counts(raw, size), raw, None, probabilities, "uniform")


@dataclass(frozen=True, eq=False)
class LatticeRestoration(Restoration):
    """What `method="lattice"` returns beside the counts, which sum to K and obey the bounds.

    `log_probability` of the whole vector of counts (−inf where nothing could be decoded);
    `class_probabilities` (C,) of each count; `count_covariance` (C, C) of `raw_counts`;
    `lower_bounds` (C,) int64, see `irlg.presence_proofs`; `candidates` (B, C) int64, the best vectors
    found, best first, and their `weights` (B,), which sum to 1; `diagnostics`: passes that worked,
    misfit (above 1 where the residual is larger than the covariance admits, which tempers all
    probabilities), whether embeddings were taken to be non-negative, and why the passes stopped.
    """

    log_probability: float
    class_probabilities: Tensor
    count_covariance: Tensor
    lower_bounds: Tensor
    candidates: Tensor
    weights: Tensor
    diagnostics: dict[str, int | float | bool | str]


def _lattice(observation: Observation, nonnegative: bool | None) -> LatticeRestoration:
    proofs = presence_proofs(observation, nonnegative)
    given = lattice.problem(observation)
    passes, reason = estimator.estimate(given, proofs, observation.batch_size)
    if not passes:
        return _undecoded(observation, proofs, reason)
    best = estimator.best(passes)
    device = observation.weight.device
    candidates = torch.as_tensor(best.beam.vectors, device=device)
    weights = torch.as_tensor(best.weights, device=device)
    return LatticeRestoration(
        counts=candidates[0],
        raw_counts=best.x,
        embeddings=lattice.class_embeddings(given, best.fit),
        probabilities=best.probabilities,
        method="lattice",
        log_probability=float(weights[0].log()),
        class_probabilities=weights @ (candidates == candidates[0]).double(),
        count_covariance=best.covariance,
        lower_bounds=proofs.lower_bounds,
        candidates=candidates,
        weights=weights,
        diagnostics=_diagnostics(len(passes), best.misfit, proofs, reason),
    )


def _undecoded(observation: Observation, proofs: PresenceProofs, reason: str) -> LatticeRestoration:
    """The constant guess, rounded to bounds and sum by largest remainder, with probability 0."""
    guess = _uniform(observation)
    counts = estimator.largest_remainder(guess.raw_counts, proofs.lower_bounds, observation.batch_size)
    none = torch.zeros_like(guess.raw_counts)
    return LatticeRestoration(
        counts=counts,
        raw_counts=guess.raw_counts,
        embeddings=None,
        probabilities=guess.probabilities,
        method="lattice",
        log_probability=-math.inf,
        class_probabilities=none,
        count_covariance=torch.full_like(guess.probabilities, math.inf),
        lower_bounds=proofs.lower_bounds,
        candidates=counts[None],
        weights=none[:1],
        diagnostics=_diagnostics(0, math.inf, proofs, reason),
    )


def _diagnostics(
    passes: int, misfit: float, proofs: PresenceProofs, reason: str
) -> dict[str, int | float | bool | str]:
    return {"passes": passes, "misfit": misfit, "nonnegative": proofs.nonnegative, "stopped": reason}


METHODS = ("irlg", "lattice", "uniform")


@overload
def restore(
    observation: Observation, method: Literal["lattice"], nonnegative: bool | None = None
) -> LatticeRestoration: ...


@overload
def restore(observation: Observation, method: str = "irlg", nonnegative: bool | None = None) -> Restoration: ...


def restore(observation: Observation, method: str = "irlg", nonnegative: bool | None = None) -> Restoration:
    """Restore how many instances of each class the observed batch held.

    **Arguments:** `method`:

    - `"irlg"`: Algorithm 1 of the appendix.
    - `"uniform"`: the constant guess Σ_k p_{k,j} = K/C in n_j = Σ_k p_{k,j} − K∇b_j, which looks at
      nothing but ∇b: the yardstick for every other method.

    - `"lattice"`: least squares over all classes at once, then the most likely whole counts that sum
      to K and obey the hard bounds, with a probability: a `LatticeRestoration`.

    `nonnegative`, for `"lattice"` alone: whether embeddings are (as after a ReLU); `None` finds out.

    Everything is computed in float64. **Raises:** `ValueError` for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"method: expected one of {list(METHODS)}, got {method!r}")
    if method == "lattice":
        return _lattice(observation, nonnegative)
    if nonnegative is not None:
        raise ValueError(f"nonnegative: expected None for method {method!r}, got {nonnegative!r}")
    return _irlg(observation) if method == "irlg" else _uniform(observation)
