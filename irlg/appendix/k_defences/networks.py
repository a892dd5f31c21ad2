"""The networks of notebook K: FCN-3 and LeNet-5 before and after training, ResNet-18 before."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from irlg.appendix import training
from irlg.appendix.k_defences.defences import DEFENCES
from irlg.appendix.k_defences.trials import LARGER, SIZE, Target
from irlg.appendix.networks import FIRST, LENET_BATCH
from irlg.appendix.servers import Server, Split, serve
from irlg.artifact import code, jobs
from irlg.data.datasets import ImageSet
from irlg.models import Classifier, build, fcn3, lenet5, resnet18

TAUGHT = tuple(name for name, defence in DEFENCES.items() if defence.kind in ("DP-SGD", "no bias"))


def fcns(
    images: ImageSet, parts: Split, taught: Mapping[str, Classifier], steps: int, seed: int, device: str
) -> Iterator[Target]:
    """FCN-3 as initialised, after training without a defence, and after that under each of `TAUGHT`.

    **Arguments:** `taught`: networks by the defence that they were trained under; `steps`, how many.
    """

    def server(training: str, model: Classifier) -> Server:
        return serve("K", "FCN-3", training, model, images, parts.unseen, parts.own, device)

    sizes = (SIZE, *LARGER)
    yield Target(server("untrained", build(fcn3, seed + FIRST).to(device)), sizes, tuple(DEFENCES))
    yield Target(server(f"{steps:,} steps", taught["none"]), sizes, tuple(DEFENCES))
    for name in TAUGHT:
        yield Target(server(f"{steps:,} steps under it", taught[name]), (SIZE,), (name,), under=name)


def lenets(images: ImageSet, parts: Split, steps: int, seed: int, device: str) -> Iterator[Target]:
    """LeNet-5 as initialised, and after `steps` without a defence."""
    sizes, start = (SIZE, LARGER[0]), build(lenet5, seed + FIRST).to(device)
    yield Target(
        serve("K", "LeNet-5", "untrained", start, images, parts.unseen, parts.own, device), sizes, tuple(DEFENCES)
    )
    weights = jobs.kept(
        f"k lenet5 {steps}",
        lambda: _lenet(start, images, parts, steps, seed, device),
        *(images.source, len(images.labels), steps, seed, device, code.digest(Path(__file__))),
    )
    model = build(lenet5, 0).to(device)
    model.load_state_dict(weights)
    learnt = f"{steps:,} steps"
    yield Target(serve("K", "LeNet-5", learnt, model, images, parts.unseen, parts.own, device), sizes, tuple(DEFENCES))


def _lenet(start: Classifier, images: ImageSet, parts: Split, steps: int, seed: int, device: str) -> dict[str, Tensor]:
    seen = parts.learnt[: steps * LENET_BATCH]
    lesson = images.load(seen, device), torch.as_tensor(images.labels[seen], device=device)
    batch = min(LENET_BATCH, len(seen))
    (model,) = training.train(start, *lesson, training.adamw, [steps], seed, batch, mirror=True)
    return {name: value.cpu() for name, value in model.state_dict().items()}


def resnet(images: ImageSet, parts: Split, count: int, seed: int, device: str) -> Target:
    """ResNet-18 as initialised, the network of the paper's defences, whose clients hold `count` images."""
    model = build(resnet18, seed + FIRST).to(device)
    server = serve("K", "ResNet-18", "untrained", model, images, parts.unseen[:count], parts.own, device)
    return Target(server, (SIZE,), tuple(DEFENCES))
