import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from torch import nn

from irlg import Observation, presence_proofs, restore
from irlg.appendix.random_layers import random_layer
from irlg.restoration.lattice import layer, least_squares, logits
from irlg.restoration.lattice.counts import real_counts
from tests.helpers import from_cifar, linear, observe, problems, rebuilt


@pytest.mark.parametrize("absent", [[], [1], [0, 3]])
@pytest.mark.parametrize("first", [False, True])
def test_least_squares_is_the_dense_bayesian_solution(absent, first):
    """Equation (3) against the posterior means of μ and Δ with the full m-dimensional model."""
    rng, C = np.random.default_rng(3), 5
    seen = observe(C, 3, 30, 3)
    problem = layer.problem(seen)
    n = torch.as_tensor(rng.integers(1, 9, size=C)).double()
    n[absent] = 0
    present = torch.nonzero(n)[:, 0]
    P = torch.softmax(torch.as_tensor(rng.normal(size=(C, C))), 1)
    rho = torch.as_tensor(rng.uniform(0.1, 0.5, C))
    matrices = least_squares.design(problem, n, None if first else P[present])
    fit = least_squares.least_squares(problem, n, *matrices, rho)
    # Y[:, d] = y μ_d + M Δ[:, d] + noise, for each column d: prior variance D of Δ, a flat one of μ.
    M = (-torch.diag(n) if first else P.T * n - torch.diag(n)).numpy()
    D = (1 - least_squares.OMEGA) + least_squares.OMEGA / n.clamp(min=1).numpy()
    Y = seen.size * (seen.grad_weight - seen.grad_weight.mean(dim=0)).double().numpy()
    y = problem.y.numpy()
    design = np.hstack([y[:, None], M])
    prior = np.diag([1e-12, *(1 / D)])
    V = M * D @ M.T + np.diag(rho.numpy())
    noise = np.linalg.inv(np.diag(rho.numpy()) + V.diagonal().mean())  # as if the sum were not observed
    solution = np.linalg.solve(design.T @ noise @ design + prior, design.T @ noise @ Y)
    np.testing.assert_allclose(fit.means.mu, solution[0], rtol=1e-6, atol=1e-9)
    embeddings = fit.means.embeddings(seen.grad_weight)
    np.testing.assert_allclose(embeddings, solution[0] + solution[1:], rtol=1e-6, atol=1e-9)
    logits = (solution[0] + solution[1:]) @ seen.weight.numpy().T + seen.bias.numpy()
    np.testing.assert_allclose(fit.Z[fit.means.row_of(torch.arange(C))], logits, rtol=1e-6, atol=1e-9)


def test_covariance_is_that_of_counts_over_draws_of_the_model():
    """R of equation (6) against draws of the stated model: every class present, instances around class
    means, class means around a common one; counts and probabilities known to the fit, as on the last pass."""
    C, m, draws = 6, 40, 2000
    rng = np.random.default_rng(0)
    weight, bias = torch.as_tensor(rng.normal(size=(C, m)) * 0.05), torch.as_tensor(rng.normal(size=C) * 0.1)
    n = torch.tensor([3, 2, 4, 2, 3, 2]).double()
    labels, counts = torch.arange(C).repeat_interleave(n.long()), torch.cat([n, n.new_zeros(1)])
    mean, omega = torch.as_tensor(rng.normal(size=m)), weight @ weight.T
    errors, covariances = [], []
    for _ in range(draws):
        of_class = math.sqrt(1 - least_squares.OMEGA) * torch.as_tensor(rng.normal(size=(C, m)))
        within = math.sqrt(least_squares.OMEGA) * torch.as_tensor(rng.normal(size=(len(labels), m)))
        embeddings = mean + of_class[labels] + within
        given = layer.problem(Observation.from_embeddings(embeddings, labels, linear(weight, bias)))
        one_hot = nn.functional.one_hot(labels).double()
        true = one_hot.T / n[:, None] @ torch.softmax(embeddings @ weight.T + bias, 1)
        matrices = least_squares.design(given, n, true)
        rough = least_squares.least_squares(given, n, *matrices, n)
        s2 = real_counts(given, rough, omega.clone(), true[[*range(C), 0]], counts)[2][:C]
        fit = least_squares.least_squares(given, n, *matrices, least_squares.row_noise(given, n, 0 * n, true, s2))
        P = logits.mean_softmax(fit.Z, omega, counts)
        x, R, _ = real_counts(given, fit, omega.clone(), P, counts)
        errors.append((x - n).numpy())
        covariances.append(R.numpy())
    empirical, stated = np.cov(np.stack(errors).T), np.mean(covariances, axis=0)
    values, directions = np.linalg.eigh(stated)
    found = np.einsum("ji,jk,ki->i", directions, empirical, directions)
    assert values[0] < 1e-6 and found[0] < 1e-6  # the sum, which is known
    np.testing.assert_allclose(found[1:], values[1:], rtol=0.25)
    assert values[-1] > 2.5 * values[-2]  # one direction moves all counts together


