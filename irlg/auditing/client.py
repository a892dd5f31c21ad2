"""A client of an audit: what it sends of a batch, and the embeddings that nobody is to know."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from irlg import heads
from irlg.auditing.defence import Defence
from irlg.defences import Gradients
from irlg.observation import Observation


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a client before its defence: the observation of its `clean` gradients, as in `gradients`.

    These are ∇W (C, m) and ∇b (C,), ∇b also of a head without a bias. `embeddings` (K, m) went into the head.
    """

    clean: Observation
    gradients: Gradients
    embeddings: Tensor


def observed(model: nn.Module, images: Tensor, labels: Tensor, defence: Defence) -> Step:
    """The step on a batch under the defence's loss. **Raises:** what `Observation.from_batch` raises."""
    smoothing = defence.label_smoothing
    seen = heads.run(model, images, labels, None, smoothing, None, heads.IGNORED, None)
    weight, bias = seen.gradients
    told = None if seen.bias is None else bias
    clean = Observation(weight, told, seen.weight, seen.bias, len(labels), label_smoothing=smoothing)
    return Step(clean, seen.gradients, seen.embeddings)


def sent(step: Step, defence: Defence, rng: np.random.Generator) -> Gradients:
    """What the defence makes of copies of the step's gradients.

    **Raises:** `ValueError` for anything but two tensors of their shapes; and what the defence itself raises.
    """
    weight, bias = step.gradients
    made: Any = defence.send((weight.clone(), bias.clone()), rng)
    shapes = [_what(part) for part in made] if isinstance(made, tuple | list) else [_what(made)]
    if not isinstance(made, tuple | list) or shapes != [_what(weight), _what(bias)]:
        wanted = f"∇W {tuple(weight.shape)} and ∇b {tuple(bias.shape)} as tensors of floats"
        raise ValueError(f"defence: expected {wanted}, got {' and '.join(shapes) or 'nothing'}")
    return made[0].detach().to(weight.device), made[1].detach().to(bias.device)


def _what(value: Any) -> str:
    if not isinstance(value, Tensor):
        return "nothing" if value is None else type(value).__name__
    return f"{'' if value.is_floating_point() else f'{value.dtype} '}{tuple(value.shape)}"


def received(step: Step, gradients: Gradients, divisor: Literal["unknown"] | None) -> Observation:
    """What the server sees where `gradients` are sent, if it takes them to be a mean's, or their scale to be unknown.

    **Raises:** `ValueError` where they can be none of the loss.
    """
    measured: Any = None  # its noise, by the server
    bias = None if step.clean.bias is None else gradients[1]
    return replace(step.clean, grad_weight=gradients[0], grad_bias=bias, noise=measured, divisor=divisor)


def changed(step: Step, gradients: Gradients) -> float:
    """How far `gradients` are from those of the step, as a share of their norm."""
    pairs = list(zip(gradients, step.gradients, strict=True))[: 1 if step.clean.bias is None else 2]
    change = math.hypot(*(float((now.double() - before.double()).norm()) for now, before in pairs))
    whole = math.hypot(*(float(before.double().norm()) for _, before in pairs))
    return change / whole if whole else 0.0
