"""Observations of updates, against steps of PyTorch's own SGD."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from irlg import Observation, restore
from irlg.gradients import batch_gradient
from irlg.models import build, fcn3, lenet5

K = 24


def batch(seed, size=K, shape=(3, 32, 32), classes=100):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(size, *shape, generator=generator), torch.randint(classes, (size,), generator=generator)


def taught(model, batches, optimizer=torch.optim.SGD, **settings):
    """The model after a step on each of the batches."""
    model = copy.deepcopy(model)
    step = optimizer(model.parameters(), **settings)
    for images, labels in batches:
        step.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        step.step()
    return model


def small():
    """A model with a head of 3 classes, and itself after a step of 0.1."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    images, labels = torch.rand(6, 4), torch.tensor([0, 0, 1, 2, 2, 2])
    return model, taught(model, [(images, labels)], lr=0.1), images, labels


@pytest.mark.parametrize("lr", [0.1, 0.01, 0.001])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weight_decay": 5e-4},
        {"momentum": 0.9},
        {"momentum": 0.9, "weight_decay": 5e-4, "nesterov": True},
    ],
)
@pytest.mark.parametrize("network", [lenet5, fcn3])
def test_a_step_gives_back_its_gradient_but_for_the_rounding_of_the_weights(network, settings, lr):
    model = build(network, 0)
    images, labels = batch(1) if network is lenet5 else batch(1, shape=(1, 28, 28), classes=10)
    seen = Observation.from_update(model, taught(model, [(images, labels)], lr=lr, **settings), lr, K, **settings)
    *_, grad_weight, grad_bias = batch_gradient(model, images, labels)
    rounding = torch.finfo(torch.float32).eps * float(model.head.weight.detach().abs().max()) / lr
    torch.testing.assert_close(seen.grad_weight, grad_weight.double(), rtol=1e-5, atol=rounding)
    torch.testing.assert_close(seen.grad_bias, grad_bias.double(), rtol=1e-5, atol=rounding)
    assert torch.equal(seen.weight, model.head.weight) and torch.equal(seen.bias, model.head.bias)
    # What is measured is the error that there is.
    error = torch.cat([seen.grad_weight - grad_weight, (seen.grad_bias - grad_bias)[:, None]], dim=1)
    assert 0.5 < seen.noise / float(error.square().mean().sqrt()) < 2


