"""What a client may send in place of its gradients: noise, dropped entries, coarse numbers.

Each function takes ∇W (C, m) and ∇b (C,), and a random generator of which only noise makes use.
"""

import numpy as np
import torch
from torch import Tensor

Gradients = tuple[Tensor, Tensor]


def gaussian(std: float, gradients: Gradients, rng: np.random.Generator) -> Gradients:
    """Independent noise on every entry."""
    weight, bias = (part + std * torch.as_tensor(rng.standard_normal(part.shape)).to(part) for part in gradients)
    return weight, bias


def largest(share: float, gradients: Gradients, rng: np.random.Generator) -> Gradients:
    """The largest entries of each tensor, 0 in place of the others."""
    weight, bias = (torch.where(part.abs() >= _least(part, share), part, 0.0) for part in gradients)
    return weight, bias


def largest_of_all(share: float, gradients: Gradients, rng: np.random.Generator) -> Gradients:
    """The largest entries of both tensors together, 0 in place of the others."""
    least = _least(torch.cat([part.flatten() for part in gradients]), share)
    weight, bias = (torch.where(part.abs() >= least, part, 0.0) for part in gradients)
    return weight, bias


def _least(entries: Tensor, share: float) -> Tensor:
    """The least size of those kept."""
    sizes = entries.abs().flatten()
    return sizes.kthvalue(len(sizes) - max(1, int(share * len(sizes))) + 1).values


def signs(gradients: Gradients, rng: np.random.Generator) -> Gradients:
    """Signs, and the mean size of each tensor's entries."""
    weight, bias = (part.sign() * part.abs().mean() for part in gradients)
    return weight, bias


def _scale(part: Tensor, largest: float) -> Tensor:
    """What the largest entry is sent as `largest` by; of a tensor of zeros, anything but 0."""
    return (part.abs().max() / largest).clamp_min(torch.finfo(part.dtype).tiny)


def integers(gradients: Gradients, rng: np.random.Generator) -> Gradients:
    """Whole numbers from −127 to 127, and a scale a tensor."""
    scales = [_scale(part, 127) for part in gradients]
    weight, bias = ((part / scale).round() * scale for part, scale in zip(gradients, scales, strict=True))
    return weight, bias


def bfloat16(gradients: Gradients, rng: np.random.Generator) -> Gradients:
    """Eight bits of mantissa."""
    weight, bias = (part.bfloat16().to(part) for part in gradients)
    return weight, bias


def float8(gradients: Gradients, rng: np.random.Generator) -> Gradients:
    """Four bits of exponent, three of mantissa, and a scale a tensor: its largest entry is the largest number."""
    dtype = torch.float8_e4m3fn
    scales = [_scale(part, torch.finfo(dtype).max) for part in gradients]
    weight, bias = ((part / scale).to(dtype).to(part) * scale for part, scale in zip(gradients, scales, strict=True))
    return weight, bias
