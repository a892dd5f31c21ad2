"""When the estimator is sure, when it isn't, and what it does then."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from irlg import Observation, bounds, decoding, estimator, ignorance, lattice, presence_proofs, restoration, restore
from irlg.bounds import DETECTED, NOT_DETECTED, SUPPOSED
from irlg.checks import random_layer
from irlg.decoding import Beam, decode
from tests.test_lattice import from_cifar, linear
from tests.test_restoration import rebuilt


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
    assert restored.log_probability < math.log(0.1) and restored.diagnostics["passes"] == 0
    assert restored.diagnostics["stopped"] == "the gradients are 0 but for rounding"


def test_a_failing_factorisation_is_a_reason_and_keeps_the_best_earlier_pass(monkeypatch):
    seen, true = from_cifar(8, 16, 0)
    calls = []

    def fail_later(*arguments):
        calls.append(1)
        if len(calls) > 1:
            raise np.linalg.LinAlgError("singular, says the test")
        return decode(*arguments)

    monkeypatch.setattr("irlg.estimator.decode", fail_later)
    restored = restore(seen, "lattice")
    assert restored.diagnostics["passes"] == 1 and "singular, says the test" in restored.diagnostics["stopped"]
    assert torch.equal(restored.counts, true)
    monkeypatch.setattr("irlg.ignorance.decode", fail_later)
    nothing = restore(seen, "lattice")  # now the first pass fails too, and what ignores the embeddings
    assert nothing.log_probability == -math.inf and nothing.diagnostics["passes"] == 0
    assert int(nothing.counts.sum()) == 128


def a_pass(x, deviation, costs):
    """A pass of counts `x` and R = `deviation`² I but for the sum, whose decoded vectors cost so much."""
    classes = len(x)
    covariance = deviation**2 * (torch.eye(classes).double() - 1 / (classes + 1e-6))
    near = ignorance.largest_remainder(x, torch.zeros(classes, dtype=torch.int64), round(float(x.sum()))).numpy()
    vectors = np.stack([np.roll(near, shift) for shift in range(len(costs))])
    beam = Beam(vectors, np.array(costs), 0.0)
    return estimator.weigh(x, covariance, beam, torch.eye(classes), torch.eye(classes), None)


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


def test_a_wider_beam_finds_what_a_narrow_one_lost_or_takes_its_certainty(monkeypatch):
    """A beam of one goes wrong where errors are correlated; the residual tells, and a wider one finds most."""
    monkeypatch.setattr(decoding, "WIDTH", 1)
    seen = from_cifar(100, 4, 0)[0]
    given, proofs = lattice.problem(seen), presence_proofs(seen, nonnegative=False)
    proofs = dataclasses.replace(proofs, presumed=torch.zeros_like(proofs.presumed))
    outcomes = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        true = rng.multinomial(400, np.full(100, 0.01))
        root = rng.normal(size=(100, 10)) * 0.25
        covariance = root @ root.T + 0.01 * np.eye(100)
        ones = covariance.sum(axis=1)
        covariance -= np.outer(ones, ones) / (ones.sum() + 1e-6)
        x = true + rng.multivariate_normal(np.zeros(100), covariance)
        beam = decode(x, covariance, np.zeros(100, dtype=int), np.zeros(100), 400)
        P = torch.full((1, 100), 0.01).double()
        one = estimator.weigh(torch.as_tensor(x), torch.as_tensor(covariance), beam, P, torch.zeros_like(P), None)
        found = estimator.assured(given, proofs, one)
        right = [bool((each.beam.vectors[0] == true).all()) for each in (one, found)]
        outcomes.append((*right, found.trust))
        if one.misfit <= estimator.STRAYED or right[0]:
            assert found is one
        elif found.misfit <= estimator.STRAYED:
            assert right[1] and found.trust == 1
        else:
            assert found.trust == estimator.LOST
    assert outcomes.count((True, True, 1)) > 8 and outcomes.count((False, True, 1)) > 16
    assert outcomes.count((False, False, estimator.LOST)) > 4 and outcomes.count((False, False, 1)) == 0


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


@pytest.mark.parametrize(("shallow", "clear"), [(5, 100), (40, 60)])
def test_signs_are_clear_by_what_absent_classes_show(shallow, clear):
    """After a SiLU the rows of absent classes go a little below 0; where few rows do, it is those of present ones."""
    grad_weight = torch.rand(100, 84, generator=torch.Generator().manual_seed(0)) + 1
    grad_weight[:, 0] = -2.0
    grad_weight[:shallow, 0] = -0.1
    seen = rebuilt(from_cifar(100, 4, 0)[0], grad_weight=grad_weight)
    proofs = presence_proofs(seen)
    assert int(proofs.clear.sum()) == clear
    assert proofs.clear[shallow:].all()


def confident(trial, shift, classes):
    """100 instances of so many classes at a confident head, as after a ReLU but for `shift`, and their counts."""
    rng = np.random.default_rng(trial)
    embeddings, _, head = random_layer(rng, 100, 84, 100)
    labels = torch.as_tensor(rng.permutation(100)[:classes].repeat(100 // classes))
    head.weight.data *= 12
    seen = Observation.from_embeddings((embeddings - shift).float(), labels, head.float())
    return seen, torch.bincount(labels, minlength=100)


@pytest.mark.parametrize(("shift", "classes", "used"), [(0.0, 100, True), (1.6, 50, False)])
def test_signs_are_taken_for_what_the_embeddings_bear_out_unless_told(monkeypatch, shift, classes, used):
    """Nearly each row shows a sign: after a ReLU with all classes present, and where embeddings are signed."""
    monkeypatch.setattr(estimator, "doubtful", lambda one: True)
    for trial in range(5):
        seen, true = confident(trial, shift, classes)
        given, told = lattice.problem(seen), presence_proofs(seen, nonnegative=False)
        assert int(told.clear.sum()) >= 90
        assert estimator.solve(given, told)[0] is told
        detected = dataclasses.replace(told.supposing(True, 100), why=DETECTED)
        for guess in (dataclasses.replace(told, why=NOT_DETECTED), detected):  # whatever was guessed at first
            proofs, passes = estimator.solve(given, guess)
            assert proofs.nonnegative is used
            assert passes.best.misfit <= estimator.REJECTED
            right = passes.best.beam.vectors[0] == true.numpy()
            assert right.mean() > 0.8


@pytest.mark.parametrize("slope", [0.0, 0.01])
def test_a_leak_leaves_signs_that_tell_of_absence(slope):
    """Ten classes of 100, ten each: the other 90 show no clear sign, and after a leaky ReLU hardly any shows none."""
    wrong = np.zeros(3, dtype=int)
    for trial in range(3):
        rng = np.random.default_rng(trial)
        embeddings, _, head = random_layer(rng, 100, 84, 100)
        labels = torch.as_tensor(rng.permutation(100)[:10].repeat(10))
        head.weight.data *= 12
        # The last columns are below 0 in nearly the whole batch.
        leaky = torch.nn.functional.leaky_relu(embeddings - torch.linspace(0, 4, 84), slope)
        seen = Observation.from_embeddings(leaky.float(), labels, head.float())
        true = torch.bincount(labels, minlength=100)
        proofs = presence_proofs(seen)
        assert proofs.why == (NOT_DETECTED if slope else DETECTED)
        supposed = proofs.supposing(True, 100)
        assert (supposed.unsigned == (true == 0)).all()
        assert not proofs.supposing(False, 100).unsigned.any()
        assert not proofs.supposing(True, 10).unsigned.any()  # a draw of ten leaves out as many
        restored = restore(seen, search=False)
        assert restored.diagnostics["nonnegative_why"] == (SUPPOSED if slope else DETECTED)
        blind, rival = restore(seen, nonnegative=False, search=False), restore(seen, "irlg")
        wrong += [int(((one.counts > 0) != (true > 0)).sum()) for one in (restored, blind, rival)]
    assert wrong[0] <= 1 and wrong[0] < wrong[1] and wrong[0] < wrong[2], wrong


@pytest.mark.parametrize(("size", "missed"), [(50, 0.0), (200, 0.02), (400, 0.15)])
def test_most_unsigned_bounds_what_a_uniform_draw_leaves_out(size, missed):
    """Three standard deviations above the mean of draws from 100 classes, of which some present show no sign."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(size, np.full(100, 0.01), 4000)
    unsigned = ((counts == 0) | (rng.random(counts.shape) < missed)).sum(axis=1)
    assert bounds.most_unsigned(100, size, missed) == pytest.approx(unsigned.mean() + 3 * unsigned.std(), rel=0.05)


