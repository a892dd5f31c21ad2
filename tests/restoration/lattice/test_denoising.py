"""Noise: how much there is, what it proves nothing of, and what both gradients together say of the bias's."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from irlg import Observation, presence_proofs
from irlg.restoration.lattice.denoising import TAU, denoised
from irlg.restoration.lattice.layer import problem
from irlg.restoration.lattice.least_squares import design
from tests.helpers import NETWORKS, altered, client, counted, gaussian

K, DRAWS = 24, 40
networks = pytest.mark.parametrize("network", NETWORKS)


def batch(network, trial):
    embeddings, labels, head = client(network, trial, K)
    return Observation.from_embeddings(embeddings, labels, head), counted(labels, head)


@pytest.mark.parametrize("std", [1e-5, 1e-3, 1e-1])
@networks
def test_measured_noise_is_that_which_there_is(network, std):
    seen, _ = batch(network, 0)
    measured = np.array([altered(seen, gaussian(std, draw)).measured_noise for draw in range(DRAWS)])
    assert abs(measured.mean() - std) < 3 * measured.std(ddof=1) / math.sqrt(DRAWS)
    # Three standard errors of a spread over so many draws.
    expected = std / math.sqrt(2 * (seen.weight.shape[1] + 1))
    assert abs(measured.std(ddof=1) / expected - 1) < 3 / math.sqrt(2 * DRAWS)


def test_noise_that_is_told_is_taken():
    seen, _ = batch("LeNet-5 ReLU", 0)
    assert replace(seen, noise=0.5).noise == 0.5 and replace(seen, noise=0.0).noise == 0.0


@pytest.mark.parametrize("std", [1e-5, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("network", ["LeNet-5 ReLU", "FCN-3", "ResNet-18"])
def test_noise_proves_no_class_present_that_is_absent(network, std):
    for trial in range(25):
        seen, true = batch(network, trial)
        proofs = presence_proofs(altered(seen, gaussian(std, trial)), nonnegative=True)
        assert (proofs.lower_bounds <= true).all()


def modelled(seed, std, classes=100, width=84):
    """A draw of the model: y = truth + noise and Y = truth μᵀ + M Δ + noise, as of a batch whose softmax are 1/C."""
    rng = np.random.default_rng(seed)
    n = torch.bincount(torch.as_tensor(rng.integers(classes, size=K)), minlength=classes).double()
    mu = torch.as_tensor(rng.uniform(0, 1, width))
    softmax = torch.full((int((n > 0).sum()), classes), 1 / classes, dtype=torch.float64)
    head = nn.Linear(width, classes).double()
    head.requires_grad_(False)
    truth = K / classes - n

    def observed(Y, y):
        return Observation(Y / K, y / K, head.weight, head.bias, K, noise=std)

    M, D = design(problem(observed(torch.outer(truth, mu), truth)), n, softmax)
    # τ² is the variance of embeddings along μ beside |μ|²; across it they have as much, in all dimensions together.
    along = torch.as_tensor(rng.normal(size=(len(D), 1))) * mu
    across = torch.as_tensor(rng.normal(size=(len(D), width))) * mu.norm() / math.sqrt(width)
    across = across - torch.outer(across @ mu, mu) / mu.square().sum()
    Y = torch.outer(truth, mu) + M @ (TAU * D.sqrt()[:, None] * (along + across))
    noise = K * std * torch.as_tensor(rng.normal(size=(classes, width + 1)))
    given = problem(observed(Y + noise[:, :-1], truth + noise[:, -1]))
    return given, truth, M, D


@pytest.mark.parametrize("std", [3e-4, 1e-3, 3e-3])
def test_both_gradients_together_are_better_than_one_and_say_how_good(std):
    alone, together, stated = [], [], []
    for seed in range(30):
        given, truth, M, D = modelled(seed, std)
        better = denoised(given, M, D)
        alone.append((given.y - truth).square().mean())
        together.append((better.y - truth).square().mean())
        stated.append(better.y_variance.mean())
    assert np.mean(together) < np.mean(alone)
    assert 0.5 < np.mean(stated) / np.mean(together) < 2


def test_without_noise_nothing_is_changed():
    given, _, M, D = modelled(0, 0.0)
    assert denoised(given, M, D) is given


def test_where_most_is_noise_nothing_is_changed():
    given, _, M, D = modelled(0, 1.0)
    assert denoised(given, M, D) is given


@pytest.mark.parametrize("std", [1e-3, 3e-3])
def test_what_is_denoised_is_centred_and_no_less_sure(std):
    given, _, M, D = modelled(0, std)
    better = denoised(given, M, D)
    assert abs(float(better.y.sum())) < 1e-9
    assert (better.y_variance <= given.y_variance).all() and (better.y_variance > 0).all()
