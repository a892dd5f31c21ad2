import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import irlg
from irlg import Observation
from irlg.auditing.audit import _errors, _guess
from irlg.auditing.client import observed
from irlg.auditing.defence import NONE
from irlg.auditing.result import Audit, Batch
from irlg.data.sampling import stream
from irlg.instances import Instances
from tests.auditing.conftest import CLASSES, lines, make


def a_batch(true, restored, probability=0.5, errors=(), changed=0.0, refused=""):
    guessed = torch.tensor([1] * len(true))
    errors = torch.tensor(errors or [float("inf")] * sum(true))
    return Batch(torch.tensor(true), torch.tensor(restored), guessed, probability, errors, changed, refused)


def test_a_small_batch_is_read_as_a_whole(model, given):
    images, labels = given
    audit = irlg.audit(model, images[:6], labels[:6])
    (batch,) = audit.batches
    assert torch.equal(batch.true, torch.bincount(labels[:6], minlength=CLASSES))
    assert audit.exact == audit.sure == audit.sure_and_exact == 1 and audit.recall == 1
    assert audit.found == 1 and batch.errors.max() < 1e-3 and batch.changed == 0
    assert lines(audit)["counts"] == "exactly how many images of each class there are."
    assert lines(audit)["instances"].startswith("every image by itself, in at most 10 s a batch: its label and its emb")


def test_batches_are_drawn_by_the_seed_and_are_of_the_size_asked_for(model, given):
    one, same, other = (irlg.audit(model, *given, batch_size=5, trials=3, seed=seed) for seed in (0, 0, 1))
    assert [int(batch.true.sum()) for batch in one.batches] == [5, 5, 5]
    assert str(one) == str(same) and not torch.equal(one.batches[0].true, one.batches[1].true)
    assert not torch.equal(one.batches[0].true, other.batches[0].true)
    assert lines(one)["counts"].endswith("exactly in 3 of 3 batches (95 % interval: 44 to 100 %).")


def test_images_may_lie_elsewhere(model, given):
    class Elsewhere:
        def __len__(self):
            return 60

        def __getitem__(self, indices):
            assert indices.shape == (5,)
            return given[0][indices]

    there = irlg.audit(model, *given, batch_size=5, trials=2)
    assert str(irlg.audit(model, Elsewhere(), given[1], batch_size=5, trials=2)) == str(there)


@pytest.mark.parametrize("bias", [True, False])
def test_what_the_server_sees_is_the_clients_step(given, bias):
    images, labels = given[0][:6], given[1][:6]
    model = make(bias=bias)
    step, seen = observed(model, images, labels, NONE), Observation.from_batch(model, images, labels)
    torch.testing.assert_close(step.clean.grad_weight, seen.grad_weight)
    assert (step.clean.grad_bias is None) == (not bias) and step.clean.batch_size == 6
    torch.testing.assert_close(step.embeddings, model[:-1](images).detach())