def test_a_row_of_zeros_is_no_sign_of_absence():
    """A class of which the network is certain leaves no gradient."""
    seen, true = from_cifar(50, 2, 0)
    grad_weight = seen.grad_weight.clone()
    absent = torch.nonzero(true == 0)[0, 0]
    grad_weight[absent] = 0
    proofs, before = presence_proofs(rebuilt(seen, grad_weight=grad_weight)), presence_proofs(seen)
    assert before.unlikely[absent] and not proofs.unlikely[absent]
    assert int(before.unlikely.sum()) - int(proofs.unlikely.sum()) == 1


def test_wrongly_told_signs_leave_the_bounds_of_the_bias():
    seen = of_both_signs(84, 24, 30)
    told, untold = presence_proofs(seen, True), presence_proofs(seen, False)
    assert torch.equal(told.lower_bounds, untold.lower_bounds) and int(untold.lower_bounds.sum()) > 0


def test_what_is_drawn_towards_the_guess_is_no_surer_than_the_fit():
    seen = from_cifar(100, 4, 0)[0]
    given, proofs = lattice.problem(seen), presence_proofs(seen, nonnegative=False)
    fit = a_pass(torch.full((100,), 4.0).double(), 0.5, [120.0] * 9)
    for one, most in ((fit, fit.weights[0]), (None, estimator.UNSURE)):
        found = ignorance.answer(given, proofs, estimator.Passes(3, one, one, ""))
        assert found.trust * found.weights[0] <= most * (1 + 1e-12)


