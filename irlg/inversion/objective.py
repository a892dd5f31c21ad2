"""What gradient inversion minimises, and over what: images and perhaps labels, from noise."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from irlg.data.sampling import stream
from irlg.gradients import GradientOf
from irlg.instances import Instances
from irlg.inversion.config import InversionConfig
from irlg.inversion.convolution import FixedKernels
from irlg.inversion.distances import CosineDistance, feature_distance, total_variation
from irlg.inversion.feature_maps import FeatureMaps
from irlg.inversion.given import class_indices, shape, target

JOINT = ("joint", "joint-shared")


class Problem:
    """What all restarts share: the model, the target, the labels' treatment, the box."""

    def __init__(
        self,
        model: nn.Module,
        gradient: Sequence[Tensor],
        labels: Tensor | str,
        image_shape: tuple[int, int, int, int],
        config: InversionConfig,
        mean: Sequence[float],
        std: Sequence[float],
        instances: Instances | None = None,
        features: FeatureMaps | None = None,
    ) -> None:
        self.config, self.shape = config, shape(image_shape)
        self.gradient_of, self.training = GradientOf(model), model.training
        self.target = target(self.gradient_of, gradient)
        self.like = self.target[0]  # its dtype and device are the images'
        self.mean, self.std = (self._channels(values) for values in (mean, std))
        self.low, self.high = ((value - self.mean) / self.std for value in (0, 1))
        names = list(self.gradient_of.parameters)
        head = names[-1].rpartition(".")[0]
        self.head = self.gradient_of.model.model.get_submodule(head)
        weights = [config.last_weight if name.rpartition(".")[0] == head else 1.0 for name in names]
        self.distance = CosineDistance(self.target, weights)
        self.basis = self._span() if config.span else None
        if isinstance(labels, str) and labels not in JOINT:
            raise ValueError(f"labels: expected class indices or one of {JOINT}, got {labels!r}")
        known = not isinstance(labels, str)
        self.labels = class_indices(labels, self.shape[0]).to(self.like.device) if known else labels
        self.embeddings = self.maps = self.at = None
        if instances is not None and features is not None:
            raise ValueError("instances, features: expected one of them, got both; features tell more")
        if features is not None and not isinstance(features, FeatureMaps):
            raise ValueError(f"features: expected what irlg.feature_maps returns, got {type(features).__name__}")
        if instances is not None:
            self.embeddings = self._ordered("instances", instances.labels, instances.embeddings)
        if features is not None:
            self.maps = self._ordered("features", features.labels, features.maps)
            modules = dict(self.gradient_of.model.model.named_modules())
            if features.module not in modules:
                raise ValueError(f"features: expected at a module of the model, got {features.module!r}")
            self.place, self.at = modules[features.module], features.module

    def start(self, restart: int) -> list[Tensor]:
        """What a restart optimises: images from N(0, 1), and label logits from N(0, 1) where joint."""
        # Images first, on the CPU: every treatment and device starts from the same.
        seed = int(stream(self.config.seed, "inversion", restart).integers(2**62))
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(self.shape, generator=generator)
        unknowns = [images]
        if isinstance(self.labels, str):
            with self.gradient_of.running():
                classes = self.gradient_of.logits(images.to(self.like)).shape[1]
            rows = 1 if self.labels == "joint-shared" else self.shape[0]
            unknowns.append(torch.randn(rows, classes, generator=generator))
        return [unknown.to(self.like).requires_grad_() for unknown in unknowns]

    def label_rows(self, unknowns: list[Tensor]) -> Tensor:
        """The labels to compute the loss with: (K,) class indices, or (K, C) probabilities."""
        if isinstance(self.labels, Tensor):
            return self.labels
        return torch.softmax(unknowns[1], dim=1).expand(self.shape[0], -1)

    def objective(self, unknowns: list[Tensor], iteration: int) -> Tensor:
        """What is minimised at an iteration, ()."""
        images, config = unknowns[0], self.config
        if self.maps is not None:
            return feature_distance(self.gradient_of, self.place, images, self.maps) + config.tv(
                iteration
            ) * total_variation(images)
        seen: list[Tensor] = []  # inputs of the head
        with self.gradient_of.running(), self._watching(seen):
            # Of PyTorch's attentions, only this one can be differentiated twice.
            with FixedKernels(), sdpa_kernel(SDPBackend.MATH):
                loss = self.gradient_of.loss(images, self.label_rows(unknowns))
            gradient = self.gradient_of.of(loss, create_graph=True)
        value = self.distance(gradient) + config.tv(iteration) * total_variation(images)
        if self.embeddings is not None:
            value = value + config.embedding_weight * self._apart(seen)
        return value + config.l2_weight * images.norm()

    @contextmanager
    def _watching(self, seen: list[Tensor]) -> Iterator[None]:
        if self.embeddings is None:
            yield
            return
        hook = self.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        try:
            yield
        finally:
            hook.remove()

    def _apart(self, seen: list[Tensor]) -> Tensor:
        """Mean squared distance of the images' embeddings from their instances', in units of these' variance, ()."""
        if self.embeddings is None or len(seen) != 1 or seen[0].flatten(1).shape != self.embeddings.shape:
            raise ValueError(f"instances: expected embeddings of the input of the model's last layer, {self.head}")
        return (seen[0].flatten(1) - self.embeddings).square().mean() / self.embeddings.var()

    def _ordered(self, what: str, classes: Tensor, values: Tensor) -> Tensor:
        """What is known of each image, (K, …), in the order of the labels."""
        if not isinstance(self.labels, Tensor):
            raise ValueError(f"{what}: expected with class indices as labels, got {self.labels!r}")
        ours, theirs = (torch.argsort(each.cpu(), stable=True) for each in (self.labels, classes))
        if len(values) != len(classes) or not torch.equal(self.labels.cpu()[ours], classes.cpu()[theirs]):
            raise ValueError(f"{what}: expected of the classes that labels has, as often, got others")
        ordered = torch.empty_like(values, dtype=self.like.dtype, device=self.like.device)
        ordered[ours.to(ordered.device)] = values[theirs.to(values.device)].to(ordered)
        return ordered

    def derivative(self, value: Tensor, unknowns: list[Tensor]) -> list[Tensor]:
        """Of what `objective` returned, by the unknowns."""
        with self.gradient_of.running():
            try:
                return list(torch.autograd.grad(value, unknowns))
            except RuntimeError as error:
                if "derivative" not in str(error) and "differentiate" not in str(error):
                    raise
                raise ValueError(
                    f"model: expected layers whose gradient PyTorch can differentiate again, got one that it cannot"
                    f" ({error}); put another implementation of that layer in its place"
                ) from error

    @torch.no_grad()
    def constrain(self, images: Tensor) -> None:
        """Bring images back, in place, to the span if they are held to it, and then to the box."""
        if self.basis is not None:
            images.copy_((images.flatten(1) @ self.basis.T @ self.basis).view_as(images))
        images.clamp_(self.low, self.high)

    @cached_property
    def key(self) -> dict[str, Any]:
        """What tells one inversion from another: settings, labels, mode, a digest of the gradient and the model."""
        labels = self.labels if isinstance(self.labels, str) else self.labels.tolist()
        digest = hashlib.blake2b(digest_size=16)
        known = [each for each in (self.embeddings, self.maps) if each is not None]
        for tensor in (*self.target, *self.gradient_of.tensors(), *known):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        given = digest.hexdigest(), self.at, self.mean.tolist(), self.std.tolist()
        return {**asdict(self.config), "labels": labels, "shape": self.shape, "given": given, "mode": self.training}

    def pixels(self, images: Tensor) -> Tensor:
        """Normalised images as pixels in [0, 1]."""
        return (images.detach() * self.std + self.mean).clamp(0, 1)

    def _span(self) -> Tensor:
        """An orthonormal basis (at most K, channels · height · width) of the images, by SVD."""
        size = math.prod(self.shape[1:])
        if self.target[0].dim() != 2 or self.target[0].shape[1] != size:
            raise ValueError(f"span: expected a fully connected first layer with {size} inputs, got none")
        _, singular, rows = torch.linalg.svd(self.target[0].double(), full_matrices=False)
        kept = singular[: self.shape[0]] > singular[0] * torch.finfo(self.like.dtype).eps
        return rows[: self.shape[0]][kept].to(self.like)

    def _channels(self, values: Sequence[float]) -> Tensor:
        if len(values) not in (1, self.shape[1]):
            raise ValueError(f"mean and std: expected 1 or {self.shape[1]} numbers, one a channel, got {values!r}")
        return torch.as_tensor(values, dtype=self.like.dtype, device=self.like.device)[:, None, None]
