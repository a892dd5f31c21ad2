"""One client's step: the batches of appendix D, the networks, and what the client sends."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from irlg import models
from irlg.appendix import training
from irlg.artifact import code, jobs
from irlg.data.datasets import ImageSet
from irlg.data.sampling import Indices, stream, uniform_batch
from irlg.gradients import batch_gradient
from irlg.instances import Instances
from irlg.models import Classifier
from irlg.observation import Observation
from irlg.restoration import restore
from irlg.restoration.rounding import largest_remainder

BATCH = 64  # images a training step


def figure_6_batch(rng: np.random.Generator, labels: Indices, batch_size: int, classes: int) -> Indices:
    """`batch_size` different images of `classes` random classes, a random split of them (Figure 6).

    Every class has an image, and every such split is as likely as any other. **Returns:** indices
    (batch_size,) into `labels`, sorted by class. **Raises:** `ValueError` for more classes than images.
    """
    if classes > batch_size:
        raise ValueError(f"classes: expected at most the {batch_size} images of a batch, got {classes}")
    chosen = np.sort(rng.choice(np.unique(labels), classes, replace=False))
    cuts = np.sort(rng.choice(np.arange(1, batch_size), classes - 1, replace=False))
    counts = np.diff([0, *cuts, batch_size])
    return np.concatenate(
        [rng.choice(np.flatnonzero(labels == c), n, replace=False) for c, n in zip(chosen, counts, strict=True)]
    )


@dataclass(frozen=True, eq=False)
class Step:
    """One client's step: a network and a batch, `images`, sorted by class; `weights`, of a network that was trained."""

    network: Callable[..., Classifier]
    images: ImageSet
    seed: int
    device: str
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """The same step, though it came from another process."""
        return isinstance(other, Step) and (self.digest, self.device) == (other.digest, other.device)

    def __hash__(self) -> int:
        return hash((self.digest, self.device))

    @property
    def labels(self) -> Tensor:
        """(K,) class indices."""
        return torch.as_tensor(self.images.labels, device=self.device)

    @property
    def originals(self) -> Tensor:
        """(K, channels, height, width), pixels in [0, 1]."""
        return self.images.pixels(self._all).to(self.device).float() / 255

    def model(self, mode: str) -> Classifier:
        """The network, the same for the same seed, in `"eval"` or `"train"` mode."""
        model = models.build(self.network, self.seed)
        if self.weights:
            model.load_state_dict(self.weights)
        return model.to(self.device).train(mode == "train")

    def gradient(self, mode: str) -> tuple[Tensor, ...]:
        """What the client sends."""
        return _gradient(self, mode)

    def restored(self, mode: str, method: str) -> Tensor:
        """(K,) class indices, sorted: the counts that `irlg.restore` finds in that gradient.

        Where these don't sum to K, they are the solution's, before rounding, by largest remainder.
        """
        found = restore(_observation(self, mode), method)
        counts, size = found.counts, len(self.labels)
        if int(counts.sum()) != size:
            counts = largest_remainder(found.raw_counts, torch.zeros_like(counts), size)
        return torch.repeat_interleave(torch.arange(len(counts), device=self.device), counts)

    def instances(self, mode: str) -> Instances | None:
        """The instances in that gradient, whether or not the counts need them: those of the classes restored."""
        found = restore(_observation(self, mode), "lattice", search="always")
        return found.instances

    @property
    def inputs(self) -> Tensor:
        """(K, channels, height, width), as the network takes them."""
        return self.images.load(self._all, self.device)

    @property
    def digest(self) -> str:
        """Of the batch and the network, by which a kept result is known."""
        digest = hashlib.blake2b(self.images.pixels(self._all).numpy().tobytes(), digest_size=8)
        for name, value in self.weights.items():
            digest.update(name.encode() + value.cpu().numpy().tobytes())
        return f"{self.network.__name__} {self.seed} {self.images.source} {digest.hexdigest()}"

    @property
    def _all(self) -> Indices:
        return np.arange(len(self.images.labels))


# Attacks of the same step come one after another, and building its network takes longer than a short one of them.
@lru_cache(maxsize=2)
def _gradient(step: Step, mode: str) -> tuple[Tensor, ...]:
    """On one thread: its last bits, by which a checkpoint is known, depend on how many."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return batch_gradient(step.model(mode), step.inputs, step.labels)
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=2)
def _observation(step: Step, mode: str) -> Observation:
    return Observation.from_batch(step.model(mode), step.inputs, step.labels)


def mnist_step(images: ImageSet, batch_size: int, seed: int, device: str) -> Step:
    """FCN-3 on images drawn uniformly, the case of the main text."""
    indices = uniform_batch(stream(seed, "figure 6", "mnist"), images.labels, batch_size)
    by_class = indices[np.argsort(images.labels[indices], kind="stable")]
    return Step(models.fcn3, images.subset(by_class), seed, device)


def cifar_step(images: ImageSet, batch_size: int, classes: int, seed: int, device: str) -> Step:
    """ResNet-18 on a batch of Figure 6."""
    rng = stream(seed, "figure 6", "cifar100")
    indices = figure_6_batch(rng, images.labels, batch_size, classes)
    return Step(models.resnet18, images.subset(indices), seed, device)


def other_step(step: Step, images: ImageSet) -> Step:
    """A batch of half as many images and classes, and a network, of their own: to choose settings on."""
    half, classes = max(1, len(step.labels) // 2), len(set(step.labels.tolist()))
    return cifar_step(images, half, max(1, min(half, classes) // 2), step.seed + 60, step.device)


def drawn_step(images: ImageSet, batch_size: int, seed: int, device: str) -> Step:
    """ResNet-18 on images drawn uniformly, of any of the classes."""
    indices = uniform_batch(stream(seed, "beyond figure 6", batch_size), images.labels, batch_size)
    by_class = indices[np.argsort(images.labels[indices], kind="stable")]
    return Step(models.resnet18, images.subset(by_class), seed, device)


def trained_step(images: ImageSet, batch_size: int, classes: int, steps: int, seed: int, device: str) -> Step:
    """A batch of Figure 6 for a ResNet-18 after `steps` training steps; of images that it did not see."""
    rng = stream(seed, "trained", "cifar100")
    indices = figure_6_batch(rng, images.labels, batch_size, classes)
    seen = np.setdiff1d(rng.permutation(len(images.labels))[: steps * BATCH + batch_size], indices)[: steps * BATCH]

    def train() -> dict[str, Tensor]:
        model = models.build(models.resnet18, seed).to(device)
        lesson = images.load(seen, device), torch.as_tensor(images.labels[seen], device=device)
        batch = min(BATCH, len(seen))
        (taught,) = training.train(model, *lesson, training.adamw, [steps], seed, batch, mirror=True)
        return {name: value.cpu() for name, value in taught.state_dict().items()}

    made_of = (images.source, hashlib.blake2b(seen.tobytes(), digest_size=8).hexdigest(), seed, device)
    weights = jobs.kept(f"trained resnet18 {steps}", train, *made_of, code.digest(Path(training.__file__)))
    return Step(models.resnet18, images.subset(indices), seed, device, weights)
