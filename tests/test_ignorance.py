"""The constant guess, and how much of it doubtful counts are drawn towards."""

import dataclasses

import numpy as np
import pytest
import torch

from irlg import estimator, ignorance, lattice, presence_proofs
from irlg.bounds import DETECTED
from tests.test_estimator import a_pass
from tests.test_lattice import from_cifar
from tests.test_restoration import rebuilt


@pytest.mark.parametrize(("spread", "share"), [(0.2, 1.0), (0.5, 0.5), (1.2, 0.03)])
def test_doubtful_counts_are_drawn_towards_the_guess_by_how_much_either_errs(spread, share):
    """A uniform draw of 400 from 100 classes, which the guess knows to 0.5, and a fit that claims to.

    Errors are independent: the best share is 0.25 / (0.25 + spread²), of whose parts the squares are taken, and it is 1
    where the fit is as near as S may be.
    """
    rng = np.random.default_rng(0)
    true = torch.as_tensor(rng.multinomial(400, np.full(100, 0.01)))
    y = 4 + 0.5 * torch.as_tensor(rng.normal(size=100)) - true
    seen = rebuilt(from_cifar(100, 4, 0)[0], grad_bias=(y - y.mean()) / 400)
    given, proofs = lattice.problem(seen), presence_proofs(seen, nonnegative=False)
    x = true + spread * torch.as_tensor(rng.normal(size=100))
    x = x - x.mean() + 4
    fit = a_pass(x, 0.5, [120.0, 120.0, 120.0])
    found, alone = (ignorance.answer(given, proofs, estimator.Passes(3, one, one, "")) for one in (fit, None))
    near, apart = ignorance.SPREAD * max(400.0, float(given.y.square().sum())), float((x - 4 + given.y).square().sum())
    mixtures = [float((a * (x - 4) + (a - 1) * given.y).square().sum()) for a in np.linspace(0, 1, 1001)]
    best = np.argmin(mixtures) / 1000
    assert found.share == pytest.approx(
        max(min(1, near / apart) ** 2, best**2 / (best**2 + (1 - best) ** 2)), abs=0.002
    )
    assert found.share == pytest.approx(share, abs=0.15)  # in 100 classes errors and counts are correlated by chance
    assert alone.share == 0
    rejected = ignorance.answer(given, proofs, estimator.Passes(3, dataclasses.replace(fit, misfit=9.0), fit, ""))
    assert found.misfit == fit.misfit and rejected.misfit == 9
    assert torch.allclose(found.x, found.share * x + (1 - found.share) * (4 - given.y))
    assert torch.allclose(alone.x, 4 - given.y)
    error, of_fit, of_guess = (float((one - true).square().mean()) for one in (found.x, x, alone.x))
    assert error < 1.01 * min(of_fit, of_guess)
    assert int(found.beam.vectors[0].sum()) == 400
    sure = a_pass(x, 0.5, [20.0])
    assert ignorance.answer(given, proofs, estimator.Passes(3, sure, sure, "")) is sure


@pytest.mark.parametrize(("tail", "favours"), [(3.0, False), (100.0, True)])
def test_the_guess_has_no_say_where_the_head_favours_some_classes(tail, favours):
    """A client draws 128 as its head expects: K∇b is that of a fair draw, and only the fit's S tells."""
    rng = np.random.default_rng(0)
    expected = np.geomspace(1, 1 / tail, 100)
    expected *= 128 / expected.sum()
    true = torch.as_tensor(rng.multinomial(128, expected / 128))
    y = torch.as_tensor(expected) - true
    seen = rebuilt(from_cifar(100, 4, 0)[0], grad_bias=y / 128, batch_size=128)
    given, proofs = lattice.problem(seen), presence_proofs(seen, nonnegative=False)
    x = true + 0.5 * torch.as_tensor(rng.normal(size=100))
    fit = a_pass(x - x.mean() + 1.28, 0.5, [120.0, 120.0, 120.0])
    assert (ignorance.answer(given, proofs, estimator.Passes(3, fit, fit, "")).share == 1) == favours


def test_the_guess_knows_what_absent_classes_were_given():
    """Probabilities sum to 2 in each of 40 absent classes, and to the same number in all others."""
    true = torch.as_tensor(np.random.default_rng(0).permutation(np.repeat([0, 3, 4], [40, 30, 30])))
    total = int(true.sum())
    y = torch.where(true == 0, 2.0, (total - 80) / torch.tensor(60.0).double()) - true
    seen = rebuilt(from_cifar(100, 4, 0)[0], grad_bias=y / total, batch_size=total)
    proofs = dataclasses.replace(presence_proofs(seen, False), unsigned=true == 0, nonnegative=True, why=DETECTED)
    guess = ignorance.answer(lattice.problem(seen), proofs, estimator.Passes(0, None, None, ""))
    assert torch.allclose(guess.x, true.double(), atol=1e-5)
    assert (guess.beam.vectors[0] == true.numpy()).all()
    nothing = dataclasses.replace(proofs, unsigned=torch.ones_like(proofs.unsigned))
    assert torch.isfinite(ignorance.guess(lattice.problem(seen), nothing)[0]).all()


def test_what_is_drawn_towards_the_guess_is_no_surer_than_the_fit():
    seen = from_cifar(100, 4, 0)[0]
    given, proofs = lattice.problem(seen), presence_proofs(seen, nonnegative=False)
    fit = a_pass(torch.full((100,), 4.0).double(), 0.5, [120.0] * 9)
    for one, most in ((fit, fit.weights[0]), (None, estimator.UNSURE)):
        found = ignorance.answer(given, proofs, estimator.Passes(3, one, one, ""))
        assert found.trust * found.weights[0] <= most * (1 + 1e-12)
