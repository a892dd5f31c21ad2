"""An audit: random batches of a client, restored by a server, and compared with what they were."""

import math
from time import monotonic
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from irlg import checks
from irlg.auditing.client import Step, changed, observed, received, sent
from irlg.auditing.defence import Defence, Send, defence
from irlg.auditing.result import Audit, Batch
from irlg.data.sampling import stream, uniform_batch
from irlg.defences import Gradients
from irlg.instances import Instances
from irlg.restoration.lattice.instances import can_be_told
from irlg.restoration.lattice.method import SURE
from irlg.restoration.lattice.result import LatticeRestoration
from irlg.restoration.registry import restore

TRIALS, SEARCH_SECONDS = 20, 10.0
WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
SCALES: tuple[Literal["unknown"] | None, ...] = (None, "unknown")  # of what is sent, as the server tries them


class Images(Protocol):
    """Images that may lie elsewhere: N of them, of which an index tensor (K,) takes a tensor (K, ...)."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Tensor, /) -> Tensor: ...


def audit(
    model: nn.Module,
    images: Tensor | NDArray[Any] | Images,
    labels: Tensor | ArrayLike,
    *,
    batch_size: int | None = None,
    defence: str | Send | None = None,
    trials: int = TRIALS,
    seed: int = 0,
    search_seconds: float = SEARCH_SECONDS,
) -> Audit:
    """What a server would learn from the last layer's gradient of batches of these images: print it.

    Each batch is the client's step on different images, drawn at random. The server knows the model, the batch size
    and the loss; it has the gradients after the defence, and restores them by `irlg.restore(..., search="always")`. It
    infers their scale where they are too large for the loss, and where a function was given and it is not sure of its
    counts; that takes a second a batch, and up to a minute with 1,000 classes. The network mode is the caller's, and so
    is torch's random state, which a network in train mode may draw from. The model is left as it was.

    **Arguments:** `model` returns logits (K, C), as `Observation.from_batch` takes them; `images` (N, ...), whatever it
    takes, a tensor, an array or what gives a tensor for indices; `labels` (N,), class indices, a tensor, an array or a
    list. By keyword: `batch_size` K, from 1 to N, or `None`: all images are one batch; `defence`: `"noise:STD"`,
    `"top-k:SHARE"`, `"label-smoothing:SHARE"`, `"sign"`, `"int8"`, `"float8"`, `"bfloat16"` (of tensor entries, see
    `irlg.defences`), or a function of (∇W (C, m), ∇b (C,)) and a NumPy generator that returns what is sent in their
    place; `trials`, the number of batches, 1 where all images are one; `seed` of batches and noise, at least 0;
    `search_seconds`, what a server spends at most on the search for the instances of a batch, `math.inf` without a
    limit.

    **Raises:** `ValueError` naming the argument that does not fit, what was expected and what came; and what the model
    or the function itself raises.
    """
    checks.check_model(model)
    images = _as_images(images)
    labels = checks.as_labels(labels, len(images))
    size, trials, told, search_seconds = _checked(images, labels, batch_size, trials, defence, search_seconds)
    seed = checks.as_whole("seed", seed, 0)
    labels = labels.long()
    batches, searched = [], True
    for trial in range(trials):
        indices = torch.arange(size)
        if batch_size is not None:
            rng = stream(seed, "audit", size, trial)
            indices = torch.as_tensor(uniform_batch(rng, labels.cpu().numpy(), size))
        truth = labels[indices.to(labels.device)]
        drawn = images[indices]
        if not isinstance(drawn, Tensor):
            raise ValueError(f"images: expected a tensor for the indices of a batch, got {type(drawn).__name__}")
        step = observed(model, drawn, truth, told)
        if int(labels.max()) >= step.clean.num_classes:  # in another batch
            last = step.clean.num_classes - 1
            raise ValueError(f"labels: expected indices from 0 to {last}, got some up to {int(labels.max())}")
        searched = can_be_told(step.clean)
        batches.append(_batch(step, truth, told, stream(seed, "audit, sent", size, trial), search_seconds))
    mode = "train" if model.training else "eval"
    return Audit(tuple(batches), size, told.words, mode, searched, search_seconds)


def _as_images(given: Any) -> Tensor | Images:
    """What images are taken from, an array as a tensor."""
    wanted = "images: expected a tensor, an array of numbers, or what has a length and gives a tensor for indices"
    if isinstance(given, np.ndarray):
        try:
            return torch.as_tensor(np.require(given, requirements=["C", "W"]))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{wanted}, got an array of {given.dtype} ({error})") from error
    indexed = hasattr(given, "__len__") and hasattr(given, "__getitem__")
    if not indexed or isinstance(given, str | list | tuple | dict):  # of which a tensor takes none
        raise ValueError(f"{wanted}, got {type(given).__name__}")
    return given


def _checked(
    images: Tensor | Images,
    labels: Tensor,
    batch_size: int | None,
    trials: int,
    given: str | Send | None,
    search_seconds: float,
) -> tuple[int, int, Defence, float]:
    """K, the number of batches, the defence and the seconds."""
    if labels.shape != (len(images),) or labels.dtype not in WHOLE:
        got = f"shape {tuple(labels.shape)}, {labels.dtype}"
        raise ValueError(f"labels: expected {len(images)} class indices, one an image, got {got}")
    if len(labels) == 0 or bool((labels < 0).any()):
        raise ValueError(f"labels: expected at least one, and none below 0, got {labels.tolist()[:5]} …")
    trials = checks.as_whole("trials", trials, 1)
    if search_seconds != math.inf:
        search_seconds = checks.as_number("search_seconds", search_seconds, 0)
    size = checks.as_batch_size(batch_size)
    if size is not None and size > len(labels):
        raise ValueError(f"batch_size: expected at most the {len(labels)} images there, got {size}")
    return *((len(labels), 1) if size is None else (size, trials)), defence(given), search_seconds


def _batch(step: Step, labels: Tensor, told: Defence, rng: np.random.Generator, search_seconds: float) -> Batch:
    clean = step.clean
    true = torch.bincount(labels, minlength=clean.num_classes).cpu()
    guessed = _guess(clean.num_classes, clean.size, rng)
    errors = torch.full((clean.size,), math.inf, dtype=torch.float64)
    came = sent(step, told, rng)
    change = changed(step, came)
    try:
        restored, rescaled = _restored(step, came, told, search_seconds)
    except ValueError as error:  # the server cannot read what came
        return Batch(true, guessed, guessed, 0.0, errors, change, str(error))
    if restored.instances is not None:
        errors = _errors(restored.instances, step.embeddings, labels)
    probability = math.exp(restored.log_probability)
    return Batch(true, restored.counts.cpu(), guessed, probability, errors, change, rescaled=rescaled)


def _restored(step: Step, came: Gradients, told: Defence, search_seconds: float) -> tuple[LatticeRestoration, bool]:
    """What the server takes `came` for, and whether it inferred their scale; in at most these seconds of search.

    It does where they can be none of the loss's at their own, and where it is not sure of a defence that it does not
    know. **Raises:** `ValueError` where they can be none at any scale, with what is wrong at their own.
    """
    deadline = monotonic() + search_seconds
    nonnegative = bool((step.embeddings >= 0).all())  # as a server sees it of images of its own
    answers: list[tuple[LatticeRestoration, bool]] = []
    refusals: list[ValueError] = []
    for divisor in SCALES:
        try:
            seen, left = received(step, came, divisor), max(0.0, deadline - monotonic())
            restored = restore(seen, nonnegative=nonnegative, search="always", search_seconds=left)
            answers.append((restored, divisor is not None))
        except ValueError as error:
            refusals.append(error)
        content = bool(answers) and (not told.own or math.exp(answers[0][0].log_probability) > SURE)
        if content or step.clean.bias is None:  # without a bias, scales are all tried as it is
            break
    if not answers:
        raise refusals[0]
    return max(answers, key=lambda answer: answer[0].log_probability)


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
