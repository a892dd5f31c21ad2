import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import irlg
from irlg import models
from irlg.gradients import GradientOf
from irlg.inversion import DivergedError, matching
from irlg.inversion.objective import CosineDistance, Problem, total_variation
from irlg.inversion.plain_loop import inverting_gradients
from tests.helpers import random_images
from tests.inversion.problems import settings, small_problem


def linear_model(classes=5, pixels=64, dtype=torch.float64):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes)).to(dtype)


def test_one_image_through_one_linear_layer_is_known_by_formula_and_found_by_the_optimiser():
    model, image, label = linear_model(), random_images(1, 1, 8, 8), torch.tensor([2])
    gradient = irlg.batch_gradient(model, image, label)
    grad_weight, grad_bias = gradient
    formula = (grad_weight[2] / grad_bias[2]).view_as(image)  # (p - y) eᵀ over p - y
    assert (formula - image).abs().max() < 1e-4
    found = irlg.invert(model, gradient, label, (1, 1, 8, 8), settings(steps=1500, tv_weight=0.0, l2_weight=0.0))
    assert matching.scores(found.images, image).psnr[0] > 40
    assert found.objectives.shape == (1501,) and found.objective == found.objectives[-1] < 1e-4


def test_the_attack_is_the_plain_loop():
    model, gradient, labels, shape = small_problem()
    found = irlg.invert(model, gradient, labels, shape, settings(steps=40))
    problem = Problem(model, gradient, labels, shape, settings(steps=40), (0.0,), (1.0,))
    plain = inverting_gradients(model, gradient, labels, problem.start(0)[0].detach(), 40, 8e-3)
    assert torch.allclose(found.images, plain, rtol=0, atol=1e-9)


def test_the_span_of_the_first_gradient_holds_the_images():
    model, images, labels = (
        models.build(models.fcn3, 0),
        random_images(4, 1, 28, 28, dtype=torch.float32),
        torch.arange(4),
    )
    gradient = irlg.batch_gradient(model, images, labels)
    problem = Problem(model, gradient, labels, (4, 1, 28, 28), settings(span=True), (0.0,), (1.0,))
    inside = images.clone()
    problem.constrain(inside)
    assert torch.allclose(inside, images, atol=1e-4)
    outside = random_images(4, 1, 28, 28, seed=1, dtype=torch.float32)
    problem.constrain(outside)
    assert torch.linalg.matrix_rank(torch.cat([outside, images]).flatten(1)) <= 8
    with pytest.raises(ValueError, match="span: expected a fully connected first layer"):
        irlg.invert(*small_problem(), settings(span=True))


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("labels", [None, "joint", "joint-shared"])
def test_objective_and_its_gradient_against_definitions_and_finite_differences(labels, mode):
    model, gradient, labels, shape = small_problem(labels, mode)
    config = settings(last_weight=3.0, tv_weight=0.1, l2_weight=0.01)
    problem = Problem(model, gradient, labels, shape, config, (0.0,), (1.0,))
    unknowns = problem.start(0)

    images = unknowns[0].detach()
    targets = labels if isinstance(labels, torch.Tensor) else torch.softmax(unknowns[1].detach(), 1).expand(3, 3)
    loss = nn.functional.cross_entropy(model(images), targets)
    weights = [1, 1, 1, 1, 3, 3]  # convolution, BatchNorm, head
    own = torch.cat(
        [w * g.flatten() for w, g in zip(weights, torch.autograd.grad(loss, model.parameters()), strict=True)]
    )
    target = torch.cat([w * g.flatten() for w, g in zip(weights, gradient, strict=True)])
    variation = np.abs(np.diff(images.numpy(), axis=2)).mean() + np.abs(np.diff(images.numpy(), axis=3)).mean()
    expected = 1 - nn.functional.cosine_similarity(own, target, dim=0) + 0.1 * variation + 0.01 * images.norm()
    assert float(problem.objective(unknowns, 0).detach()) == pytest.approx(float(expected), rel=1e-10)
    assert torch.autograd.gradcheck(lambda *given: problem.objective(list(given), 0), unknowns, fast_mode=True)


def test_cosine_distance_is_zero_for_the_same_direction_and_total_variation_for_a_flat_image():
    gradient = [torch.randn(3, 2), torch.randn(3)]
    assert CosineDistance(gradient, [1, 1])([2 * g for g in gradient]).abs() < 1e-6
    assert total_variation(torch.full((2, 1, 4, 4), 0.3)) == 0


def test_the_model_is_left_as_it_was():
    model, gradient, labels, shape = small_problem(mode="train")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    irlg.invert(model, gradient, labels, shape, settings())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters()) and model.training


def test_train_mode_is_the_callers():
    model, gradient, labels, _ = small_problem(mode="train")
    images = random_images(3, 1, 8, 8)
    assert float(CosineDistance(gradient, [1] * 6)(GradientOf(model)(images, labels))) < 1e-12
    model.eval()
    assert float(CosineDistance(gradient, [1] * 6)(GradientOf(model)(images, labels))) > 1e-3


def test_treatments_start_from_the_same_images_and_return_labels_of_their_kind():
    starts, labels = [], []
    for treatment in (None, "joint", "joint-shared"):
        result = irlg.invert(*small_problem(treatment), settings(), progress=lambda p: starts.append(p.images))
        labels.append(result.labels)
    assert torch.equal(starts[0], starts[4]) and torch.equal(starts[0], starts[8])
    assert labels[0].tolist() == [0, 1, 1]
    assert torch.allclose(labels[1].sum(1), torch.ones(3).double()) and not torch.equal(labels[1][0], labels[1][1])
    assert torch.equal(labels[2][0], labels[2][2])


