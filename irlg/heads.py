"""A model's last layer: which it is, what goes through it, and the gradient of a client's loss there."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from irlg.checks import as_labels, check_finite
from irlg.losses import CrossEntropy, cross_entropy
from irlg.stateless import Stateless, ordinary, unwrapped

IGNORED = -100  # the label that `torch.nn.functional.cross_entropy` ignores by default


@dataclass(frozen=True, eq=False)
class Seen:
    """One step of a client: `gradients` of the head's `weight` (C, m) and `bias` (C,), which may be `None`.

    They are of `loss` over `labels`, none ignored. `embeddings` (K, m) went into the head.
    """

    gradients: tuple[Tensor, Tensor]
    weight: Tensor
    bias: Tensor | None
    embeddings: Tensor
    labels: Tensor
    loss: CrossEntropy


@dataclass(frozen=True, eq=False)
class _Call:
    """A use of a layer on vectors: `embeddings` (K, m), `weight` (C, m), `bias` and the `logits` (K, C)."""

    name: str
    embeddings: Tensor
    weight: Tensor
    bias: Tensor | None
    logits: Tensor

    def is_linear(self) -> bool:
        """Whether the logits are those of a linear layer, and not of one that only calls itself so (a cosine head)."""
        inputs, weight = self.embeddings.double(), self.weight.double()
        bias = torch.zeros_like(weight[:, 0]) if self.bias is None else self.bias.double()
        scale = inputs.abs() @ weight.abs().T + bias.abs()
        # No more than bfloat16's rounding of all that is summed: other layers are off by about the sum itself.
        error = (self.logits.detach().double() - inputs @ weight.T - bias).abs()
        return bool((error <= scale * 2 * torch.finfo(torch.bfloat16).eps).all())


@dataclass(frozen=True, eq=False)
class _Watched:
    """What was seen of the layers that may be the head: `calls` on vectors, and the last use at several positions."""

    calls: list[_Call] = field(default_factory=list)
    elsewhere: dict[str, tuple[int, ...]] = field(default_factory=dict)


def run(
    model: nn.Module,
    images: Tensor,
    labels: Any,
    head: str | nn.Module | None,
    label_smoothing: float,
    class_weight: Tensor | None,
    ignore_index: int,
    divisor: float | None,
) -> Seen:
    """Run the batch through the model, and the loss back to its head (see `Observation.from_batch`)."""
    stateless = Stateless(model)
    layers = _candidates(stateless, head)
    with stateless.running(), _watch(stateless.model, layers) as watched:
        # Nothing to differentiate below the head. What is computed of parameters is computed once, and so is as seen.
        with torch.no_grad(), parametrize.cached():
            output = stateless.logits(images)
            check_finite("logits", output)
        loss = cross_entropy(label_smoothing, class_weight, output.shape[1], output.device)
        labels = ordinary(check_labels(labels, len(images), output.shape[1], images.device, ignore_index))
        value = nn.functional.cross_entropy(
            output,
            labels,
            weight=None if class_weight is None else loss.class_weight.to(output),
            ignore_index=ignore_index,
            reduction="mean" if divisor is None else "sum",
            label_smoothing=label_smoothing,
        )
        call, grad_logits = _head_of(value, watched, list(layers))
    kept = counted(labels, ignore_index)
    over = loss.mean_divisor(labels[kept]) if divisor is None else 1.0
    _check_grad_logits(call, grad_logits, labels, kept, loss, over)
    grad_logits = grad_logits if divisor is None else grad_logits / divisor
    with torch.no_grad():
        gradients = grad_logits.T @ call.embeddings, grad_logits.sum(dim=0)
    return Seen(gradients, call.weight, call.bias, call.embeddings[kept], labels[kept], loss)


def _candidates(stateless: Stateless, head: str | nn.Module | None) -> dict[str, nn.Module]:
    """The layers that may be the head, by name: all that are linear, or the one that is asked for."""
    layers = {name: m for name, m in stateless.model.named_modules() if _is_linear(m)}
    if not layers:
        raise ValueError("model: expected at least one nn.Linear layer or convolution of size 1, got none")
    if head is None:
        return layers
    wanted: Any = head
    if isinstance(head, str):
        modules = dict(stateless.model.named_modules(remove_duplicate=False))
        wanted = modules.get(head.removeprefix(stateless.prefix), head)
    if isinstance(wanted, nn.Module):
        wanted, _ = unwrapped(wanted)
    found = {name: module for name, module in layers.items() if module is wanted}
    if not found:
        raise ValueError(f"head: expected one of the nn.Linear layers {list(layers)}, got {head!r}")
    return found


def _is_linear(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


@contextmanager
def _watch(model: nn.Module, layers: dict[str, nn.Module]) -> Iterator[_Watched]:
    """Note what goes through these layers, and let gradients come back to each, but to none through another."""
    watched = _Watched()
    names = {module: name for name, module in layers.items()}

    def below(module: nn.Module, inputs: Any) -> None:
        torch.set_grad_enabled(False)

    def watch(module: Any, inputs: Any, named: dict[str, Any], output: Tensor) -> Tensor | None:
        given = inputs[0] if inputs else named["input"]
        if given.dim() not in (2, 4) or given[0].numel() != given.shape[1] or output[0].numel() != output.shape[1]:
            watched.elsewhere[names[module]] = tuple(output.shape)
            return None
        logits = output.detach().flatten(1).requires_grad_()
        # The weight is taken here, where weight normalisation and its like have just computed it.
        weight = module.weight.detach().clone().flatten(1)
        bias = None if module.bias is None else module.bias.detach().clone()
        watched.calls.append(_Call(names[module], given.detach().flatten(1), weight, bias, logits))
        torch.set_grad_enabled(True)
        return logits.clone().view_as(output)  # a clone, for what follows may write into it

    with ExitStack() as hooks:
        for module in model.modules():
            if module in names:  # before the user's hooks, which may make other logits of them
                hook = module.register_forward_hook(watch, with_kwargs=True, prepend=True)
                hooks.callback(hook.remove)
            if module._parameters:  # what has parameters does not come between a head and the logits
                hooks.callback(module.register_forward_pre_hook(below).remove)
        yield watched


def _head_of(value: Tensor, watched: _Watched, names: list[str]) -> tuple[_Call, Tensor]:
    """The use of a layer, the only one, to which the gradient of the loss comes back, and the gradient there."""
    calls = watched.calls
    gradients: Any = [None] * len(calls)
    if value.requires_grad:
        gradients = torch.autograd.grad(value, [call.logits for call in calls], allow_unused=True)
    came = [(call, gradient) for call, gradient in zip(calls, gradients, strict=True) if gradient is not None]
    if len(came) == 1:
        return came[0]
    if not came and watched.elsewhere:
        name, shape = list(watched.elsewhere.items())[-1]
        raise ValueError(
            f"head: expected a layer that is used once for each image, got {name!r}, used at each of several positions"
            f" (its output has the shape {shape}); the gradient is not that of one linear layer, and is not supported"
        )
    raise _no_head(calls[-1].name if calls else names[-1])


def _check_grad_logits(
    call: _Call, grad_logits: Tensor, labels: Tensor, kept: Tensor, loss: CrossEntropy, over: float
) -> None:
    """What comes back to the head must be (ω p − t) / divisor: whatever else follows it changes that."""
    logits = call.logits.detach()
    if logits.shape[1] != len(loss.class_weight):
        raise _no_head(call.name)
    targets = loss.targets(labels[kept])
    expected = torch.zeros_like(logits, dtype=torch.float64)
    expected[kept] = torch.softmax(logits[kept].double(), dim=1) * targets.sum(dim=1, keepdim=True) - targets
    tolerance = 16 * torch.finfo(logits.dtype).eps * float(loss.total.max())
    if not torch.allclose(grad_logits * over, expected.to(grad_logits), atol=tolerance):
        raise _no_head(call.name)
    if not call.is_linear():
        raise ValueError(f"head: expected a layer whose output is weight · input + bias, got {call.name!r}, another")


def _no_head(name: str) -> ValueError:
    return ValueError(f"head: expected the layer whose output is the model's output, got {name!r}, which is not")


def check_labels(labels: Any, size: int, classes: int, device: torch.device, ignore_index: int) -> Tensor:
    """Class indices (K,) int64, or soft labels (K, C) as they are. **Raises:** `ValueError` for anything else."""
    labels = as_labels(labels, size)
    if labels.shape == (size, classes) and labels.is_floating_point() and size > 0:
        if not (float(labels.min()) >= 0 and float((labels.double().sum(dim=1) - 1).abs().max()) <= 1e-3):
            raise ValueError("labels: expected soft labels of at least 0 whose rows sum to 1")
        return labels.to(device=device)
    if labels.shape != (size,) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"labels: expected {size} class indices, got {labels.dtype} of shape {tuple(labels.shape)}")
    there = labels[labels != ignore_index]
    if len(there) == 0 or int(there.min()) < 0 or int(there.max()) >= classes:
        got = f"some from {int(there.min())} to {int(there.max())}" if len(there) else "none"
        raise ValueError(f"labels: expected indices from 0 to {classes - 1}, at least one, got {got}")
    return labels.to(device=device, dtype=torch.long)


def counted(labels: Tensor, ignore_index: int) -> Tensor:
    """Which instances are not ignored, (K,) bool."""
    return labels != ignore_index if labels.dim() == 1 else torch.ones_like(labels[:, 0], dtype=torch.bool)