def test_the_embeddings_are_those_of_a_convolution_that_is_the_head(given):
    images, labels = given[0][:6], given[1][:6]
    body = nn.Sequential(nn.Conv2d(1, 24, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    model = nn.Sequential(body, nn.Conv2d(24, CLASSES, 1), nn.Flatten())
    torch.testing.assert_close(observed(model, images, labels, NONE).embeddings, body(images).flatten(1).detach())


def test_the_embeddings_are_those_of_the_head_where_another_layer_has_its_weights(given):
    class Taught(nn.Module):
        def __init__(self):
            super().__init__()
            self.student = make()
            self.teacher = copy.deepcopy(self.student)[-1:]

        def forward(self, images):
            logits = self.student(images)
            self.teacher(torch.ones(len(images), self.teacher[0].in_features))
            return logits

    images, labels, model = given[0][:6], given[1][:6], Taught()
    step = observed(model, images, labels, NONE)
    torch.testing.assert_close(step.embeddings, model.student[:-1](images).detach())


def test_a_head_without_a_bias_and_more_images_than_half_the_classes_are_audited_too(given):
    assert irlg.audit(make(bias=False), *given, batch_size=4, trials=1).batches[0].probability > 0
    audit = irlg.audit(make(classes=CLASSES), *given, batch_size=30, trials=2)
    assert not audit.searched and audit.found == 0
    assert "fewer images than half the classes, not 30 with 20." in lines(audit)["instances"]


@pytest.mark.parametrize(("size", "classes"), [(3, 7), (7, 7), (24, 10)])
def test_the_guess_spreads_k_over_the_classes(size, classes):
    counts = _guess(classes, size, stream(0))
    assert int(counts.sum()) == size and int(counts.max() - counts.min()) <= 1
    assert (size % classes == 0) == torch.equal(counts, _guess(classes, size, stream(1)))


def test_errors_are_of_the_nearest_with_the_same_label():
    true = torch.tensor([[4.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    found = Instances(torch.tensor([1, 0, 1]), torch.tensor([[0.0, 2.2], [4.0, 1.0], [9.0, 9.0]]).double(), 0.0)
    errors = _errors(found, true, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(errors, torch.tensor([0.25, 0.1, float("inf")]).double())


def test_results_are_counted():
    batches = (
        a_batch([2, 0], [2, 0], 0.9995, [0.01, 0.02]),
        a_batch([1, 1], [2, 0], 0.9995),
        a_batch([1, 1], [1, 1], 0.5, [0.01, 0.2]),
    )
    audit = Audit(batches, 2, "none", "eval", True, 10.0)
    assert (audit.exact, audit.sure, audit.sure_and_exact, audit.found) == (2, 2, 1, 1)
    assert audit.recall == pytest.approx(2.5 / 3) and audit.guessed_recall == pytest.approx(2.5 / 3)
    assert "right in 1 of these 2." in lines(audit)["certainty"]
    assert lines(audit)["instances"].startswith("in 1 of 3 batches every image by itself")
    assert lines(audit)["instances"].endswith("off by 1.5 % in the median.")


def test_the_table_has_each_class_that_is_or_seems_to_be_there():
    true, restored = torch.zeros(1000, dtype=torch.int64), torch.zeros(1000, dtype=torch.int64)
    true[::20], restored[1::25] = 1, 12
    audit = Audit(
        (replace(a_batch([1], [1]), true=true, restored=restored, guessed=true),), 50, "none", "eval", True, 10.0
    )
    rows = {"class": [], "true": [], "restored": []}
    for line in str(audit).partition("The first batch")[2].splitlines():
        name, *values = line.split() or [""]
        if name in rows:
            rows[name] += map(int, values)
    assert rows["class"] == sorted({*range(0, 1000, 20), *range(1, 1000, 25)})
    assert rows["true"] == true[rows["class"]].tolist() and rows["restored"] == restored[rows["class"]].tolist()


def test_the_picture_has_bars_for_what_is_there_and_other_dots_for_what_is_wrong():
    figure = Audit((a_batch([2, 0, 1, 0], [2, 0, 0, 1]),), 3, "none", "eval", True, 10.0).figure()
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == [2, 1, 0]
    right, wrong = axes.lines
    assert right.get_xydata().tolist() == [[0, 2]] and wrong.get_xydata().tolist() == [[1, 0], [2, 1]]
    assert right.get_color() != wrong.get_color() and right.get_marker() != wrong.get_marker()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "2", "3"]


def test_labels_may_be_an_array_or_a_list(model, given):
    images, labels = given
    expected = str(irlg.audit(model, images, labels, batch_size=4, trials=1))
    read_only = labels.numpy().copy()
    read_only.flags.writeable = False
    for other in (labels.tolist(), labels.numpy().astype(np.int32), labels.numpy()[::-1][::-1], read_only):
        assert str(irlg.audit(model, images.numpy(), other, batch_size=4, trials=1)) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["a"] * 60}, "labels: expected 60 class indices, got"),
        ({"labels": torch.zeros(59, dtype=torch.int64)}, r"labels: expected 60 .*, got shape \(59,\)"),
        ({"labels": torch.full((60,), -1)}, "labels: expected at least one, and none below 0"),
        ({"labels": torch.tensor([0] * 59 + [20])}, "labels: expected indices from 0 to 19, got some up to 20"),
        ({"labels": torch.full((60,), 20)}, "labels: expected indices from 0 to 19, .*got some from 20 to 20"),
        ({"labels": torch.full((60,), 156, dtype=torch.uint8)}, "labels: expected indices .*got some from 156 to 156"),
        ({"labels": torch.zeros(60, dtype=torch.bool)}, "labels: expected 60 class indices.*torch.bool"),
        ({"images": None}, "images: expected a tensor, an array of numbers, or what .*, got NoneType"),
        ({"images": [torch.zeros(6, 6)] * 60}, "images: expected a tensor, an array .*, got list"),
        ({"images": np.array(["a"] * 60)}, "images: expected a tensor, .*, got an array of <U1"),
        ({"images": TensorDataset(torch.zeros(60, 36))}, "images: expected a tensor for the indices .*, got tuple"),
        ({"seed": -1}, "seed: expected a whole number of at least 0, got -1"),
        ({"seed": None}, "seed: expected a whole number of at least 0, got None"),
        ({"batch_size": 61}, "batch_size: expected at most the 60 images there, got 61"),
        ({"batch_size": 0}, "batch_size: expected a whole number from 1"),
        ({"trials": 0}, "trials: expected a whole number of at least 1, got 0"),
        ({"search_seconds": -1}, "search_seconds: expected a number of at least 0"),
        ({"search_seconds": float("nan")}, "search_seconds: expected a number of at least 0"),
        ({"defence": "smog:1"}, "defence: expected a function or one of noise:NUMBER, .*, got 'smog:1'"),
        ({"defence": "sign:1"}, "defence: expected a function or one of"),
        ({"defence": 3}, "defence: expected a function or one of .*, got 3"),
        ({"defence": "noise"}, "defence: expected noise:NUMBER, a standard deviation above 0, got 'noise'"),
        ({"defence": "noise:-1"}, "defence: expected noise:NUMBER"),
        ({"defence": "top-k:1.5"}, "defence: expected top-k:NUMBER, a share of the entries above 0, and at most 1"),
        ({"defence": "label-smoothing:1"}, "defence: expected label-smoothing:NUMBER, a number above 0 and below 1"),
        ({"model": nn.Flatten()}, "model: expected at least one nn.Linear"),
        ({"model": None}, "model: expected a torch.nn.Module, got NoneType"),
    ],
)
def test_what_does_not_fit_is_refused(model, given, change, message):
    told = {"model": model, "images": given[0], "labels": given[1], "batch_size": 4, "trials": 1} | change
    with pytest.raises(ValueError, match=message):
        irlg.audit(**told)
