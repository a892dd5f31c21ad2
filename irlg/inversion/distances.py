"""How far images are from what is known: their gradient's direction, their feature maps, and how rough they are."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from irlg.gradients import GradientOf


class CosineDistance:
    """1 − cos of a gradient and `target`, each taken as one long vector over all layers: from 0 to 2.

    **Arguments:** `target`, a tensor a parameter; `weights`, one a parameter, by which both gradients
    are multiplied.
    """

    def __init__(self, target: Sequence[Tensor], weights: Sequence[float]) -> None:
        norm = math.sqrt(sum(weight**2 * float(t.square().sum()) for weight, t in zip(weights, target, strict=True)))
        # The weights of both gradients and the target's norm, put into the target once.
        self.direction = [(t * (weight**2 / norm)).flatten() for weight, t in zip(weights, target, strict=True)]
        self.squares = target[0].new_tensor(weights).square()

    def __call__(self, gradient: Sequence[Tensor]) -> Tensor:
        return _Distance.apply(self.direction, self.squares, *(g.flatten() for g in gradient))


class _Distance(torch.autograd.Function):
    """`CosineDistance`, whose derivative takes two passes over the gradient: autograd's own takes six."""

    @staticmethod
    def forward(ctx: Any, direction: list[Tensor], squares: Tensor, *gradient: Tensor) -> Tensor:
        dot = torch.stack([torch.dot(g, d) for g, d in zip(gradient, direction, strict=True)]).sum()
        norm = torch.sqrt(torch.stack([torch.dot(g, g) for g in gradient]) @ squares)
        ctx.direction, ctx.squares = direction, squares
        ctx.save_for_backward(dot, norm, *gradient)
        return 1 - dot / norm

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> Any:
        dot, norm, *gradient = ctx.saved_tensors
        shares = (-dot / norm**2 * ctx.squares).unbind()
        scale = -outer / norm
        parts = zip(ctx.direction, gradient, shares, strict=True)
        return None, None, *(torch.addcmul(d, g, share).mul_(scale) for d, g, share in parts)


def total_variation(images: Tensor) -> Tensor:
    """Mean |difference| of vertical plus that of horizontal neighbours, images (K, channels, h, w)."""
    return images.diff(dim=-2).abs().mean() + images.diff(dim=-1).abs().mean()


class _ReachedError(Exception):
    """Ends a run of the model at the module whose input is wanted."""

    def __init__(self, maps: Tensor) -> None:
        super().__init__()
        self.maps = maps


def feature_distance(gradient_of: GradientOf, place: nn.Module, images: Tensor, known: Tensor) -> Tensor:
    """Mean squared distance of the feature maps that come to a module from those known, (), in units of their square.

    **Raises:** `ValueError` for maps of another shape.
    """

    def stop(module: nn.Module, given: tuple[Tensor]) -> None:
        raise _ReachedError(given[0])

    hook = place.register_forward_pre_hook(stop)
    try:
        with gradient_of.running():
            maps = gradient_of.logits(images)
    except _ReachedError as reached:
        maps = reached.maps
    finally:
        hook.remove()
    if maps.shape != known.shape:
        raise ValueError(f"features: expected maps of shape {tuple(maps.shape)}, got {tuple(known.shape)}")
    return (maps - known).square().mean() / known.square().mean()
