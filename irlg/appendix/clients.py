"""A network as a federation has it, and the images that its clients hold, embedded once."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from irlg.data.datasets import ImageSet
from irlg.data.sampling import stream, uniform_batch
from irlg.models import Classifier
from irlg.observation import Observation


@dataclass(frozen=True, eq=False)
class Clients:
    """A network in eval mode, and the images that its clients hold: `embeddings` (N, m) and `labels` (N,).

    `images` has these images, `data` says what they are; `training`, what the network has learnt;
    `initialisation`, which of its kind it is. `study`: the notebook's letter, so that each has draws of its own.
    """

    study: str
    name: str
    training: str
    initialisation: int
    model: Classifier
    images: ImageSet
    embeddings: Tensor
    labels: Tensor

    @property
    def about(self) -> dict[str, Any]:
        """What a row of a table says of it."""
        classes, width = self.model.head.weight.shape
        place = {"network": self.name, "training": self.training, "initialisation": self.initialisation}
        return place | {"C": classes, "m": width, "data": self.images.source}

    def stream(self, seed: int, *keys: str | int) -> np.random.Generator:
        """A random generator of its own, the same whatever the network has learnt."""
        return stream(seed, self.study, self.name, self.initialisation, *keys)

    def draw(self, size: int, trial: int, seed: int) -> Tensor:
        """A uniform batch (K,) of a trial, as indices."""
        indices = uniform_batch(self.stream(seed, "batch", size, trial), self.images.labels, size)
        return torch.as_tensor(indices, device=self.labels.device)

    def observe(self, chosen: Tensor, **loss: Any) -> Observation:
        """What the server sees of a batch of these images under a loss, settings as `Observation` has them."""
        return Observation.from_embeddings(self.embeddings[chosen], self.labels[chosen], self.model.head, **loss)

    def counts(self, chosen: Tensor) -> Tensor:
        """True counts (C,) of a batch of these images."""
        return torch.bincount(self.labels[chosen], minlength=self.model.head.out_features)


def accuracy(clients: Clients) -> float:
    """Share of the clients' images that the network is right about."""
    with torch.no_grad():
        return float((clients.model.head(clients.embeddings).argmax(dim=1) == clients.labels).double().mean())


def embedded(
    study: str, name: str, training: str, initialisation: int, model: Classifier, images: ImageSet, device: str
) -> Clients:
    """The clients of a network that hold `images`, 100 of which are embedded at a time."""
    parts = np.array_split(np.arange(len(images.labels)), max(1, len(images.labels) // 100))
    with torch.no_grad():
        embeddings = torch.cat([model.hidden(model.features(images.load(part, device))) for part in parts])
    labels = torch.as_tensor(images.labels, device=device)
    return Clients(study, name, training, initialisation, model, images, embeddings, labels)


def after_steps(clients: Clients, parts: Sequence[Tensor], rate: float) -> Classifier:
    """The network after a step of plain SGD on each of `parts`, indices (K,) of the clients' images."""
    model = copy.deepcopy(clients.model)
    optimiser = torch.optim.SGD(model.parameters(), lr=rate)
    for part in parts:
        images = clients.images.load(part.cpu().numpy(), str(part.device))
        optimiser.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(images), clients.labels[part]))
        optimiser.step()
    return model
