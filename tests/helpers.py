"""What tests of several rooms make their cases with."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import strategies as st
from torch import nn

from irlg import Observation, models
from irlg.appendix.random_layers import random_layer
from irlg.appendix.scores import view
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
    return Observation(**{name: changes.get(name, getattr(seen, name)) for name in names})


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


def follows_from_committed_trials(make, source, stem, keys):
    """Whether `make` of the committed per-trial rows is the committed table, as file and as shown."""
    made, committed = make(pd.read_csv(PAPER / f"{source}.csv")), pd.read_csv(PAPER / f"{stem}.csv")
    pd.testing.assert_frame_equal(made, committed, check_dtype=False, rtol=1e-12)
    return view(made, keys) in (PAPER / f"{stem}.md").read_text(encoding="utf-8")
