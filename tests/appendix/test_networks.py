from dataclasses import replace

import numpy as np
import pytest
import torch

from irlg import models
from irlg.appendix import networks
from irlg.appendix.training import adamw, sgd, train


def test_training_lowers_the_error_and_leaves_the_model_alone(digits):
    images, kinds = digits
    assert [kind.training for kind in kinds] == ["untrained", "100 steps", "1,000 steps"]
    assert kinds[0].accuracy < 0.3 < 0.7 < kinds[1].accuracy < kinds[2].accuracy
    pixels, labels = images.load(np.arange(640)), torch.as_tensor(images.labels[:640])
    model = models.build(models.fcn3, 0)
    before = [parameter.clone() for parameter in model.parameters()]
    for optimiser in (sgd, adamw):
        one, two = (list(train(model, pixels, labels, optimiser, [5, 12], 3, 64)) for _ in range(2))
        assert not any(part.training for part in one)
        for a, b in zip(one, two, strict=True):
            assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
        assert not torch.equal(one[0].head.weight, one[1].head.weight)
    mirrored = [next(train(model, pixels, labels, adamw, [1], 3, 64, mirror=True)) for _ in range(2)]
    plain = next(train(model, pixels, labels, adamw, [1], 3, 64))
    first, second, other = (part.head.weight for part in (*mirrored, plain))
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))


def test_with_a_test_split_all_images_are_learnt_and_accuracy_is_on_the_others(digits):
    images, _ = digits
    mislabelled = replace(images.subset(np.arange(400)), labels=(images.labels[:400] + 1) % 10)
    images = replace(images, test=mislabelled)
    assert len(networks._Data(images, 0, "cpu").seen) == len(images.labels)
    assert list(networks.fcns(images, 1, 0, "cpu"))[-1].accuracy < 0.05  # they were learnt by their own labels


def test_a_client_of_a_long_tail_learns_ever_fewer_images_of_its_classes_and_draws_its_own(digits):
    images, kinds = digits
    data = networks._Data(images, 0, "cpu")
    tail = data.long_tail(3)
    assert len(np.unique(tail)) == len(tail) and np.isin(tail, data.seen).all()
    assert (tail == data.long_tail(3)).all() and len(np.setxor1d(tail, data.long_tail(4)))
    classes = list(dict.fromkeys(images.labels[tail]))
    there, left = (np.bincount(images.labels[part], minlength=10)[classes] for part in (data.seen, tail))
    assert left[0] == there[0] and left[-1] == max(1, round(there[-1] / networks.TAIL))
    shares = left / there
    assert (np.diff(shares) <= 0).all() and shares[3] == pytest.approx(100 ** (-3 / 9), rel=0.05)
    kind = replace(kinds[1], learnt=tail)
    batch = kind.draw("own 40", 0, 0)
    assert len(np.unique(batch)) == 40 and np.isin(batch, tail).all()
    assert (batch == kind.draw("own 40", 0, 0)).all() and (batch != kind.draw("own 40", 1, 0)).any()


def test_batches_are_those_that_their_names_say_and_the_same_for_every_training(digits):
    _, kinds = digits
    observation, true = kinds[0].observe(kinds[0].draw("3 × 5", 0, 0))
    assert observation.size == 15 and sorted(true[true > 0].tolist()) == [5, 5, 5]
    assert kinds[0].observe(kinds[0].draw("random 40", 0, 0))[0].size == 40
    for what in ("3 × 5", "random 40"):
        one, two = (kind.draw(what, 2, 0) for kind in kinds[:2])
        assert (one == two).all()
        assert (one != kinds[0].draw(what, 3, 0)).any()
