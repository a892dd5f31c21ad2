"""Trials: batches through networks, observed, restored and scored."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from irlg.data.datasets import ImageSet
from irlg.data.sampling import Indices, stream
from irlg.metrics import scores
from irlg.models import Classifier
from irlg.observation import Observation
from irlg.restoration import restore

METHODS = ("irlg", "uniform")


@dataclass(frozen=True)
class Batch:
    """The images that one trial of one row draws: `indices` (K,) into the image set."""

    row: str
    trial: int
    indices: Indices


@torch.inference_mode()
def eval_features(model: Classifier, images: ImageSet, indices: Indices, device: str, chunk: int = 64) -> Tensor:
    """Trunk features (N, f) of images (N,), each seen once: in eval mode no image sees another.

    `chunk` images at a time: 64 photographs take 0.8 GB an activation in VGG-16's first layers.
    """
    model.eval()
    chunks = np.array_split(indices, max(1, -(-len(indices) // chunk)))
    return torch.cat([model.features(images.load(part, device)) for part in chunks])


@torch.inference_mode()
def eval_trials(
    variants: Mapping[str, Classifier], images: ImageSet, batches: Sequence[Batch], device: str
) -> pd.DataFrame:
    """Trials in eval mode. Every image is embedded once, however many batches hold it.

    **Arguments:** `variants`, networks by name, all with the first one's trunk; they are given the
    same batches. **Returns:** one row a variant, batch and method (see `score`).
    """
    needed = np.unique(np.concatenate([batch.indices for batch in batches]))
    features = eval_features(_shared_trunk(variants), images, needed, device)
    rows = []
    for name, model in variants.items():
        embeddings = model.eval().hidden(features)
        for batch in batches:
            inside = torch.as_tensor(np.searchsorted(needed, batch.indices), device=device)
            rows += score(name, "eval", batch, embeddings[inside], images, model)
    return pd.DataFrame(rows)


@torch.inference_mode()
def train_trials(
    variants: Mapping[str, Classifier], images: ImageSet, batches: Iterable[Batch], device: str, seed: int
) -> pd.DataFrame:
    """Trials in train mode: batch statistics in BatchNorm, dropout active.

    **Arguments:** as for `eval_trials`; `seed`, of the dropout masks. **Returns:** as `eval_trials`.
    The networks are left as they were.
    """
    # A copy, because a train-mode forward moves the running statistics. It never reads them, so
    # one copy serves all trials.
    trunk = copy.deepcopy(_shared_trunk(variants).trunk).train()
    rows = []
    for batch in batches:
        features = trunk(images.load(batch.indices, device)).flatten(1)
        for name, model in variants.items():
            with torch.random.fork_rng():
                torch.manual_seed(int(stream(seed, "dropout", batch.row, batch.trial).integers(2**62)))
                embeddings = model.hidden.train()(features)
            model.hidden.eval()
            rows += score(name, "train", batch, embeddings, images, model)
    return pd.DataFrame(rows)


def score(
    variant: str, mode: str, batch: Batch, embeddings: Tensor, images: ImageSet, model: Classifier
) -> list[dict[str, object]]:
    """Restore one batch with each method and score it: one dictionary a method.

    **Arguments:** `embeddings` (K, m) of the batch's images, in the order of `batch.indices`.
    """
    labels = images.labels[batch.indices]
    true = np.bincount(labels, minlength=images.num_classes)
    targets = torch.as_tensor(labels, device=embeddings.device)
    observation = Observation.from_embeddings(embeddings, targets, model.head)
    about = {"row": batch.row, "variant": variant, "mode": mode, "trial": batch.trial}
    return [about | {"method": m} | scores(restore(observation, m).counts, true) for m in METHODS]


def _shared_trunk(variants: Mapping[str, Classifier]) -> Classifier:
    first, *others = variants.values()
    for other in others:
        if other.trunk is not first.trunk:
            raise ValueError("variants: expected networks that share one trunk, got different ones")
    return first
