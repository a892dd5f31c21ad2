"""Small inversions that take no time."""

import torch
from torch import nn

import irlg
from tests.helpers import random_images


def convolutional_model():
    """Small, smooth, with BatchNorm: in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 3)]
        return nn.Sequential(*layers).double().eval()


def settings(**changes):
    return irlg.InversionConfig(**{"steps": 30, "interval": 10, **changes})


def small_problem(labels=None, mode="eval"):
    model = convolutional_model().train(mode == "train")
    images, true = random_images(3, 1, 8, 8), torch.tensor([0, 1, 1])
    return model, irlg.batch_gradient(model, images, true), true if labels is None else labels, (3, 1, 8, 8)
