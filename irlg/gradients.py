"""The gradient of mean cross-entropy: of a last layer in closed form, of a whole model by autograd."""

import torch
from torch import Tensor, nn


def last_layer_gradients(embeddings: Tensor, targets: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Average last-layer gradients of a batch (appendix A, equation 8, in batch form).

    **Arguments:** `embeddings` (K, m); `targets`, class indices (K,) or rows that sum to one
    (K, C), such as smoothed labels; `weight` (C, m); `bias` (C,).

    **Returns:** `grad_weight` (C, m) = (1/K) Σ_k (p_k − y_k) e_kᵀ and
    `grad_bias` (C,) = (1/K) Σ_k (p_k − y_k), in the dtype of the embeddings.
    """
    grad_logits = torch.softmax(embeddings @ weight.T + bias, dim=1)  # (K, C)
    if targets.dim() == 1:
        rows = torch.arange(len(targets), device=targets.device)
        grad_logits[rows, targets] -= 1
    else:
        grad_logits = grad_logits - targets
    grad_logits = grad_logits / len(embeddings)
    return grad_logits.T @ embeddings, grad_logits.sum(dim=0)


class GradientOf:
    """The full gradient of mean cross-entropy over a batch, as a function of images and labels.

    The network mode is the caller's: in train mode BatchNorm takes the batch's own statistics and
    Dropout draws. Parameters, `.grad` fields and buffers of `model` are left as they were.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        # Clones: a train-mode forward writes its running statistics into these.
        self.buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
        self.parameters = {name: p.detach().requires_grad_() for name, p in model.named_parameters()}

    def logits(self, images: Tensor) -> Tensor:
        """Logits (K, C) of images (K, ...)."""
        return torch.func.functional_call(self.model, {**self.parameters, **self.buffers}, (images,))

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy, () of images (K, ...) and labels: class indices (K,) or rows that sum to one (K, C)."""
        return nn.functional.cross_entropy(self.logits(images), labels)

    def of(self, loss: Tensor, create_graph: bool = False) -> tuple[Tensor, ...]:
        """The gradient of what `loss` returned, one tensor a parameter, in the order of `model.parameters()`.

        `create_graph`: whether it is to be differentiated in turn, in images and labels.
        """
        return torch.autograd.grad(loss, list(self.parameters.values()), create_graph=create_graph)

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """The gradient over a batch, as `of` its `loss`."""
        return self.of(self.loss(images, labels))


def batch_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """What a client sends after one step on a batch: the gradient of mean cross-entropy.

    The network mode is the caller's, and the model is left as it was (see `GradientOf`).

    **Arguments:** `images` (K, ...), whatever `model` takes; `labels`, class indices (K,).
    **Returns:** one tensor a parameter, in the order of `model.parameters()`.
    """
    return GradientOf(model)(images, labels)
