import numpy as np
import pytest

from irlg.artifact.statistics import bootstrap, prediction, wilson


@pytest.mark.parametrize(("successes", "n"), [(50, 50), (0, 50), (7, 31)])
def test_wilson_by_its_formula(successes, n):
    z, p = 1.959963984540054, successes / n
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert wilson(successes, n) == pytest.approx(((centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)))


def test_bootstrap_is_near_the_normal_interval_and_repeats():
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert bootstrap(values) == (low, high)
    assert bootstrap([1.0, 1.0, 1.0]) == (1.0, 1.0)


def test_prediction_covers_one_more_draw_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(4000):
        *seen, new = rng.normal(size=6)
        low, high = prediction(seen)
        hits += low <= new <= high
    assert hits / 4000 == pytest.approx(0.95, abs=0.015)
