"""Doubtful counts: the posterior of the model in `shrinkage`, against the model itself."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from irlg import presence_proofs
from irlg.restoration.lattice import layer, passes, shrinkage
from irlg.restoration.lattice.bounds import DETECTED
from irlg.restoration.lattice.shrinkage import HEADS, Head, answer, posterior
from tests.helpers import a_pass, from_cifar, rebuilt

R = torch.linspace(0.2, 3, 40).double()
HIDDEN = torch.zeros(40, dtype=torch.bool)  # no class shows that it is there


def draw(rng, head, mean=3.0, variance=0.5, scale=0.4, absent=0.0):
    """Counts, those of the guess and of the fit, (40,) each, from the model with the head's middle values."""
    counts = np.where(rng.random(40) < absent, 0, rng.normal(mean / (1 - absent), variance**0.5, 40))
    error = scale * (R if head.known else R.mean().expand(40)).numpy()
    noise, slope = mean * head.noise[len(head.noise) // 2], head.slope[len(head.slope) // 2]
    tied = head.tie * np.sqrt(noise * error)
    of_guess = noise**0.5 * rng.normal(size=40)
    of_fit = tied / noise * of_guess + np.sqrt(error - tied**2 / noise) * rng.normal(size=40)
    guess = mean + (1 - slope) * (counts - mean) + of_guess
    return (torch.as_tensor(part) for part in (counts, guess, counts + of_fit))


def only(monkeypatch, head, variance, scale, absent):
    """The model with nothing unknown."""
    monkeypatch.setattr(shrinkage, "HEADS", (head,))
    for name, value in (("VARIANCE", variance), ("SCALE", scale), ("ABSENT", absent)):
        monkeypatch.setattr(shrinkage, name, (value,))


@pytest.mark.parametrize("absent", [0.0, 0.3])
@pytest.mark.parametrize("head", [Head(1.0, (0.1,), (0.15,), 0.35, False), Head(1.0, (2.0,), (0.6,), 0.0, True)])
def test_with_nothing_unknown_it_is_bayes_rule(monkeypatch, head, absent):
    """Class by class, by a sum over a fine grid of counts and SciPy's normal densities."""
    only(monkeypatch, head, 0.5, 0.4, absent)
    _, guess, fit = draw(np.random.default_rng(0), head, absent=absent)
    mean, variance, _ = posterior(guess, fit, R, HIDDEN)
    a = float(guess.mean())
    grid = np.linspace(-12, 24, 8_001)
    for j in range(0, 40, 7):
        error = 0.4 * float(R[j] if head.known else R.mean())
        noise = a * head.noise[0]
        tied = head.tie * (noise * error) ** 0.5
        expected = np.stack([a + (1 - head.slope[0]) * (grid - a), grid], axis=1)
        density = stats.multivariate_normal([0, 0], [[noise, tied], [tied, error]]).pdf
        prior = stats.norm(a / (1 - absent), (0.5 * a) ** 0.5).pdf(grid) * (grid[1] - grid[0]) * (1 - absent)
        prior[np.abs(grid).argmin()] += absent
        weights = prior * density(np.array([guess[j], fit[j]]) - expected)
        weights /= weights.sum()
        assert mean[j] == pytest.approx(weights @ grid, abs=2e-3)
        assert variance[j] == pytest.approx(weights @ (grid - weights @ grid) ** 2, abs=5e-3)


@pytest.mark.parametrize("absent", [0.0, 0.3])
@pytest.mark.parametrize("head", HEADS)
def test_draws_from_the_model_are_better_known_than_by_guess_or_fit_and_by_as_much_as_it_says(head, absent):
    errors = []
    for seed in range(12):
        counts, guess, fit = draw(np.random.default_rng(seed), head, absent=absent)
        mean, variance, _ = posterior(guess, fit, R, HIDDEN)
        errors.append([float((one - counts).square().mean()) for one in (mean, guess, fit)] + [float(variance.mean())])
    found, of_guess, of_fit, said = np.mean(errors, axis=0)
    assert found < min(of_guess, of_fit)
    assert 0.7 < said / found < 1.6


def test_classes_that_show_a_sign_are_not_made_few_by_a_fit_that_is_off():
    """As after training FCN-3 on MNIST: ten classes of 64, a guess near the truth, and a fit sure of hardly any."""
    guess = torch.tensor([5.6, 5.1, 10.4, 5.3, 6.9, 6.2, 5.4, 6.1, 7.3, 5.7]).double()
    fit = torch.tensor([2.3, -0.2, 35.7, 2.0, 1.1, 8.2, 2.8, 0.7, 10.9, 0.5]).double()
    spread = torch.tensor([1.7, 1.0, 12.7, 1.7, 0.7, 5.5, 2.5, 0.7, 5.0, 1.0]).double() ** 2
    some_absent, all_there = (posterior(guess, fit, spread, torch.full((10,), shown))[0] for shown in (False, True))
    assert some_absent.min() < 2 and some_absent.max() > 14
    assert (all_there - guess).abs().max() < 3


def test_of_several_classes_those_that_are_shown_are_not_absent(monkeypatch):
    """One that shows nothing, and is 0 by guess and fit, takes nothing from what is known of the others."""
    guess, fit = torch.tensor([0.3, 6.0, 5.0, 8.7]).double(), torch.tensor([0.1, 0.2, 7.0, 12.7]).double()
    spread, shown = torch.tensor([0.1, 0.5, 2.0, 4.0]).double(), torch.tensor([False, True, True, True])
    only(monkeypatch, HEADS[1], 0.5, 1.2, 0.5)
    of_three, of_none = (posterior(guess, fit, spread, which)[0] for which in (shown, shown & ~shown))
    assert of_three[0] < 0.5 and of_three[1] > 1.5 * of_none[1]


@pytest.mark.parametrize("nonnegative", [True, False])
def test_signs_say_that_classes_are_there(monkeypatch, nonnegative):
    (seen, _), told = from_cifar(40, 3, 0), []
    given, proofs = layer.problem(seen), presence_proofs(seen, nonnegative)
    proofs, fit, _ = passes.solve(given, proofs)
    monkeypatch.setattr(shrinkage, "posterior", lambda *given: told.append(given[3]) or posterior(*given))
    answer(given, proofs, dataclasses.replace(fit, misfit=2 * passes.REJECTED))
    assert (int(told[0].sum()), len(told[0])) == ((40, 40) if nonnegative else (0, 100))


@pytest.mark.parametrize(("tail", "least", "most"), [(3.0, 0.0, 0.75), (100.0, 0.85, 1.0)])
def test_the_guess_has_no_say_where_the_head_favours_some_classes(tail, least, most):
    """A client draws 128 as its head expects: K∇b is that of a fair draw, and only the fit's S tells."""
    rng = np.random.default_rng(0)
    expected = np.geomspace(1, 1 / tail, 100)
    expected *= 128 / expected.sum()
    true = torch.as_tensor(rng.multinomial(128, expected / 128))
    y = torch.as_tensor(expected) - true
    seen = rebuilt(from_cifar(100, 4, 0)[0], grad_bias=y / 128, batch_size=128)
    x = true + 0.5 * torch.as_tensor(rng.normal(size=100))
    fit = a_pass(x - x.mean() + 1.28, 0.5, [120.0, 120.0, 120.0])
    found = answer(layer.problem(seen), presence_proofs(seen, nonnegative=False), fit)
    assert least <= found.share <= most


def observed(true, s, **changed):
    """What the server sees of counts and S (C,) of 100 classes, and what that proves."""
    total = int(true.sum())
    y = s - true
    seen = rebuilt(from_cifar(100, 4, 0)[0], grad_bias=(y - y.mean()) / total, batch_size=total)
    return layer.problem(seen), dataclasses.replace(presence_proofs(seen, nonnegative=False), **changed)


def test_the_guess_knows_what_absent_classes_were_given():
    """Probabilities sum to 2 in each of 40 absent classes, and to the same number in all others."""
    true = torch.as_tensor(np.random.default_rng(0).permutation(np.repeat([0, 2, 5], [40, 30, 30])))
    s = torch.where(true == 0, 2.0, (float(true.sum()) - 80) / 60).double()
    found = answer(*observed(true, s, unsigned=true == 0, nonnegative=True, why=DETECTED), None)
    assert (found.beam.vectors[0] == true.numpy()).all()
    assert found.share == 0
    all_seem_absent = observed(true, s, unsigned=true >= 0, nonnegative=True, why=DETECTED)
    assert torch.isfinite(answer(*all_seem_absent, None).x).all()


@pytest.mark.parametrize(("classes", "each"), [(100, 4), (90, 2), (50, 6)])
def test_equally_many_instances_of_each_class_are_noticed(classes, each):
    """S errs by so much that rounding misses many of them, and the fit errs by more."""
    rng = np.random.default_rng(0)
    true = torch.as_tensor(rng.permutation(np.repeat([0, each], [100 - classes, classes])))
    level = classes * each / 100
    s = level + 0.5 * level**0.5 * torch.as_tensor(rng.normal(size=100))
    x = true + level**0.5 * torch.as_tensor(rng.normal(size=100))
    found = answer(*observed(true, s), a_pass(x - x.mean() + level, level**0.5, [120.0] * 3))
    rounded, counts = (level - s + true).round(), torch.as_tensor(found.beam.vectors[0])
    assert (rounded != true).sum() > 10
    assert (counts != true).sum() < (rounded != true).sum() / 2


def test_only_doubtful_counts_are_drawn_and_they_are_never_sure():
    seen, true = from_cifar(100, 4, 0)
    given, proofs = layer.problem(seen), presence_proofs(seen, nonnegative=False)
    sure, unsure, rejected = (a_pass(true.double(), 0.1, costs) for costs in ([20.0], [20.0] * 3, [999.0]))
    assert answer(given, proofs, sure) is sure
    for fit in (unsure, rejected, None):
        found = answer(given, proofs, fit)
        assert found is not fit and int(found.beam.vectors[0].sum()) == seen.size
        assert found.trust <= passes.BORNE_OUT and found.misfit >= (1 if fit is None else fit.misfit)
