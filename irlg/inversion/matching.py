"""Reconstructed images against the originals: which belongs to which, and how alike they are."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import interpolate
from torchmetrics.functional.image import (
    learned_perceptual_image_patch_similarity,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchvision.models import AlexNet_Weights

LPIPS_SIZE = 64  # AlexNet takes nothing much smaller


def match(reconstructed: Tensor, originals: Tensor) -> NDArray[np.int64]:
    """The one-to-one assignment of reconstructions to originals of least total squared error.

    A gradient is a mean over the batch, so reconstructions come in no order. **Arguments:** both
    (K, channels, height, width). **Returns:** (K,): entry k is the reconstruction of original k.
    """
    one, other = (images.flatten(1).double().cpu() for images in (originals, reconstructed))
    return linear_sum_assignment(torch.cdist(one, other).square().numpy())[1]


def scores(reconstructed: Tensor, originals: Tensor) -> pd.DataFrame:
    """PSNR in dB and SSIM of each original's reconstruction, in the originals' order.

    **Arguments:** both (K, channels, height, width), pixels in [0, 1], matched already.
    """
    psnr = peak_signal_noise_ratio(reconstructed, originals, data_range=1.0, dim=(1, 2, 3), reduction="none")
    ssim = structural_similarity_index_measure(reconstructed, originals, data_range=1.0, reduction="none")
    values = {"psnr": psnr, "ssim": ssim}
    return pd.DataFrame({name: np.asarray(torch.as_tensor(value).cpu()) for name, value in values.items()})


def lpips(reconstructed: Tensor, originals: Tensor) -> NDArray[np.float64]:
    """LPIPS (AlexNet, lower is more alike) of each original's reconstruction, or NaN (K,).

    NaN where AlexNet's ImageNet weights are not on this machine, in `torch.hub`'s folder: nothing is
    fetched. Images are enlarged to 64 pixels, and grey ones are given three channels.

    **Arguments:** as for `scores`.
    """
    name = AlexNet_Weights.DEFAULT.url.rpartition("/")[2]
    if not Path(torch.hub.get_dir(), "checkpoints", name).exists():
        return np.full(len(originals), np.nan)
    pair = [images.cpu().float().expand(-1, 3, -1, -1) for images in (reconstructed, originals)]
    large = [interpolate(images, LPIPS_SIZE, mode="bilinear").clamp(0, 1) for images in pair]
    values = learned_perceptual_image_patch_similarity(large[0], large[1], "alex", reduction="none", normalize=True)
    return values.double().reshape(-1).numpy()
