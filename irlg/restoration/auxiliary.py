"""What a server has itself, beside a client's gradients: instances of its own, at the network that was observed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from irlg import checks
from irlg.observation import Observation


@dataclass(frozen=True, eq=False, repr=False)
class Auxiliary:
    """Instances that the server has itself, as the observed network sees them: those of methods that say so.

    **Arguments:** `embeddings` (N, m), what the head takes of N instances, and `logits` (N, C), what it makes of them:
    torch tensors or NumPy arrays, kept as float64; `labels` (N,), class indices, or `None` of inputs that have none,
    such as noise; `after`, the same instances at the network after a client's `local_steps` steps.

    **Raises:** `ValueError` naming the argument that does not fit.
    """

    embeddings: Tensor
    logits: Tensor
    labels: Tensor | None = None
    after: Auxiliary | None = None
    local_steps: int = 1

    def __post_init__(self) -> None:
        for name in ("embeddings", "logits"):
            object.__setattr__(self, name, checks.as_tensor(name, getattr(self, name), 2).double())
        if len(self.embeddings) == 0 or len(self.logits) != len(self.embeddings):
            raise ValueError(
                f"logits: expected a row an instance, {len(self.embeddings)} of at least 1, got {len(self.logits)}"
            )
        if self.labels is not None:
            object.__setattr__(self, "labels", self._checked(self.labels))
        object.__setattr__(self, "local_steps", checks.as_whole("local_steps", self.local_steps, 1))
        if self.after is not None and not isinstance(self.after, Auxiliary):
            raise ValueError(f"after: expected irlg.Auxiliary or None, got {type(self.after).__name__}")
        if self.after is not None and not self._same(self.after):
            raise ValueError("after: expected the same instances, with the same labels in the same order, got others")

    @classmethod
    def from_embeddings(
        cls, embeddings: Tensor | NDArray[Any], head: nn.Linear, labels: Tensor | None = None
    ) -> Auxiliary:
        """Instances whose inputs to `head` are known, (N, m), a torch tensor or a NumPy array of any float dtype.

        **Raises:** `ValueError` for others, and what `Auxiliary` raises.
        """
        embeddings = checks.as_tensor("embeddings", embeddings, 2).to(head.weight.device)
        if embeddings.shape[1] != head.in_features:
            raise ValueError(f"embeddings: expected shape (N, {head.in_features}), got {tuple(embeddings.shape)}")
        with torch.no_grad():
            return cls(embeddings, head(embeddings.to(head.weight)), labels)

    @cached_property
    def probabilities(self) -> Tensor:
        """(N, C), the softmax of each."""
        return torch.softmax(self.logits, dim=1)

    @cached_property
    def sums(self) -> Tensor:
        """(N,), the sum of each embedding."""
        return self.embeddings.sum(dim=1)

    @cached_property
    def labelled(self) -> Tensor:
        """`labels`, by methods that need them. **Raises:** `ValueError` where there are none."""
        if self.labels is None:
            raise ValueError("auxiliary: expected instances with labels, got labels=None")
        return self.labels

    def check(self, observation: Observation) -> None:
        """**Raises:** `ValueError` where these are no instances of the observed network."""
        for each in (self, self.after):
            if each is not None:
                got = (each.logits.shape[1], each.embeddings.shape[1])
                if got != tuple(observation.weight.shape):
                    expected = tuple(observation.weight.shape)
                    raise ValueError(f"auxiliary: expected (C, m) = {expected}, as the observation has, got {got}")
                if {each.logits.device, each.embeddings.device} != {observation.weight.device}:
                    raise ValueError(f"auxiliary: expected device {observation.weight.device}, got another")

    def _same(self, other: Auxiliary) -> bool:
        if self.labels is None or other.labels is None:
            return len(self.logits) == len(other.logits) and self.labels is other.labels
        return torch.equal(self.labels, other.labels.to(self.labels.device))

    def _checked(self, labels: Any) -> Tensor:
        size, classes = self.logits.shape
        labels = checks.as_labels(labels, size)
        if labels.shape != (size,) or labels.is_floating_point() or labels.dtype == torch.bool:
            got = f"{labels.dtype} of shape {tuple(labels.shape)}"
            raise ValueError(f"labels: expected {size} class indices, got {got}")
        if int(labels.min()) < 0 or int(labels.max()) >= classes:
            raise ValueError(f"labels: expected indices from 0 to {classes - 1}, got some that are not")
        return labels.to(device=self.logits.device, dtype=torch.long)
