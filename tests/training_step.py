"""The oracle for gradients of models as people hold them: a training step."""

import copy

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import irlg
from irlg import Observation

LABELS = torch.tensor([0, 1, 1, 2])


def pixels(size=6, channels=2):
    return torch.rand(len(LABELS), channels, size, size)


def small():
    """A plain model of images (K, 2, 6, 6), all of which Opacus can wrap."""
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))


class Returning(nn.Module):
    """A model that returns what `answer` makes of its logits."""

    def __init__(self, answer, model=None):
        super().__init__()
        self.net, self.answer = small() if model is None else model, answer

    def forward(self, x):
        return self.answer(self.net(x))


def check(model, plain=None, images=None, head=None):
    """Whether the gradients of `model` are those of a training step of `plain`, and an attack can be made on them."""
    images = pixels() if images is None else images
    plain = copy.deepcopy(model) if plain is None else copy.deepcopy(plain)
    logits = plain(images)
    cross_entropy(getattr(logits, "logits", logits), LABELS).backward()
    expected = [torch.zeros_like(p) if p.grad is None else p.grad for p in plain.parameters()]
    gradient = irlg.batch_gradient(model, images, LABELS)
    for mine, reference in zip(gradient, expected, strict=True):
        torch.testing.assert_close(mine, reference)
    seen = Observation.from_batch(model, images, LABELS, head)
    torch.testing.assert_close(seen.grad_weight, expected[-2].flatten(1))
    torch.testing.assert_close(seen.grad_bias, expected[-1])
    assert torch.equal(seen.weight, list(plain.parameters())[-2].flatten(1))
    config = irlg.InversionConfig(steps=2, interval=1)
    found = irlg.invert(model, gradient, LABELS, tuple(images.shape), config)
    again = irlg.invert(plain, gradient, LABELS, tuple(images.shape), config)
    assert torch.equal(found.objectives, again.objectives) and bool(found.objectives.isfinite().all())
