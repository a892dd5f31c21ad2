"""Algorithm 1 on one batch, beside the truth: what notebook E walks through."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from irlg.appendix.random_layers import arrays
from irlg.data.datasets import ImageSet
from irlg.data.sampling import stream, uniform_batch
from irlg.metrics import scores
from irlg.models import Classifier
from irlg.observation import Observation
from irlg.restoration import Restoration, restore
from irlg.restoration.pseudocode import Array, algorithm_1


@dataclass(frozen=True, eq=False)
class OneBatch:
    """One batch of a network, restored by Algorithm 1, beside the truth.

    `true` (C,) counts; `means` (C, m), the true mean embedding of each class, NaN where it is absent.
    """

    name: str
    source: str
    observation: Observation
    restored: Restoration
    true: NDArray[np.int64]
    means: Array

    @property
    def present(self) -> NDArray[np.bool_]:
        """(C,)."""
        return self.true > 0

    @property
    def norms(self) -> tuple[Array, Array]:
        """Lengths of inferred and of true class embeddings, (C,) each."""
        return np.linalg.norm(self._inferred, axis=1), np.linalg.norm(self.means, axis=1)

    @property
    def cosines(self) -> Array:
        """Cosines of inferred and true class embeddings, (C,)."""
        inferred, true = self.norms
        return (self._inferred * self.means).sum(axis=1) / (inferred * true)

    @property
    def departures(self) -> Array:
        """The largest departure of p^i_j from 1/C over j, in units of it, (C,)."""
        probabilities = self.restored.probabilities.cpu().numpy()
        return np.abs(probabilities * len(probabilities) - 1).max(axis=1)

    def summary(self) -> dict[str, object]:
        """A row of E's table."""
        values = scores(self.restored.counts, self.true)
        literal = algorithm_1(*arrays(self.observation), self.observation.size)[1]
        difference = np.abs(literal - self.restored.raw_counts.cpu().numpy()).max()
        about = {"network": self.name, "data": self.source}
        return about | values | {"smallest_cosine": np.nanmin(self.cosines), "difference": difference}

    @property
    def _inferred(self) -> Array:
        embeddings = self.restored.embeddings
        assert embeddings is not None
        inferred: Array = embeddings.cpu().numpy()
        return inferred


def one_batch(name: str, images: ImageSet, model: Classifier, batch_size: int, seed: int, device: str) -> OneBatch:
    """Draw a batch uniformly, observe it by autograd in eval mode, and restore it by Algorithm 1."""
    indices = uniform_batch(stream(seed, "E", name), images.labels, batch_size)
    batch, labels = images.load(indices, device), images.labels[indices]
    observation = Observation.from_batch(model, batch, torch.as_tensor(labels, device=device))
    with torch.inference_mode():
        embedded = model.hidden(model.features(batch)).double().cpu().numpy()
    true = np.bincount(labels, minlength=observation.num_classes).astype(np.int64)
    means = np.full((len(true), embedded.shape[1]), np.nan)
    for present in np.flatnonzero(true):
        means[present] = embedded[labels == present].mean(axis=0)
    return OneBatch(name, images.source, observation, restore(observation, "irlg"), true, means)
