"""Feature maps of every image of a batch, from the gradient of a network that it was sent through.

`patches` finds the input of a late convolution, each image's up to a factor, and the loss's derivatives by its output.
From there one more convolution down is linear: through what lies between, derivatives pass where a feature is not 0,
and the gradient of the kernel below, Σ derivative · patch, is then a system of equations in its input, more of them
than unknowns. The network above tells the factors and whose label is whose: its derivatives at these features must be
those that were found.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional

from irlg.gradients import GradientOf
from irlg.inversion.equations import SPARE, is_plain, padding, solved_input
from irlg.inversion.given import class_indices, shape, target
from irlg.inversion.patches import Patches, UnresolvedError, patches
from irlg.inversion.tracing import Convolution, tracing

CLEAN = 1e-3  # residual below which no other convolution is asked
FAR = 100.0  # an output at which what lies above a convolution is linear
ZERO, SHARP = 2.0, 1e-8  # times the most negative feature, and of a usual one, up to which one is taken for 0
UNSOLVED = 1e-2  # of the gradient, what equations leave at most that hold
DOUBLINGS = 5  # of a usual map, up and down, among which an image's factor is looked for
ZOOMS = [(3.0**-n, 9) for n in range(3)] + [(2.0**-n / 14, 3) for n in range(18)]  # from there: doublings, factors


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """What the images of a batch are at a place in the network: `maps` (K, channels, height, width), in no order.

    `module`: the one that takes them as its input, by name; `labels` (K,): the images' classes; `residual`: by how much
    the gradient of the layers from there on, at these maps, differs from the observed one, as a share of it (Euclidean
    norms). Below 1e-3 they are the batch's, least surely those of an image that hardly moves the gradient; 0.1 and more
    speak of other labels, another loss, or a gradient that is not the mean's.
    """

    module: str
    maps: Tensor
    labels: Tensor
    residual: float


@torch.inference_mode(False)
@torch.enable_grad()
def feature_maps(
    model: nn.Module, gradient: Sequence[Tensor], labels: Tensor, image_shape: tuple[int, int, int, int]
) -> FeatureMaps:
    """Feature maps of a batch, from its full gradient alone and without a search over images.

    For networks with a late convolution of stride 1 behind a ReLU, for which images · height · width are below its
    output channels (ResNet-18 for 32×32 pixels: up to 31 images), in eval mode: in train mode BatchNorm takes the same
    direction from all channels of its gradient.

    **Arguments:** as for `irlg.invert`. **Raises:** `ValueError` where the gradient does not tell the images apart,
    with the reason for each convolution.
    """
    network = _Network(model, gradient, labels, image_shape)
    reasons, best = [], None
    for above in network.convolutions:
        try:
            found = network.resolve(above)
        except UnresolvedError as reason:
            reasons.append(f"{above.name}: {reason}")
            continue
        if best is None or found.residual < best.residual:
            best = found
        if best.residual < CLEAN:
            break
    if best is not None:
        return best
    raise UnresolvedError("no feature maps; " + ("; ".join(reasons) or "the model has no 2-d convolution"))


class _Network:
    def __init__(
        self, model: nn.Module, gradient: Sequence[Tensor], labels: Tensor, image_shape: tuple[int, int, int, int]
    ) -> None:
        self.gradient_of = GradientOf(model)
        self.model = self.gradient_of.model.model
        self.observed = dict(zip(self.gradient_of.parameters, target(self.gradient_of, gradient), strict=True))
        self.blank = torch.zeros(shape(image_shape)).to(next(iter(self.observed.values())))
        self.labels = class_indices(labels, len(self.blank)).to(self.blank.device)
        if self.model.training:
            raise UnresolvedError("no feature maps; the model is in train mode")
        hooks, self.convolutions = tracing(self.model, self.observed)
        classes = self._run(hooks).shape[1]
        if bool((self.labels >= classes).any()):
            raise ValueError(f"labels: expected class indices below {classes}, got {labels!r}")

    def _run(self, hooks: Sequence[Any], images: int | None = None) -> Tensor:
        """Logits, with some hooks in place for one run; of so many `images` for all that lies before the hooks."""
        try:
            with self.gradient_of.running():
                return self.gradient_of.logits(self.blank[:images], len(self.blank))
        finally:
            for hook in hooks:  # after `running`, which puts back some that it found
                hook.remove()

    def resolve(self, above: Convolution) -> FeatureMaps:
        """Feature maps at the convolution below `above`, or else at itself."""
        layer = above.module
        side = layer.kernel_size[0]
        usual = layer.stride == (1, 1) and padding(layer) == (side // 2, side // 2) and is_plain(layer)
        if not usual or layer.kernel_size != (side, side) or side % 2 == 0:
            raise UnresolvedError("not a plain convolution of stride 1 with as many zeros around as keep the size")
        if above.gradient is None or len(above.input) != 4 or above.input[0] != len(self.labels):
            raise UnresolvedError("not a convolution of each image by a parameter of its own")
        images, _, height, width = above.input
        found = patches(above.gradient, images, height, width)
        below, factors = self._below(above, found)
        try:
            if above.below is None or below is None:
                return self._scaled(above, above, found.features, found.derivatives, None)
            return self._scaled(above.below, above, below, found.derivatives, factors)
        except RuntimeError as error:
            if "size" not in str(error):
                raise
            # One blank image beside the maps: what is no module takes the input too.
            raise UnresolvedError("the model takes its input by another way too") from error

    def _below(self, above: Convolution, found: Patches) -> tuple[Tensor | None, Tensor | None]:
        """The input of the convolution before, and the images' factors; `None` for what is not determined."""
        below = above.below
        if below is None or below.gradient is None or below.output != above.input or not is_plain(below.module):
            return None, None
        images, _, height, width = below.input
        if SPARE * images * height * width > math.prod(below.module.kernel_size) * below.output[1]:
            return None, None  # too few equations
        slope, level = self._between(below, above)
        kernel = above.module.weight.detach().double()
        passed = functional.conv_transpose2d(found.derivatives, kernel, padding=padding(above.module))
        usual = found.features.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        # What rounding makes of 0 shows below it; for all images, as it may be on one side alone.
        zero = usual * max(SHARP, ZERO * -float((found.features / usual).min()))
        passed = passed * slope * (found.features > zero)
        solved, left = solved_input(below.module, below.gradient, passed, below.input)
        if left >= UNSOLVED:
            return None, None
        # What does not scale with an image tells its factor: features = slope · convolution + level / factor.
        weight = below.module.weight.detach().double()
        outputs = functional.conv2d(solved, weight, None, below.module.stride, padding(below.module))
        rest = (found.features - slope * outputs) * (found.features > zero)
        level = level * (found.features > zero)
        factors = (level * rest).sum(dim=(1, 2, 3)) / rest.square().sum(dim=(1, 2, 3))
        off = (rest * factors[:, None, None, None] - level).norm() / level.norm()
        return solved, factors if off < UNSOLVED and bool((factors > 0).all()) else None

    def _between(self, below: Convolution, above: Convolution) -> tuple[Tensor, Tensor]:
        """What lies between two convolutions where it is not 0: slope and level, (channels, 1, 1) each."""
        slopes, levels = list[Tensor](), list[Tensor]()
        for value in (FAR, -FAR):  # 0 on one side of a ReLU
            output = torch.full(below.output, value).to(self.blank).requires_grad_()
            seen = list[Tensor]()
            self._run(
                [
                    below.module.register_forward_hook(lambda module, given, result, output=output: output * 1),
                    above.module.register_forward_pre_hook(lambda module, given, seen=seen: seen.append(given[0] * 1)),
                ]
            )
            with self.gradient_of.running():
                (slope,) = torch.autograd.grad(seen[0].sum(), output, allow_unused=True, materialize_grads=True)
            slopes.append(slope.double().mean(dim=(0, 2, 3)))
            levels.append(seen[0].detach().double().mean(dim=(0, 2, 3)) - value * slopes[-1])
        return (slopes[0] + slopes[1])[:, None, None], (levels[0] + levels[1])[:, None, None]

    def _scaled(
        self, place: Convolution, above: Convolution, maps: Tensor, derivatives: Tensor, known: Tensor | None
    ) -> FeatureMaps:
        """The maps times their factors, which may be known, with the labels that agree with the derivatives."""
        wanted, images = derivatives.flatten(1), torch.arange(len(maps), device=maps.device)
        classes, slots = torch.unique(torch.sort(self.labels).values, return_inverse=True)
        usual = 1 / maps.square().mean(dim=(1, 2, 3)).sqrt()  # as they are behind a normalisation
        # The distance of the derivatives, not their size: several factors have that right.
        grid = usual * 2.0 ** torch.arange(-DOUBLINGS, DOUBLINGS + 1, device=maps.device)[:, None]
        if known is not None:
            grid = known[None]
        each = [one.expand(len(maps)) for one in classes]
        apart = torch.stack([self._apart(place, above, maps, wanted, some, each) for some in grid])
        _, chosen = linear_sum_assignment(apart.amin(dim=0)[:, slots].cpu().numpy())
        slots = slots[torch.as_tensor(chosen, device=maps.device)]
        labels = classes[slots]
        best = grid[apart[:, images, slots].argmin(dim=0), images]
        if known is None:
            best = self._nearest(place, above, maps, wanted, best, labels)
        scaled = (maps * best[:, None, None, None]).to(self.blank)
        return FeatureMaps(place.takes[0], scaled, labels, self._residual(place, scaled, labels))

    def _nearest(
        self, place: Convolution, above: Convolution, maps: Tensor, wanted: Tensor, best: Tensor, labels: Tensor
    ) -> Tensor:
        """The factors near the best so far whose derivatives are nearest."""
        images = torch.arange(len(maps), device=maps.device)
        for reach, count in ZOOMS:
            tried = best * 2.0 ** torch.linspace(-reach, reach, count).to(maps)[:, None]
            apart = torch.stack([self._apart(place, above, maps, wanted, some, [labels])[:, 0] for some in tried])
            best = tried[apart.argmin(dim=0), images]
        return best

    def _apart(
        self,
        place: Convolution,
        above: Convolution,
        maps: Tensor,
        wanted: Tensor,
        factors: Tensor,
        labels: Sequence[Tensor],
    ) -> Tensor:
        """How far the derivatives at maps times factors are from those found, (images, labels), from 0 to 1."""
        seen = list[Tensor]()

        def keep(module: nn.Module, given: Any, output: Tensor) -> Tensor:
            seen.append(output)
            return output * 1  # what follows may write to it

        given = self._given(place.takes, (maps * factors[:, None, None, None]).to(self.blank))
        logits = self._run([*given, above.module.register_forward_hook(keep)], images=1)
        found = list[Tensor]()
        for some in labels:
            with self.gradient_of.running():
                loss = functional.cross_entropy(logits, some)
                (own,) = torch.autograd.grad(loss, seen, retain_graph=True)
            own = own.to(wanted).flatten(1) * factors[:, None]
            found.append((own - wanted).norm(dim=1) / (own.norm(dim=1) + wanted.norm(dim=1)))
        return torch.stack(found, dim=1)

    def _given(self, takes: Sequence[str], maps: Tensor) -> list[Any]:
        """Hooks that put maps in the place of what some modules take."""
        maps = maps.detach().requires_grad_()
        modules = [self.model.get_submodule(name) for name in takes]
        return [one.register_forward_pre_hook(lambda module, given: (maps * 1, *given[1:])) for one in modules]

    def _residual(self, place: Convolution, maps: Tensor, labels: Tensor) -> float:
        loss = functional.cross_entropy(self._run(self._given(place.takes, maps), images=1), labels)
        with self.gradient_of.running():
            own = torch.autograd.grad(loss, list(self.gradient_of.parameters.values()), allow_unused=True)
        pairs = [(a, b) for a, b in zip(own, self.observed.values(), strict=True) if a is not None]
        apart = sum(float((a - b).double().square().sum()) for a, b in pairs)
        return float((apart / sum(float(b.double().square().sum()) for _, b in pairs)) ** 0.5)
