"""FCN-3 trained under each defence on the same batches: what that costs in accuracy, and its privacy where stated."""

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from irlg.appendix.k_defences.defences import DEFENCES, NOISY, Defence, shrunk
from irlg.appendix.networks import FIRST
from irlg.artifact import code, jobs
from irlg.artifact.progress import progress
from irlg.data.datasets import ImageSet
from irlg.data.sampling import Indices, stream
from irlg.defences import Gradients, gaussian
from irlg.models import Classifier, build, fcn3

RATE, LARGER_RATE = 0.1, 0.3  # of learning, at the smallest K and at larger ones
# Of 0.01, 0.03, 0.1, 0.3, 1 and 3 those better by half a point or more, on 12,000 images of seed 900, over two splits.
RATES = {
    ("noise 0.03", 24): 0.03,
    ("noise 0.1", 24): 0.01,
    ("largest 1%", 24): 0.3,
    ("clipped", 24): 3.0,
    ("DP-SGD σ=0.03", 24): 1.0,
    ("DP-SGD σ=0.1", 24): 0.3,
    ("withheld", 24): 0.3,
    ("noise 0.03", 128): 0.1,
    ("noise 0.1", 128): 0.03,
    ("noise 0.1", 512): 0.03,
}
DELTA = 1e-5
ORDERS = [1 + 10 ** (power / 20) for power in range(-80, 61)]  # of Rényi divergence: Opacus's own are for σ near 1
NO_ACCOUNTANT = "ε is left out: Opacus is not installed (`pip install -e '.[defences]'` does that)."


@dataclass(frozen=True, eq=False)
class Lesson:
    """Images to learn from, (N, channels, height, width) and (N,), and others to test on; `source` says of what."""

    pixels: Tensor
    labels: Tensor
    test_pixels: Tensor
    test_labels: Tensor
    source: str

    @classmethod
    def of(cls, images: ImageSet, learnt: Indices, others: Indices, device: str) -> "Lesson":
        """The images of indices `learnt`, tested on `others`."""
        parts = [images.load(part, device) for part in np.array_split(learnt, 32)]  # in parts to save memory
        labels, test = (torch.as_tensor(images.labels[part], device=device) for part in (learnt, others))
        return cls(torch.cat(parts), labels, images.load(others, device), test, images.source)


