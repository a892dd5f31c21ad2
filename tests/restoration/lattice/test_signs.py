"""Signs of the embeddings: what they prove, when they are used, and when not."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from irlg import Observation, presence_proofs, restore
from irlg.appendix.random_layers import random_layer
from irlg.restoration.lattice import bounds, layer, method, passes
from irlg.restoration.lattice.bounds import DETECTED, NOT_DETECTED, SUPPOSED
from tests.helpers import from_cifar, rebuilt


@pytest.mark.parametrize(("shallow", "clear"), [(5, 100), (40, 60)])
def test_signs_are_clear_by_what_absent_classes_show(shallow, clear):
    """After a SiLU the rows of absent classes go a little below 0; where few rows do, it is those of present ones."""
    grad_weight = torch.rand(100, 84, generator=torch.Generator().manual_seed(0)) + 1
    grad_weight[:, 0] = -2.0
    grad_weight[:shallow, 0] = -0.1
    seen = rebuilt(from_cifar(100, 4, 0)[0], grad_weight=grad_weight, noise=0.0)
    proofs = presence_proofs(seen)
    assert int(proofs.clear.sum()) == clear
    assert proofs.clear[shallow:].all()


def test_bounds_of_what_is_left_ask_for_no_more_than_is_left():
    """Three of a class and one each of three, of which signs speak for a fifth class too."""
    seen, _ = from_cifar(6, 4, 0)
    presumed = torch.zeros(100, dtype=torch.int64).index_fill(0, torch.arange(5), 1)
    proofs = dataclasses.replace(presence_proofs(seen), lower_bounds=presumed.clone(), presumed=presumed)
    found = torch.zeros(100, dtype=torch.int64)
    found[:3] = torch.tensor([3, 1, 1])
    assert int(proofs.without(found, 2).presumed.sum()) == 2
    rest = proofs.without(found, 1)
    assert int(rest.presumed.sum()) == int(rest.lower_bounds.sum()) == 0


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
    proofs, before = presence_proofs(rebuilt(seen, grad_weight=grad_weight, noise=0.0)), presence_proofs(seen)
    assert before.unlikely[absent] and not proofs.unlikely[absent]
    assert int(before.unlikely.sum()) - int(proofs.unlikely.sum()) == 1


def of_both_signs(width, batch_size, confidence):
    """A batch of 100 classes whose embeddings are normal numbers."""
    rng = np.random.default_rng(0)
    _, labels, head = random_layer(rng, 100, width, batch_size)
    head.weight.data *= confidence
    embeddings = torch.as_tensor(rng.normal(size=(batch_size, width)))
    return Observation.from_embeddings(embeddings.float(), labels, head.float())


def test_wrongly_told_signs_leave_the_bounds_of_the_bias():
    seen = of_both_signs(84, 24, 30)
    told, untold = presence_proofs(seen, True), presence_proofs(seen, False)
    assert torch.equal(told.lower_bounds, untold.lower_bounds) and int(untold.lower_bounds.sum()) > 0


def test_what_was_told_is_not_guessed_again():
    """Signs ask for more classes than K: told or not, they are not used."""
    seen = of_both_signs(84, 24, 30)
    for told in (True, False):
        assert presence_proofs(seen, told).why != NOT_DETECTED
    assert restore(seen, nonnegative=True, search=False).diagnostics["nonnegative_why"].startswith("dropped")


def test_signs_of_few_columns_say_nothing():
    """With fewer than 16 columns no sign is clear, so there is nothing to suppose."""
    seen = of_both_signs(8, 100, 6)
    assert not presence_proofs(seen).clear.any()
    assert restore(seen, search=False).diagnostics["nonnegative_why"] == NOT_DETECTED


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
    monkeypatch.setattr(passes.Pass, "doubtful", lambda one: True)
    for trial in range(5):
        seen, true = confident(trial, shift, classes)
        given, told = layer.problem(seen), presence_proofs(seen, nonnegative=False)
        assert int(told.clear.sum()) >= 90
        assert passes.solve(given, told)[0] is told
        proofs, found, _ = passes.solve(given, dataclasses.replace(told, why=NOT_DETECTED))
        assert proofs.nonnegative is used
        right = found.beam.vectors[0] == true.numpy()
        assert right.mean() > 0.8


def test_counts_that_rest_on_supposed_signs_are_never_sure(monkeypatch):
    monkeypatch.setattr(passes.Pass, "doubtful", lambda one: True)
    seen, _ = confident(0, 0.0, 100)
    undetected = dataclasses.replace(presence_proofs(seen, False), why=NOT_DETECTED)
    monkeypatch.setattr(method, "presence_proofs", lambda seen, nonnegative: undetected)
    restored = restore(seen, search=False)
    assert restored.diagnostics["nonnegative_why"] == SUPPOSED
    assert restored.log_probability <= math.log(passes.BORNE_OUT)


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
        supposed = proofs.supposing(100)
        assert (supposed.unsigned == (true == 0)).all()
        assert not proofs.supposing(10).unsigned.any()  # a draw of ten leaves out as many
        restored = restore(seen, search=False)
        assert restored.diagnostics["nonnegative_why"] == (SUPPOSED if slope else DETECTED)
        blind, rival = restore(seen, nonnegative=False, search=False), restore(seen, "irlg")
        wrong += [int(((one.counts > 0) != (true > 0)).sum()) for one in (restored, blind, rival)]
    assert wrong[0] <= 1 and wrong[0] < wrong[1] and wrong[0] < wrong[2], wrong