def test_dampening_leaves_the_first_step_alone():
    model, _, images, labels = small()
    after = taught(model, [(images, labels)], lr=0.1, momentum=0.9, dampening=0.5)
    seen = Observation.from_update(model, after, 0.1, 6, momentum=0.9)
    torch.testing.assert_close(seen.grad_bias.float(), batch_gradient(model, images, labels)[-1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_local_steps_give_the_mean_gradient_and_the_counts_of_all_instances(decay):
    model, batches = build(lenet5, 0), [batch(seed, 8) for seed in range(5)]
    after = taught(model, batches, lr=0.1, weight_decay=decay)
    seen = Observation.from_update(model, after, 0.1, 8, local_steps=5, weight_decay=decay)
    assert seen.batch_size == 40
    assert Observation.from_update(model, after, 0.1, None, local_steps=5).batch_size is None
    starts = [taught(model, batches[:number], lr=0.1, weight_decay=decay) for number in range(5)]
    gradients = [batch_gradient(start, *each)[-1] for start, each in zip(starts, batches, strict=True)]
    # But for the decay of what steps were unlike each other.
    mean = torch.stack(gradients).double().mean(dim=0)
    torch.testing.assert_close(seen.grad_bias, mean, rtol=0, atol=1e-6 + 0.02 * decay)
    counts = torch.bincount(torch.cat([labels for _, labels in batches]), minlength=100)
    assert torch.equal(restore(seen).counts, counts)


def test_the_weights_of_an_observation_are_those_at_which_steps_start():
    model, _, images, labels = small()
    path = [taught(model, [(images, labels)] * number, lr=0.01)[2].weight.detach() for number in range(6)]
    after = taught(model, [(images, labels)] * 5, lr=0.01)
    seen, mean = Observation.from_update(model, after, 0.01, 6, local_steps=5), torch.stack(path[:5]).mean(dim=0)
    assert (seen.weight - mean).norm() < 0.02 * (path[5] - path[0]).norm()


def test_an_observation_of_an_update_stays_as_it_is_where_the_model_goes_on():
    before, after, *_ = small()
    seen = Observation.from_update(before, after, 0.1, 6)
    weight, bias = seen.weight.clone(), seen.bias.clone()
    before.load_state_dict(after.state_dict())
    assert torch.equal(seen.weight, weight) and torch.equal(seen.bias, bias)


def test_a_steps_divisor_is_a_steps():
    model, after, *_ = small()
    seen = Observation.from_update(model, after, 0.1, 6, local_steps=2, divisor=4.0, label_smoothing=0.1, noise=1e-3)
    assert (seen.batch_size, seen.divisor, seen.label_smoothing, seen.noise) == (12, 8.0, 0.1, 1e-3)


@pytest.mark.parametrize("wrapper", ["module.", "_module.", "_orig_mod.", "module._orig_mod.", "_fsdp_wrapped_module."])
def test_models_and_state_dicts_wrapped_or_not(wrapper):
    model, after, *_ = small()
    expected = Observation.from_update(model, after, 0.1, 6)
    wrapped = {wrapper + key: value for key, value in after.state_dict().items()}
    arrays = {key: value.detach().numpy() for key, value in model.state_dict().items()}
    for old, new, head in [
        (model, wrapped, None),
        (arrays, wrapped, None),
        (wrapped, model, wrapper + "2"),
        (arrays, after, "2"),
        (nn.DataParallel(model), after.state_dict(), None),
    ]:
        seen = Observation.from_update(old, new, 0.1, 6, head=head)
        sign = -1 if old is wrapped else 1  # the way back
        torch.testing.assert_close(seen.grad_weight, sign * expected.grad_weight)


def test_a_bare_layer_and_a_head_without_bias():
    images, labels = torch.rand(6, 4), torch.tensor([0, 0, 1, 2, 2, 2])
    for bias in (True, False):
        layer = nn.Linear(4, 3, bias=bias)
        after = taught(layer, [(images, labels)], lr=0.1)
        for old, new in ((layer, after), (layer.state_dict(), after.state_dict())):
            seen = Observation.from_update(old, new, 0.1, 6)
            gradients = batch_gradient(layer, images, labels)
            torch.testing.assert_close(seen.grad_weight.float(), gradients[0], rtol=1e-4, atol=1e-5)
            assert (seen.grad_bias is None) is (seen.bias is None) is (not bias)


def changed(state, **values):
    return {key: values.get(key.replace(".", "_"), value) for key, value in state.items()}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0}, "learning_rate: expected a positive number, got 0"),
        ({"learning_rate": -0.1}, "learning_rate: expected a positive number, got -0.1"),
        ({"learning_rate": "fast"}, "learning_rate: .* got 'fast'"),
        ({"learning_rate": float("nan")}, "learning_rate: .* got nan"),
        ({"weight_decay": -1}, "weight_decay: expected a number of at least 0, got -1"),
        ({"momentum": None}, "momentum: expected a number of at least 0, got None"),
        ({"nesterov": True}, "nesterov: expected False, or True with a momentum above 0, got True"),
        ({"local_steps": 0}, "local_steps: expected a whole number of at least 1, got 0"),
        ({"local_steps": 2.5}, "local_steps: expected a whole number of at least 1, got 2.5"),
        ({"local_steps": 5, "momentum": 0.9}, "momentum: expected 0 over 5 local steps, got 0.9"),
        ({"local_steps": 5, "class_weight": [1, 2, 3]}, "class_weight: expected a divisor .* got None"),
        ({"batch_size": "many", "local_steps": 2}, "batch_size: expected a whole number .* got 'many'"),
        (
            {"optimizer": "Adam"},
            r"optimizer: expected 'SGD', got 'Adam'; .* lr·sign\(g\).*: ask the client for gradients",
        ),
        ({"optimizer": torch.optim.SGD}, "optimizer: expected 'SGD', by name, got type"),
        ({"head": "1"}, r"head: expected a layer .* one of \['0.weight', '2.weight'\] before, got '1'$"),
        ({"head": nn.Linear(2, 2)}, "head: expected the dotted name of a layer, got Linear"),
    ],
)
def test_settings_are_refused_by_name(settings, message):
    model, after, *_ = small()
    arguments = {"learning_rate": 0.1, "batch_size": 6, **settings}
    with pytest.raises(ValueError, match=message):
        Observation.from_update(model, after, **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda old, new: (old, old), "after: .* of '2' than before, got the same; .* registered last, and head= "),
        (lambda old, new: ("fc", new), "before: expected a model or a state dict, got str"),
        (lambda old, new: (old, {}), r"head: expected a layer whose weight is one of \[\] after, got '2'"),
        (lambda old, new: ({}, new), "head: expected its name, as the last matrix before .* got None"),
        (
            lambda old, new: (old, changed(new, **{"2_weight": torch.zeros(4, 5)})),
            r"after: expected shapes as before, {'2.weight': \(3, 5\), .* got {'2.weight': \(4, 5\)",
        ),
        (
            lambda old, new: (old, {key: value for key, value in new.items() if key != "2.bias"}),
            "after: expected shapes as before, .*'2.bias'.*, got ",
        ),
        (
            lambda old, new: (old, changed(new, **{"2_bias": torch.tensor([0, 1, float("nan")])})),
            "after: expected finite numbers in '2.bias', got NaN",
        ),
        # A weight that is computed from this: the step was not of it.
        (
            lambda old, new: (old | {"2.parametrizations.weight.original1": torch.ones(3, 5)}, new),
            "head: expected its name, .* got '2.parametrizations.weight.original1'; .* is not read from updates",
        ),
    ],
)
def test_updates_are_refused_by_name(change, message):
    model, after, *_ = small()
    with pytest.raises(ValueError, match=message):
        Observation.from_update(*change(model.state_dict(), after.state_dict()), 0.1, 6)


