"""What befalls gradients between client and server: noise, dropped entries, coarse numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

Gradients = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Corruption:
    """What is sent in place of ∇W (C, m) and ∇b (C,). `kind`: noisy, sparse or coarse; `std`, of Gaussian noise."""

    kind: str
    send: Callable[[Gradients, np.random.Generator], Gradients]
    std: float = float("nan")


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


def integers(gradients: Gradients, rng: np.random.Generator) -> Gradients:
    """Whole numbers from −127 to 127, and a scale a tensor."""
    scales = [part.abs().max() / 127 for part in gradients]
    weight, bias = ((part / scale).round() * scale for part, scale in zip(gradients, scales, strict=True))
    return weight, bias


def bfloat16(gradients: Gradients, rng: np.random.Generator) -> Gradients:
    """Eight bits of mantissa."""
    weight, bias = (part.bfloat16().to(part) for part in gradients)
    return weight, bias


def float8(gradients: Gradients, rng: np.random.Generator) -> Gradients:
    """Four bits of exponent, three of mantissa, and a scale a tensor: its largest entry is the largest number."""
    dtype = torch.float8_e4m3fn
    scales = [part.abs().max() / torch.finfo(dtype).max for part in gradients]
    weight, bias = ((part / scale).to(dtype).to(part) * scale for part, scale in zip(gradients, scales, strict=True))
    return weight, bias


SHARES = (0.9, 0.5, 0.2, 0.1)
STDS = (1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2)
CORRUPTIONS = {
    **{f"noise {std:g}": Corruption("noisy", partial(gaussian, std), std) for std in STDS},
    **{f"largest {share:.0%}": Corruption("sparse", partial(largest, share)) for share in SHARES},
    "largest 10% of all": Corruption("sparse", partial(largest_of_all, 0.1)),
    "bfloat16": Corruption("coarse", bfloat16),
    "float8": Corruption("coarse", float8),
    "int8": Corruption("coarse", integers),
    "signs": Corruption("coarse", signs),
}
