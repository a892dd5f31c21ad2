"""Appendix D as trials: one client's step, attacked with and without the restored labels, and scored."""

import pickle
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from irlg import models
from irlg.data.datasets import ImageSet
from irlg.data.sampling import Indices, stream, uniform_batch
from irlg.gradients import batch_gradient
from irlg.inversion import InversionConfig, Progress, invert, matching
from irlg.models import Classifier
from irlg.observation import Observation
from irlg.restoration import restore
from irlg.restoration.rounding import largest_remainder

METHODS = {"restored": "irlg", "lattice": "lattice"}  # of irlg.restore, by treatment
PROCESSES = 8  # at most, for the memory they take: 1.3 GB each for ResNet-18
REPORTS = 64  # of an attack, at most, beside that of its start


@dataclass(frozen=True)
class Attack:
    """A row of the tables: which labels the attack is given, its settings, and both network modes.

    `labels`: `"joint-shared"`, `"joint"` (see `irlg.invert`), `"restored"`, `"lattice"` (the counts of
    `irlg.restore`, by Algorithm 1 or by method `"lattice"`, sorted by class) or `"true"` (the batch's
    own, sorted by class); `client`, `attacker`: `"eval"` or `"train"`, the mode in which the gradient
    was computed and the one in which the attack evaluates the network.
    """

    name: str
    labels: str
    config: InversionConfig
    client: str = "eval"
    attacker: str = "eval"


