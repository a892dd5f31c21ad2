"""Few classes: a network that has learnt leaves nothing to see by whether the lattice's model holds."""

import math

import pytest
import torch
from torch import nn

from irlg import Observation, restore
from irlg.data.standins import digits
from irlg.restoration.lattice import passes


def sure_and_wrong(classes, steps, batches=12, size=4):
    """How many answers on digits of so many classes are sure, and how many of these wrong."""
    images, labels = digits()
    labels = torch.as_tensor(labels)
    chosen = labels < classes
    images, labels = images[chosen].float() / 255, labels[chosen]
    torch.manual_seed(7001)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.Tanh(), nn.Linear(32, classes))
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        part = torch.randint(len(labels), (64,))
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images[part]), labels[part]).backward()
        optimiser.step()
    sure = wrong = 0
    for _ in range(batches):
        part = torch.randint(len(labels), (size,))
        restored = restore(Observation.from_batch(model, images[part], labels[part]), search=False)
        if math.exp(restored.log_probability) > 0.999:
            right = torch.equal(restored.counts, torch.bincount(labels[part], minlength=classes))
            sure, wrong = sure + 1, wrong + (not right)
    return sure, wrong


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_no_answer_is_sure_and_wrong_after_training(classes):
    assert sure_and_wrong(classes, 100)[1] == 0


def test_without_the_rule_answers_would_be_sure_and_wrong(monkeypatch):
    monkeypatch.setattr(passes, "FEW", 0)
    sure, wrong = sure_and_wrong(2, 100)
    assert wrong > sure / 2 > 0


def test_a_network_that_has_not_learnt_is_believed():
    assert sure_and_wrong(10, 0) == (12, 0)
