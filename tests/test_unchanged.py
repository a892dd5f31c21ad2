"""A user's model is the same after each public call, also after one that fails."""

import warnings
from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, weight_norm

import irlg
from irlg import Observation
from irlg.stateless import unwrapped
from tests.helpers import AbstractGradSampleModule

IMAGES, LABELS = torch.rand(3, 1, 2, 4), torch.tensor([0, 1, 1])


class Twice(nn.Module):
    """One submodule under two names: `torch.func.functional_call` leaves plain tensors in it."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = self.first

    def forward(self, x):
        return self.second(self.first(x))


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))


class Moving(nn.Module):
    """Buffers that a pass changes in place, replaces and sets, and a mode that it changes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("last", None)
        self.again = self.mean

    def forward(self, x):
        self.mean.add_(x.detach().mean(dim=0))
        self.calls = self.calls + 1
        self.last = x.detach()
        self.training = not self.training
        return x + self.mean


def legacy_weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, and still in use
        return weight_norm(nn.Linear(8, 8))


def hooked():
    layer = nn.Linear(8, 8)
    layer.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
    layer.register_forward_hook(lambda module, inputs, output: output * 2)
    layer.register_full_backward_hook(lambda module, inputs, outputs: None)
    layer.weight.register_hook(lambda gradient: gradient)
    return layer


LAYERS = {
    "linear": lambda: nn.Linear(8, 8),
    "twice": Twice,
    "tied": Tied,
    "moving": Moving,
    "batchnorm": lambda: nn.BatchNorm1d(8),
    "dropout": nn.Dropout,
    "relu": lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True)),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(8, 8)),
    "legacy_weight_norm": legacy_weight_norm,
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(8, 8)),
    "hooked": hooked,
}
WRAPPERS = {
    "parallel": nn.DataParallel,
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "opacus": AbstractGradSampleModule,
}


def last(model):
    """The name of the last layer, out of all wrappers."""
    return list(dict(unwrapped(model)[0].named_modules()))[-1]


def attacked(model, **known):
    gradient = [torch.ones_like(p) for p in model.parameters()]
    return irlg.invert(model, gradient, LABELS, tuple(IMAGES.shape), irlg.InversionConfig(steps=1, interval=1), **known)


def maps_or_none(model):
    """There are none of a model without a convolution, which is run all the same, in eval mode."""
    with suppress(ValueError):
        irlg.feature_maps(model, [torch.ones_like(p) for p in model.parameters()], LABELS, tuple(IMAGES.shape))


CALLS = {
    "audit": lambda model: irlg.audit(model, IMAGES, LABELS, defence="noise:0.01"),
    "from_batch": lambda model: Observation.from_batch(model, IMAGES, LABELS),
    "batch_gradient": lambda model: irlg.batch_gradient(model, IMAGES, LABELS),
    "invert": attacked,
    "invert from features": lambda model: attacked(
        model, features=irlg.FeatureMaps(last(model), torch.ones(3, 8), LABELS, 0.0)
    ),
    "feature_maps": maps_or_none,
}


def state(model):
    """All that is to stay: identities, types, values, flags, hooks with their order, modes."""

    def of(tensor):
        return None if tensor is None else (id(tensor), type(tensor), tensor.requires_grad, tensor.tolist())

    found = {}
    for place, module in model.named_modules(remove_duplicate=False):
        parameters = {name: (of(p), p is not None and of(p.grad)) for name, p in module._parameters.items()}
        marks = [vars(p).copy() for p in module._parameters.values() if p is not None]
        buffers = {name: of(buffer) for name, buffer in module._buffers.items()}
        others = {name: of(value) for name, value in vars(module).items() if isinstance(value, torch.Tensor)}
        names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        hooks = [list(getattr(module, name).items()) for name in names]
        found[place] = (module.training, parameters, marks, buffers, others, hooks)
    return found


# PyTorch's, of a hook on a first layer, in training as here.
@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
@given(
    layers=st.lists(st.sampled_from(sorted(LAYERS)), max_size=4),
    wrappers=st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=3, unique=True),
    train=st.booleans(),
    frozen=st.booleans(),
    trained=st.booleans(),
    call=st.sampled_from(sorted(CALLS)),
)
def test_a_model_is_left_as_it_was(layers, wrappers, train, frozen, trained, call):
    model = nn.Sequential(nn.Flatten(), *(LAYERS[name]() for name in layers), nn.Linear(8, 3))
    for parameter in list(model.parameters())[: int(frozen)]:
        parameter.requires_grad_(False)
    if trained:
        nn.functional.cross_entropy(model(IMAGES), LABELS).backward()
    for name in wrappers:
        model = WRAPPERS[name](model)
    model.train(train)
    before = state(model)
    CALLS[call](model)
    assert state(model) == before


class Failing(nn.Module):
    """What raises in the middle of a pass, in which buffers and a mode have changed."""

    def __init__(self):
        super().__init__()
        self.flatten, self.moving, self.fc = nn.Flatten(), Moving(), nn.Linear(8, 3)
        self.fc.weight.requires_grad_(False)

    def forward(self, x):
        self.fc(self.moving(self.flatten(x)))
        raise ArithmeticError("midway")


@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"invert from features"}))  # which ends a pass before
@pytest.mark.parametrize("wrap", [lambda model: model, *WRAPPERS.values()])
def test_a_model_that_fails_is_left_as_it_was(call, wrap):
    model = wrap(Failing()).eval()  # where feature maps are looked for
    before = state(model)
    with pytest.raises(ArithmeticError, match="midway"):
        CALLS[call](model)
    assert state(model) == before


def test_an_inversion_that_is_stopped_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Flatten(), Moving(), Twice(), nn.Linear(8, 3)).train()
    before, seen = state(model), []

    def stop(progress):
        seen.append(state(model))
        raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        gradient = irlg.batch_gradient(model, IMAGES, LABELS)
        irlg.invert(model, gradient, LABELS, (3, 1, 2, 4), progress=stop)
    assert seen == [before] and state(model) == before  # and between its steps


def test_from_embeddings_leaves_the_head_as_it_was():
    head = nn.Linear(8, 3)
    before = state(head)
    Observation.from_embeddings(torch.rand(3, 8), LABELS, head)
    assert state(head) == before


def test_a_model_goes_on_training_through_all_of_it():
    model = nn.Sequential(nn.Flatten(), Twice(), nn.BatchNorm1d(8), nn.Linear(8, 3))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = nn.functional.cross_entropy(model(IMAGES), LABELS)
    for call in CALLS.values():  # in the middle of a step, whose graph they leave whole
        call(model)
    start = [p.detach().clone() for p in model.parameters()]
    loss.backward()
    optimiser.step()
    assert not any(torch.equal(p, q) for p, q in zip(model.parameters(), start, strict=True) if p.grad.any())
    assert sum(bool(p.grad.any()) for p in model.parameters()) >= 4


@pytest.mark.parametrize("call", ["from_batch", "batch_gradient"])
def test_the_random_state_is_that_after_one_pass(call):
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 3))
    torch.manual_seed(0)
    model(IMAGES)
    expected = torch.get_rng_state()
    torch.manual_seed(0)
    CALLS[call](model)
    assert torch.equal(torch.get_rng_state(), expected)
