"""The constant guess, and how much of it doubtful counts are drawn towards."""

import dataclasses

import numpy as np
import pytest
import torch

from irlg import presence_proofs
from irlg.restoration.lattice import guess, layer, passes
from irlg.restoration.lattice.bounds import DETECTED
from tests.helpers import a_pass, from_cifar, rebuilt


def uniform_draw(spread, seed):
    """True counts, those of a fit that errs by `spread` (both (C,)), and what the server sees of it."""
    rng = np.random.default_rng(seed)
    true = torch.as_tensor(rng.multinomial(400, np.full(100, 0.01)))
    y = 4 + 0.5 * torch.as_tensor(rng.normal(size=100)) - true
    seen = rebuilt(from_cifar(100, 4, 0)[0], grad_bias=(y - y.mean()) / 400)
    x = true + spread * torch.as_tensor(rng.normal(size=100))
    return true, x - x.mean() + 4, layer.problem(seen), presence_proofs(seen, nonnegative=False)


@pytest.mark.parametrize(("spread", "share"), [(0.2, 1.0), (0.5, 0.5), (1.2, 0.03)])
def test_doubtful_counts_are_drawn_towards_the_guess_by_how_much_either_errs(spread, share, monkeypatch):
    """A uniform draw of 400 from 100 classes, which the guess knows to 0.5, and a fit that claims to.

    Errors are independent: the best share is 0.25 / (0.25 + spread²), of whose parts the cubes are taken, or more
    where the fit is about as near as S may be. How whole mixtures are is left out, for that is another test's.
    """
    monkeypatch.setattr(guess, "_whole", lambda fit, guess, believed: believed)
    true, x, given, proofs = uniform_draw(spread, 0)
    fit = a_pass(x, 0.5, [120.0, 120.0, 120.0])
    found, alone = (guess.answer(given, proofs, passes.Passes(3, one, one, "")) for one in (fit, None))
    near, apart = guess.SPREAD * max(400.0, float(given.y.square().sum())), float((x - 4 + given.y).square().sum())
    mixtures = [float((a * (x - 4) + (a - 1) * given.y).square().sum()) for a in np.linspace(0, 1, 1001)]
    best = np.argmin(mixtures) / 1000
    assert found.share == pytest.approx(
        max(min(1, near / apart) ** 2, best**3 / (best**3 + (1 - best) ** 3)), abs=0.003
    )
    shares = [found.share]  # in each of them, errors and counts are correlated by chance
    for seed in range(1, 12):
        _, other, seen, signs = uniform_draw(spread, seed)
        one = a_pass(other, 0.5, [120.0, 120.0, 120.0])
        shares.append(guess.answer(seen, signs, passes.Passes(3, one, one, "")).share)
    assert np.mean(shares) == pytest.approx(share, abs=0.15)  # the larger of two is above both on average
    assert alone.share == 0
    rejected = guess.answer(given, proofs, passes.Passes(3, dataclasses.replace(fit, misfit=9.0), fit, ""))
    assert found.misfit == fit.misfit and rejected.misfit == 9
    assert torch.allclose(found.x, found.share * x + (1 - found.share) * (4 - given.y))
    assert torch.allclose(alone.x, 4 - given.y)
    error, of_fit, of_guess = (float((one - true).square().mean()) for one in (found.x, x, alone.x))
    assert error < 1.01 * min(of_fit, of_guess)
    assert int(found.beam.vectors[0].sum()) == 400
    sure = a_pass(x, 0.5, [20.0])
    assert guess.answer(given, proofs, passes.Passes(3, sure, sure, "")) is sure


@pytest.mark.parametrize("believed", [0.1, 0.9])
def test_what_is_nearer_to_whole_numbers_is_kept_whatever_was_believed(believed):
    """Where errors are small beside one; where they hide what is whole, the belief stays about what it was."""
    rng = np.random.default_rng(0)
    true = torch.as_tensor(rng.multinomial(400, np.full(100, 0.01)))
    small, large, larger = (true + sd * torch.as_tensor(rng.normal(size=100)) for sd in (0.15, 0.6, 2.0))
    assert guess._whole(small, large, believed) > 0.85
    assert guess._whole(large, small, believed) < 0.15
    odds = np.log([share / (1 - share) for share in (believed, guess._whole(larger, large, believed))])
    assert abs(odds[0] - odds[1]) < 1
    assert 0 < guess._whole(large, larger, 0.0) < 0.01 and 0.99 < guess._whole(large, larger, 1.0) < 1


