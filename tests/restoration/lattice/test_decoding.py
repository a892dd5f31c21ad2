import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irlg.restoration.lattice import decoding
from irlg.restoration.lattice.decoding import decode, pivoted_ldl


def random_covariance(rng, count, total_known=True):
    root = rng.normal(size=(count, count))
    covariance = root @ root.T * 10 ** rng.uniform(-2, -0.5) + 1e-3 * np.eye(count)
    if total_known:
        ones = covariance.sum(axis=1)
        covariance -= np.outer(ones, ones) / (ones.sum() + 1e-6)
    return covariance


@given(st.integers(1, 12), st.integers(0, 2**31))
def test_pivoted_ldl_is_a_factorisation_in_the_order_of_conditional_variance(count, seed):
    matrix = random_covariance(np.random.default_rng(seed), count, total_known=False)
    order, factor, variances = pivoted_ldl(matrix)
    np.testing.assert_allclose(factor * variances @ factor.T, matrix[np.ix_(order, order)], rtol=1e-9, atol=1e-9)
    assert sorted(order) == list(range(count)) and (np.diag(factor) == 1).all()
    rest = matrix.copy()
    for i, j in enumerate(order):  # the oracle: Schur complements
        left = order[i:]
        assert variances[i] == pytest.approx(np.diag(rest)[left].min(), rel=1e-6)
        rest = rest - np.outer(rest[:, j], rest[j]) / rest[j, j]


@settings(max_examples=150)
@given(st.integers(2, 5), st.integers(1, 9), st.integers(0, 2**31))
def test_beam_finds_what_exhaustive_search_finds(count, total, seed):
    rng = np.random.default_rng(seed)
    covariance = random_covariance(rng, count)
    true = rng.multinomial(total, np.ones(count) / count)
    x = true + np.linalg.cholesky(covariance + 1e-12 * np.eye(count)) @ rng.normal(size=count)
    x += (total - x.sum()) / count
    lower = np.minimum(true, rng.integers(0, 2, size=count))
    penalty = np.where(true == 0, rng.choice([0.0, 7.8], size=count), 0.0)  # of classes without a sign
    beam = decode(x, covariance, lower, penalty, total)

    inverse = np.linalg.inv(covariance)
    every = np.array([v for v in itertools.product(range(total + 1), repeat=count) if sum(v) == total])
    every = every[(every >= lower).all(axis=1)]
    costs = np.einsum("ni,ij,nj->n", every - x, inverse, every - x) + (every > 0) @ penalty
    assert (beam.vectors.sum(axis=1) == total).all() and (beam.vectors >= lower).all()
    # Entries that are rounded at once, at a fiftieth of an instance, need not be exhaustive's best.
    if np.diag(covariance).min() >= 0.05**2:
        assert beam.costs[0] == pytest.approx(costs.min(), rel=1e-4, abs=1e-3)
        sign, log_det = np.linalg.slogdet(covariance)
        assert sign > 0 and beam.log_det == pytest.approx(log_det, rel=1e-4, abs=1e-3)


@given(st.integers(20, 100), st.sampled_from([0.06, 0.15, 0.4]), st.integers(0, 2**31))
@settings(max_examples=50)
def test_steps_of_one_vector_find_what_all_steps_find(count, deviation, seed):
    """A penalty, however small, takes the other path."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(count, 3)) * deviation / 2
    covariance = root @ root.T + deviation**2 * np.eye(count)
    true = rng.integers(0, 4, size=count)
    x = rng.multivariate_normal(true, covariance)
    lower = np.minimum(true, rng.integers(0, 2, size=count))
    short, long = (decode(x, covariance, lower, np.full(count, cost), int(true.sum())) for cost in (0.0, 1e-12))
    assert (short.vectors == long.vectors).all()
    np.testing.assert_allclose(short.costs, long.costs, rtol=1e-9, atol=1e-9)


@given(st.integers(0, 2**31))
@settings(max_examples=50)
def test_what_a_beam_of_one_lost_is_the_best_second_choice_on_its_way(seed):
    """Against means and variances given all earlier entries, by dense algebra."""
    rng, count = np.random.default_rng(seed), 12
    root = rng.normal(size=(count, 3)) * 0.4
    covariance = root @ root.T + 0.04 * np.eye(count)
    x = rng.multivariate_normal(np.full(count, 20.0), covariance)
    ample, none = 1000, np.zeros(count, dtype=int)  # a sum that leaves each entry free, and no bounds
    order = pivoted_ldl(covariance)[0]
    beam = decode(x, covariance, none, np.zeros(count), ample, width=1)
    vector, cost, lost = np.zeros(count), 0.0, np.inf
    window = count * np.expm1(2 * decoding.NEGLIGIBLE / count)
    for i, j in enumerate(order):
        before = order[:i]
        weights = np.linalg.solve(covariance[np.ix_(before, before)], covariance[before, j])
        mean, variance = x[j] + weights @ (vector - x)[before], covariance[j, j] - weights @ covariance[before, j]
        near = np.rint(mean)
        second = near + np.sign(mean - near)
        gap = ((second - mean) ** 2 - (near - mean) ** 2) / variance
        if gap <= window:
            rest = count - 1 - i
            lost = min(lost, cost + (second - mean) ** 2 / variance + rest + decoding.MARGIN * np.sqrt(2 * rest))
        vector[j], cost = near, cost + (near - mean) ** 2 / variance
    assert beam.lost == pytest.approx(lost, rel=1e-6)
    assert decode(vector, 1e-4 * np.eye(count) + 0.01, none, np.zeros(count), int(vector.sum())).lost == np.inf
