"""An audit: random batches of a client, restored by a server, and compared with what they were."""

import math
from typing import Protocol

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from irlg import checks
from irlg.auditing.client import Step, changed, observed, received
from irlg.auditing.defence import Defence, Send, defence
from irlg.auditing.result import Audit, Batch
from irlg.data.sampling import stream, uniform_batch
from irlg.instances import Instances
from irlg.restoration.lattice.instances import can_be_told
from irlg.restoration.registry import restore

TRIALS, SEARCH_SECONDS = 20, 10.0


class Images(Protocol):
    """Images that may lie elsewhere: N of them, of which an index tensor (K,) takes a tensor (K, ...)."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Tensor, /) -> Tensor: ...


def audit(
    model: nn.Module,
    images: Tensor | Images,
    labels: Tensor,
    *,
    batch_size: int | None = None,
    defence: str | Send | None = None,
    trials: int = TRIALS,
    seed: int = 0,
    search_seconds: float = SEARCH_SECONDS,
) -> Audit:
    """What a server would learn from the last layer's gradient of batches of these images: print it.

    Each batch is the client's step on different images, drawn at random. The server knows the model, the batch size
    and the loss; it has the gradients after the defence, and restores them by `irlg.restore(..., search="always")`.
    The network mode is the caller's, and so is torch's random state, which a network in train mode may draw from. The
    model is left as it was.

    **Arguments:** `model` returns logits (K, C), as `Observation.from_batch` takes them; `images` (N, ...), whatever it
    takes, a tensor or what gives one for indices; `labels` (N,), class indices. By keyword: `batch_size` K, from 1 to
    N, or `None`: all images are one batch; `defence`: `"noise:STD"`, `"top-k:SHARE"`, `"label-smoothing:SHARE"`,
    `"sign"`, `"int8"`, `"float8"`, `"bfloat16"` (of tensor entries, see `irlg.defences`), or a function of
    (∇W (C, m), ∇b (C,)) and a NumPy generator that returns what is sent in their place; `trials`, the number of
    batches, 1 where all images are one; `seed` of batches and noise; `search_seconds`, what a server spends at most on
    the search for the instances of a batch.

    **Raises:** `ValueError` naming the argument that does not fit, what was expected and what came; and what the model
    itself raises.
    """
    size, trials, told = _checked(images, labels, batch_size, trials, defence, search_seconds)
    batches, searched = [], True
    for trial in range(trials):
        indices = torch.arange(size)
        if batch_size is not None:
            rng = stream(seed, "audit", size, trial)
            indices = torch.as_tensor(uniform_batch(rng, labels.cpu().numpy(), size))
        truth = labels[indices.to(labels.device)]
        step = observed(model, images[indices], truth, told)
        if int(labels.max()) >= step.clean.num_classes:
            last = step.clean.num_classes - 1
            raise ValueError(f"labels: expected indices from 0 to {last}, got some up to {int(labels.max())}")
        searched = can_be_told(step.clean)
        batches.append(_batch(step, truth, told, stream(seed, "audit, sent", size, trial), search_seconds))
    mode = "train" if model.training else "eval"
    return Audit(tuple(batches), size, told.words, mode, searched, search_seconds)


def _checked(
    images: Tensor | Images,
    labels: Tensor,
    batch_size: int | None,
    trials: int,
    given: str | Send | None,
    search_seconds: float,
) -> tuple[int, int, Defence]:
    """K, the number of batches and the defence."""
    if not isinstance(labels, Tensor) or labels.dim() != 1 or labels.is_floating_point() or len(labels) != len(images):
        got = f"shape {tuple(labels.shape)}, {labels.dtype}" if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(f"labels: expected a tensor of {len(images)} class indices, one an image, got {got}")
    if len(labels) == 0 or bool((labels < 0).any()):
        raise ValueError(f"labels: expected at least one, and none below 0, got {labels.tolist()[:5]} …")
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise ValueError(f"trials: expected a whole number of at least 1, got {trials!r}")
    checks.as_number("search_seconds", search_seconds, 0)
    size = checks.as_batch_size(batch_size)
    if size is not None and size > len(labels):
        raise ValueError(f"batch_size: expected at most the {len(labels)} images there, got {size}")
    return (len(labels), 1, defence(given)) if size is None else (size, trials, defence(given))


def _batch(step: Step, labels: Tensor, told: Defence, rng: np.random.Generator, search_seconds: float) -> Batch:
    clean = step.clean
    true = torch.bincount(labels, minlength=clean.num_classes).cpu()
    guessed = _guess(clean.num_classes, clean.size, rng)
    errors = torch.full((clean.size,), math.inf, dtype=torch.float64)
    sent = told.send(step.gradients, rng)
    change = changed(step, sent)
    try:
        restored = restore(received(step, sent), search="always", search_seconds=search_seconds)
    except ValueError as error:  # the server cannot read what came
        return Batch(true, guessed, guessed, 0.0, errors, change, str(error))
    if restored.instances is not None:
        errors = _errors(restored.instances, step.embeddings, labels)
    probability = math.exp(restored.log_probability)
    return Batch(true, restored.counts.cpu(), guessed, probability, errors, change)


def _guess(classes: int, size: int, rng: np.random.Generator) -> Tensor:
    """Counts (C,) that need no gradient: K/C of each class, and of the rest one of each of random classes."""
    counts = np.full(classes, size // classes)
    counts[rng.permutation(classes)[: size % classes]] += 1
    return torch.as_tensor(counts)


def _errors(found: Instances, embeddings: Tensor, labels: Tensor) -> Tensor:
    """How far from each image's embedding (K, m) one of those found with its label is, as a share of its norm (K,).

    Each is one image's, such that the sum is least. It is infinite where the label was not found so often.
    """
    distances = torch.cdist(embeddings.double(), found.embeddings)
    distances = (distances / embeddings.double().norm(dim=1, keepdim=True)).cpu()
    other = labels.cpu()[:, None] != found.labels.cpu()
    far = 1e9
    rows, columns = linear_sum_assignment(distances.nan_to_num(far, far, far).clamp(max=far).masked_fill(other, far))
    return torch.where(other, math.inf, distances)[rows, columns]