@pytest.mark.parametrize("rows", [1, 2, 5, 20])
def test_logits_of_combinations_are_those_by_the_product_of_weights_and_gradients(rows):
    """Few rows skip W ∇Wᵀ, many use it."""
    seen, rng = observe(40, 12, 30, 0), np.random.default_rng(0)
    last = layer.Layer(seen)
    combination = torch.as_tensor(rng.normal(size=(rows, 40)))
    centred = (seen.grad_weight - seen.grad_weight.mean(dim=0)).double()
    torch.testing.assert_close(last.embeddings(combination), combination @ centred)
    torch.testing.assert_close(last.logits(combination), combination @ centred @ seen.weight.double().T)
    assert ("product" in vars(last)) is (rows > 40 / 8)
    torch.testing.assert_close(last.spread, seen.weight.double().square().sum())


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU, nn.LeakyReLU])
@pytest.mark.parametrize(("noc", "mroc"), [(1, 128), (8, 16), (64, 2), (100, 1), (100, 10)])
def test_exact_on_untrained_networks(noc, mroc, activation):
    for trial in range(2):
        seen, true = from_cifar(noc, mroc, trial, trial, activation)
        restored = restore(seen, "lattice")
        assert torch.equal(restored.counts, true)
        assert restored.log_probability > math.log(0.999)
        assert restored.class_probabilities.min() > 0.999
        assert restored.diagnostics["nonnegative"] is (activation is nn.ReLU and noc < 100)


@settings(max_examples=100)
@given(**problems)
def test_bounds_are_never_violated_and_counts_sum_to_k(classes, width, batch, seed):
    embeddings, labels, head = random_layer(np.random.default_rng(seed), classes, width, batch)
    seen = Observation.from_embeddings(embeddings.float(), labels, head.float())
    true = torch.bincount(labels, minlength=classes)
    assert (presence_proofs(seen).lower_bounds <= true).all()
    restored = restore(seen, "lattice")
    assert int(restored.counts.sum()) == batch
    assert (restored.counts >= restored.lower_bounds).all()
    assert (restored.candidates.sum(dim=1) == batch).all()
    assert float(restored.weights.sum()) == pytest.approx(1) or restored.log_probability == -math.inf
    assert restored.log_probability <= 1e-12


def test_bounds_on_10000_observations_of_real_forward_passes():
    """Signed and non-negative embeddings, confident and indifferent heads, three precisions."""
    rng = np.random.default_rng(0)
    images = torch.as_tensor(rng.normal(size=(256, 12))).float()
    for number in range(50):
        torch.manual_seed(number)
        classes = int(rng.integers(2, 12))
        activation = [nn.ReLU(), nn.SiLU(), nn.Identity(), nn.LeakyReLU()][number % 4]
        width = int(rng.integers(1, 40))
        head = nn.Linear(width, classes)
        head.weight.data *= 10 ** rng.uniform(-1, 2)
        with torch.no_grad():
            embeddings = activation(nn.Linear(12, width)(images))
        for _ in range(200):
            chosen = rng.integers(256, size=rng.integers(1, 80))
            labels = torch.as_tensor(rng.integers(classes, size=len(chosen)))
            seen = Observation.from_embeddings(embeddings[chosen], labels, head)
            dtype = [torch.float32, torch.bfloat16, torch.float16][number % 3]
            seen = rebuilt(seen, grad_weight=seen.grad_weight.to(dtype), grad_bias=seen.grad_bias.to(dtype))
            for nonnegative in (number % 4 == 0, None):  # told, and guessed
                proofs = presence_proofs(seen, nonnegative)
                assert (proofs.lower_bounds <= torch.bincount(labels, minlength=classes)).all()


@settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
@given(**problems)
def test_permutation_shift_and_scale(classes, width, batch, seed):
    seen = observe(classes, width, batch, seed)
    order = torch.as_tensor(np.random.default_rng(seed).permutation(classes))
    by_class = ("grad_weight", "grad_bias", "weight", "bias")
    permuted = rebuilt(seen, **{name: getattr(seen, name)[order] for name in by_class})
    shifted = rebuilt(seen, bias=seen.bias + 3.0)
    scaled = rebuilt(seen, grad_weight=seen.grad_weight * 64, weight=seen.weight / 64)
    restored = restore(seen, "lattice")
    assume(restored.log_probability > math.log(0.6))  # near a tie, rounding decides between equal weights
    assert torch.equal(restore(permuted, "lattice").counts, restored.counts[order])
    for other in (shifted, scaled):
        again = restore(other, "lattice")
        assert torch.equal(again.counts, restored.counts)
        assert again.log_probability == pytest.approx(restored.log_probability, abs=1e-3)


def test_a_guess_that_embeddings_are_nonnegative_proves_nothing():
    """Shifted signed embeddings, as after BatchNorm, at a confident head: signs look like those after a ReLU."""
    guessed = wrong = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        _, labels, head = random_layer(rng, 100, 64, 64)
        head.weight.data *= 10
        embeddings = torch.as_tensor(1 + 0.5 * rng.normal(size=(64, 64)))
        proofs = presence_proofs(Observation.from_embeddings(embeddings.float(), labels, head.float()))
        true = torch.bincount(labels, minlength=100)
        guessed += proofs.nonnegative
        wrong += bool((proofs.presumed > true).any())
        assert (proofs.lower_bounds <= true).all() and torch.equal(proofs.certain, proofs.lower_bounds > 0)
    assert guessed and wrong  # else this tests nothing


EDGES = {
    "zero entry": lambda: rebuilt(observe(5, 4, 6, 0), grad_bias=torch.tensor([0.2, -0.2, 0.0, 0.1, -0.1])),
    "all zero": lambda: Observation(torch.zeros(4, 3), torch.zeros(4), torch.randn(4, 3), torch.zeros(4), 8),
    "K = 1": lambda: observe(10, 8, 1, 0),
    "C = 2": lambda: observe(2, 8, 9, 0),
    "m = 1": lambda: observe(6, 1, 9, 0),
    "m < C": lambda: observe(40, 3, 20, 0),
    "m > C": lambda: observe(3, 60, 20, 0),
    "K ≪ C": lambda: observe(300, 16, 3, 0),
    "no weight": lambda: rebuilt(observe(4, 3, 8, 0), weight=torch.zeros(4, 3, dtype=torch.float64)),
    "huge weight": lambda: rebuilt(observe(8, 5, 20, 0), weight=observe(8, 5, 20, 0).weight * 1e200),
    "W × 30": lambda: rebuilt(observe(8, 5, 20, 0), weight=observe(8, 5, 20, 0).weight * 30),
    "one class": lambda: observe(10, 8, 16, 3, [7] * 16),
    "no gradient of mean cross-entropy at this K": lambda: rebuilt(observe(8, 5, 20, 0), batch_size=1),
}


@pytest.mark.parametrize("name", EDGES)
def test_edge_cases_end_in_counts_and_a_reason(name):
    seen = EDGES[name]()
    restored = restore(seen, "lattice")
    assert int(restored.counts.sum()) == seen.batch_size and int(restored.counts.min()) >= 0
    assert (restored.counts >= restored.lower_bounds).all()
    assert restored.diagnostics["stopped"] and not math.isnan(restored.log_probability)


def test_identical_embeddings_and_duplicates():
    head = nn.Linear(6, 5).double()
    embeddings = torch.rand(1, 6, dtype=torch.float64).expand(12, 6)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 3])
    restored = restore(Observation.from_embeddings(embeddings, labels, head), "lattice")
    assert restored.counts.tolist() == [3, 4, 0, 5, 0]


def test_same_input_same_bits():
    seen, _ = from_cifar(100, 10, 0)
    one, two = restore(seen, "lattice"), restore(seen, "lattice")
    assert torch.equal(one.raw_counts, two.raw_counts) and torch.equal(one.weights, two.weights)
