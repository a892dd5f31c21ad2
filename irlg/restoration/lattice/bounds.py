"""What the gradients prove about a batch without any model: bounds that every count vector obeys."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from irlg.checks import precision
from irlg.observation import Observation

SIGNS = 16  # positive entries without a negative one that a row needs, to tell of embeddings
# Reasons why signs are used or not; those of a guess may be thought better of (see `passes.solve`).
HIDDEN = "noise hides them"
TOLD, DETECTED, NOT_DETECTED, SUPPOSED = "told", "detected", "not detected", "the embeddings bear it out"
# How negative an entry must be, as a share of the row's largest, to prove presence on a guess. On networks of
# development the rows of absent classes reach 0.02 after a LeakyReLU, and 0.04 to 0.13 after a SiLU; few others
# lie there.
CLEAR = (0.03, 0.15)
SHALLOW = 1 / 20  # share of rows between the two, above which the second is asked for
MISSED = 0.1  # share of the classes present that show no sign
NOISE = 6.0  # standard deviations of the noise beyond which an entry of the gradient is seen
# Up to which noise is rounding: units of that of the largest entry, and times the standard deviation of what is stored.
ROUNDED, STORED = 4.0, 2.0
DEVIATIONS = 3.0  # standard deviations beyond which a uniform draw is ruled out


@dataclass(frozen=True, eq=False)
class PresenceProofs:
    """Lower bounds of the counts, and how they came about.

    `lower_bounds` (C,) int64, proven; `presumed` (C,) int64, those and 1 where the signs of a row speak for
    presence though nobody said that embeddings are non-negative; `unsigned` (C,) bool, the classes whose row of ∇W
    has positive entries and no negative one. Where signs are supposed, small negative entries don't count, and no
    class is unsigned if that tells nothing of absence. `clear` (C,) bool, the classes with an entry that is clearly
    negative; `nonnegative`, whether signs were used, and `why`.
    """

    lower_bounds: Tensor
    presumed: Tensor
    unsigned: Tensor
    clear: Tensor
    nonnegative: bool
    why: str

    @property
    def certain(self) -> Tensor:
        """(C,) bool, the classes that are certainly in the batch."""
        return self.lower_bounds > 0

    @property
    def unlikely(self) -> Tensor:
        """(C,) bool, the classes that are very likely absent, if embeddings are as taken."""
        return self.unsigned & (self.presumed == 0) & self.nonnegative

    def same_as(self, other: "PresenceProofs") -> bool:
        """Whether both ask for the same classes and call the same absent."""
        return torch.equal(self.presumed, other.presumed) and torch.equal(self.unlikely, other.unlikely)

    def without(self, counts: Tensor, left: int) -> "PresenceProofs":
        """What they say of the rest of the batch, `left` instances, without those of `counts` (C,)."""
        lower, presumed = ((bound - counts).clamp(min=0) for bound in (self.lower_bounds, self.presumed))
        if int(lower.sum()) > left:  # embeddings are not as was told, or something was found that is not there
            lower = torch.zeros_like(lower)
        if int(presumed.sum()) > left:
            presumed = lower
        unsigned = self.unsigned & (counts == 0)
        return replace(self, lower_bounds=lower, presumed=presumed, unsigned=unsigned, clear=self.clear & (counts == 0))

    def supposing(self, size: int) -> "PresenceProofs":
        """The same, but clear signs are used, as ones of presence, in a batch of `size`.

        Classes without one are `unsigned` if they are more than a uniform draw leaves out.
        """
        presumed = torch.maximum(self.lower_bounds, self.clear.long())
        unclear = ~self.clear & (self.lower_bounds == 0) & bool(self.clear.any())
        more = int(unclear.sum()) > most_unsigned(len(unclear), size, MISSED)
        return replace(self, presumed=presumed, unsigned=unclear & more, nonnegative=True, why=SUPPOSED)


def most_unsigned(classes: int, size: int, missed: float) -> float:
    """How many classes at most show no sign of presence after a uniform draw of `size`, but for chance.

    `missed`: the share of those present that show none.
    """
    absent = classes * (1 - 1 / classes) ** size
    more = missed * (classes - absent)
    variance = classes * (classes - 1) * (1 - 2 / classes) ** size + absent - absent**2 + more
    return absent + more + DEVIATIONS * math.sqrt(variance)


def presence_proofs(observation: Observation, nonnegative: bool | None = None) -> PresenceProofs:
    """Which classes are certainly in the batch, and at least how often (docs/estimator.md, equation 1).

    n_j > −K∇b_j always, because Σ_k p_{k,j} > 0. And where embeddings are non-negative (after a
    ReLU, say), the row of ∇W of an absent class is Σ_k p_{k,j} e_k ≥ 0: a negative entry proves
    presence. Room is left for noise, six standard deviations. Label smoothing takes from every row, and voids signs.

    **Arguments:** `nonnegative`: whether embeddings are; `None` guesses, and takes them to be where at
    least one row of ∇W has 16 positive entries or more and no negative one, and most rows without a clear one
    have none at all. A guess proves nothing: it is `presumed`, and only where an entry is clearly negative, for
    LeakyReLU, SiLU and their like leave some below 0. A server knows its network: told, every negative entry
    proves presence. **Raises:** `ValueError` for anything else.
    """
    if nonnegative is not None and not isinstance(nonnegative, bool):
        raise ValueError(f"nonnegative: expected True, False or None, got {nonnegative!r}")
    grad_weight, grad_bias = observation.grad_weight, torch.zeros_like(observation.weight[:, 0], dtype=torch.float64)
    if observation.grad_bias is not None:
        grad_bias = observation.grad_bias.double()
    loss, size = observation.loss, observation.size
    dtype = precision(grad_weight if observation.grad_bias is None else observation.grad_bias)
    eps = torch.finfo(dtype).eps
    least, greatest = grad_weight.amin(dim=1).double(), grad_weight.amax(dim=1).double()
    # Rounding is relative to each entry, and hides no small row; any other noise is as large everywhere. That of
    # float32 is of the largest terms of a sum, that of coarser dtypes of what is stored.
    of_rounding = ROUNDED * eps * float(torch.maximum(-least, greatest).max())
    if eps > torch.finfo(torch.float32).eps:
        of_rounding = STORED * eps * float(grad_weight.double().square().mean().sqrt()) / 12**0.5
    noise = NOISE * observation.noise
    hiding = 0.0 if observation.noise <= of_rounding else noise
    # Of a mean with class weights, the least that the divisor may be. One that is not known is of no use.
    least_mean = 0.0 if observation.divisor == "unknown" else size * float(loss.class_weight.min())
    divisor = observation.known_divisor or least_mean
    # S_j may be as small as the rounding of ∇b_j, and −K∇b_j then a little more than n_j. That is relative to 1 where
    # softmax was rounded, which shows as noise in coarse dtypes, and to ∇b_j where it is stored.
    rounding = 16 * min(eps, torch.finfo(torch.float32).eps) * size * loss.total.max()
    taken = -divisor * (grad_bias + eps * grad_bias.abs() + noise) - rounding - size * loss.spread
    lower = by_bias = (torch.floor(taken / loss.hit) + 1).clamp(min=0)
    visible = (1e-6 * torch.maximum(-least, greatest)).clamp(min=hiding)
    told = TOLD
    if loss.label_smoothing:  # takes something from every row: signs tell nothing
        nonnegative, told = False, "label smoothing"
    # A row says nothing of absence where noise would hide a clear sign, or all of it.
    telling_of = CLEAR[0] * greatest > visible
    unsigned = (least >= -visible) & telling_of
    used, why = bool(nonnegative), told if nonnegative is not None else NOT_DETECTED
    if nonnegative is None and 2 * int(telling_of.sum()) < len(least):
        why = HIDDEN
    # After a ReLU the rows of absent classes have none. Where most that have hardly any have one, it was none.
    nearly = least >= -CLEAR[0] * greatest
    if nonnegative is None and 2 * int(unsigned.sum()) >= max(1, int(nearly.sum())):
        # Not where negative entries might have been flushed to 0.
        telling = unsigned & (visible > torch.finfo(dtype).smallest_normal * eps)
        if any(int((grad_weight[j] > visible[j]).sum()) >= SIGNS for j in telling.nonzero()[:, 0]):
            used, why = True, DETECTED
    if nonnegative:
        lower = torch.maximum(lower, (least < -visible).double())
    shallow = (least < -CLEAR[0] * greatest) & (least >= -CLEAR[1] * greatest)
    limit = CLEAR[int(shallow.sum() > max(SHALLOW * len(least), int(unsigned.sum())))]
    clear = (least < -torch.maximum(limit * greatest, visible)) & (grad_weight.shape[1] >= SIGNS)
    presumed = torch.maximum(lower, clear.double()) if used else lower
    if float(presumed.sum()) > size:  # not the embeddings, or gradients, that they are taken for
        lower = by_bias if float(by_bias.sum()) <= size else torch.zeros_like(lower)
        presumed, used, why = lower, False, "dropped: bounds that sum to more than K"
    return PresenceProofs(lower.to(torch.int64), presumed.to(torch.int64), unsigned, clear, used, why)