def gradients(model: Classifier, images: Tensor, labels: Tensor, clip: bool) -> Iterator[tuple[nn.Linear, Gradients]]:
    """∇W and ∇b of each layer of a fully connected network, of the mean over (K, ...) images of their cross-entropy.

    With `clip` each instance's gradient is scaled by `shrunk` first. Its norm over all layers takes no gradient of its
    own: |δ aᵀ|² = |δ|² |a|² (Goodfellow, *Efficient Per-Example Gradient Computations*, 2015).
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    inputs: dict[nn.Linear, Tensor] = {}
    outputs: dict[nn.Linear, Tensor] = {}

    def keep(layer: nn.Linear, given: tuple[Tensor], made: Tensor) -> None:
        inputs[layer], outputs[layer] = given[0].detach(), made

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    with torch.enable_grad():
        loss = nn.functional.cross_entropy(model(images), labels, reduction="sum")
    for hook in hooks:
        hook.remove()
    deltas = dict(zip(layers, torch.autograd.grad(loss, [outputs[layer] for layer in layers]), strict=True))
    scale = torch.ones_like(loss).expand(len(images))
    if clip:
        squares = [
            deltas[layer].square().sum(dim=1) * (inputs[layer].square().sum(dim=1) + (layer.bias is not None))
            for layer in layers
        ]
        scale = shrunk(torch.stack(squares).sum(dim=0).sqrt())
    for layer in layers:
        shares = deltas[layer] * (scale / len(images))[:, None]
        yield layer, (shares.T @ inputs[layer], shares.sum(dim=0))


def taught(model: Classifier, lesson: Lesson, name: str, size: int, steps: int, seed: int, rate: float) -> Classifier:
    """A copy of FCN-3 after plain SGD, each of whose steps takes what the defence `name` leaves of a batch's gradient.

    Batches of `size` are the same for each defence. Without a bias the head has none; of a last layer that is withheld
    the server knows no gradient, and it stays as it was.
    """
    defence, model = DEFENCES[name], copy.deepcopy(model)
    if defence.kind == "no bias":
        model.head.bias = None  # type: ignore[assignment]  # PyTorch's own way to have none
    order, noise = stream(seed, "K batches", size), stream(seed, "K training", name, size)
    for _ in range(steps):
        chosen = torch.as_tensor(order.choice(len(lesson.labels), size, replace=False))
        batch = lesson.pixels[chosen], lesson.labels[chosen]
        for layer, clean in list(gradients(model, *batch, clip=defence.multiplier is not None)):
            if defence.kind == "withheld" and layer is model.head:
                continue
            _descend(layer, _sent(defence, clean, size, noise), rate)
    return model


def _sent(defence: Defence, clean: Gradients, size: int, rng: np.random.Generator) -> Gradients:
    sent, noise = defence.send(clean, rng), defence.noise(size)
    return gaussian(noise, sent, rng) if noise else sent


def _descend(layer: nn.Linear, sent: Gradients, rate: float) -> None:
    with torch.no_grad():
        layer.weight.sub_(rate * sent[0])
        if layer.bias is not None:
            layer.bias.sub_(rate * sent[1])


def rate_of(name: str, size: int, smallest: int) -> float:
    """The learning rate of a defence at a batch size, of which there is a `smallest`."""
    return RATES.get((name, size), RATE if size == smallest else LARGER_RATE)


def study(
    lesson: Lesson, sizes: tuple[int, ...], images: int, seeds: int, seed: int, device: str
) -> tuple[pd.DataFrame, dict[str, Classifier]]:
    """FCN-3 `seeds` times under each defence at the first of `sizes`, and under noise at the others: accuracies, a row
    a training, and the first seed's networks at the first size, by defence.

    **Arguments:** `images`, shown to each network in all: there are fewer steps at larger K.
    """
    rows, models = [], {}
    for size in (size for size in sizes if size <= len(lesson.labels)):
        steps = max(1, images // size)
        for name in DEFENCES if size == sizes[0] else NOISY:
            rate = rate_of(name, size, sizes[0])
            epsilon = epsilon_of(DEFENCES[name], size, steps, len(lesson.labels))
            for number in progress(range(seeds), f"training, {name}, K = {size}"):
                start = build(fcn3, seed + FIRST + number).to(device)
                accuracy, weights = jobs.kept(
                    f"k fcn3 {name} {size} {number}",
                    lambda start=start, name=name, size=size, steps=steps, number=number, rate=rate: _course(  # type: ignore[misc]
                        start, lesson, name, size, steps, seed + number, rate
                    ),
                    *(lesson.source, len(lesson.labels), steps, seed, device),
                    code.digest(Path(__file__)),
                )
                about = {"defence": name, "K": size, "number": number, "steps": steps, "rate": rate}
                rows.append(about | {"epsilon": epsilon, "accuracy": accuracy, "data": lesson.source})
                if size == sizes[0] and number == 0:
                    models[name] = _with(weights, name, device)
    return pd.DataFrame(rows), models


def _course(
    start: Classifier, lesson: Lesson, name: str, size: int, steps: int, seed: int, rate: float
) -> tuple[float, dict[str, Tensor]]:
    model = taught(start, lesson, name, size, steps, seed, rate)
    with torch.no_grad():
        right = model(lesson.test_pixels).argmax(dim=1) == lesson.test_labels
    return float(right.double().mean()), {key: value.cpu() for key, value in model.state_dict().items()}


def _with(weights: dict[str, Tensor], name: str, device: str) -> Classifier:
    model = build(fcn3, 0)
    if DEFENCES[name].kind == "no bias":
        model.head.bias = None  # type: ignore[assignment]
    model.load_state_dict(weights)
    return model.to(device)


def accountant() -> bool:
    """Whether Opacus is installed, whose accountant says how private DP-SGD is."""
    return find_spec("opacus") is not None


def epsilon_of(defence: Defence, size: int, steps: int, images: int) -> float:
    """ε of DP-SGD at δ = `DELTA` by Opacus's RDP accountant; infinite without noise, NaN for what is no DP-SGD, and
    where there is no `accountant`.

    Of so many steps on batches of expected `size`, each image drawn by itself with a probability of `size`/`images`.
    """
    if defence.multiplier is None or not accountant():
        return float("nan")
    if defence.multiplier == 0:
        return float("inf")
    from opacus.accountants import RDPAccountant

    account = RDPAccountant()
    account.history = [(defence.multiplier, size / images, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the best order at an end of `ORDERS`: ε is then above the least
        return float(account.get_epsilon(DELTA, alphas=ORDERS))
