"""Feature maps of small networks of which all is known."""

import math

import pytest
import torch
from torch import nn

import irlg
from irlg.inversion.patches import UnresolvedError
from tests.helpers import AbstractGradSampleModule
from tests.inversion.problems import contrasty, matched, residual_network, trained, two_convolutions
from tests.test_unchanged import state

LABELS = torch.tensor([0, 3, 3])


def observed(model, labels=LABELS, dtype=torch.float64):
    images = contrasty(len(labels), dtype=dtype)
    return images, irlg.batch_gradient(model, images, labels)


def what_comes_to(model, name, images):
    seen = []
    hook = model.get_submodule(name).register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    model(images)
    hook.remove()
    return seen[0].detach()


def assert_exact(found, model, images, labels, share=1e-5):
    maps = what_comes_to(model, found.module, images)
    order = matched(found.maps, maps)
    assert (found.maps[order] - maps).norm() < share * maps.norm()
    assert found.labels[order].tolist() == labels.tolist()
    assert found.residual < share


@pytest.mark.parametrize("labels", [[0, 3, 3], [2, 2, 2], [4, 1, 2], [1]])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_maps_are_exact_and_have_their_labels(labels, dtype):
    model, labels = two_convolutions(dtype), torch.tensor(labels)
    images, gradient = observed(model, labels, dtype)
    found = irlg.feature_maps(model, gradient, labels.sort().values, (len(labels), 3, 6, 6))
    assert found.module == ""  # the images themselves
    assert_exact(found, model, images, labels)


@pytest.mark.parametrize("inplace", [False, True])
def test_maps_of_a_block_go_into_all_of_its_branches(inplace):
    model = residual_network(inplace)
    images, gradient = observed(model)
    found = irlg.feature_maps(model, gradient, LABELS, (3, 3, 6, 6))
    assert found.module == "3"
    assert_exact(found, model, images, LABELS)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_network_without_normalisation_has_maps(inplace):
    model = two_convolutions(norm=nn.Identity, inplace=inplace)
    images, gradient = observed(model)
    assert_exact(irlg.feature_maps(model, gradient, LABELS, (3, 3, 6, 6)), model, images, LABELS)


def test_an_image_of_which_the_network_is_sure_has_its_factor():
    """At several factors its derivatives are as large as those observed."""
    model = two_convolutions()
    images = contrasty(3)
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
        model[-1].weight *= 4 / torch.diff(model(images).topk(2).values).abs().max()
    gradient = irlg.batch_gradient(model, images, labels)
    assert_exact(irlg.feature_maps(model, gradient, labels, (3, 3, 6, 6)), model, images, labels)


def test_where_one_more_convolution_down_is_not_determined_maps_are_those_above_it():
    narrow = [nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU()]  # 27 unknowns of 16 equations
    model = trained(*narrow, nn.Conv2d(16, 96, 3, padding=1), nn.BatchNorm2d(96), nn.ReLU())
    images, gradient = observed(model)
    found = irlg.feature_maps(model, gradient, LABELS, (3, 3, 6, 6))
    assert found.module == "3"
    assert_exact(found, model, images, LABELS)


def test_where_what_lies_between_is_not_a_relu_maps_are_those_above_it():
    model = two_convolutions(between=nn.ReLU6)
    images, gradient = observed(model)
    found = irlg.feature_maps(model, gradient, LABELS, (3, 3, 6, 6))
    assert found.module == "3"
    assert_exact(found, model, images, LABELS)


def test_wrong_labels_show_in_the_residual():
    model = two_convolutions()
    _, gradient = observed(model)
    assert irlg.feature_maps(model, gradient, torch.tensor([0, 0, 3]), (3, 3, 6, 6)).residual > 0.1


@pytest.mark.parametrize("noise", [1e-4, 1e-2])
def test_a_noisy_gradient_is_refused_or_shows_in_the_residual(noise):
    model = two_convolutions()
    _, gradient = observed(model)
    generator = torch.Generator().manual_seed(0)
    size = noise * math.sqrt(sum(float(g.square().sum()) for g in gradient) / sum(g.numel() for g in gradient))
    noisy = [g + size * torch.randn(g.shape, generator=generator, dtype=g.dtype) for g in gradient]
    if noise > 1e-3:
        with pytest.raises(UnresolvedError, match=r"the gradient has not the rank of 27 patches|disagree"):
            irlg.feature_maps(model, noisy, LABELS, (3, 3, 6, 6))
    else:
        assert irlg.feature_maps(model, noisy, LABELS, (3, 3, 6, 6)).residual > noise / 2