def test_counts_that_rest_on_supposed_signs_are_never_sure(monkeypatch):
    monkeypatch.setattr(estimator, "doubtful", lambda one: True)
    seen, _ = confident(0, 0.0, 100)
    undetected = dataclasses.replace(presence_proofs(seen, False), why=NOT_DETECTED)
    monkeypatch.setattr(restoration, "presence_proofs", lambda seen, nonnegative: undetected)
    restored = restore(seen, search=False)
    assert restored.diagnostics["nonnegative_why"] == SUPPOSED
    assert restored.log_probability <= math.log(estimator.BORNE_OUT)


def of_both_signs(width, batch_size, confidence):
    """A batch of 100 classes whose embeddings are normal numbers."""
    rng = np.random.default_rng(0)
    _, labels, head = random_layer(rng, 100, width, batch_size)
    head.weight.data *= confidence
    embeddings = torch.as_tensor(rng.normal(size=(batch_size, width)))
    return Observation.from_embeddings(embeddings.float(), labels, head.float())


def test_what_was_told_is_not_guessed_again():
    """Signs ask for more classes than K: told or not, they are not used."""
    seen = of_both_signs(84, 24, 30)
    for told in (True, False):
        assert not presence_proofs(seen, told).guessed
    assert restore(seen, nonnegative=True, search=False).diagnostics["nonnegative_why"].startswith("dropped")


def test_signs_of_few_columns_say_nothing():
    """With fewer than 16 columns no sign is clear, so there is nothing to suppose."""
    seen = of_both_signs(8, 100, 6)
    assert not presence_proofs(seen).clear.any()
    assert restore(seen, search=False).diagnostics["nonnegative_why"] == NOT_DETECTED
