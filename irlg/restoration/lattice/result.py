"""What the method `"lattice"` returns."""

from dataclasses import dataclass

from torch import Tensor

from irlg.instances import Instances
from irlg.restoration.result import Restoration


@dataclass(frozen=True, eq=False)
class LatticeRestoration(Restoration):
    """What `method="lattice"` returns beside the counts, which sum to K and obey the bounds.

    `log_probability` of the whole vector of counts, and of K with it where that was inferred (−inf where nothing
    could be decoded); `class_probabilities` (C,) of each count; `count_covariance` (C, C) of `raw_counts`;
    `lower_bounds` (C,) int64, see `irlg.presence_proofs`; `candidates` (B, C) int64, the best vectors found, best
    first, and their `weights` (B,) among each other. The probability is the first weight, or less of it: without
    what a vector that the beam dropped may claim, 1/misfit where that is above 4, and 0.98 where counts are doubtful
    and drawn (see `shrinkage`), as all are of up to ten classes that the network has learnt, signs are used because
    the fit bears them out, label smoothing may hide a class, or the scale of ∇b was looked for (see `scale`).

    `batch_sizes` and `batch_size_weights`: K and its probability, 1 where it was told; the candidates, most likely
    first, where not; K is meant up to whole copies of the batch, which have the same gradients.

    `instances`: the batch's instances one by one, if they were looked for and all found. Counts, candidates, weights
    and probabilities are then theirs. Where only some were found, counts and candidates are theirs and the lattice's
    for the rest, and the probability is that of the rest, at most 0.98, or 0.5 where the time was not over. In both
    cases `lower_bounds` count those found, and all else is what it was without. `diagnostics`: misfit (above 1 where
    the residual is larger than the covariance admits), the share of the fit in the counts (below 1 where these were
    drawn, before instances were found), the divisor of the sum over instances, whether embeddings were taken to be
    non-negative and why, how many instances were found, and why it stopped.
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
