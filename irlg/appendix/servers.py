"""Servers: a network, the images that its clients hold, and images of the server's own, which no batch draws from."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from irlg.appendix.clients import Clients, embedded
from irlg.data.datasets import ImageSet
from irlg.data.sampling import Indices, stream
from irlg.models import Classifier
from irlg.restoration import Auxiliary

AUXILIARY = 10  # images a class that a server has of its own, at most
HELD = 5000  # images that clients hold, a quarter of all at most


@dataclass(frozen=True, eq=False)
class Server:
    """What a server knows beside gradients: its network, that of `clients`; whether embeddings cannot be negative; and
    `own`, labelled images."""

    clients: Clients
    nonnegative: bool
    own: ImageSet

    @property
    def name(self) -> str:
        """Network and training."""
        return f"{self.clients.name}, {self.clients.training}"

    @cached_property
    def auxiliary(self) -> Auxiliary:
        """Its own images at the network."""
        return self._at(self.clients.model)

    def auxiliary_after(self, model: Classifier, local_steps: int) -> Auxiliary:
        """Its own images at the network before and after a client's steps."""
        return replace(self.auxiliary, after=self._at(model), local_steps=local_steps)

    def _at(self, model: Classifier) -> Auxiliary:
        device = str(self.clients.embeddings.device)
        seen = embedded("", "", "", 0, model, self.own, device)
        return Auxiliary.from_embeddings(seen.embeddings, model.head, seen.labels)


@dataclass(frozen=True)
class Split:
    """Which images of a dataset are the server's `own`, which clients hold that training has not seen, `unseen`, and
    which it has, `seen`; `learnt` are all that it learns from."""

    own: Indices
    unseen: Indices
    learnt: Indices

    @property
    def seen(self) -> Indices:
        """As many of `learnt` as there are `unseen`."""
        return self.learnt[: len(self.unseen)]

    @property
    def others(self) -> Indices:
        """All but its own."""
        return np.concatenate([self.unseen, self.learnt])


def split(images: ImageSet, seed: int) -> Split:
    """A split that depends on the data alone: up to `AUXILIARY` images of each class, up to `HELD` others, the rest.

    Of a class half of the images are left to the clients.
    """
    order = stream(seed, "split", images.source).permutation(len(images.labels))
    by_class = (order[images.labels[order] == label] for label in range(images.num_classes))
    own = np.concatenate([ours[: min(AUXILIARY, len(ours) // 2)] for ours in by_class])
    others = order[np.isin(order, own, invert=True)]
    unseen, learnt = np.split(others, [min(HELD, len(others) // 4)])
    return Split(own, unseen, learnt)


def serve(
    study: str, name: str, training: str, model: Classifier, images: ImageSet, held: Indices, own: Indices, device: str
) -> Server:
    """The server of a network whose clients hold `held` of the images, and it `own`."""
    clients = embedded(study, name, training, 0, model.eval(), images.subset(held), device)
    return Server(clients, bool((clients.embeddings >= 0).all()), images.subset(own))