def published(dataset: str, steps: int) -> InversionConfig:
    """The paper's settings for `"MNIST"` (main text) and `"CIFAR-100"` (Figure 6), in `steps` iterations."""
    tv_weight = {"MNIST": 1e-4, "CIFAR-100": 8e-3}[dataset]
    return InversionConfig(steps=steps, tv_weight=tv_weight, interval=-(-steps // REPORTS))


def tuned(dataset: str, steps: int) -> InversionConfig:
    """What did better on other batches: MNIST in a quarter of the iterations, CIFAR-100 in the same."""
    config = replace(published(dataset, steps), schedule="cosine")
    if dataset == "MNIST":
        quarter = -(-steps // 4)
        return replace(config, steps=quarter, interval=-(-quarter // REPORTS), span=True, last_weight=4.0)
    return replace(config, learning_rate=3.0, tv_weight=2e-2)


def attacks(dataset: str, steps: int) -> list[Attack]:
    """The four label treatments under the same settings, the tuned settings, and what is of interest
    for one network: `"lattice"` labels on MNIST, where Algorithm 1 errs; both train modes on CIFAR-100.
    """
    config = published(dataset, steps)
    rows = [Attack(labels, labels, config) for labels in ("joint-shared", "joint", "restored", "true")]
    rows.append(Attack("tuned", "restored", tuned(dataset, steps)))
    if dataset == "MNIST":
        rows.append(Attack("tuned, lattice labels", "lattice", tuned(dataset, steps)))
    else:
        rows.append(Attack("train mode, unaware", "restored", config, "train", "eval"))
        rows.append(Attack("train mode, aware", "restored", config, "train", "train"))
    return rows


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
    """One client's step: a network and a batch, `images`, sorted by class."""

    network: Callable[..., Classifier]
    images: ImageSet
    seed: int
    device: str

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
        return models.build(self.network, self.seed).to(self.device).train(mode == "train")

    def gradient(self, mode: str) -> tuple[Tensor, ...]:
        """What the client sends."""
        return batch_gradient(self.model(mode), self.images.load(self._all, self.device), self.labels)

    def restored(self, mode: str, method: str) -> Tensor:
        """(K,) class indices, sorted: the counts that `irlg.restore` finds in that gradient.

        Where these don't sum to K, they are the solution's, before rounding, by largest remainder.
        """
        images = self.images.load(self._all, self.device)
        found = restore(Observation.from_batch(self.model(mode), images, self.labels), method)
        counts, size = found.counts, len(self.labels)
        if int(counts.sum()) != size:
            counts = largest_remainder(found.raw_counts, torch.zeros_like(counts), size)
        return torch.repeat_interleave(torch.arange(len(counts), device=self.device), counts)

    @property
    def _all(self) -> Indices:
        return np.arange(len(self.images.labels))


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


@dataclass(eq=False)
class Outcome:
    """An attack's result: `images` (K, channels, height, width) in the originals' order.

    `scores`: a row an original; `trace`: objective and mean matched PSNR at each report;
    `snapshots`: images at a few iterations, in the order of `images`; `exact`: whether the labels
    given were the true ones; `seconds` of the attack, which may not have had the machine for itself.
    """

    images: Tensor
    scores: pd.DataFrame
    exact: bool
    seconds: float
    trace: list[dict[str, float]] = field(default_factory=list)
    snapshots: dict[int, Tensor] = field(default_factory=dict)


def attack_step(attack: Attack, step: Step) -> Outcome:
    """Run one attack on one step, and score what it reconstructs against the originals.

    Every attack on a step starts from the same images, those of the step's seed.
    """
    originals = step.originals
    labels: Tensor | str = attack.labels
    if attack.labels in METHODS:
        labels = step.restored(attack.client, METHODS[attack.labels])
    elif attack.labels == "true":
        labels = step.labels
    config = replace(attack.config, seed=step.seed)
    shown = {0, *(power * config.interval for power in (1, 4, 16)), config.steps}
    trace: list[dict[str, float]] = []
    snapshots: dict[int, Tensor] = {}

    def watch(progress: Progress) -> None:
        images = progress.images.cpu()
        psnr = matching.scores(images[matching.match(images, originals)], originals.cpu()).psnr.mean()
        trace.append({"iteration": progress.iteration, "objective": progress.objective, "psnr": psnr})
        if progress.iteration in shown:
            snapshots[progress.iteration] = images

    model, gradient = step.model(attack.attacker), step.gradient(attack.client)
    start = time.perf_counter()
    found = invert(
        model,
        gradient,
        labels,
        (originals.shape[0], *originals.shape[1:]),
        config,
        mean=step.images.mean,
        std=step.images.std,
        progress=watch,
    )
    seconds = time.perf_counter() - start
    order = matching.match(found.images, originals)
    images = found.images[order].cpu()
    exact = isinstance(labels, Tensor) and torch.equal(labels, step.labels)
    scores = matching.scores(images, originals.cpu()).assign(lpips=matching.lpips(images, originals))
    return Outcome(images, scores, exact, seconds, trace, {i: s[order] for i, s in snapshots.items()})


def _pickled(attack: Attack, step: Step) -> bytes:
    """`attack_step` by value: left to itself, torch hands tensors over in shared memory, which is scarce."""
    return pickle.dumps(attack_step(attack, step))


def run(steps: Sequence[Step], rows: Sequence[Attack]) -> dict[int, dict[str, Outcome]]:
    """Every attack on every step: outcomes by the step's seed and the attack's name.

    On a CPU attacks run side by side, in processes that share torch's threads: one makes poor use of
    several. They are spawned, so a script that calls this needs its `if __name__ == "__main__":`.
    """
    tasks = [(attack, step) for step in steps for attack in rows]
    threads = torch.get_num_threads() if all(step.device == "cpu" for step in steps) else 1
    workers = min(threads, len(tasks), PROCESSES)
    if workers <= 1:
        found = [attack_step(*task) for task in tasks]
    else:
        # Not by fork, which OpenMP's threads don't survive.
        with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (threads // workers,)) as pool:
            found = [pickle.loads(outcome) for outcome in pool.map(_pickled, *zip(*tasks, strict=True))]
    outcomes: dict[int, dict[str, Outcome]] = {step.seed: {} for step in steps}
    for (attack, step), outcome in zip(tasks, found, strict=True):
        outcomes[step.seed][attack.name] = outcome
    return outcomes
