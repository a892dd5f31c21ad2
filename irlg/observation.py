"""What the server sees of a client's batch: the last layer, its gradients and the batch size."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from irlg.gradients import last_layer_gradients


@dataclass(frozen=True, eq=False)
class Observation:
    """The last layer's gradients of mean cross-entropy over one batch.

    **Arguments:** `grad_weight` (C, m), `grad_bias` (C,), `weight` (C, m), `bias` (C,): torch
    tensors (on one device) or NumPy arrays of any float dtype; `batch_size`: K ≥ 1, whole, or `None`
    where it is not known.

    **Raises:** `ValueError` naming the argument that does not fit, what was expected and what came.
    The gradients are checked too: those of mean cross-entropy satisfy Σ_j ∇b_j = 0 and
    Σ_j |∇b_j| ≤ 2, within the rounding of the coarsest dtype that holds them.
    """

    grad_weight: Tensor
    grad_bias: Tensor
    weight: Tensor
    bias: Tensor
    batch_size: int | None

    def __post_init__(self) -> None:
        fields = {"grad_weight": 2, "grad_bias": 1, "weight": 2, "bias": 1}
        for name, dimensions in fields.items():
            object.__setattr__(self, name, _as_tensor(name, getattr(self, name), dimensions))
        if self.batch_size is not None:
            object.__setattr__(self, "batch_size", _as_batch_size(self.batch_size))

        classes, width = self.weight.shape
        if classes < 2 or width < 1:
            raise ValueError(f"weight: expected at least 2 classes and 1 column, got {(classes, width)}")
        expected = {"grad_weight": (classes, width), "grad_bias": (classes,), "bias": (classes,)}
        for name, shape in expected.items():
            tensor = getattr(self, name)
            if tensor.shape != shape:
                raise ValueError(f"{name}: expected shape {shape} to fit weight, got {tuple(tensor.shape)}")
            if tensor.device != self.weight.device:
                raise ValueError(f"{name}: expected device {self.weight.device}, where weight is, got {tensor.device}")
        _check_cross_entropy(self.grad_bias)

    @property
    def num_classes(self) -> int:
        """C."""
        return self.weight.shape[0]

    @property
    def size(self) -> int:
        """K. **Raises:** `ValueError` where it is not known."""
        if self.batch_size is None:
            raise ValueError("batch_size: expected a whole number of at least 1, got None; only 'lattice' infers it")
        return self.batch_size

    def of(self, batch_size: int) -> "Observation":
        """The same gradients, taken to be those of a batch of that size."""
        return replace(self, batch_size=batch_size)

    @classmethod
    def from_embeddings(cls, embeddings: Tensor, labels: Tensor, head: nn.Linear) -> "Observation":
        """The observation of a batch whose inputs to `head` are known, by the closed form.

        **Arguments:** `embeddings` (K, m), `labels` (K,) class indices, `head` with m inputs and
        C outputs. **Raises:** `ValueError` for a head without bias, and embeddings and labels that do not fit.
        """
        _check_bias(head, repr(head))
        wanted = f"shape (K, {head.in_features}) and {head.weight.dtype}"
        if not isinstance(embeddings, Tensor) or embeddings.dim() != 2 or embeddings.shape[1] != head.in_features:
            got = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
            raise ValueError(f"embeddings: expected a tensor of {wanted}, got {got}")
        if embeddings.dtype != head.weight.dtype:
            raise ValueError(f"embeddings: expected a tensor of {wanted}, got {embeddings.dtype}")
        labels = _check_labels(labels, len(embeddings), head.out_features, embeddings.device)
        weight, bias = head.weight.detach(), head.bias.detach()
        gradients = last_layer_gradients(embeddings, labels, weight, bias)
        return cls(*gradients, weight, bias, batch_size=len(embeddings))

    @classmethod
    def from_batch(
        cls, model: nn.Module, images: Tensor, labels: Tensor, head: str | nn.Linear | None = None
    ) -> "Observation":
        """One client's step: the last layer's gradients of `model` over a batch, by autograd.

        The network mode is the caller's. Parameters, `.grad` fields and buffers (BatchNorm's running
        statistics, say) are left as they were.

        **Arguments:** `images` (K, ...), whatever `model` takes; `labels` (K,) class indices;
        `head`: the last layer or its dotted name, by default the last `nn.Linear` of `model`.

        **Raises:** `ValueError` for a model without a linear layer, a head without bias, a head
        whose output is not the model's (up to log-softmax), and labels that do not fit.
        """
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        name, layer = _find_head(model, head)
        labels = _check_labels(labels, len(images), layer.out_features, images.device)
        # Clones: a train-mode forward writes its running statistics into these.
        state: dict[str, Tensor] = {k: b.detach().clone() for k, b in model.named_buffers()}
        state |= {k: p.detach() for k, p in model.named_parameters()}  # nothing to differentiate below the head
        seen: list[tuple[Tensor, Tensor, Tensor]] = []  # input, weight and output of the head

        def watch(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            logits = output.detach().clone().requires_grad_()
            # Taken here, where weight normalisation and its like have just computed it.
            seen.append((inputs[0].detach(), module.weight.detach().clone(), logits))
            return logits

        hook = layer.register_forward_hook(watch)
        try:
            with torch.inference_mode(False), torch.enable_grad():
                output = torch.func.functional_call(model, state, (images,))
                _check_output(name, seen, output, (len(images), layer.out_features))
                embeddings, weight, logits = seen[0]
                loss = nn.functional.cross_entropy(output, labels)
                grad_logits = torch.autograd.grad(loss, logits, allow_unused=True)[0]
                _check_grad_logits(name, grad_logits, logits.detach(), labels)
        finally:
            hook.remove()
        with torch.no_grad():
            gradients = grad_logits.T @ embeddings, grad_logits.sum(dim=0)
        return cls(*gradients, weight, layer.bias.detach(), batch_size=len(images))


def _as_tensor(name: str, value: Any, dimensions: int) -> Tensor:
    if isinstance(value, Tensor):
        tensor = value.detach()
    elif isinstance(value, np.ndarray):
        if value.dtype.kind != "f" or value.dtype.itemsize > 8:
            raise ValueError(f"{name}: expected a float dtype of at most 64 bits, got {value.dtype}")
        tensor = torch.tensor(np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("=")))
    else:
        raise ValueError(f"{name}: expected a torch tensor or a NumPy array, got {type(value).__name__}")
    if not tensor.is_floating_point():
        raise ValueError(f"{name}: expected a float dtype, got {tensor.dtype}")
    if tensor.dim() != dimensions:
        raise ValueError(f"{name}: expected {dimensions} dimension(s), got shape {tuple(tensor.shape)}")
    if not bool(torch.isfinite(tensor).all()):
        count = int((~torch.isfinite(tensor)).sum())
        raise ValueError(f"{name}: expected finite numbers, got {count} NaN or infinite entries")
    return tensor


def _as_batch_size(value: Any) -> int:
    boolean = isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) == torch.bool
    try:
        number = float("nan") if boolean or isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = float("nan")
    if not number.is_integer() or number < 1:
        raise ValueError(f"batch_size: expected a whole number of at least 1, got {value!r}")
    return int(number)


def _check_cross_entropy(grad_bias: Tensor) -> None:
    # The entries are averages of probabilities minus one-hot labels, so their rounding is relative
    # to 1 whatever their size: softmax rounds at 1, and half-precision storage below it.
    tolerance = 4 * torch.finfo(precision(grad_bias)).eps
    total = float(grad_bias.double().sum())
    size = float(grad_bias.double().abs().sum())
    if abs(total) > tolerance or size > 2 + tolerance:
        raise ValueError(
            "grad_bias: expected the gradient of mean cross-entropy (entries that sum to 0, absolute"
            f" values that sum to at most 2), got sums {total:.3g} and {size:.3g}"
        )


def precision(tensor: Tensor) -> torch.dtype:
    """The coarsest dtype that holds these values: what they were computed in, if cast up since."""
    coarse = (torch.bfloat16, torch.float16, torch.float32)
    return next((d for d in coarse if torch.equal(tensor.to(d).to(tensor.dtype), tensor)), tensor.dtype)


def _find_head(model: nn.Module, head: str | nn.Linear | None) -> tuple[str, nn.Linear]:
    linear = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    if not linear:
        raise ValueError("model: expected at least one nn.Linear layer, got none")
    if head is None:
        name = list(linear)[-1]
    elif isinstance(head, str):
        name = head
    else:
        name = next((n for n, m in linear.items() if m is head), repr(head))
    if name not in linear:
        raise ValueError(f"head: expected one of the nn.Linear layers {list(linear)}, got {name!r}")
    _check_bias(linear[name], name)
    return name, linear[name]


def _check_bias(head: nn.Linear, name: str) -> None:
    if head.bias is None:
        raise ValueError(f"head: expected a layer with a bias, got {name!r} without one")


def _check_output(name: str, seen: list[Any], output: Any, shape: tuple[int, int]) -> None:
    if not isinstance(output, Tensor):
        raise ValueError(
            f"model: expected a tensor of logits {shape}, got {type(output).__name__}; wrap the model in a"
            " module that returns its logits"
        )
    # One use of the head, on vectors, straight to the output.
    if len(seen) != 1 or seen[0][0].dim() != 2 or output.shape != shape:
        raise _no_head(name, shape)


def _check_grad_logits(name: str, grad_logits: Tensor | None, logits: Tensor, labels: Tensor) -> None:
    """What comes back to the head must be (p − y)/K: whatever else follows it changes that."""
    shape = (len(logits), logits.shape[1])
    expected = torch.softmax(logits.double(), dim=1)
    expected[torch.arange(len(labels), device=labels.device), labels] -= 1
    tolerance = 16 * torch.finfo(logits.dtype).eps
    if grad_logits is None or not torch.allclose(grad_logits * shape[0], expected.to(grad_logits), atol=tolerance):
        raise _no_head(name, shape)


def _no_head(name: str, shape: tuple[int, int]) -> ValueError:
    return ValueError(
        f"head: expected the layer whose output, of shape {shape}, is the model's output, got {name!r}, which is not"
    )


def _check_labels(labels: Any, size: int, classes: int, device: torch.device) -> Tensor:
    try:
        labels = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"labels: expected {size} class indices, got {labels!r}") from error
    if labels.shape != (size,) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"labels: expected {size} class indices, got {labels.dtype} of shape {tuple(labels.shape)}")
    if size == 0 or int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(f"labels: expected indices from 0 to {classes - 1}, at least one")
    return labels.to(device=device, dtype=torch.long)
