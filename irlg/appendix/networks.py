"""Networks to compare methods on: untrained, and after some training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from irlg.appendix import training
from irlg.data.datasets import ImageSet
from irlg.data.sampling import Indices, balanced_batch, stream, uniform_batch
from irlg.models import Classifier, build, fcn3, lenet5
from irlg.observation import Observation

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
# Networks that also learn from a long tail of classes alone, as a client's whose data is unlike the others'.
LONG_TAILED = ("LeNet-5", "LeNet-5 SiLU")
TAIL = 100  # times as many images of its first class as of its last
LENET_BATCH, FCN_BATCH = 32, 64  # images a training step
STEPS = {100: "100 steps", 1000: "1,000 steps"}  # of FCN-3 on MNIST
HELD_OUT = 0.05  # share of the images that training never sees, where there is no test split
FIRST = 100  # seed of the first initialisation, apart from those on which the method was developed


@dataclass(frozen=True, eq=False)
class Network:
    """A network, and how it embeds all images of its dataset: `embeddings` (N, m), `labels` (N,).

    `name` and `training` say which it is, `initialisation` which of its kind; `learnt`, which of the images it
    learns from; `nonnegative`, whether embeddings cannot be negative; `accuracy`, that on the test split, or on
    images kept from training where there is none.
    """

    name: str
    training: str
    initialisation: int
    head: nn.Linear
    embeddings: Tensor
    labels: Indices
    learnt: Indices
    nonnegative: bool
    accuracy: float

    def observe(self, indices: Indices) -> tuple[Observation, Tensor]:
        """What the server sees of a batch of these images, in eval mode, and its true counts (C,)."""
        labels = torch.as_tensor(self.labels[indices], device=self.embeddings.device)
        observation = Observation.from_embeddings(self.embeddings[indices], labels, self.head)
        return observation, torch.bincount(labels, minlength=self.head.out_features)

    def draw(self, what: str, trial: int, seed: int) -> Indices:
        """The images of one trial of a setting, the same whatever the network has learnt, but for its "own"."""
        rng = stream(seed, "G", self.name, what, self.initialisation, trial)
        kind, _, number = what.rpartition(" ")
        if kind == "random":
            return uniform_batch(rng, self.labels, int(number))
        if kind == "own":
            return self.learnt[uniform_batch(rng, self.learnt, int(number))]
        classes = int(kind.split()[0])
        return balanced_batch(rng, self.labels, classes, int(number))


def lenets(images: ImageSet, initialisations: int, epochs: int, seed: int, device: str) -> Iterator[Network]:
    """LeNet-5 with each activation, untrained, after those of its `EPOCHS` that `epochs` reaches, and `LONG_TAILED`."""
    data = _Data(images, seed, device)
    for number, (name, activation) in product(range(initialisations), ACTIVATIONS.items()):
        start = seed + FIRST + number
        model, nonnegative = build(lenet5, start, activation=activation).to(device), activation is nn.ReLU
        yield data.network(name, "untrained", number, model, data.seen, nonnegative)
        lessons = [(data.seen, {epoch: after for epoch, after in EPOCHS[name].items() if epoch <= epochs})]
        if name in LONG_TAILED:
            lessons.append((data.long_tail(start), {epochs: "long tail"}))
        for learnt, names in lessons:
            if not names:
                continue
            marks = [epoch * (len(learnt) // LENET_BATCH) for epoch in names]
            taught = data.pixels[learnt], data.targets[learnt]
            trained = training.train(model, *taught, training.adamw, marks, start, LENET_BATCH, mirror=True)
            for after, copy in zip(names.values(), trained, strict=True):
                yield data.network(name, after, number, copy, learnt, nonnegative)


def fcns(images: ImageSet, initialisations: int, seed: int, device: str) -> Iterator[Network]:
    """FCN-3 untrained, and after `STEPS` of gradient descent."""
    data = _Data(images, seed, device)
    for number in range(initialisations):
        start = seed + FIRST + number
        model = build(fcn3, start).to(device)
        yield data.network("FCN-3", "untrained", number, model, data.seen, True)
        taught = data.pixels[data.seen], data.targets[data.seen]
        trained = training.train(model, *taught, training.sgd, list(STEPS), start, FCN_BATCH)
        for name, model in zip(STEPS.values(), trained, strict=True):
            yield data.network("FCN-3", name, number, model, data.seen, True)


def overview(kinds: Sequence[Network]) -> pd.DataFrame:
    """Accuracy by network and training, over initialisations: mean, least, greatest and their number."""
    rows = [{"network": n.name, "training": n.training, "accuracy": n.accuracy} for n in kinds]
    groups = pd.DataFrame(rows).groupby(["network", "training"], sort=False).accuracy
    return groups.agg(["mean", "min", "max", "size"]).rename(columns={"size": "initialisations"}).reset_index()


class _Data:
    """All images of a dataset on the device, which of them training sees, and others to test on."""

    def __init__(self, images: ImageSet, seed: int, device: str) -> None:
        self.labels, self.seen = images.labels, np.arange(len(images.labels))
        self.pixels, self.targets = _tensors(images, device)
        if images.test is not None:
            self.test = _tensors(images.test, device)
        else:
            order = stream(seed, "G held out").permutation(len(self.labels))
            held, self.seen = np.split(order, [int(HELD_OUT * len(order))])
            self.test = self.pixels[held], self.targets[held]

    def long_tail(self, seed: int) -> Indices:
        """Images of a long tail of classes, in random order: of each fewer than of the one before, exponentially.

        Cao et al., *Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss* (2019).
        """
        classes = stream(seed, "G long tail").permutation(np.unique(self.labels))
        parts = []
        for label, share in zip(classes, np.geomspace(1, 1 / TAIL, len(classes)), strict=True):
            ours = self.seen[self.labels[self.seen] == label]
            parts.append(ours[: max(1, round(share * len(ours)))])
        return np.concatenate(parts)

    def network(
        self, name: str, trained: str, initialisation: int, model: Classifier, learnt: Indices, nonnegative: bool
    ) -> Network:
        pixels, targets = self.test
        with torch.inference_mode():
            parts = [model.hidden(model.features(part)) for part in torch.split(self.pixels, 2048)]
            right = torch.cat([model(part).argmax(dim=1) for part in torch.split(pixels, 2048)]) == targets
        accuracy, head, embeddings = float(right.double().mean()), model.head, torch.cat(parts)
        return Network(name, trained, initialisation, head, embeddings, self.labels, learnt, nonnegative, accuracy)


def _tensors(images: ImageSet, device: str) -> tuple[Tensor, Tensor]:
    """All images and labels on the device, loaded in parts to save memory."""
    parts = [images.load(part, device) for part in np.array_split(np.arange(len(images.labels)), 32)]
    return torch.cat(parts), torch.as_tensor(images.labels, device=device)
