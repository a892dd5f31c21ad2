"""The gradient of mean cross-entropy: of a last layer in closed form, of a whole model by autograd."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from irlg.checks import check_finite
from irlg.heads import IGNORED, check_labels
from irlg.stateless import Stateless, ordinary


def last_layer_gradients(
    embeddings: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, divisor: float | None = None
) -> tuple[Tensor, Tensor]:
    """Average last-layer gradients of a batch (appendix A, equation 8, in batch form).

    **Arguments:** `embeddings` (K, m); `targets`, class indices (K,) or rows t (K, C), such as smoothed labels,
    which sum to ω_k, mostly 1; `weight` (C, m); `bias` (C,); `divisor` of the sum, by default K.

    **Returns:** `grad_weight` (C, m) = Σ_k (ω_k p_k − t_k) e_kᵀ / divisor and
    `grad_bias` (C,) = Σ_k (ω_k p_k − t_k) / divisor, in the dtype of the embeddings.
    """
    grad_logits = torch.softmax(embeddings @ weight.T + bias, dim=1)  # (K, C)
    if targets.dim() == 1:
        rows = torch.arange(len(targets), device=targets.device)
        grad_logits[rows, targets] -= 1
    else:
        grad_logits = grad_logits * targets.sum(dim=1, keepdim=True) - targets
    grad_logits = grad_logits / (len(embeddings) if divisor is None else divisor)
    return grad_logits.T @ embeddings, grad_logits.sum(dim=0)


class GradientOf:
    """The full gradient of mean cross-entropy over a batch, as a function of images and labels.

    The network mode is the caller's: in train mode BatchNorm takes the batch's own statistics and
    Dropout draws. The model is left as it was (see `irlg.stateless`).

    **Raises:** `ValueError` for a model that cannot be run so, or not be differentiated.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = Stateless(model)
        self.parameters = dict(self.model.model.named_parameters())
        for name, parameter in self.parameters.items():
            if parameter.is_inference() or not parameter.is_floating_point():
                got = "an inference tensor" if parameter.is_inference() else parameter.dtype
                raise ValueError(f"model: expected float parameters made outside inference mode, got {name!r}, {got}")

    def tensors(self) -> list[Tensor]:
        """All that the gradient depends on, beside images and labels: parameters and buffers."""
        return [*self.model.model.parameters(), *self.model.model.buffers()]

    def running(self) -> AbstractContextManager[None]:
        """Where to call `logits`, `loss` and `of`, and to differentiate what they return."""
        return self.model.running(differentiable=True)

    def logits(self, images: Tensor, count: int | None = None) -> Tensor:
        """Logits (K, C) of images (K, ...), as `Stateless.logits`."""
        return self.model.logits(images, count)

    def loss(self, images: Tensor, labels: Any) -> Tensor:
        """Mean cross-entropy, () of images (K, ...) and labels: class indices (K,) or rows that sum to one (K, C).

        **Raises:** `ValueError` for others.
        """
        logits = self.logits(images)
        if not isinstance(labels, Tensor) or not labels.requires_grad:  # those that are sought are as they must be
            labels = ordinary(check_labels(labels, len(images), logits.shape[1], images.device, IGNORED))
        return nn.functional.cross_entropy(logits, labels)

    def of(self, loss: Tensor, create_graph: bool = False) -> tuple[Tensor, ...]:
        """The gradient of what `loss` returned, one tensor a parameter, in the order of `model.parameters()`.

        It is 0 for a parameter that the loss does not depend on, such as those of auxiliary heads in eval mode.
        `create_graph`: whether it is to be differentiated in turn, in images and labels.
        """
        if not loss.requires_grad:
            raise ValueError("model: expected logits that autograd can trace to its parameters, got detached ones")
        given = list(self.parameters.values())
        return torch.autograd.grad(loss, given, create_graph=create_graph, materialize_grads=True)

    def __call__(self, images: Tensor, labels: Any) -> tuple[Tensor, ...]:
        """The gradient over a batch, as `of` its `loss`."""
        with self.running():
            loss = self.loss(images, labels)
            check_finite("a loss", loss)
            return self.of(loss)


def batch_gradient(model: nn.Module, images: Tensor, labels: Tensor | ArrayLike) -> tuple[Tensor, ...]:
    """What a client sends after one step on a batch: the gradient of mean cross-entropy.

    The network mode is the caller's, and the model is left as it was. Frozen parameters have a gradient too.

    **Arguments:** `model`, which returns logits (K, C), as they are, as `.logits` or under `"logits"`, and may be
    compiled or wrapped (`DataParallel`, `DistributedDataParallel`, Opacus's `GradSampleModule`); `images` (K, ...),
    whatever it takes; `labels`, class indices (K,), a tensor, an array or a list.
    **Returns:** one tensor a parameter, in the order of `model.parameters()`; 0 for those that the logits do not depend
    on, such as those of auxiliary heads in eval mode.
    **Raises:** `ValueError` for a model of which this cannot be had, with the reason, for labels that do not fit, and
    where the loss is not finite.
    """
    return GradientOf(model)(images, labels)
