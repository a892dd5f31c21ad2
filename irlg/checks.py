"""What may be given as an observation: arrays, numbers, and a gradient that can be one of cross-entropy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from irlg.observation import Observation

HUGE = 1e100
LARGEST = 10**9  # K, beyond which float64 tells no instance by its share of the gradient
# Share of Σ|∇b| that Σ∇b may be above 0. Below 0 it may be all of it, where small entries were dropped.
ONE_SIGN = 0.8


def as_tensor(name: str, value: Any, dimensions: int) -> Tensor:
    """A tensor or an array of finite floats, as a tensor of so many dimensions."""
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
    if tensor.element_size() < 2:  # float8, of which PyTorch can do little more than cast it
        try:
            tensor = tensor.to(torch.float32)
        except (RuntimeError, NotImplementedError) as error:
            raise ValueError(f"{name}: expected a float dtype that PyTorch can cast, got {tensor.dtype}") from error
    if tensor.layout != torch.strided:
        raise ValueError(f"{name}: expected a dense tensor, got {tensor.layout}; .to_dense() makes it one")
    if tensor.dim() != dimensions:
        raise ValueError(f"{name}: expected {dimensions} dimension(s), got shape {tuple(tensor.shape)}")
    if not bool(torch.isfinite(tensor).all()):
        count = int((~torch.isfinite(tensor)).sum())
        raise ValueError(f"{name}: expected finite numbers, got {count} NaN or infinite entries")
    return tensor


def as_labels(labels: Any, size: int) -> Tensor:
    """What may be class indices or soft labels of so many instances: a tensor, of an array or a list too."""
    if isinstance(labels, np.ndarray):
        labels = np.require(labels, requirements=["C", "W"])  # the layouts that PyTorch takes, without a warning
    try:
        return torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"labels: expected {size} class indices, got {labels!r}") from error


def check_model(model: Any) -> None:
    """Refuse what is no module."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: expected a torch.nn.Module, got {type(model).__name__}")


def check_finite(what: str, output: Tensor) -> None:
    """Refuse what a model makes of images or weights that are not finite, or too large."""
    if not bool(torch.isfinite(output).all()):
        raise ValueError(
            f"model: expected {what} of finite numbers, got NaN or infinite ones; look for such in images and weights"
        )


def as_number(name: str, value: Any, least: float) -> float:
    """A number of at least `least`, and not so large that its square is none."""
    number = _float(value)
    if not least <= number < HUGE:
        wanted = "a positive number" if 0 < least < 1 else f"a number of at least {least:.0f}"
        raise ValueError(f"{name}: expected {wanted}, got {value!r}")
    return number


def as_whole(name: str, value: Any, least: int) -> int:
    """A whole number of at least `least`, of any kind."""
    number = _float(value)
    if not number.is_integer() or number < least:
        raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")
    return int(value)


def as_batch_size(value: Any) -> int | None:
    """K, a whole number, or `None` where it is not known."""
    if value is None:
        return None
    number = _float(value)
    if not number.is_integer() or not 1 <= number <= LARGEST:
        raise ValueError(f"batch_size: expected a whole number from 1 to {LARGEST}, got {value!r}")
    return int(number)


def as_divisor(value: Any, batch_size: int | None) -> float | Literal["unknown"] | None:
    """What a sum of gradients was divided by."""
    if isinstance(value, str) and value == "unknown":
        if batch_size is None:
            raise ValueError("divisor: expected a number or None where batch_size is not known, got 'unknown'")
        return "unknown"
    return as_told(value)


def as_told(divisor: Any) -> float | None:
    """A divisor that a client divides by, which knows it."""
    return None if divisor is None else as_number("divisor", divisor, math.ulp(0.0))


def _float(value: Any) -> float:
    """A number of any kind, and NaN of what is none."""
    boolean = isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) == torch.bool
    try:
        return math.nan if boolean or isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return math.nan