def test_maps_go_into_all_branches_that_take_them():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.squeeze = nn.Conv2d(3, 32, 3, padding=1)
            self.one, self.three = (nn.Conv2d(32, 128, side, padding=side // 2) for side in (1, 3))
            self.head = nn.Linear(256, 5)

        def forward(self, images):
            maps = torch.relu(self.squeeze(images))
            return self.head(torch.relu(torch.cat([self.one(maps), self.three(maps)], dim=1)).mean(dim=(2, 3)))

    model = Branches().double().eval()
    images, gradient = observed(model)
    found = irlg.feature_maps(model, gradient, LABELS, (3, 3, 6, 6))
    assert found.module == "one"  # the first of the two
    assert_exact(found, model, images, LABELS)


@pytest.mark.parametrize(
    "options",
    [{"padding": "same"}, {"padding": 0}, {"groups": 2}, {"dilation": 2, "padding": 2}, {"padding_mode": "reflect"}],
)
def test_other_convolutions_are_named(options):
    model = two_convolutions(**options)
    _, gradient = observed(model)
    with pytest.raises(UnresolvedError, match="3: not a plain convolution of stride 1"):
        irlg.feature_maps(model, gradient, LABELS, (3, 3, 6, 6))


def test_a_kernel_that_is_computed_is_named():
    model = two_convolutions()
    nn.utils.parametrizations.weight_norm(model[3])
    _, gradient = observed(model)
    with pytest.raises(UnresolvedError, match="3: not a convolution of each image by a parameter of its own"):
        irlg.feature_maps(model, gradient, LABELS, (3, 3, 6, 6))


class Listing(nn.Module):
    """Its parts take a list, nothing, or a keyword."""

    def __init__(self):
        super().__init__()
        self.join, self.draw, self.rest = Join(), Draw(), two_convolutions()

    def forward(self, x):
        return self.rest(input=self.join([x, self.draw()]))


class Join(nn.Module):
    def forward(self, parts):
        return sum(parts)


class Draw(nn.Module):
    def forward(self):
        return 0


def test_modules_that_take_other_than_a_tensor_are_passed_over():
    model = Listing().eval()
    images, gradient = observed(model)
    found = irlg.feature_maps(model, gradient, LABELS, (3, 3, 6, 6))
    assert found.module == "rest.0"
    assert_exact(found, model, images, LABELS)


def test_train_mode_is_refused():
    model = two_convolutions().train()
    with pytest.raises(UnresolvedError, match="no feature maps; the model is in train mode"):
        irlg.feature_maps(model, observed(model)[1], LABELS, (3, 3, 6, 6))


def test_a_network_without_a_convolution_is_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 5)).double().eval()
    with pytest.raises(UnresolvedError, match="no feature maps; the model has no 2-d convolution"):
        irlg.feature_maps(model, observed(model)[1], LABELS, (3, 3, 6, 6))


def test_arguments_that_do_not_fit_are_named():
    model = two_convolutions()
    _, gradient = observed(model)
    shape = (3, 3, 6, 6)
    with pytest.raises(ValueError, match="gradient: expected tensors of the parameters' shapes"):
        irlg.feature_maps(model, gradient[1:], LABELS, shape)
    with pytest.raises(ValueError, match="gradient: expected finite numbers that are not all 0"):
        irlg.feature_maps(model, [g * math.nan for g in gradient], LABELS, shape)
    with pytest.raises(ValueError, match="labels: expected class indices below 5"):
        irlg.feature_maps(model, gradient, torch.tensor([0, 3, 5]), (3, 3, 6, 6))
    with pytest.raises(ValueError, match="labels: expected 3 class indices"):
        irlg.feature_maps(model, gradient, LABELS[:2], shape)
    with pytest.raises(ValueError, match=r"image_shape: expected \(K, channels, height, width\)"):
        irlg.feature_maps(model, gradient, LABELS, (3, 108))


def test_a_gradient_in_another_precision_than_the_models_is_taken():
    model = two_convolutions(torch.float32)
    images, gradient = observed(model, dtype=torch.float32)
    found = irlg.feature_maps(model, [g.double() for g in gradient], LABELS, (3, 3, 6, 6))
    assert_exact(found, model, images, LABELS)


def test_tensors_made_in_inference_mode_are_taken_and_maps_go_on_to_an_inversion():
    model = two_convolutions()
    with torch.inference_mode():
        images, gradient = observed(model)
        labels = LABELS.clone()
        found = irlg.feature_maps(model, [g.clone() for g in gradient], labels, (3, 3, 6, 6))
    assert_exact(found, model, images.clone(), LABELS)
    assert not found.maps.is_inference()


@pytest.mark.parametrize("wrap", [lambda model: model, nn.DataParallel, AbstractGradSampleModule])
@pytest.mark.parametrize("fails", [False, True])
def test_a_model_is_left_as_it_was(wrap, fails):
    model = two_convolutions()
    model[0].weight.requires_grad_(False)
    model = wrap(model).eval()
    _, gradient = observed(model)
    before = state(model)
    if fails:  # in the middle of a pass
        with pytest.raises(RuntimeError, match="channels"):
            irlg.feature_maps(model, gradient, LABELS, (3, 4, 6, 6))
    else:
        irlg.feature_maps(model, gradient, LABELS, (3, 3, 6, 6))
    assert state(model) == before
