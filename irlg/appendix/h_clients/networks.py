"""The networks of notebook H, and how what their clients send is restored."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from irlg.appendix import training
from irlg.appendix.clients import Clients, embedded
from irlg.appendix.networks import FIRST
from irlg.data.datasets import ImageSet
from irlg.data.sampling import Indices, stream, uniform_batch
from irlg.metrics import ln_acc, scores
from irlg.models import Classifier, build, fcn3, lenet5, resnet18
from irlg.observation import Observation
from irlg.restoration import LatticeRestoration, restore

# How each is built, and which data it is for.
KINDS: dict[str, tuple[str, Callable[..., Classifier], dict[str, Any]]] = {
    "LeNet-5": ("cifar100", lenet5, {}),
    "LeNet-5 SiLU": ("cifar100", lenet5, {"activation": nn.SiLU}),
    "LeNet-5 LeakyReLU": ("cifar100", lenet5, {"activation": nn.LeakyReLU}),
    "ResNet-18": ("cifar100", resnet18, {}),
    "FCN-3": ("mnist", fcn3, {}),
}
LEARNT, LEARNT_BATCH = 10_000, 32  # images that a trained network learns from, and those of a step


def untrained(
    data: Mapping[str, ImageSet], count: int, initialisations: int, seed: int, device: str
) -> Iterator[Clients]:
    """Each of `KINDS` that there are data for, as initialised, `initialisations` times, with `count` images of them."""
    held = {name: images.subset(_held(name, images, count, seed)) for name, images in data.items()}
    for name, (source, make, options) in KINDS.items():
        for number in range(initialisations if source in data else 0):
            model = build(make, seed + FIRST + number, **options).to(device)
            yield embedded("H", name, "untrained", number, model, held[source], device)


def trained(clients: Clients, images: ImageSet, steps: int, seed: int, device: str) -> Clients:
    """The same after `steps` of training on images that its clients don't hold."""
    source, _, _ = KINDS[clients.name]
    others = np.setdiff1d(np.arange(len(images.labels)), _held(source, images, len(clients.labels), seed))
    rng = stream(seed, "H learnt", source)
    chosen = rng.choice(others, min(LEARNT, len(others)), replace=False)
    pixels, labels = images.load(chosen, device), torch.as_tensor(images.labels[chosen], device=device)
    start = seed + FIRST + clients.initialisation
    (model,) = training.train(clients.model, pixels, labels, training.adamw, [steps], start, LEARNT_BATCH, mirror=True)
    return embedded("H", clients.name, f"{steps:,} steps", clients.initialisation, model, clients.images, device)


def restored(make: Callable[[], Observation], true: Tensor, **options: Any) -> dict[str, Any]:
    """Restore what `make` makes, and score it: counts, probability, measured noise; or that it was refused."""
    try:
        observation = make()
        found = restore(observation, **options)
    except ValueError:
        return {"refused": True, "exact": False, "probability": 0.0}
    assert isinstance(found, LatticeRestoration)
    error = float((found.raw_counts - true).square().mean().sqrt())
    return scores(found.counts, true) | {
        "refused": False,
        "probability": math.exp(found.log_probability),
        "misfit": found.diagnostics["misfit"],
        "found": found.instances is not None,
        "error": error,
        "measured": observation.measured_noise,
    }


def rivals(make: Callable[[], Observation], true: Tensor) -> dict[str, float]:
    """LnAcc of Algorithm 1 and of the constant guess on what `make` makes; empty if that was refused."""
    try:
        observation = make()
    except ValueError:
        return {}
    return {f"ln_{method}": ln_acc(restore(observation, method).counts, true) for method in ("irlg", "uniform")}


def _held(name: str, images: ImageSet, count: int, seed: int) -> Indices:
    return uniform_batch(stream(seed, "H held", name), images.labels, min(count, len(images.labels)))
