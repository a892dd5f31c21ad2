import re

import pytest
import torch
from torch import nn

from tests.helpers import random_images

CLASSES = 20


def make(classes=CLASSES, bias=True):
    """A small network for (K, 1, 6, 6), the same for the same arguments."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, classes, bias=bias))


def wrapped():
    """The same in a wrapper."""
    return nn.DataParallel(make())


def normed():
    """The same with BatchNorm, which in train mode fails on one image."""
    flat, first, *rest = make()
    return nn.Sequential(flat, first, nn.BatchNorm1d(32), *rest)


def lines(audit):
    """What the report says under each heading, in one line."""
    text = str(audit)
    assert max(map(len, text.splitlines())) <= 96
    parts = re.split(r"\n  (?=[a-z])", text.partition("learns")[2].partition("\n\nThe first batch")[0])
    return {part.split()[0]: " ".join(part.split()[1:]) for part in parts if part}


@pytest.fixture
def model():
    return make()


@pytest.fixture(scope="session")
def given():
    """60 images and labels of 20 classes."""
    labels = torch.randint(CLASSES, (60,), generator=torch.Generator().manual_seed(1))
    return random_images(60, 1, 6, 6, dtype=torch.float32), labels
