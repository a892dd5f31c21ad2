"""What an inversion is given: refused in words where it does not fit."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from irlg.checks import as_labels
from irlg.gradients import GradientOf
from irlg.stateless import ordinary


def target(gradient_of: GradientOf, gradient: Sequence[Tensor]) -> list[Tensor]:
    """An observed gradient, a tensor a parameter, in the dtype and on the device of the first parameter."""
    shapes = [tuple(p.shape) for p in gradient_of.parameters.values()]
    for place, one in enumerate(gradient):
        if not isinstance(one, Tensor):
            raise ValueError(
                f"gradient: expected a tensor for each parameter, got {type(one).__name__} as number {place};"
                " that of a parameter without a gradient is 0"
            )
    if [tuple(g.shape) for g in gradient] != shapes:
        raise ValueError(f"gradient: expected tensors of the parameters' shapes {shapes}, got others")
    like = next(iter(gradient_of.parameters.values()))
    found = [g.detach().to(like) for g in gradient]
    norms = [float(g.norm()) for g in found]
    if not 0 < math.fsum(norms) < math.inf:
        raise ValueError(f"gradient: expected finite numbers that are not all 0, got tensors of norms {norms}")
    return found


def shape(image_shape: Sequence[int]) -> tuple[int, ...]:
    """(K, channels, height, width)."""
    if len(image_shape) != 4 or not all(isinstance(size, int) and size > 0 for size in image_shape):
        raise ValueError(f"image_shape: expected (K, channels, height, width), got {image_shape}")
    return tuple(image_shape)


def class_indices(labels: Any, images: int) -> Tensor:
    """Class indices (K,), one an image, of a tensor, an array or a list."""
    labels = as_labels(labels, images)
    usual = labels.shape == (images,) and not labels.is_floating_point()
    if not usual or bool((labels < 0).any()):
        raise ValueError(f"labels: expected {images} class indices, got {labels!r}")
    return ordinary(labels).long()
