"""What the server sees of a client's batch: the last layer, its gradients and the batch size."""

from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from irlg import checks, heads, updates
from irlg.gradients import last_layer_gradients
from irlg.losses import CrossEntropy, cross_entropy


@dataclass(frozen=True, eq=False)
class Observation:
    """The last layer's gradients of cross-entropy over one batch, as the server has them.

    **Arguments:** `grad_weight` (C, m), `grad_bias` (C,), `weight` (C, m), `bias` (C,): torch
    tensors (on one device) or NumPy arrays of any float dtype, and both biases `None` for a head without one;
    `batch_size`: K ≥ 1, whole, or `None` where it is not known. By keyword:

    - `noise`: standard deviation of an entry of both gradients, whatever made it. Without it, it is measured: columns
      of [∇W, ∇b] sum to 0 but for noise. `dataclasses.replace` keeps what was measured; `noise=None` measures again.
    - `label_smoothing`, `class_weight` (C,): of the loss, see `irlg.losses.CrossEntropy`.
    - `soft_labels`: whether instances have shares of several classes (mixup, CutMix). Those of a class are its count,
      whole where all that is mixed is of the same batch, with one share for all.
    - `divisor`: what the sum over instances was divided by, where that is not what the loss's own mean divides by (K,
      or with class weights Σ_k w): the expected K after Poisson sampling, K/s after clipping a mean by s; `"unknown"`.

    The mean of several clients' gradients by their batch sizes, as secure aggregation has it, is the gradient of one
    batch, all of theirs together: K is the sum.

    **Raises:** `ValueError` naming the argument that does not fit, what was expected and what came; also where ∇b can
    be no such gradient, whatever the noise, with what would explain it.
    """

    grad_weight: Tensor
    grad_bias: Tensor | None
    weight: Tensor
    bias: Tensor | None
    batch_size: int | None
    _: KW_ONLY
    noise: float = None  # type: ignore[assignment]  # None is measured, and not None thereafter
    label_smoothing: float = 0.0
    class_weight: Tensor | None = None
    soft_labels: bool = False
    divisor: float | Literal["unknown"] | None = None

    def __post_init__(self) -> None:
        if (self.grad_bias is None) != (self.bias is None):
            name, other = ("grad_bias", "bias") if self.grad_bias is None else ("bias", "grad_bias")
            raise ValueError(f"{name}: expected a torch tensor or a NumPy array, as {other} is one, got None")
        fields = {"grad_weight": 2, "grad_bias": 1, "weight": 2, "bias": 1}
        for name, dimensions in fields.items():
            value = getattr(self, name)
            if dimensions == 2 or value is not None:
                object.__setattr__(self, name, checks.as_tensor(name, value, dimensions))
        object.__setattr__(self, "batch_size", checks.as_batch_size(self.batch_size))

        checks.check_shapes(self)
        if not isinstance(self.soft_labels, bool):
            raise ValueError(f"soft_labels: expected True or False, got {self.soft_labels!r}")
        object.__setattr__(self, "divisor", checks.as_divisor(self.divisor, self.batch_size))
        _ = self.loss  # raises where its settings do not fit
        noise: float | None = self.noise
        object.__setattr__(self, "noise", self.measured_noise if noise is None else checks.as_number("noise", noise, 0))
        checks.check_gradient(self)

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

    @property
    def biases(self) -> tuple[Tensor, Tensor]:
        """∇b and b, (C,) each. **Raises:** `ValueError` for a head without one."""
        if self.grad_bias is None or self.bias is None:
            raise ValueError("grad_bias: expected a head with a bias, got None; 'lattice' does without")
        return self.grad_bias, self.bias

    @property
    def known_divisor(self) -> float | None:
        """What the sum over instances is divided by, if that is known, and does not depend on the counts."""
        if self.divisor is not None:
            return None if self.divisor == "unknown" else float(self.divisor)
        # PyTorch's mean over soft labels divides by K, whatever the weights.
        return None if self.loss.weighted and not self.soft_labels else float(self.size)

    @cached_property
    def loss(self) -> CrossEntropy:
        """The settings of cross-entropy that `label_smoothing` and `class_weight` are."""
        return cross_entropy(self.label_smoothing, self.class_weight, self.num_classes, self.weight.device)

    @cached_property
    def measured_noise(self) -> float:
        """Standard deviation of an entry, by the column sums of [∇W, ∇b]; its own is 1/√(2 (m + 1)) of it."""
        return checks.column_noise(self.grad_weight, self.grad_bias)

    def of(self, batch_size: int) -> "Observation":
        """The same gradients, taken to be those of a batch of that size."""
        return replace(self, batch_size=batch_size)

    @classmethod
    def from_embeddings(
        cls,
        embeddings: Tensor,
        labels: Tensor | ArrayLike,
        head: nn.Linear,
        *,
        label_smoothing: float = 0.0,
        class_weight: Tensor | None = None,
        ignore_index: int = heads.IGNORED,
        divisor: float | None = None,
    ) -> "Observation":
        """The observation of a batch whose inputs to `head` are known, by the closed form.

        **Arguments:** `embeddings` (K, m); `labels`, class indices (K,) or soft labels (K, C) whose rows sum to one;
        `head` with m inputs and C outputs; the loss's settings as `Observation` and PyTorch have them.
        **Raises:** `ValueError` for embeddings, labels and settings that do not fit.
        """
        divisor = checks.as_told(divisor)
        wanted = f"shape (K, {head.in_features}) and {head.weight.dtype}"
        if not isinstance(embeddings, Tensor) or embeddings.dim() != 2 or embeddings.shape[1] != head.in_features:
            got = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
            raise ValueError(f"embeddings: expected a tensor of {wanted}, got {got}")
        if embeddings.dtype != head.weight.dtype:
            raise ValueError(f"embeddings: expected a tensor of {wanted}, got {embeddings.dtype}")
        loss = cross_entropy(label_smoothing, class_weight, head.out_features, embeddings.device)
        labels = heads.check_labels(labels, len(embeddings), head.out_features, embeddings.device, ignore_index)
        weight, bias = head.weight.detach().clone(), None if head.bias is None else head.bias.detach().clone()
        counted = heads.counted(labels, ignore_index)
        gradients = last_layer_gradients(
            embeddings[counted],
            labels[counted] if loss.plain and labels.dim() == 1 else loss.targets(labels[counted]).to(embeddings),
            weight,
            torch.zeros_like(weight[:, 0]) if bias is None else bias,
            loss.mean_divisor(labels[counted]) if divisor is None else divisor,
        )
        return cls._of_client(gradients, weight, bias, labels[counted], loss, divisor)

    @classmethod
    def from_batch(
        cls,
        model: nn.Module,
        images: Tensor,
        labels: Tensor | ArrayLike,
        head: str | nn.Module | None = None,
        *,
        label_smoothing: float = 0.0,
        class_weight: Tensor | None = None,
        ignore_index: int = heads.IGNORED,
        divisor: float | None = None,
    ) -> "Observation":
        """One client's step: the last layer's gradients of `model` over a batch, by autograd.

        The network mode is the caller's, and the model is left as it was, BatchNorm's running statistics among it.

        **Arguments:** `model` returns logits (K, C), as they are, as `.logits` or under `"logits"`; it may be compiled
        or wrapped (`DataParallel`, `DistributedDataParallel`, Opacus's `GradSampleModule`). `images` (K, ...), whatever
        it takes; `labels`, class indices (K,) or soft labels (K, C) whose rows sum to one; `head`: the last layer or
        its dotted name, by default the `nn.Linear`, or 1 × 1 convolution after pooling, whose output is the model's
        (auxiliary outputs are no part of the loss); the loss's settings as `Observation` and PyTorch have them.

        **Raises:** `ValueError` for a model without such a layer, a head whose output is not weight · input + bias or
        not the model's (up to log-softmax), and labels and settings that do not fit.
        """
        divisor = checks.as_told(divisor)
        seen = heads.run(model, images, labels, head, label_smoothing, class_weight, ignore_index, divisor)
        return cls._of_client(seen.gradients, seen.weight, seen.bias, seen.labels, seen.loss, divisor)

    @classmethod
    def from_update(
        cls,
        before: updates.State,
        after: updates.State,
        learning_rate: float,
        batch_size: int | None,
        *,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        nesterov: bool = False,
        local_steps: int = 1,
        head: str | None = None,
        optimizer: str = "SGD",
        noise: float | None = None,
        label_smoothing: float = 0.0,
        class_weight: Tensor | None = None,
        soft_labels: bool = False,
        divisor: float | Literal["unknown"] | None = None,
    ) -> "Observation":
        """What a client's update says of its batch: its weights before and after a step of PyTorch's SGD, or several.

        The step is w − lr (g + λ w), by (1 + momentum) longer with Nesterov's and as long with plain momentum, whose
        buffer starts as the gradient itself. It is solved for g in float64. The rounding of the weights comes with it
        as noise, 1/lr times as large, and is measured. Clients' updates, averaged by their sizes, are one batch's.

        **Several steps** give the mean of their gradients, and the counts of all their instances, E K. Each is taken at
        other weights, of which the observation has the mean: counts are off by less the shorter the way (notebook H).
        `noise` has no part of that: bounds by signs hold in spite of it.

        **Arguments:** `before` and `after`: models or state dicts, each wrapped (DataParallel, torch.compile and their
        like) or not; `learning_rate` lr > 0; `batch_size` K, instances of a step, or `None` where it is not known. By
        keyword: `weight_decay` λ, `momentum` and `nesterov`, as of `torch.optim.SGD` on its first step; `local_steps`
        E ≥ 1, without momentum if above 1; `head`: the last layer's dotted name, by default the `nn.Linear` of a model
        that was registered last, or the last matrix of a state dict, even where another layer is used last;
        `optimizer`: the client's, of which only "SGD" shows the gradient; the rest as `Observation` has it, `divisor`
        that of a step.

        **Raises:** `ValueError` naming the argument that does not fit: no such layer, or of another shape after;
        weights that are not finite, or did not change; entries that are signs alone, as after one step of Adam.
        """
        update = updates.read(
            before, after, learning_rate, weight_decay, momentum, nesterov, local_steps, head, optimizer
        )
        size, over = checks.as_batch_size(batch_size), checks.as_divisor(divisor, batch_size)
        if local_steps > 1 and over is None and class_weight is not None:
            raise ValueError(
                "class_weight: expected a divisor with it over local steps, got None; each step's own differs"
            )
        return cls(
            *(update.grad_weight, update.grad_bias, update.weight, update.bias),
            None if size is None else local_steps * size,
            noise=noise,  # type: ignore[arg-type]  # None is measured
            label_smoothing=label_smoothing,
            class_weight=class_weight,
            soft_labels=soft_labels,
            divisor=local_steps * over if isinstance(over, float) else over,
        )

    @classmethod
    def _of_client(
        cls,
        gradients: tuple[Tensor, Tensor],
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        loss: CrossEntropy,
        divisor: float | None,
    ) -> "Observation":
        """Of gradients over `labels`, none ignored, by a client that minimises `loss`."""
        return cls(
            gradients[0],
            None if bias is None else gradients[1],
            weight,
            bias,
            len(labels),
            label_smoothing=loss.label_smoothing,
            class_weight=None if bool((loss.class_weight == 1).all()) else loss.class_weight,
            soft_labels=labels.dim() == 2,
            divisor=divisor,
        )
