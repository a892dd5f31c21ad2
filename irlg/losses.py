"""The losses that clients minimise: cross-entropy with its settings, and what they make of a gradient."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class CrossEntropy:
    """Cross-entropy as `torch.nn.functional.cross_entropy` has it, of C classes.

    With label smoothing ε (Szegedy et al., *Rethinking the Inception Architecture*, 2016) and class weights w, an
    instance of class c and softmax p has the loss −Σ_j t_cj log p_j with the target t_c = (1 − ε) w_c 1_c + ε w / C,
    and the gradient ω_c p − t_c by its logits, ω_c = Σ_j t_cj. So for a batch of counts n, whatever its embeddings,

        divisor · ∇b_j = Σ_k ω_k p_kj − (1 − ε) w_j n_j − ε K w_j / C.

    `divisor` is K, or with class weights Σ_k w of the labels, as `reduction="mean"` has it, unless told. Ignored
    labels are not in the batch: K and the sums are of the others. Instances of soft labels (mixup, CutMix) count by
    their share in each class.

    `label_smoothing` ε from 0 to below 1; `class_weight` (C,) float64, all 1 where there are none.
    """

    label_smoothing: float
    class_weight: Tensor

    @cached_property
    def plain(self) -> bool:
        """Whether this is cross-entropy without settings."""
        return self.label_smoothing == 0 and not self.weighted

    @cached_property
    def weighted(self) -> bool:
        """Whether classes have weights, so that the divisor of a mean depends on the counts."""
        return bool((self.class_weight != 1).any())

    @cached_property
    def hit(self) -> Tensor:
        """(1 − ε) w (C,): what an instance of a class takes from its class's entry."""
        return (1 - self.label_smoothing) * self.class_weight

    @cached_property
    def spread(self) -> Tensor:
        """ε w / C (C,): what each instance takes from every entry."""
        return self.label_smoothing * self.class_weight / len(self.class_weight)

    @cached_property
    def total(self) -> Tensor:
        """ω (C,): what an instance of a class takes in all, and gives in the shares of its softmax."""
        return self.hit + self.spread.sum()

    def targets(self, labels: Tensor) -> Tensor:
        """t (K, C) float64 of class indices (K,), or of soft labels (K, C), whose rows sum to one."""
        shares = labels.double()
        if labels.dim() == 1:
            shares = torch.nn.functional.one_hot(labels, len(self.class_weight)).double()
        return shares * self.hit + self.spread

    def mean_divisor(self, labels: Tensor) -> float:
        """What `reduction="mean"` divides by: Σ_k w of class indices (K,), K of soft labels (K, C)."""
        return float(self.class_weight[labels].sum()) if labels.dim() == 1 else float(len(labels))


def cross_entropy(
    label_smoothing: Any, class_weight: Any, classes: int, device: torch.device | None = None
) -> CrossEntropy:
    """Check a loss's settings. **Raises:** `ValueError` naming the one that does not fit."""
    if isinstance(label_smoothing, bool) or not isinstance(label_smoothing, int | float | np.number):
        raise ValueError(f"label_smoothing: expected a number from 0 to below 1, got {label_smoothing!r}")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing: expected a number from 0 to below 1, got {label_smoothing!r}")
    if class_weight is None:
        return CrossEntropy(float(label_smoothing), torch.ones(classes, dtype=torch.float64, device=device))
    try:
        weights = torch.as_tensor(class_weight).detach().to(dtype=torch.float64, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"class_weight: expected {classes} positive numbers, got {class_weight!r}") from error
    if weights.shape != (classes,) or not bool(((weights > 0) & weights.isfinite()).all()):
        raise ValueError(
            f"class_weight: expected {classes} positive numbers, got shape {tuple(weights.shape)}: {weights}"
        )
    return CrossEntropy(float(label_smoothing), weights)
