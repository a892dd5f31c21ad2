"""When the estimator is sure, when it isn't, and what it does then."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from irlg import Observation, restore
from irlg.appendix.random_layers import random_layer
from irlg.restoration.lattice import passes
from irlg.restoration.lattice.decoding import decode
from tests.helpers import a_pass, from_cifar, linear, rebuilt


def bias_changed(seen, change):
    return rebuilt(seen, grad_bias=(seen.grad_bias + (change - change.mean())).float())


UNTOLD = {  # what the model does not know of, done to the gradients of a batch with these counts
    "noise": lambda seen, true, rng: bias_changed(seen, torch.as_tensor(rng.normal(size=100)) / seen.size / 4),
    "label smoothing": lambda seen, true, rng: bias_changed(seen, 0.1 * true / seen.size),
    "another K": lambda seen, true, rng: rebuilt(seen, batch_size=seen.size - 4),
    "bfloat16": lambda seen, true, rng: rebuilt(
        seen, grad_weight=seen.grad_weight.bfloat16(), grad_bias=seen.grad_bias.bfloat16()
    ),
}


@pytest.mark.parametrize("what", UNTOLD)
@pytest.mark.parametrize(("noc", "mroc"), [(8, 256), (32, 2)])
def test_what_the_model_does_not_know_of_makes_it_unsure(what, noc, mroc):
    """Of 12 batches none is told for sure and wrong."""
    for trial in range(12):
        rng = np.random.default_rng(trial)
        labels = torch.as_tensor(rng.permutation(100)[:noc]).repeat_interleave(mroc)
        embeddings, _, head = random_layer(rng, 100, 84, len(labels))
        seen = Observation.from_embeddings(embeddings.float(), labels, head.float())
        true = torch.bincount(labels, minlength=100)
        restored = restore(UNTOLD[what](seen, true, rng), search=False)
        assert torch.equal(restored.counts, true) or restored.log_probability < math.log(0.999)


def test_the_rounding_of_the_gradients_own_precision_is_in_the_covariance():
    seen, true = from_cifar(8, 512 // 8, 0)
    low = rebuilt(seen, grad_weight=seen.grad_weight.bfloat16(), grad_bias=seen.grad_bias.bfloat16())
    deviation, present = restore(low).count_covariance.diagonal().sqrt(), true > 0
    spacing = torch.finfo(torch.bfloat16).eps * seen.size * seen.grad_bias.abs().double()
    assert (deviation[present] > 0.9 * (spacing / 12**0.5)[present]).all()
    assert (deviation[present] > 3 * restore(seen).count_covariance.diagonal().sqrt()[present]).all()


def test_gradients_of_nothing_say_nothing():
    """A head so confident that its gradients vanish, whatever the batch."""
    weight = torch.as_tensor(np.random.default_rng(0).normal(size=(4, 8)))
    labels = torch.tensor([0] * 5 + [1] * 3)
    embeddings = 200 * nn.functional.normalize(weight)[labels]
    seen = Observation.from_embeddings(embeddings.float(), labels, linear(weight, torch.zeros(4)).float())
    restored = restore(seen)
    assert restored.log_probability < math.log(0.1)
    assert restored.diagnostics["stopped"] == "the gradients are 0 but for rounding"


def test_a_failing_factorisation_is_a_reason_and_keeps_the_best_earlier_pass(monkeypatch):
    seen, true = from_cifar(8, 16, 0)
    calls = []

    def fail_later(*arguments):
        calls.append(1)
        if len(calls) > 1:
            raise np.linalg.LinAlgError("singular, says the test")
        return decode(*arguments)

    monkeypatch.setattr("irlg.restoration.lattice.passes.decode", fail_later)
    restored = restore(seen, "lattice")
    assert "singular, says the test" in restored.diagnostics["stopped"]
    assert torch.equal(restored.counts, true)
    nothing = restore(seen, "lattice")  # now the first pass fails too, and what ignores the embeddings
    assert nothing.log_probability == -math.inf and nothing.embeddings is None
    assert int(nothing.counts.sum()) == 128


@pytest.mark.parametrize(
    ("costs", "ratio"),
    [
        ([2.0, 9.0], math.exp(-3.5)),  # both within what R admits of 10 classes
        ([40.0, 90.0], (90 / 40) ** -5),  # both beyond
        ([2.0, 90.0], 9**-5 * math.exp(-5 + 1)),
    ],
)
def test_a_vector_weighs_what_the_best_inflation_of_the_covariance_gives_it(costs, ratio):
    """Against the largest of φ^(−C/2) exp(−cost/2φ) on a grid of φ ≥ 1, and the closed form."""
    weights = a_pass(torch.ones(10).double(), 1.0, costs).weights
    grid = np.linspace(1, 20, 200_000)
    one, other = (np.max(grid**-5 * np.exp(-cost / 2 / grid)) for cost in costs)
    assert weights[1] / weights[0] == pytest.approx(ratio) == pytest.approx(other / one)
    assert weights.sum() == pytest.approx(1)


def test_a_beam_that_lost_the_likeliest_vector_says_so():
    """Draws from the model, in which errors of 100 classes have ten causes. The probability is right on average, none
    of the wrong vectors has one, and few of the right ones are doubted.
    """
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        true = rng.multinomial(400, np.full(100, 0.01))
        root = rng.normal(size=(100, 10)) * 0.3
        covariance = root @ root.T + 0.01 * np.eye(100)
        ones = covariance.sum(axis=1)
        covariance -= np.outer(ones, ones) / (ones.sum() + 1e-6)
        x = true + rng.multivariate_normal(np.zeros(100), covariance)
        P = torch.full((1, 100), 0.01).double()
        few = decode(x, covariance, np.zeros(100, dtype=int), np.zeros(100), 400, width=4)
        one = passes.weigh(torch.as_tensor(x), torch.as_tensor(covariance), few, P, torch.zeros_like(P), None)
        found.append([bool((few.vectors[0] == true).all()), one.trust * one.weights[0], one.weights[0]])
    right, certainty, claimed = np.array(found).T
    assert 0.1 < right.mean() < 0.6
    assert certainty.mean() == pytest.approx(right.mean(), abs=0.05)
    assert certainty[right == 0].max() < 0.01 and (certainty[right == 1] > 0.9).mean() > 0.9
    assert claimed[right == 0].mean() > 0.5  # what the wrong ones would claim, on average