def test_the_restart_of_the_lowest_objective_is_kept():
    last = {}
    result = irlg.invert(
        *small_problem(), settings(restarts=4), progress=lambda p: last.update({p.restart: p.objective})
    )
    assert len(set(last.values())) == 4
    assert result.objective == min(last.values()) == last[result.restart]


def test_a_diverged_objective_says_where_and_keeps_the_images_before():
    model, gradient, labels, shape = small_problem()
    seen = []

    class Poisoned(nn.Module):
        calls = 0

        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            self.calls += 1
            return self.model(images) * (math.nan if self.calls == 14 else 1)  # the start is call 1

    with pytest.raises(DivergedError, match="nan at iteration 13 of restart 0") as raised:
        irlg.invert(Poisoned(), gradient, labels, shape, settings(interval=1), progress=seen.append)
    assert (raised.value.restart, raised.value.iteration) == (0, 13)
    assert torch.equal(raised.value.images, seen[12].images) and seen[12].iteration == 12
    copy = pickle.loads(pickle.dumps(raised.value))  # it comes from another process
    assert str(copy) == str(raised.value) and torch.equal(copy.images, raised.value.images)


def test_a_start_without_an_objective_is_an_error_too():
    model, gradient, labels, shape = small_problem()
    with torch.no_grad():
        model[0].weight.fill_(math.inf)
    with pytest.raises(DivergedError, match="nan at iteration 0 of restart 0"):
        irlg.invert(model, gradient, labels, shape, settings())


def test_a_plateau_stops_a_restart():
    long = settings(steps=2000, patience=50)
    result = irlg.invert(*small_problem(), long)
    taken = len(result.objectives) - 1
    assert 50 < taken < 2000
    assert result.objectives[-50:].min() >= result.objectives[:-50].min() * (1 - 1e-3)
    assert result.objectives[-51] < result.objectives[:-51].min()


def test_schedules():
    steps, cosine = irlg.InversionConfig(steps=8), irlg.InversionConfig(steps=8, schedule="cosine")
    assert [steps.rate(i) for i in range(8)] == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001])
    assert [cosine.rate(i) for i in (0, 4, 8)] == pytest.approx([0.1, 0.05, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps: expected a whole number of at least 1, got 0"),
        ({"steps": 2.5}, "steps: expected a whole number of at least 1, got 2.5"),  # which would never end
        ({"steps": "3"}, "steps: expected a whole number of at least 1, got '3'"),
        ({"restarts": math.inf}, "restarts: expected a whole number of at least 1, got inf"),
        ({"interval": 0.5}, "interval: expected a whole number of at least 1, got 0.5"),
        ({"patience": -1}, "patience: expected a whole number of at least 0, got -1"),
        ({"seed": None}, "seed: expected a whole number of at least 0, got None"),
        ({"learning_rate": 0.0}, "learning_rate: expected a positive number, got 0.0"),
        ({"last_weight": math.inf}, "last_weight: expected a positive number, got inf"),
        ({"embedding_weight": "1"}, "embedding_weight: expected a positive number, got '1'"),
        ({"tv_weight": math.nan}, "tv_weight: expected a number of at least 0, got nan"),
        ({"l2_weight": math.inf}, "l2_weight: expected a number of at least 0, got inf"),
        ({"tv_end": math.nan}, "tv_end: expected a positive number, got nan"),
        ({"schedule": "linear"}, "schedule: expected 'steps' or 'cosine', got 'linear'"),
    ],
)
def test_settings_out_of_range_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        settings(**changes)


def test_whole_numbers_may_be_of_any_kind():
    config = settings(steps=1e3, seed=2**60 + 1)
    assert (config.steps, config.seed) == (1000, 2**60 + 1) and isinstance(config.steps, int)


def test_arguments_that_do_not_fit_are_named():
    model, gradient, labels, shape = small_problem()
    with pytest.raises(ValueError, match="gradient: expected tensors of the parameters' shapes"):
        irlg.invert(model, gradient[1:], labels, shape)
    with pytest.raises(ValueError, match="gradient: expected a tensor for each parameter, got NoneType as number 1"):
        irlg.invert(model, [gradient[0], None, *gradient[2:]], labels, shape)
    with pytest.raises(ValueError, match="gradient: expected finite numbers that are not all 0"):
        irlg.invert(model, [0 * g for g in gradient], labels, shape)
    with pytest.raises(ValueError, match="labels: expected 3 class indices"):
        irlg.invert(model, gradient, labels[:2], shape)
    with pytest.raises(ValueError, match=r"labels: expected indices from 0 to .*, at least one, got some from 9 to 9"):
        irlg.invert(model, gradient, torch.full((3,), 9), shape)
    with pytest.raises(ValueError, match="labels: expected class indices or one of"):
        irlg.invert(model, gradient, "shared", shape)
    with pytest.raises(ValueError, match=r"image_shape: expected \(K, channels, height, width\)"):
        irlg.invert(model, gradient, labels, (3, 64))
    with pytest.raises(ValueError, match="mean and std: expected 1 or 1 numbers"):
        irlg.invert(model, gradient, labels, shape, mean=(0.5, 0.5, 0.5))


def test_the_weight_of_the_variation_falls_geometrically_to_its_end():
    config = irlg.InversionConfig(steps=100, tv_weight=0.1, tv_end=0.001)
    assert [config.tv(i) for i in (0, 50, 100)] == pytest.approx([0.1, 0.01, 0.001])
    assert irlg.InversionConfig(tv_weight=0.1).tv(50) == 0.1
    with pytest.raises(ValueError, match=r"tv_end: expected None or a positive number up to tv_weight, got 0\.2"):
        irlg.InversionConfig(tv_weight=0.1, tv_end=0.2)
