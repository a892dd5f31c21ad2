import pytest
import torch
from torch import nn

import irlg
from irlg.gradients import GradientOf
from irlg.inversion.convolution import FixedKernels
from irlg.inversion.objective import Problem
from tests.helpers import random_images
from tests.inversion.problems import convolutional_model, settings


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1},
        {"padding": (2, 1), "dilation": 2, "bias": False},
        {"groups": 2, "padding": "same"},
    ],
)
def test_what_is_left_out_of_a_convolutions_second_derivative_changes_nothing(options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(2, 4, 3, **options), nn.Tanh(), nn.Conv2d(4, 4, 3, groups=2, padding=1), nn.Tanh()]
        model = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(3)).double()
        images = random_images(2, 2, 9, 9).requires_grad_()
        model(images)
    labels = torch.tensor([0, 2])
    loss = nn.functional.cross_entropy(model(images), labels)
    plain = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    gradient_of = GradientOf(model)
    with FixedKernels():
        loss = gradient_of.loss(images, labels)
    own = gradient_of.of(loss, create_graph=True)
    assert all(torch.allclose(one, other, rtol=0, atol=1e-14) for one, other in zip(own, plain, strict=True))
    towards = [torch.sin(g.detach() * 9) + 1 for g in plain]
    second = [torch.autograd.grad(g, images, towards)[0] for g in (own, plain)]
    assert torch.allclose(second[0], second[1], rtol=0, atol=1e-13)


@pytest.mark.parametrize(("dtype", "agreement"), [(torch.float32, 0.98), (torch.float64, 1 - 1e-12)])
def test_autocast_casts_these_convolutions_as_pytorchs_own(dtype, agreement):
    """And leaves those in float64, as it does PyTorch's."""
    model, shape = convolutional_model().to(dtype), (3, 1, 8, 8)
    labels = torch.tensor([0, 1, 1])
    gradient = irlg.batch_gradient(model, random_images(*shape, dtype=dtype), labels)
    problem = Problem(model, gradient, labels, shape, settings(), (0.0,), (1.0,))
    unknowns, found = problem.start(0), []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            value = problem.objective(unknowns, 0)
            found.append((float(value.detach()), problem.derivative(value, unknowns)[0].flatten()))
    (value, ours), (cast, theirs) = found
    assert cast == pytest.approx(value, rel=0.02) and (cast == value) == (dtype == torch.float64)
    assert nn.functional.cosine_similarity(ours, theirs, dim=0) > agreement
