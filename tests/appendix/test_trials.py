import copy

import numpy as np
import pandas as pd
import pytest
import torch

from irlg import Observation, le_acc, ln_acc, models, restore
from irlg.appendix.trials import Batch, eval_trials, train_trials
from irlg.data.datasets import open_images
from irlg.data.sampling import stream, uniform_batch

CIFAR = open_images("cifar100", policy="stand-in")


def batches(row="row", number=3, size=24):
    return [Batch(row, t, uniform_batch(stream(0, row, t), CIFAR.labels[:600], size)) for t in range(number)]


def expected(model, batch):
    """The ordinary client's step, one batch at a time."""
    labels = CIFAR.labels[batch.indices]
    seen = Observation.from_batch(model, CIFAR.load(batch.indices), labels)
    true = np.bincount(labels, minlength=100)
    counts = restore(seen, "irlg").counts
    return le_acc(counts, true), ln_acc(counts, true), int(counts.sum())


def results(frame):
    return [(r.le_acc, r.ln_acc, r.total) for r in frame[frame.method == "irlg"].itertuples()]


@pytest.mark.parametrize("batchnorm", [False, True])
def test_trials_are_the_clients_step_in_both_modes(batchnorm):
    model = models.build(models.lenet5, 0, batchnorm=batchnorm)
    state = copy.deepcopy(model.state_dict())
    drawn = batches()
    assert results(eval_trials({"a": model}, CIFAR, drawn, "cpu")) == [expected(model, b) for b in drawn]
    trained = results(train_trials({"a": model}, CIFAR, drawn, "cpu", 0))
    assert not model.training and not model.hidden.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert trained == [expected(model.train(), b) for b in drawn]


def test_dropout_is_active_in_train_mode_and_repeats():
    def network(p):
        model = models.build(models.lenet5, 0)
        model.hidden.append(torch.nn.Dropout(p))
        return model

    plain, heavy = network(0.0), network(0.9)
    heavy.trunk = plain.trunk
    both = {"plain": plain, "heavy": heavy}
    drawn = [Batch("row", 0, np.arange(100) * 128)]  # every class once, where it shows
    first = train_trials(both, CIFAR, drawn, "cpu", 0)
    torch.rand(3)  # the global state plays no part
    pd.testing.assert_frame_equal(first, train_trials(both, CIFAR, drawn, "cpu", 0))
    scores = first[first.method == "irlg"].set_index("variant").ln_acc
    assert scores["plain"] != scores["heavy"]
    same = eval_trials(both, CIFAR, drawn, "cpu")
    by_variant = [same[same.variant == v].drop(columns="variant").reset_index(drop=True) for v in both]
    pd.testing.assert_frame_equal(*by_variant)


def test_adding_rows_and_trials_changes_no_other_result():
    model = {"a": models.build(models.lenet5, 0)}
    few = eval_trials(model, CIFAR, batches("x", 2), "cpu")
    many = eval_trials(model, CIFAR, [*batches("w", 4), *batches("x", 5)], "cpu")
    again = many[(many.row == "x") & (many.trial < 2)].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, again)


def test_every_image_is_embedded_once(monkeypatch):
    seen = []
    load = type(CIFAR).load
    monkeypatch.setattr(type(CIFAR), "load", lambda self, i, device="cpu": seen.extend(i) or load(self, i, device))
    eval_trials({"a": models.build(models.lenet5, 0)}, CIFAR, batches(number=60), "cpu")
    assert len(seen) == len(set(seen)) <= 600


def test_variants_must_share_their_trunk():
    pair = {name: models.build(models.lenet5, 0) for name in "ab"}
    with pytest.raises(ValueError, match="variants: expected networks that share one trunk"):
        eval_trials(pair, CIFAR, batches(), "cpu")