class Registered(nn.ModuleDict):
    """Layers that are used in another order than they are registered in."""

    def forward(self, x):
        return self["head"](self["body"](x))


def test_another_layer_than_the_last_is_named():
    model = Registered({"head": nn.Linear(5, 3), "body": nn.Linear(4, 5)})
    after = taught(model, [(torch.rand(6, 4), torch.tensor([0, 0, 1, 2, 2, 2]))], lr=0.1)
    assert Observation.from_update(model, after, 0.1, 6, head="head").num_classes == 3
    with pytest.raises(ValueError, match=r"after: expected other weights of 'body' than before, got the same$"):
        Observation.from_update(model, model, 0.1, 6, head="body")


class Tabled(nn.Module):
    """A head that is no `nn.Linear`, and an embedding after it."""

    def __init__(self):
        super().__init__()
        self.head, self.table = nn.Module(), nn.Embedding(7, 5)
        self.head.weight = nn.Parameter(torch.rand(3, 5))

    def forward(self, x):
        return self.table(x) @ self.head.weight.T


def test_an_embedding_is_no_head_of_a_model():
    model = Tabled()
    after = taught(model, [(torch.arange(6), torch.tensor([0, 0, 1, 2, 2, 2]))], lr=0.1)
    assert Observation.from_update(model, after.state_dict(), 0.1, 6).num_classes == 3


def convolution():
    return nn.Sequential(nn.Unflatten(1, (5, 1, 1)), nn.Conv2d(5, 3, 1), nn.Flatten())


@pytest.mark.parametrize(
    ("make", "head"),
    [
        (lambda: parametrizations.weight_norm(nn.Linear(5, 3)), None),
        (lambda: parametrizations.weight_norm(nn.Linear(5, 3)), "1"),
        (convolution, None),
        (convolution, "1.1"),
    ],
)
def test_heads_that_updates_do_not_show_are_refused_in_words(make, head):
    model = nn.Sequential(nn.Flatten(), make())
    after = taught(model, [(torch.rand(6, 5), torch.tensor([0, 0, 1, 2, 2, 2]))], lr=0.1)
    with pytest.raises(ValueError, match=r"head: expected .* is not read from updates: ask the client for gradients"):
        Observation.from_update(model, after, 0.1, 6, head=head)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad])
def test_an_update_of_signs_is_seen_without_the_optimisers_name(optimizer):
    model = build(lenet5, 0)
    after = taught(model, [batch(1)], optimizer, lr=0.001)
    with pytest.raises(ValueError, match=r"after: expected an update by SGD, got one with entries ±10? alone; .* Adam"):
        Observation.from_update(model, after, 0.001, K)


SIZES = (5, 8, 11)


def clients():
    """One network, three clients' batches, and the counts of all of them together."""
    batches = [batch(seed, size) for seed, size in enumerate(SIZES)]
    labels = torch.cat([labels for _, labels in batches])
    return build(lenet5, 0), batches, torch.bincount(labels, minlength=100)


def test_the_mean_of_clients_gradients_is_an_observation_of_all_their_batches():
    model, batches, counts = clients()
    shares = np.array(SIZES) / K
    gradients = [batch_gradient(model, *each)[-2:] for each in batches]
    grad_weight, grad_bias = (
        sum(w * g for w, g in zip(shares, each, strict=True)) for each in zip(*gradients, strict=True)
    )
    joint = batch_gradient(model, *(torch.cat(part) for part in zip(*batches, strict=True)))
    torch.testing.assert_close(grad_weight, joint[-2])
    torch.testing.assert_close(grad_bias, joint[-1])
    seen = Observation(grad_weight, grad_bias, model.head.weight, model.head.bias, K)
    assert torch.equal(restore(seen).counts, counts)


def test_the_mean_of_clients_weights_is_an_update_by_all_their_batches():
    model, batches, counts = clients()
    states = [taught(model, [each], lr=0.1).state_dict() for each in batches]
    mean = {
        key: sum(size / K * state[key] for size, state in zip(SIZES, states, strict=True)) for key in model.state_dict()
    }
    assert torch.equal(restore(Observation.from_update(model, mean, 0.1, K)).counts, counts)
