"""Feature maps of every image of a batch, from the gradient of a network that it was sent through.

`patches` finds the input of a late convolution, each image's up to a factor, and the loss's derivatives by its output.
From there one more convolution down is linear: through what lies between, derivatives pass where a feature is not 0,
and the gradient of the kernel below, Σ derivative · patch, is then a system of equations in its input, more of them
than unknowns. The network above tells the factors and whose label is whose: its derivatives at these features must be
those that were found.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional

from irlg.gradients import GradientOf
from irlg.inversion.patches import Patches, UnresolvedError, patches
from irlg.stateless import ordinary

FAR = 1e3  # an output at which what lies above a convolution is linear
ZERO = 2.0  # times the most negative feature of an image, up to which one is taken for 0
SOLVED = 1e-5  # of the gradient, what equations leave that are right
ROUNDS = 12  # of leaving out equations that are not
WRONG = 4.0  # times what is usually left, from which on a channel's equations are not right
SPARE = 1.2  # equations an unknown that are kept
PASSES = 20  # in which factors and labels settle


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """What the images of a batch are at a place in the network: `maps` (K, channels, height, width), in no order.

    `module`: the one that takes them as its input, by name; `labels` (K,): the images' classes; `residual`: by how much
    the gradient of the layers from there on, at these maps, differs from the observed one, as a share of it (Euclidean
    norms). Where it is small, they are the batch's.
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

    For networks with a late convolution of stride 1 behind a ReLU, for which images · height · width do not exceed its
    output channels (ResNet-18 for 32×32 pixels: up to 31 images), in eval mode: in train mode BatchNorm takes away a
    direction of its gradient.

    **Arguments:** as for `irlg.invert`. **Raises:** `ValueError` where the gradient does not tell the images apart,
    with the reason for each convolution.
    """
    network = _Network(model, gradient, ordinary(labels), image_shape)
    reasons = []
    for above in network.convolutions:
        try:
            return network.resolve(above)
        except UnresolvedError as reason:
            reasons.append(f"{above.name}: {reason}")
    raise UnresolvedError("no feature maps; " + ("; ".join(reasons) or "the model has no 2-d convolution"))


@dataclass(frozen=True, eq=False)
class _Convolution:
    name: str
    module: nn.Conv2d
    gradient: Tensor
    input: torch.Size
    output: torch.Size
    takes: str  # the outermost module of the same input
    below: "_Convolution | None"  # the one before


class _Network:
    def __init__(
        self, model: nn.Module, gradient: Sequence[Tensor], labels: Tensor, image_shape: tuple[int, int, int, int]
    ) -> None:
        self.gradient_of, self.labels = GradientOf(model), labels
        self.model = self.gradient_of.model.model
        if self.model.training:
            raise UnresolvedError("the model is in train mode")
        self.observed = dict(zip(self.gradient_of.parameters, gradient, strict=True))
        self.blank = torch.zeros(image_shape).to(next(iter(self.observed.values())))
        self.convolutions = self._trace()

    def _trace(self) -> list[_Convolution]:
        """The convolutions in the order in which an image passes them."""
        entered = list[tuple[str, Tensor, int]]()  # modules, what they take, and how often that was written to
        found = list[_Convolution]()

        def enter(name: str) -> Callable[..., None]:
            return lambda module, given: entered.append((name, given[0], given[0]._version))

        def leave(name: str, module: nn.Conv2d) -> Callable[..., None]:
            def hook(_: nn.Module, given: tuple[Tensor], output: Tensor) -> None:
                same = (other for other, taken, writes in entered if taken is given[0] and writes == given[0]._version)
                before = found[-1] if found else None
                gradient = self.observed[f"{name}.weight"]
                found.append(_Convolution(name, module, gradient, given[0].shape, output.shape, next(same), before))

            return hook

        hooks = []
        for name, module in self.model.named_modules():
            hooks.append(module.register_forward_pre_hook(enter(name)))
            if isinstance(module, nn.Conv2d):
                hooks.append(module.register_forward_hook(leave(name, module)))
        self._run(hooks)
        return found

    def _run(self, hooks: Sequence[Any]) -> Tensor:
        """Logits, with some hooks in place for one run."""
        with self.gradient_of.running():
            try:
                return self.gradient_of.logits(self.blank)
            finally:
                for hook in hooks:
                    hook.remove()

    def resolve(self, above: _Convolution) -> FeatureMaps:
        """Feature maps at the convolution below `above`, or else at itself."""
        layer = above.module
        side = layer.kernel_size[0]
        usual = layer.stride == (1, 1) and _padding(layer) == (side // 2, side // 2) and _is_plain(layer)
        if not usual or layer.kernel_size != (side, side) or side % 2 == 0:
            raise UnresolvedError("not a convolution of stride 1 that keeps the size")
        images, _, height, width = above.input
        found = patches(above.gradient, images, height, width)
        below = self._below(above, found)
        if above.below is None or below is None:
            return self._scaled(above, above, found.features, found.derivatives)
        return self._scaled(above.below, above, below, found.derivatives)

    def _below(self, above: _Convolution, found: Patches) -> Tensor | None:
        """The input of the convolution before, or `None` where it is not determined."""
        below = above.below
        if below is None or below.output != above.input or not _is_plain(below.module):
            return None
        images, _, height, width = below.input
        if SPARE * images * height * width > math.prod(below.module.kernel_size) * below.output[1]:
            return None  # too few equations
        slope = self._slope(below, above)
        kernel = above.module.weight.detach().double()
        passed = functional.conv_transpose2d(found.derivatives, kernel, padding=_padding(above.module))
        zero = ZERO * -found.features.amin(dim=(1, 2, 3), keepdim=True)  # what rounding makes of 0, on the other side
        return _input(below, passed * slope[:, None, None] * (found.features > zero))

    def _slope(self, below: _Convolution, above: _Convolution) -> Tensor:
        """Of what lies between two convolutions, a channel each: 0 on one side of a ReLU."""
        slopes = []
        for value in (FAR, -FAR):
            output = torch.full(below.output, value).to(self.blank).requires_grad_()
            seen = list[Tensor]()
            self._run(
                [
                    below.module.register_forward_hook(lambda module, given, result, output=output: output * 1),
                    above.module.register_forward_pre_hook(lambda module, given, seen=seen: seen.append(given[0])),
                ]
            )
            with self.gradient_of.running():
                (slope,) = torch.autograd.grad(seen[0].sum(), output, allow_unused=True, materialize_grads=True)
            slopes.append(slope.double().mean(dim=(0, 2, 3)))
        return slopes[0] + slopes[1]

    def _scaled(self, place: _Convolution, above: _Convolution, maps: Tensor, derivatives: Tensor) -> FeatureMaps:
        """The maps times their factors, with the labels that agree with the derivatives."""
        classes = torch.unique(self.labels)
        wanted = derivatives.flatten(1)
        factors = 1 / maps.square().mean(dim=(1, 2, 3)).sqrt()  # as they are behind a normalisation, to begin with
        labels = self.labels
        for _ in range(PASSES):
            logits, seen = self._above(place, above, maps * factors[:, None, None, None])
            by_class = list[Tensor]()
            with self.gradient_of.running():
                for one in classes:
                    loss = functional.cross_entropy(logits, one.expand(len(maps)))
                    by_class.append(torch.autograd.grad(loss, seen, retain_graph=True)[0].double().flatten(1))
            known = torch.stack(by_class, dim=1)  # (images, classes, …)
            cosine = functional.cosine_similarity(wanted[:, None], known, dim=2)
            slots = torch.searchsorted(classes, torch.sort(self.labels).values)
            _, chosen = linear_sum_assignment(-cosine[:, slots].cpu().numpy())
            slots = slots[torch.as_tensor(chosen)]
            before, labels = factors, classes[slots]
            factors = wanted.norm(dim=1) / known[torch.arange(len(maps)), slots].norm(dim=1)
            if torch.allclose(before, factors, rtol=1e-6):
                break
        scaled = (maps * factors[:, None, None, None]).to(self.blank)
        return FeatureMaps(place.takes, scaled, labels, self._residual(place, scaled, labels))

    def _above(self, place: _Convolution, above: _Convolution, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of maps at a place, and the output of the convolution above on the way there."""
        seen = list[Tensor]()
        hooks = [above.module.register_forward_hook(lambda module, given, output: seen.append(output))]
        return self._run([self._given(place.takes, maps.to(self.blank)), *hooks]), seen[0]

    def _given(self, name: str, maps: Tensor) -> Any:
        maps = maps.detach().requires_grad_()
        return self.model.get_submodule(name).register_forward_pre_hook(lambda module, given: (maps * 1, *given[1:]))

    def _residual(self, place: _Convolution, maps: Tensor, labels: Tensor) -> float:
        loss = functional.cross_entropy(self._run([self._given(place.takes, maps)]), labels)
        with self.gradient_of.running():
            own = torch.autograd.grad(loss, list(self.gradient_of.parameters.values()), allow_unused=True)
        pairs = [(a, b) for a, b in zip(own, self.observed.values(), strict=True) if a is not None]
        apart = sum(float((a - b).double().square().sum()) for a, b in pairs)
        return float((apart / sum(float(b.double().square().sum()) for _, b in pairs)) ** 0.5)


