"""What methods need of an observation and beside it, and how they refuse where it is not there."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from irlg import Auxiliary, Observation, restore
from irlg.restoration.registry import METHODS
from tests.helpers import linear
from tests.restoration.by_hand import DUMMIES, by_hand, given_to, of_zeros, tensor


@pytest.mark.parametrize("method", [name for name, each in METHODS.items() if "sign" in each.needs])
def test_methods_that_read_signs_refuse_negative_embeddings(method):
    with pytest.raises(ValueError, match=f"nonnegative: expected True or None for method '{method}', got False"):
        restore(by_hand(), method, nonnegative=False, auxiliary=given_to(method))
    told, untold = (restore(by_hand(), method, nonnegative=n, auxiliary=given_to(method)) for n in (True, None))
    assert torch.equal(told.counts, untold.counts)


@pytest.mark.parametrize("method", ["idlg", "gradinversion", "rlg", "llg", "llg-star", "zlg", "dimitrov"])
def test_these_do_without_a_bias(method):
    head = linear(torch.zeros(6, 5).double(), torch.zeros(6).double())
    seen = Observation.from_embeddings(torch.rand(3, 5).double(), torch.tensor([0, 0, 4]), head)
    bare = Observation(seen.grad_weight, None, seen.weight, None, 3)
    auxiliary = given_to(method, 6, 5)
    with_bias = restore(seen, method, auxiliary=auxiliary)
    assert torch.equal(restore(bare, method, auxiliary=auxiliary).counts, with_bias.counts)


@pytest.mark.parametrize("method", ["ebi", "llbg", "rlu", "posterior"])
def test_these_refuse_a_head_without_one(method):
    bare = Observation(by_hand().grad_weight, None, by_hand().weight, None, 4)
    with pytest.raises(ValueError, match="grad_bias: expected a head with a bias, got None"):
        restore(bare, method, auxiliary=given_to(method))


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("lattice", "zeros", "prior")])
def test_all_but_signs_need_the_batch_size_and_all_a_plain_loss(method):
    unsized, smoothed = by_hand(batch_size=None), by_hand(label_smoothing=0.1)
    if method in ("idlg", "gradinversion"):
        assert torch.equal(restore(unsized, method).counts, restore(by_hand(), method).counts)
    else:
        with pytest.raises(ValueError, match="batch_size: expected a whole number of at least 1, got None"):
            restore(unsized, method, auxiliary=given_to(method))
    with pytest.raises(ValueError, match="method: expected 'lattice' for a loss with settings"):
        restore(smoothed, method, auxiliary=given_to(method))


@pytest.mark.parametrize("method", ["ebi", "idlg", "gradinversion", "llg"])
def test_these_do_not_look_at_the_scale(method):
    half = {"grad_weight": by_hand().grad_weight / 2, "grad_bias": by_hand().grad_bias / 2}
    scaled = Observation(**half, weight=by_hand().weight, bias=by_hand().bias, batch_size=4, divisor="unknown")
    assert torch.equal(restore(scaled, method).counts, restore(by_hand(), method).counts)


@pytest.mark.parametrize("method", ["llg-star", "llbg", "zlg", "dimitrov", "rlu", "posterior"])
def test_others_are_told_the_scale(method):
    half = {"grad_weight": by_hand().grad_weight / 2, "grad_bias": by_hand().grad_bias / 2}
    fixed = {"weight": by_hand().weight, "bias": by_hand().bias, "batch_size": 4}
    auxiliary = given_to(method)
    told = restore(Observation(**half, **fixed, divisor=8.0), method, auxiliary=auxiliary)
    torch.testing.assert_close(told.raw_counts, restore(by_hand(), method, auxiliary=auxiliary).raw_counts)
    with pytest.raises(ValueError, match="method: expected 'lattice' for a loss with settings or an unknown divisor"):
        restore(Observation(**half, **fixed, divisor="unknown"), method, auxiliary=auxiliary)


def test_separation_needs_fewer_instances_than_classes_and_columns():
    with pytest.raises(ValueError, match=r"batch_size: expected less than min\(m, C\) = 2 for 'rlg', got 4"):
        restore(by_hand(), "rlg")


def test_instances_after_local_steps_are_those_before():
    for other in (of_zeros((6, 0)), of_zeros((1, 2), (2, 1), labels=[0, 1])):
        with pytest.raises(ValueError, match="after: expected the same instances, with the same labels"):
            replace(DUMMIES, after=other)
    with pytest.raises(ValueError, match="after: expected the same instances, with the same labels"):
        replace(of_zeros((1, 2), (2, 1), labels=[0, 1]), after=of_zeros((1, 2), (2, 1), labels=[1, 0]))


def test_auxiliary_instances_are_asked_for_and_refused_by_name():
    needed = [name for name, each in METHODS.items() if "auxiliary" in each.needs]
    assert needed == ["llg-star", "zlg", "dimitrov", "rlu", "posterior"]
    for method in needed:
        with pytest.raises(ValueError, match=f"auxiliary: expected irlg.Auxiliary for method '{method}', got NoneType"):
            restore(by_hand(), method)
    for method in ("irlg", "lattice", "llg", "zeros"):
        with pytest.raises(ValueError, match=f"auxiliary: expected None for method '{method}', got <.*Auxiliary"):
            restore(by_hand(), method, auxiliary=DUMMIES)
    with pytest.raises(ValueError, match=r"auxiliary: expected irlg\.Auxiliary for method 'llbg', got Tensor"):
        restore(by_hand(), "llbg", auxiliary=torch.ones(3, 2))


@pytest.mark.parametrize(
    ("method", "auxiliary", "message"),
    [
        ("rlu", DUMMIES, "expected instances with labels, got labels=None"),
        ("posterior", DUMMIES, "expected instances with labels, got labels=None"),
        ("llbg", DUMMIES, "expected instances with labels, got labels=None"),
        ("rlu", of_zeros((1, 2), labels=[1]), "expected instances of at least 2 classes, got one"),
        (
            "posterior",
            of_zeros((1, 2), (2, 1), labels=[0, 2]),
            "expected instances of each of 3 classes, got none of 1",
        ),
        ("dimitrov", DUMMIES, "expected instances at the network after the local steps too, got after=None"),
        ("zlg", of_zeros((1, -1)), "expected embeddings whose sums have a mean other than 0, got 0"),
        ("zlg", Auxiliary(torch.ones(2, 5), torch.zeros(2, 3)), r"expected \(C, m\) = \(3, 2\), .*, got \(3, 5\)"),
        (
            "posterior",
            Auxiliary(torch.ones(3, 2), tensor((0, -999, -999), (-999, 0, -999), (-999, -999, 0)), [0, 1, 2]),
            "expected classes with a probability below 1 in the mean, got one that is sure",
        ),
    ],
)
def test_auxiliary_instances_that_do_not_do_are_refused(method, auxiliary, message):
    with pytest.raises(ValueError, match=f"auxiliary: {message}"):
        restore(by_hand(), method, auxiliary=auxiliary)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"embeddings": [[1.0, 2.0]]}, "embeddings: expected a torch tensor or a NumPy array, got list"),
        ({"logits": torch.zeros(2, 3)}, "logits: expected a row an instance, 1 of at least 1, got 2"),
        ({"embeddings": torch.ones(0, 2), "logits": torch.ones(0, 3)}, "logits: expected a row an instance, 0 of"),
        ({"labels": [0, 1]}, r"labels: expected 1 class indices, got torch.int64 of shape \(2,\)"),
        ({"labels": [3]}, "labels: expected indices from 0 to 2"),
        ({"local_steps": 0}, "local_steps: expected a whole number of at least 1, got 0"),
        ({"after": 1}, "after: expected irlg.Auxiliary or None, got int"),
    ],
)
def test_auxiliary_instances_are_checked(fields, message):
    with pytest.raises(ValueError, match=message):
        Auxiliary(**{"embeddings": torch.ones(1, 2), "logits": torch.zeros(1, 3), **fields})


def test_auxiliary_embeddings_are_of_any_float_dtype_and_of_the_heads_width():
    head, embeddings = nn.Linear(2, 3), torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
    expected = Auxiliary.from_embeddings(embeddings, head)
    for other in (embeddings.double(), embeddings.numpy(), embeddings.double().numpy()):
        found = Auxiliary.from_embeddings(other, head)
        assert torch.equal(found.logits, expected.logits) and torch.equal(found.embeddings, expected.embeddings)
    with pytest.raises(ValueError, match=r"embeddings: expected shape \(N, 2\), got \(5, 1\)"):
        Auxiliary.from_embeddings(embeddings[:, :1], head)
    with pytest.raises(ValueError, match="labels: expected 5 class indices, got 'abc'"):
        Auxiliary.from_embeddings(embeddings, head, "abc")