def check_shapes(observation: Observation) -> None:
    """Refuse tensors that do not fit each other."""
    classes, width = observation.weight.shape
    if classes < 2 or width < 1:
        raise ValueError(f"weight: expected at least 2 classes and 1 column, got {(classes, width)}")
    expected = {"grad_weight": (classes, width), "grad_bias": (classes,), "bias": (classes,)}
    for name, shape in expected.items():
        tensor = getattr(observation, name)
        if tensor is None:
            continue
        if tensor.shape != shape:
            raise ValueError(f"{name}: expected shape {shape} to fit weight, got {tuple(tensor.shape)}")
        if tensor.device != observation.weight.device:
            raise ValueError(
                f"{name}: expected device {observation.weight.device}, where weight is, got {tensor.device}"
            )


def column_noise(grad_weight: Tensor, grad_bias: Tensor | None = None) -> float:
    """Standard deviation of an entry, by the sums of columns (C,), each of which is that of C entries' noise."""
    sums = grad_weight.sum(dim=0, dtype=torch.float64)
    if grad_bias is not None:
        sums = torch.cat([sums, grad_bias.sum(dtype=torch.float64)[None]])
    return float((sums.square().mean() / len(grad_weight)).sqrt())


def check_gradient(observation: Observation) -> None:
    """Refuse a ∇b that cannot be of such a loss, whatever the noise, and say what would explain it."""
    if observation.grad_bias is None or observation.divisor == "unknown":
        return
    # The entries are averages of probabilities minus one-hot labels, so their rounding is relative
    # to 1 whatever their size: softmax rounds at 1, and half-precision storage below it.
    count, grad_bias = observation.num_classes, observation.grad_bias.double()
    noise = observation.noise * (count + 4 * count**0.5)
    limit = _largest(observation)
    rounding = 4 * torch.finfo(precision(observation.grad_bias)).eps
    tolerance = rounding * max(1.0, limit / 2 if math.isfinite(limit) else 1.0) + noise
    total, size = float(grad_bias.sum()), float(grad_bias.abs().sum())
    if size > limit + tolerance:
        factor = size / limit
        raise ValueError(
            "grad_bias: expected the gradient of mean cross-entropy (absolute values that sum to at most"
            f" {limit:.3g}, but for noise of {observation.noise:.2g} an entry), got a sum of {size:.3g}; divided by"
            f" {factor:.3g} or more it would fit: by its factor after loss scaling, mostly a power of two"
            f" ({2 ** math.ceil(math.log2(factor))} or more), by K ({observation.batch_size}) after reduction='sum' (or"
            " tell divisor=1)"
        )
    # By ∇W's noise alone, for such a ∇b is most of what is measured with it.
    noise = column_noise(observation.grad_weight)
    if total > ONE_SIGN * size + 4 * noise * count**0.5 and count > 2:
        raise ValueError(
            "grad_bias: expected the gradient of mean cross-entropy over a softmax (entries of both signs, with sum 0),"
            f" got a sum of {total:.3g}, and of absolute values {size:.3g}; a loss over sigmoids (binary cross-entropy)"
            " has such a gradient, and is not supported"
        )


def _largest(observation: Observation) -> float:
    """What the absolute values of ∇b can sum to at most: 2 ω for each instance, over the divisor, K or Σ w."""
    loss, told = observation.loss, observation.divisor is not None
    if not told and not observation.soft_labels:
        return 2.0 * float((loss.total / loss.class_weight).max())
    if observation.batch_size is None:
        return math.inf if told else 2.0 * float(loss.total.max())
    return 2.0 * float(loss.total.max()) * observation.batch_size / float(observation.known_divisor or math.inf)


def precision(tensor: Tensor) -> torch.dtype:
    """The coarsest dtype that holds these values: what they were computed in, if cast up since."""
    coarse = (torch.bfloat16, torch.float16, torch.float32)
    return next((d for d in coarse if torch.equal(tensor.to(d).to(tensor.dtype), tensor)), tensor.dtype)
