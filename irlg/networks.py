"""The networks that notebook G compares methods on: untrained, and after some training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from irlg import training
from irlg.data import ImageSet
from irlg.models import Classifier, build, fcn3, lenet5
from irlg.observation import Observation
from irlg.sampling import Indices, balanced_batch, stream, uniform_batch

ACTIVATIONS = {
    "LeNet-5": nn.ReLU,
    "LeNet-5 SiLU": nn.SiLU,
    "LeNet-5 LeakyReLU": nn.LeakyReLU,
    "LeNet-5 Tanh": nn.Tanh,
}
# Epochs on CIFAR-100 after which each is looked at. The rate falls towards the last: 3 of 12 are not 3 of 3.
EPOCHS = {
    "LeNet-5": {1: "1 epoch", 3: "3 epochs", 12: "12 epochs"},
    "LeNet-5 SiLU": {3: "3 epochs"},
    "LeNet-5 LeakyReLU": {3: "3 epochs"},
    "LeNet-5 Tanh": {3: "3 epochs"},
}
LENET_BATCH, FCN_BATCH = 32, 64  # images a training step
STEPS = {100: "100 steps", 1000: "1,000 steps"}  # of FCN-3 on MNIST
HELD_OUT = 0.05  # share of the images that training never sees, where there is no test split
FIRST = 100  # seed of the first initialisation, apart from those on which the method was developed


@dataclass(frozen=True, eq=False)
class Network:
    """A network, and how it embeds all images of its dataset: `embeddings` (N, m), `labels` (N,).

    `name` and `training` say which it is, `initialisation` which of its kind; `nonnegative`, whether
    embeddings cannot be negative; `accuracy`, that on the test split, or on images kept from training
    where there is none.
    """

    name: str
    training: str
    initialisation: int
    head: nn.Linear
    embeddings: Tensor
    labels: Indices
    nonnegative: bool
    accuracy: float

    def observe(self, indices: Indices) -> tuple[Observation, Tensor]:
        """What the server sees of a batch of these images, in eval mode, and its true counts (C,)."""
        labels = torch.as_tensor(self.labels[indices], device=self.embeddings.device)
        observation = Observation.from_embeddings(self.embeddings[indices], labels, self.head)
        return observation, torch.bincount(labels, minlength=self.head.out_features)

    def draw(self, what: str, trial: int, seed: int) -> Indices:
        """The images of one trial of a setting, the same whatever the network has learnt."""
        rng = stream(seed, "G", self.name, what, self.initialisation, trial)
        kind, _, number = what.rpartition(" ")
        if kind == "random":
            return uniform_batch(rng, self.labels, int(number))
        classes = int(kind.split()[0])
        return balanced_batch(rng, self.labels, classes, int(number))


def lenets(images: ImageSet, initialisations: int, epochs: int, seed: int, device: str) -> Iterator[Network]:
    """LeNet-5 with each activation, untrained and after those of its `EPOCHS` that `epochs` reaches."""
    data = _Data(images, seed, device)
    per_epoch = len(data.training[1]) // LENET_BATCH
    for number, (name, activation) in product(range(initialisations), ACTIVATIONS.items()):
        start = seed + FIRST + number
        model = build(lenet5, start, activation=activation).to(device)
        nonnegative = activation is nn.ReLU
        yield data.network(name, "untrained", number, model, nonnegative)
        marks = {epoch * per_epoch: after for epoch, after in EPOCHS[name].items() if epoch <= epochs}
        if marks:
            trained = training.train(
                model, *data.training, training.adamw, list(marks), start, LENET_BATCH, mirror=True
            )
            for after, copy in zip(marks.values(), trained, strict=True):
                yield data.network(name, after, number, copy, nonnegative)


def fcns(images: ImageSet, initialisations: int, seed: int, device: str) -> Iterator[Network]:
    """FCN-3 untrained, and after `STEPS` of gradient descent."""
    data = _Data(images, seed, device)
    for number in range(initialisations):
        start = seed + FIRST + number
        model = build(fcn3, start).to(device)
        yield data.network("FCN-3", "untrained", number, model, True)
        trained = training.train(model, *data.training, training.sgd, list(STEPS), start, FCN_BATCH)
        for name, model in zip(STEPS.values(), trained, strict=True):
            yield data.network("FCN-3", name, number, model, True)


def overview(kinds: Sequence[Network]) -> pd.DataFrame:
    """Accuracy by network and training, over initialisations: mean, least, greatest and their number."""
    rows = [{"network": n.name, "training": n.training, "accuracy": n.accuracy} for n in kinds]
    groups = pd.DataFrame(rows).groupby(["network", "training"], sort=False).accuracy
    return groups.agg(["mean", "min", "max", "size"]).rename(columns={"size": "initialisations"}).reset_index()


class _Data:
    """All images of a dataset on the device, which of them training sees, and others to test on."""

    def __init__(self, images: ImageSet, seed: int, device: str) -> None:
        count = len(images.labels)
        self.labels = images.labels
        self.pixels, targets = _tensors(images, device)
        if images.test is not None:
            self.training, self.test = (self.pixels, targets), _tensors(images.test, device)
        else:
            order = torch.as_tensor(stream(seed, "G held out").permutation(count), device=device)
            held, seen = order[: int(HELD_OUT * count)], order[int(HELD_OUT * count) :]
            self.training, self.test = ((self.pixels[part], targets[part]) for part in (seen, held))

    def network(self, name: str, trained: str, initialisation: int, model: Classifier, nonnegative: bool) -> Network:
        pixels, targets = self.test
        with torch.inference_mode():
            parts = [model.hidden(model.features(part)) for part in torch.split(self.pixels, 2048)]
            right = torch.cat([model(part).argmax(dim=1) for part in torch.split(pixels, 2048)]) == targets
        accuracy = float(right.double().mean())
        embeddings = torch.cat(parts)
        return Network(name, trained, initialisation, model.head, embeddings, self.labels, nonnegative, accuracy)


def _tensors(images: ImageSet, device: str) -> tuple[Tensor, Tensor]:
    """All images and labels on the device, loaded in parts to save memory."""
    parts = [images.load(part, device) for part in np.array_split(np.arange(len(images.labels)), 32)]
    return torch.cat(parts), torch.as_tensor(images.labels, device=device)
