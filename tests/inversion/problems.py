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


def matched(found, true):
    """The order of `found` (K, …) in which each is most like that of `true` (K, …), by cosine: a permutation."""
    ours, theirs = (nn.functional.normalize(each.detach().flatten(1)) for each in (found, true))
    order = (theirs @ ours.T).argmax(dim=1)
    assert order.unique().numel() == len(order)
    return order


class Residual(nn.Module):
    """Two branches of an input, and a ReLU of their sum."""

    def __init__(self, inputs, inside, outputs):
        super().__init__()
        self.long = nn.Sequential(
            nn.Conv2d(inputs, inside, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(inside),
            nn.ReLU(),
            nn.Conv2d(inside, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=2), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return torch.relu(self.long(x) + self.short(x))


def trained(*layers, dtype=torch.float64):
    """A network with a pool and a head behind `layers`, whose BatchNorm is as if it were trained, in eval mode."""
    outputs = [layer for part in layers for layer in part.modules() if isinstance(layer, nn.Conv2d)][-1].out_channels
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(outputs, 5))
    generator = torch.Generator().manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.3, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.3, generator=generator)
            nn.init.uniform_(layer.running_var, 0.5, 1.5, generator=generator)
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(layer.bias, std=0.3, generator=generator)
            layer.weight.data[::3] *= -1
    return model.to(dtype).eval()


def two_convolutions(dtype=torch.float64, norm=nn.BatchNorm2d, between=nn.ReLU, inplace=False, **options):
    """The second convolution takes 3×3 places of images of 6×6 pixels; `options` are its own."""
    second = nn.Conv2d(32, 96, 3, **{"padding": 1, **options})
    layers = [nn.Conv2d(3, 32, 3, stride=2, padding=1), norm(32), between(inplace=inplace)]
    return trained(*layers, second, norm(96), nn.ReLU(inplace=inplace), dtype=dtype)


def residual_network(inplace=False):
    stem = [nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(inplace=inplace)]
    return trained(*stem, nn.Sequential(Residual(3, 32, 96)))


def contrasty(images, size=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return 2 * torch.randn(images, 3, size, size, generator=generator, dtype=torch.float64).to(dtype)
