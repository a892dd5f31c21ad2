"""A client of an audit: what it sends of a batch, and the embeddings that nobody is to know."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from irlg import heads
from irlg.auditing.defence import Defence
from irlg.observation import Observation


def observed(
    model: nn.Module, images: Tensor, labels: Tensor, defence: Defence
) -> tuple[Observation, tuple[Tensor, Tensor], Tensor]:
    """One step of a client before the defence.

    **Returns:** the observation of its clean gradients; these gradients, ∇W (C, m) and ∇b (C,), ∇b also of a head
    without a bias; the embeddings (K, m). **Raises:** what `Observation.from_batch` raises.
    """
    smoothing = defence.label_smoothing
    with _vectors_into_layers(model) as watched:
        seen = heads.run(model, images, labels, None, smoothing, None, heads.IGNORED, None)
    embeddings = next(given for weight, given in reversed(watched) if torch.equal(weight, seen.weight))
    bare = seen.bias is None
    clean = Observation(
        seen.gradients[0],
        None if bare else seen.gradients[1],
        seen.weight,
        seen.bias,
        len(seen.labels),
        label_smoothing=smoothing,
    )
    return clean, seen.gradients, embeddings


def sent(
    clean: Observation, gradients: tuple[Tensor, Tensor], defence: Defence, rng: np.random.Generator
) -> tuple[Observation, float]:
    """What the server sees after the defence, and how large a share of the gradients' norm that changes.

    **Raises:** `ValueError` where what is sent can be no gradient of the loss.
    """
    weight, bias = defence.send(gradients, rng)
    pairs = ((weight, gradients[0]), (bias, gradients[1]))[: 1 if clean.bias is None else 2]
    change = sum(float((now - before).double().square().sum()) for now, before in pairs)
    whole = sum(float(before.double().square().sum()) for _, before in pairs)
    seen = Observation(
        weight,
        None if clean.bias is None else bias,
        clean.weight,
        clean.bias,
        clean.batch_size,
        label_smoothing=clean.label_smoothing,
    )
    return seen, (change / whole) ** 0.5 if whole else 0.0


@contextmanager
def _vectors_into_layers(model: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """The weight (C, m) and the input (K, m) of each use of a layer that may be the head."""
    watched: list[tuple[Tensor, Tensor]] = []

    def watch(module: Any, inputs: Any, named: dict[str, Any]) -> None:
        given = (inputs[0] if inputs else named["input"]).detach()
        weight = module.weight.detach().flatten(1)
        if given[0].numel() == weight.shape[1]:
            watched.append((weight.clone(), given.flatten(1)))

    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                hook = module.register_forward_pre_hook(watch, with_kwargs=True)
                hooks.callback(hook.remove)
        yield watched