def _padding(layer: nn.Conv2d) -> tuple[int, ...]:
    """Zeros on each side; `same` and `valid` are not told."""
    return (-1, -1) if isinstance(layer.padding, str) else layer.padding


def _is_plain(layer: nn.Conv2d) -> bool:
    grouped = layer.groups != 1 or layer.dilation != (1, 1)
    return not grouped and layer.padding_mode == "zeros" and min(_padding(layer)) >= 0


def _input(convolution: _Convolution, derivatives: Tensor) -> Tensor:
    """The input (K, channels, height, width) from the derivatives by the output, by least squares, a channel alike.

    A feature on the wrong side of 0 above makes the equations of its channel wrong, and all that is solved with them:
    channels that fit least are left out, and the rest solved again.
    """
    layer = convolution.module
    images, channels, height, width = convolution.input
    (stride, other), (padding, second) = layer.stride, _padding(layer)
    rows, columns = derivatives.shape[2:]
    equations = []
    for row in range(layer.kernel_size[0]):
        for column in range(layer.kernel_size[1]):
            grid = derivatives.new_zeros(*derivatives.shape[:2], height + 2 * padding, width + 2 * second)
            grid[:, :, row::stride, column::other][:, :, :rows, :columns] = derivatives
            inside = grid[:, :, padding : padding + height, second : second + width]
            equations.append(inside.transpose(0, 1).flatten(1))
    matrix = torch.stack(equations, dim=1)  # (outputs, cells, images · height · width)
    sums = convolution.gradient.detach().double().permute(0, 2, 3, 1).flatten(1, 2)  # (outputs, cells, channels)
    kept = torch.ones(len(matrix), dtype=torch.bool, device=matrix.device)
    for _ in range(ROUNDS):
        found = torch.linalg.lstsq(matrix[kept].flatten(0, 1), sums[kept].flatten(0, 1)).solution
        left = (matrix @ found - sums).flatten(1).norm(dim=1)
        fitting = kept & (left <= WRONG * left[kept].median())
        enough = int(fitting.sum()) * matrix.shape[1] >= SPARE * matrix.shape[2]
        if float(left[kept].norm()) < SOLVED * float(sums[kept].norm()) or not enough:
            break
        kept = fitting
    return found.view(images, height, width, channels).permute(0, 3, 1, 2)
