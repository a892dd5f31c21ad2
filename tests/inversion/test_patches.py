"""A convolution's input told apart in sums Δ P made by hand."""

import pytest
import torch
from torch import nn

from irlg.inversion.patches import UnresolvedError, patches
from tests.inversion.problems import matched


def features(images, channels=16, height=3, width=3):
    """As behind a ReLU: of random numbers."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(images, channels, height, width, generator=generator, dtype=torch.float64).relu()


def kernel_gradient(features, outputs=48, side=3):
    """Σ derivative · patch over images and places, and its derivatives, at random."""
    images, channels, height, width = features.shape
    generator = torch.Generator().manual_seed(1)
    derivatives = torch.randn(images, outputs, height, width, generator=generator, dtype=torch.float64)
    seen = nn.functional.unfold(features, side, padding=side // 2)
    gradient = torch.einsum("kop,kcp->oc", derivatives.flatten(2), seen)
    return gradient.view(outputs, channels, side, side), derivatives


def assert_told_apart(found, features, derivatives):
    order = matched(found.features, features)
    theirs, ours = features.flatten(1), found.features[order].flatten(1)
    factors = theirs.norm(dim=1, keepdim=True) / ours.norm(dim=1, keepdim=True)  # positive
    assert torch.allclose(ours * factors, theirs, rtol=0, atol=1e-6)
    assert torch.allclose(found.derivatives[order].flatten(1) / factors, derivatives.flatten(1), rtol=0, atol=1e-5)
    assert found.disagreement < 1e-6


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("images", "height", "width", "side"),
    [(3, 3, 3, 3), (1, 3, 3, 3), (3, 3, 3, 5), (3, 2, 4, 3), (3, 4, 2, 3), (3, 1, 2, 3), (3, 1, 1, 3)],
)
def test_features_are_found_up_to_a_factor_and_derivatives_up_to_its_inverse(images, height, width, side, dtype):
    true = features(images, height=height, width=width)
    gradient, derivatives = kernel_gradient(true, side=side)
    assert_told_apart(patches(gradient.to(dtype), images, height, width), true, derivatives)


def test_as_many_patches_as_outputs_are_told_apart():
    true = features(3)
    gradient, derivatives = kernel_gradient(true, outputs=27)
    assert_told_apart(patches(gradient, 3, 3, 3), true, derivatives)


def test_the_same_image_twice_is_not_told_apart():
    gradient, _ = kernel_gradient(features(3)[[0, 1, 1]])
    with pytest.raises(UnresolvedError, match="the gradient has not the rank of 27 patches"):
        patches(gradient, 3, 3, 3)


@pytest.mark.parametrize("images", [2, 4])
def test_a_wrong_number_of_images_is_told_by_the_rank(images):
    gradient, _ = kernel_gradient(features(3))
    with pytest.raises(UnresolvedError, match=f"the gradient has not the rank of {images * 9} patches"):
        patches(gradient, images, 3, 3)


def test_more_patches_than_outputs_are_not_told_apart():
    gradient, _ = kernel_gradient(features(6))
    with pytest.raises(UnresolvedError, match=r"54 patches are more than a gradient of .* holds apart"):
        patches(gradient, 6, 3, 3)


@pytest.mark.parametrize("channels", [3, 5])
def test_too_few_channels_to_tell_the_corner_are_named(channels):
    gradient, _ = kernel_gradient(features(3, channels))
    with pytest.raises(UnresolvedError, match="not only the corner's patches vanish on padding"):
        patches(gradient, 3, 3, 3)


@pytest.mark.parametrize("images", [1, 3])
def test_features_without_zeros_are_refused(images, monkeypatch):
    monkeypatch.setattr("irlg.inversion.patches.SEARCHES", 2)  # more find no more
    gradient, _ = kernel_gradient(features(images) + 0.1)
    with pytest.raises(UnresolvedError, match=f"0 of {images} images told from the others by their zeros"):
        patches(gradient, images, 3, 3)
