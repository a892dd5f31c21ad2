"""The gradient of mean cross-entropy with respect to a last layer, in closed form."""

import torch
from torch import Tensor


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
