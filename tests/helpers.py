"""What tests of several rooms make their cases with."""

import math
from functools import cache, partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import strategies as st
from torch import nn

from irlg import Observation, models
from irlg.appendix.random_layers import random_layer
from irlg.data.datasets import open_images
from irlg.data.sampling import balanced_batch, stream
from irlg.restoration.lattice import passes
from irlg.restoration.lattice.decoding import Beam
from irlg.restoration.rounding import largest_remainder
from tests.conftest import ROOT

PAPER = ROOT / "figures" / "paper"
needs_paper = pytest.mark.skipif(not PAPER.is_dir(), reason="no committed paper run")

problems = {
    "classes": st.integers(2, 20),
    "width": st.integers(1, 30),
    "batch": st.integers(1, 60),
    "seed": st.integers(0, 2**31),
}


def observe(classes, width, batch, seed, labels=None):
    embeddings, drawn, head = random_layer(np.random.default_rng(seed), classes, width, batch)
    return Observation.from_embeddings(embeddings, drawn if labels is None else torch.as_tensor(labels), head)


def rebuilt(seen, **changes):
    names = ("grad_weight", "grad_bias", "weight", "bias", "batch_size")
    noise = changes.pop("noise", None)
    return Observation(noise=noise, **{name: changes.get(name, getattr(seen, name)) for name in names})


def linear(weight, bias):
    head = nn.Linear(*weight.T.shape).double()
    head.weight.data, head.bias.data = weight, bias
    return head


def from_cifar(noc, mroc, trial, seed=0, activation=nn.ReLU):
    images = open_images("cifar100", policy="stand-in")
    model = models.build(models.lenet5, seed, activation=activation)
    indices = balanced_batch(stream(0, "lattice", noc, mroc, trial), images.labels, noc, mroc)
    with torch.no_grad():
        embeddings = model.hidden(model.features(images.load(indices)))
    labels = torch.as_tensor(images.labels[indices])
    return Observation.from_embeddings(embeddings, labels, model.head), torch.bincount(labels, minlength=100)


NETWORKS = {
    "LeNet-5 ReLU": ("cifar100", models.lenet5, {}),
    "LeNet-5 SiLU": ("cifar100", models.lenet5, {"activation": nn.SiLU}),
    "LeNet-5 LeakyReLU": ("cifar100", models.lenet5, {"activation": nn.LeakyReLU}),
    "FCN-3": ("mnist", models.fcn3, {}),
    "ResNet-18": ("cifar100", models.resnet18, {}),
}
HUNDRED = [name for name in NETWORKS if name != "FCN-3"]  # those of 100 classes


@cache
def embedded(name):
    """An untrained network, and 240 images of the stand-in with their embeddings and labels."""
    data, network, options = NETWORKS[name]
    images, model = open_images(data, policy="stand-in"), models.build(network, 0, **options)
    drawn = np.random.default_rng(0).choice(len(images.labels), 240, replace=False)
    pixels = images.load(drawn)
    with torch.no_grad():
        embeddings = model.hidden(model.features(pixels))
    return model, pixels, embeddings, torch.as_tensor(images.labels[drawn])


def client(name, trial, size=24):
    """What a client has: the embeddings (K, m) and labels (K,) of a batch, and the head."""
    model, _, embeddings, labels = embedded(name)
    drawn = np.random.default_rng([size, trial]).choice(len(labels), size, replace=False)
    return embeddings[drawn], labels[drawn], model.head


def counted(labels, head):
    return torch.bincount(labels, minlength=head.out_features)


def without_bias(head):
    bare = nn.Linear(head.in_features, head.out_features, bias=False)
    bare.weight.data = head.weight.detach()
    return bare


def altered(seen, change, **told):
    """The observation that a server has of gradients after a `change` of each."""
    fields = {"grad_weight": change(seen.grad_weight), "grad_bias": change(seen.grad_bias)}
    return Observation(**{**fields, "weight": seen.weight, "bias": seen.bias, "batch_size": seen.batch_size, **told})


def gaussian(std, seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda gradient: gradient + std * torch.randn(gradient.shape, generator=generator)


def probability(restored):
    return math.exp(restored.log_probability)


def is_honest(restored, true):
    """Whether counts sum to K, and are not called sure (p > 0.999) if they are wrong."""
    right = torch.equal(restored.counts, true)
    return int(restored.counts.sum()) == int(true.sum()) and (right or probability(restored) <= 0.999)


def a_pass(x, deviation, costs):
    """A pass of counts `x` and R = `deviation`² I but for the sum, whose decoded vectors cost so much."""
    classes = len(x)
    covariance = deviation**2 * (torch.eye(classes).double() - 1 / (classes + 1e-6))
    near = largest_remainder(x, torch.zeros(classes, dtype=torch.int64), round(float(x.sum()))).numpy()
    vectors = np.stack([np.roll(near, shift) for shift in range(len(costs))])
    beam = Beam(vectors, np.array(costs), 0.0)
    return passes.weigh(x, covariance, beam, torch.eye(classes), torch.eye(classes), None)


def random_images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Pixels in [0, 1), the same for the same seed."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def scored(row="Unique NoC=100, MRoC=1", ln=(0.9, 0.92, 0.93), initialisation=0, method="irlg", **more):
    """Per-trial rows of one row of a table, LnAcc `ln`."""
    frame = pd.DataFrame({"row": row, "method": method, "trial": range(len(ln)), "ln_acc": ln})
    frame = frame.assign(le_acc=1.0, i_rec=1.0, K=100, total=100, exact=np.array(ln) == 1, data="CIFAR-100")
    return frame.assign(initialisation=initialisation, **more)


class AbstractGradSampleModule(nn.Module):
    """Opacus's wrapper in short, by the name that it is known by: hooks that keep what passes, and count it."""

    def __init__(self, model):
        super().__init__()
        self._module, self.hooks_enabled = model, True
        for parameter in model.parameters():
            parameter._forward_counter = 0
        for module in model.modules():
            if module._parameters:
                module.register_forward_hook(self.capture)
                module.register_full_backward_hook(partial(self.compute, loss_reduction="mean"))

    def forward(self, x):
        return self._module(x)

    def capture(self, module, inputs, output):
        if self.hooks_enabled and module.training and torch.is_grad_enabled():
            module.activations = [*getattr(module, "activations", []), inputs]
            for parameter in module._parameters.values():
                parameter._forward_counter += 1

    def compute(self, module, inputs, outputs, loss_reduction):
        if self.hooks_enabled:
            module.activations.pop()
            for parameter in module._parameters.values():
                parameter._forward_counter -= 1
