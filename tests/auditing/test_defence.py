"""What a client does to its step before it is sent, as the audit knows it or is told."""

import numpy as np
import pytest
import torch

import irlg
from irlg import Observation
from irlg.auditing.client import observed
from irlg.auditing.defence import KNOWN, defence
from tests.auditing.conftest import lines

EXAMPLES = ("noise:1e-5", "top-k:0.9", "label-smoothing:0.1", "sign", "int8", "float8", "bfloat16")


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_defence_changes_what_is_sent_and_is_named(model, given, name):
    audit = irlg.audit(model, *given, batch_size=4, trials=1, defence=name)
    assert defence(name).words in " ".join(str(audit).split())
    assert (audit.batches[0].changed > 0) == (name != "label-smoothing:0.1")


def test_every_defence_has_an_example_here():
    assert {name.partition(":")[0] for name in EXAMPLES} == {name.partition(":")[0] for name in KNOWN}


def test_label_smoothing_is_of_the_loss(model, given):
    images, labels = given[0][:6], given[1][:6]
    step = observed(model, images, labels, defence("label-smoothing:0.1"))
    seen = Observation.from_batch(model, images, labels, label_smoothing=0.1)
    torch.testing.assert_close(step.clean.grad_weight, seen.grad_weight)
    assert step.clean.label_smoothing == 0.1


def test_much_noise_hides_what_none_does_not(model, given):
    clean, noisy = (irlg.audit(model, *given, batch_size=6, trials=3, defence=name) for name in (None, "noise:1"))
    assert clean.exact == 3 and noisy.exact == 0 and noisy.sure == 0 and noisy.found == 0
    assert noisy.recall < clean.recall and noisy.batches[0].changed > 10
    assert "times its norm" in str(noisy) and "Defence: none.\n" in str(clean)
    assert lines(noisy)["certainty"].startswith("nothing for sure")


def test_a_defence_of_ones_own(model, given):
    def halved(gradients, rng):
        return gradients[0] / 2, gradients[1] / 2

    audit = irlg.audit(model, *given, batch_size=6, trials=1, defence=halved)
    assert "Defence: halved. It changes the gradient by 50.0 % of its norm." in str(audit)
    assert audit.batches[0].changed == pytest.approx(0.5)


@pytest.mark.parametrize("factor", [3, 0.5])
def test_a_scale_that_the_server_does_not_know_is_inferred(model, given, factor):
    def scaled(gradients, rng):
        return factor * gradients[0], factor * gradients[1]

    audit = irlg.audit(model, *given, batch_size=4, trials=3, defence=scaled)
    assert audit.exact == audit.rescaled == 3 and audit.refused == 0
    assert min(batch.probability for batch in audit.batches) > 0.97
    assert "For 3 of 3 it takes the gradient's scale to be unknown, and infers it." in lines(audit)["counts"]


def test_the_scale_is_taken_as_told_where_counts_are_sure_or_the_defence_is_known(model, given):
    clean = irlg.audit(model, *given, batch_size=4, trials=2, defence=lambda gradients, rng: gradients)
    noisy = irlg.audit(model, *given, batch_size=4, trials=2, defence="noise:1")
    assert clean.sure == 2 and noisy.sure == 0 and clean.rescaled == noisy.rescaled == 0
    assert "scale" not in str(clean) + str(noisy)


def test_a_gradient_of_no_scale_is_refused_with_what_is_wrong_at_its_own(model, given):
    audit = irlg.audit(model, *given, batch_size=4, trials=1, defence=lambda g, rng: (g[0], 1 + g[1].abs()))
    assert audit.refused == 1 and audit.rescaled == 0
    assert audit.batches[0].refused.startswith("grad_bias: expected the gradient of mean cross-entropy")


def test_a_defence_may_write_into_what_it_is_given(model, given):
    def zeroed(gradients, rng):
        gradients[0].zero_(), gradients[1].zero_()
        return gradients

    audit = irlg.audit(model, *given, batch_size=4, trials=1, defence=zeroed)
    assert audit.batches[0].changed == 1 and audit.exact == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.float8_e4m3fn])
def test_a_defence_may_send_a_list_and_coarser_floats(model, given, dtype):
    audit = irlg.audit(model, *given, batch_size=4, trials=1, defence=lambda g, rng: [part.to(dtype) for part in g])
    assert audit.exact == 1 and 0 < audit.batches[0].changed < 0.1


@pytest.mark.parametrize(
    ("made", "got"),
    [
        (lambda g: g[0], r"\(20, 32\)$"),
        (lambda g: (g[0].T, g[1]), r"\(32, 20\) and \(20,\)$"),
        (lambda g: (g[0].numpy(), g[1]), r"ndarray and \(20,\)$"),
        (lambda g: (g[0].int(), g[1]), r"torch.int32 \(20, 32\) and \(20,\)$"),
        (lambda g: (g[0], None), r"\(20, 32\) and nothing$"),
        (lambda g: None, "nothing$"),
        (lambda g: (), "nothing$"),
    ],
)
def test_what_a_defence_sends_is_two_tensors(model, given, made, got):
    wanted = r"defence: expected ∇W \(20, 32\) and ∇b \(20,\) as tensors of floats, got "
    with pytest.raises(ValueError, match=wanted + got):
        irlg.audit(model, *given, batch_size=4, trials=1, defence=lambda gradients, rng: made(gradients))


def test_arrays_whole_numbers_of_any_kind_and_any_time_are_taken(model, given):
    there = irlg.audit(model, *given, batch_size=4, trials=2)
    other = irlg.audit(model, given[0].numpy(), given[1].byte(), batch_size=4, trials=np.int64(2), seed=np.int64(0))
    assert str(other) == str(there)
    backwards = irlg.audit(model, given[0].numpy()[::-1], given[1].flip(0), batch_size=4, trials=1)
    assert backwards.exact == 1
    fixed = given[0].numpy().copy()
    fixed.flags.writeable = False
    assert str(irlg.audit(model, fixed, given[1], batch_size=4, trials=2)) == str(there)
    ever = irlg.audit(model, *given, batch_size=4, trials=1, search_seconds=float("inf"))
    assert ever.found == 1 and lines(ever)["instances"].startswith("every image by itself, in as long as it takes: its")
    seconds = irlg.audit(model, *given, batch_size=4, trials=1, search_seconds=torch.tensor(9.0))
    assert seconds.refused == 0 and seconds.search_seconds == 9


def test_what_cannot_be_read_leaves_the_server_with_the_guess(model, given):
    def nothing(gradients, rng):
        return gradients[0] * float("nan"), gradients[1]

    audit = irlg.audit(model, *given, batch_size=6, trials=2, defence=nothing)
    assert audit.refused == 2 and audit.sure == 0 and audit.recall == audit.guessed_recall
    assert (
        "What 2 of 2 sent it cannot read, and is left to guess (grad_weight: expected finite" in lines(audit)["counts"]
    )


def test_a_defence_of_ones_own_that_fails_is_no_gradient_that_cannot_be_read(model, given):
    def failing(gradients, rng):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        irlg.audit(model, *given, batch_size=6, defence=failing)
