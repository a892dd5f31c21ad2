"""What stands in for a dataset that is not there: same shapes, same classes, and it says so."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from irlg.data.sampling import Indices, stream

PER_CLASS = 128  # what Table 4 asks of a class


def digits() -> tuple[Tensor, NDArray[np.int64]]:
    """scikit-learn's bundled handwritten digits: real, 1,797 of them, enlarged from 8×8 to 28×28.

    **Returns:** images (1797, 1, 28, 28) uint8, labels (1797,).
    """
    from sklearn.datasets import load_digits

    bundle = load_digits()
    images = torch.as_tensor(bundle.images, dtype=torch.float32)[:, None] * (255 / 16)
    images = interpolate(images, size=(28, 28), mode="bilinear").round().to(torch.uint8)
    return images, bundle.target.astype(np.int64)


def synthetic(num_classes: int, size: int) -> tuple[Callable[[Indices], Tensor], NDArray[np.int64]]:
    """Synthetic colour images with class structure, `PER_CLASS` a class, drawn on demand.

    An image is a smooth pattern of its class, a smooth pattern of its own at two thirds of the
    strength, and pixel noise.

    **Returns:** a function from indices (K,) to images (K, 3, size, size) uint8, and labels (N,).
    """
    labels = np.repeat(np.arange(num_classes), PER_CLASS)

    @lru_cache(maxsize=num_classes)
    def pattern(key: str, index: int) -> Tensor:
        coarse = stream(0, "stand-in", key, index).normal(size=(1, 3, 4, 4))
        return interpolate(torch.as_tensor(coarse), size=(size, size), mode="bilinear")[0]

    def image(index: int) -> Tensor:
        noise = torch.as_tensor(stream(0, "stand-in", "noise", index).normal(size=(3, size, size)))
        mixed = 45 * pattern("class", int(labels[index])) + 30 * pattern("image", index) + 8 * noise
        return (mixed + 120).clamp(0, 255).to(torch.uint8)

    return lambda indices: torch.stack([image(int(i)) for i in indices]), labels
