import itertools
import math

import numpy as np
import pytest
import torch
import torchvision
from scipy.ndimage import gaussian_filter

from irlg.inversion import matching
from tests.helpers import random_images


@pytest.mark.parametrize("size", range(1, 7))
def test_matching_is_the_best_of_all_permutations(size):
    originals, reconstructed = random_images(size, 1, 4, 4), random_images(size, 1, 4, 4, seed=1)
    errors = {
        p: float((reconstructed[list(p)] - originals).square().sum()) for p in itertools.permutations(range(size))
    }
    assert tuple(matching.match(reconstructed, originals)) == min(errors, key=errors.get)


def test_psnr_and_ssim_are_those_of_the_literature():
    """SSIM as Wang et al. (2004): Gaussian window of 11 pixels and σ = 1.5, C1 = 0.01², C2 = 0.03², edges mirrored."""
    one, other = random_images(3, 3, 32, 32), random_images(3, 3, 32, 32, seed=1)
    other = 0.7 * one + 0.3 * other
    scores = matching.scores(other, one)
    for k in range(3):
        x, y = one[k].numpy(), other[k].numpy()
        assert scores.psnr[k] == pytest.approx(-10 * math.log10(np.mean((x - y) ** 2)), abs=1e-4)

        def mean(z):
            return np.stack([gaussian_filter(channel, 1.5, radius=5, mode="mirror") for channel in z])

        mx, my = mean(x), mean(y)
        vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        ssim = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
        assert scores.ssim[k] == pytest.approx(ssim.mean(), abs=1e-4)


def test_lpips_is_nan_without_its_weights_and_a_distance_with_them(monkeypatch, tmp_path):
    images = random_images(3, 1, 28, 28, dtype=torch.float32)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert np.isnan(matching.lpips(images, images)).all()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth").touch()
    untrained = torchvision.models.alexnet
    monkeypatch.setattr(torchvision.models, "alexnet", lambda weights: untrained(weights=None))
    assert (matching.lpips(images, images) == 0).all() and (matching.lpips(images, images.flip(0))[[0, 2]] > 0).all()
