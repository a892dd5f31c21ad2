"""A client's update, read for the gradient of its last layer: the weights before and after steps of SGD."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from irlg.checks import as_number, as_whole
from irlg.stateless import unwrapped_name

State = nn.Module | Mapping[str, Any]

# Share of the entries above a tenth of the largest that are as large but for 2 %, from which on they are mere signs.
SIGNS = 0.9


@dataclass(frozen=True, eq=False)
class Update:
    """A last layer's mean gradient over a client's steps, `grad_weight` (C, m) and `grad_bias` (C,), float64, and its
    mean `weight` and `bias` at their starts; both biases `None` for a head without one.
    """

    grad_weight: Tensor
    grad_bias: Tensor | None
    weight: Tensor
    bias: Tensor | None


def read(
    before: State,
    after: State,
    learning_rate: float,
    weight_decay: float,
    momentum: float,
    nesterov: bool,
    local_steps: int,
    head: str | None,
    optimizer: str,
) -> Update:
    """Solve steps of SGD for their mean gradient (see `Observation.from_update`)."""
    _check_optimizer(optimizer)
    rate = as_number("learning_rate", learning_rate, math.ulp(0.0))
    decay, momentum = as_number("weight_decay", weight_decay, 0.0), as_number("momentum", momentum, 0.0)
    steps = as_whole("local_steps", local_steps, 1)
    if not isinstance(nesterov, bool) or (nesterov and momentum == 0):
        raise ValueError(f"nesterov: expected False, or True with a momentum above 0, got {nesterov!r}")
    if momentum and steps > 1:
        raise ValueError(
            f"momentum: expected 0 over {steps} local steps, got {momentum}; with it early gradients are in the"
            " update more often than late ones"
        )
    # PyTorch's first step takes the gradient itself for the momentum's buffer, without dampening.
    distance = rate * steps * (1 + momentum if nesterov else 1)
    # Steps start from `before`, and none from `after`: this is how far between the two they start in the mean.
    share = (steps - 1) / (2 * steps)

    old, new, name = _layers(before, after, head)
    moved = {key: new[key].to(start.device).double() - start.double() for key, start in old.items()}
    if not any(bool(change.any()) for change in moved.values()):
        hint = "" if head is not None else "; it is the layer registered last, and head= names another"
        raise ValueError(f"after: expected other weights of {name!r} than before, got the same{hint}")
    layer = {key: start.double() + share * moved[key] if share else start for key, start in old.items()}
    gradients = {key: -change / distance - decay * layer[key].double() for key, change in moved.items()}
    _check_not_signs(torch.cat([gradient.flatten() for gradient in gradients.values()]))
    return Update(gradients["weight"], gradients.get("bias"), layer["weight"], layer.get("bias"))


def _layers(before: State, after: State, head: str | None) -> tuple[dict[str, Tensor], dict[str, Tensor], str]:
    """`weight` and, if it has one, `bias` of the head before and after, and its name."""
    states = {"before": _state("before", before), "after": _state("after", after)}
    if head is None:
        name = _last(states["before"], next((each for each in (before, after) if isinstance(each, nn.Module)), None))
    elif isinstance(head, str):
        name = unwrapped_name(head)
    else:
        raise ValueError(f"head: expected the dotted name of a layer, got {head!r}")
    keys = {key: f"{name}.{key}" if name else key for key in ("weight", "bias")}
    layers = {
        which: {key: _tensor(state[k]) for key, k in keys.items() if k in state} for which, state in states.items()
    }
    for which, layer in layers.items():
        if "weight" not in layer or layer["weight"].dim() != 2:
            matrices = [key for key, value in states[which].items() if len(value.shape) == 2 and _is_weight(key)]
            hint = f"; {UNREAD}" if any(key.startswith(f"{name}.") for key in states[which]) else ""
            raise ValueError(f"head: expected a layer whose weight is one of {matrices} {which}, got {name!r}{hint}")
        for key, value in layer.items():
            if not bool(torch.isfinite(value).all()):
                raise ValueError(f"{which}: expected finite numbers in {keys[key]!r}, got NaN or infinite ones")
    old, new = layers.values()
    shapes = [{keys[key]: tuple(value.shape) for key, value in layer.items()} for layer in (old, new)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"after: expected shapes as before, {shapes[0]}, got {shapes[1]}")
    return old, new, name


def _state(which: str, given: State) -> dict[str, Any]:
    """Tensors and arrays by name, without wrappers."""
    state = given.state_dict() if isinstance(given, nn.Module) else given
    if not isinstance(state, Mapping):
        raise ValueError(f"{which}: expected a model or a state dict, got {type(given).__name__}")
    return {unwrapped_name(key): value for key, value in state.items() if hasattr(value, "shape")}


def _tensor(value: Any) -> Tensor:
    # A copy, as the model goes on learning.
    return value.detach().clone() if isinstance(value, Tensor) else torch.tensor(value)


def _last(state: dict[str, Any], model: nn.Module | None) -> str:
    """The `nn.Linear` of a model that was registered last; or the layer of the last matrix, but of no embedding."""
    modules = {} if model is None else {unwrapped_name(name): module for name, module in model.named_modules()}
    if linear := [name for name, module in modules.items() if isinstance(module, nn.Linear)]:
        return linear[-1]
    tables = {f"{name}.weight" for name, module in modules.items() if isinstance(module, nn.Embedding)}
    last = next((key for key, value in reversed(state.items()) if len(value.shape) == 2 and key not in tables), None)
    if last is None or not _is_weight(last):
        raise ValueError(
            f"head: expected its name, as the last matrix before is no weight of a layer, got {last!r}; {UNREAD}"
        )
    return last.rpartition(".")[0]


def _is_weight(key: str) -> bool:
    """Whether a matrix is a layer's weight itself: those that a weight is computed from are not."""
    return key.rpartition(".")[2] == "weight"


def _check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, str):
        raise ValueError(f"optimizer: expected 'SGD', by name, got {type(optimizer).__name__}")
    if optimizer.lower() != "sgd":
        raise ValueError(f"optimizer: expected 'SGD', got {optimizer!r}; {HIDDEN}")


def _check_not_signs(entries: Tensor) -> None:
    """Those of a gradient are of all sizes; after a first step of Adam ±1, or nearly 0, and of RMSprop ±10."""
    sizes = entries.abs()
    largest = sizes.max()
    same = (sizes > 0.98 * largest).sum() / (sizes > 0.1 * largest).sum()
    if float(largest) > 0.95 and float(same) > SIGNS:
        raise ValueError(
            f"after: expected an update by SGD, got one with entries ±{float(largest):.3g} alone; {HIDDEN}"
        )


HIDDEN = (
    "the first step of Adam and its like is lr·sign(g), and has no magnitude of the gradient in it: ask the client for"
    " gradients"
)
UNREAD = (
    "the weight of a convolution, or one that is computed (weight_norm and its like), is not read from updates: ask the"
    " client for gradients, and give them to Observation"
)