@pytest.mark.parametrize(("tail", "favours"), [(3.0, False), (100.0, True)])
def test_the_guess_has_no_say_where_the_head_favours_some_classes(tail, favours):
    """A client draws 128 as its head expects: K∇b is that of a fair draw, and only the fit's S tells."""
    rng = np.random.default_rng(0)
    expected = np.geomspace(1, 1 / tail, 100)
    expected *= 128 / expected.sum()
    true = torch.as_tensor(rng.multinomial(128, expected / 128))
    y = torch.as_tensor(expected) - true
    seen = rebuilt(from_cifar(100, 4, 0)[0], grad_bias=y / 128, batch_size=128)
    given, proofs = layer.problem(seen), presence_proofs(seen, nonnegative=False)
    x = true + 0.5 * torch.as_tensor(rng.normal(size=100))
    fit = a_pass(x - x.mean() + 1.28, 0.5, [120.0, 120.0, 120.0])
    assert (guess.answer(given, proofs, passes.Passes(3, fit, fit, "")).share == 1) == favours


def test_the_guess_knows_what_absent_classes_were_given():
    """Probabilities sum to 2 in each of 40 absent classes, and to the same number in all others."""
    true = torch.as_tensor(np.random.default_rng(0).permutation(np.repeat([0, 2, 5], [40, 30, 30])))
    total = int(true.sum())
    y = torch.where(true == 0, 2.0, (total - 80) / torch.tensor(60.0).double()) - true
    seen = rebuilt(from_cifar(100, 4, 0)[0], grad_bias=y / total, batch_size=total)
    proofs = dataclasses.replace(presence_proofs(seen, False), unsigned=true == 0, nonnegative=True, why=DETECTED)
    alone = guess.answer(layer.problem(seen), proofs, passes.Passes(0, None, None, ""))
    assert torch.allclose(alone.x, true.double(), atol=1e-5)
    assert (alone.beam.vectors[0] == true.numpy()).all()
    nothing = dataclasses.replace(proofs, unsigned=torch.ones_like(proofs.unsigned))
    assert torch.isfinite(guess.guess(layer.problem(seen), nothing)[0]).all()


@pytest.mark.parametrize(("classes", "each"), [(100, 4), (90, 2), (50, 6)])
def test_equally_many_instances_of_each_class_are_noticed(classes, each):
    """S errs by so much that rounding misses many of them; it takes some of the absent classes for present, too."""
    rng = np.random.default_rng(0)
    true = torch.as_tensor(rng.permutation(np.repeat([0, each], [100 - classes, classes])))
    total = classes * each
    y = total / 100 * (1 + 2.5 / total**0.5 * torch.as_tensor(rng.normal(size=100))) - true
    seen = rebuilt(from_cifar(100, 4, 0)[0], grad_bias=(y - y.mean()) / total, batch_size=total)
    given, proofs = layer.problem(seen), presence_proofs(seen, nonnegative=False)
    found = guess.answer(given, proofs, passes.Passes(0, None, None, ""))
    rounded, counts = (total / 100 - given.y).round(), torch.as_tensor(found.beam.vectors[0])
    assert (rounded != true).sum() > 10
    assert (counts != true).sum() < (rounded != true).sum() / 2


def test_counts_that_vary_like_those_of_a_random_draw_stay_as_they_are():
    """And none is surer than another."""
    _, _, given, proofs = uniform_draw(0.5, 0)
    x, covariance, _, _ = guess.guess(given, proofs)
    assert torch.equal(x, 4 - given.y)
    assert covariance.diagonal().std() < 1e-9 and float(covariance.sum().abs()) < 1e-6


def test_a_few_classes_may_be_even_by_chance():
    """Five, beside two that are nearer to 0; of twenty-five such it is no chance."""
    few = torch.tensor([2.1, 1.9, 2.2, 1.8, 2.0, 0.4, -0.4]).double()
    for x, drawn in ((few, False), (few.repeat(5), True)):
        evened, _ = guess._evened(x, torch.ones(len(x), dtype=torch.bool), 0.1)
        present = x > 1
        assert torch.equal(evened[~present], x[~present])
        assert torch.allclose(evened[present], torch.full_like(x, 2.0)[present] if drawn else x[present])


def test_the_guess_is_trusted_half():
    """And the fit whole, which is all there is where both are near to each other."""
    _, x, given, proofs = uniform_draw(1.2, 0)
    far = a_pass(x, 0.5, [120.0] * 9)
    near = a_pass(guess.guess(given, proofs)[0], 0.5, [120.0] * 9)
    for one, share in ((far, 0.0), (near, 1.0), (None, 0.0)):
        found = guess.answer(given, proofs, passes.Passes(3, one, one, ""))
        assert found.share == pytest.approx(share, abs=0.1)
        assert found.trust <= found.share + (1 - found.share) * passes.UNSURE
