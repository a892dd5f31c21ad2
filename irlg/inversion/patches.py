"""What a convolution saw of each image of a batch, from the gradient of its kernel alone.

That gradient, a row an output channel, is Δ P: the rows of P are the patches of the input under the kernel, one an
image and place; the columns of Δ are the loss's derivatives by the outputs there. Where both have full rank, the rows
of the gradient span the patches and nothing else, whatever the network has learnt. Three steps tell them apart:

1. Place from place. Only mixtures of patches in the corner vanish wherever the corner's patches lie on padding. A
   mixture of neighbours is the same mixture of images where it overlaps those that are known, and 0 on padding.
2. Image from image. Behind a ReLU many features are exactly 0, and a mixture of images has fewer zeros than an image:
   the sparsest combinations are searched for, by iteratively reweighted least squares from random starts.
3. Derivatives follow: Δ is the gradient times the inverse of P.

Each image is found up to a positive factor. Zeros of ReLU tell inputs of fully connected layers apart in SPEAR
(Dimitrov et al., NeurIPS 2024); R-GAP (Zhu and Blaschko, ICLR 2021) and R-CONV (Eltaras et al., 2024) solve
convolutions downwards from derivatives that are known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

RESOLVED = 100.0  # a singular value so many times the next is not rounding
UNLIKE = 1e-2  # of a usual feature, what patches may disagree by
STARTS = 64  # of a search for sparse combinations
SEARCHES = 40
STEPS = 40  # of a search, in which what counts as zero falls by SHARPER
SHARPER = 1e-5
ZERO = 2e-3  # of the mean feature, below which one is taken for 0
SPARSE, NEGATIVE = 0.1, 0.01  # shares of zeros and of negative features, at least and at most, of an image's
APART = 0.02  # sine of the angle from which on a combination is not one of others


Place = tuple[int, int]


class UnresolvedError(ValueError):
    """The gradient does not tell the images apart; the message says at which step."""


@dataclass(frozen=True, eq=False)
class Patches:
    """`features` (K, channels, height, width), a convolution's input, and `derivatives` (K, outputs, height, width),
    the loss's by its output: an image's features divided by a positive factor, and its derivatives times the same.

    `disagreement`: by how much what overlapping patches say of a feature differs, root mean square, in units of the
    features': others than the batch's do not overlap.
    """

    features: Tensor
    derivatives: Tensor
    disagreement: float


def patches(gradient: Tensor, images: int, height: int, width: int) -> Patches:
    """Tell apart the inputs that `images` images have at a convolution of stride 1 behind a ReLU.

    **Arguments:** `gradient` (outputs, channels, k, k) of its kernel, k odd, with zero padding k // 2; `height` and
    `width` of its input. **Raises:** `UnresolvedError` where they cannot be told apart.
    """
    outputs, channels, side, _ = gradient.shape
    count = images * height * width
    matrix = gradient.detach().double().flatten(1)
    if side == 1:
        raise UnresolvedError("patches of a 1 × 1 kernel do not overlap")
    if count > min(matrix.shape):
        raise UnresolvedError(f"{count} patches are more than a gradient of {tuple(gradient.shape)} holds apart")
    left, singular, span = torch.linalg.svd(matrix, full_matrices=False)
    rounding = float(singular[0]) * torch.finfo(gradient.dtype).eps / 10
    if not float(singular[count - 1]) > RESOLVED * max([rounding, *singular[count : count + 1].tolist()]):
        raise UnresolvedError(
            f"the gradient has not the rank of {count} patches (an image twice or all but sure, channels always 0,"
            " noise)"
        )
    left, span = left[:, :count] * singular[:count], span[:count].view(count, channels, side * side)

    places = [(row, column) for row in range(height) for column in range(width)]
    weights = dict[Place, Tensor]()  # (images, count): which combination of the span's rows
    seen = dict[Place, list[Tensor]]()  # (images, channels) each, by the patches around a place
    for place in places:
        around = _around(place, side, height, width)
        if not weights:
            weights[place] = _corner(span, [cell for cell, at in enumerate(around) if at is None], images)
        else:
            weights[place] = _neighbour(span, around, seen)
        mixed = torch.einsum("in,ncs->ics", weights[place], span)
        for cell, at in enumerate(around):
            if at is not None:
                seen.setdefault(at, []).append(mixed[:, :, cell])
    means = {at: torch.stack(values).mean(dim=0) for at, values in seen.items()}
    apart = sum(float((value - means[at]).square().sum()) for at, values in seen.items() for value in values)
    whole = sum(float(value.square().sum()) for values in seen.values() for value in values)
    disagreement = (apart / whole) ** 0.5
    if disagreement > UNLIKE:
        raise UnresolvedError(f"patches that overlap disagree by {disagreement:.1g} of what they say")

    mixed = torch.stack([means[place] for place in places], dim=2)  # (images, channels, places)
    unmix = _sparse(mixed.flatten(1), images)
    rows = torch.stack([unmix @ weights[place] for place in places], dim=1).flatten(0, 1)  # (count, count)
    derivatives = torch.linalg.solve(rows.T, left.T).T.reshape(outputs, images, height, width)
    features = (unmix @ mixed.flatten(1)).reshape(images, channels, height, width)
    return Patches(features, derivatives.transpose(0, 1), disagreement)


def _around(place: Place, side: int, height: int, width: int) -> list[Place | None]:
    """Where in the input each cell of the kernel lies at a place, `None` for padding."""
    around = list[Place | None]()
    for cell in range(side * side):
        row, column = place[0] + cell // side - side // 2, place[1] + cell % side - side // 2
        around.append((row, column) if 0 <= row < height and 0 <= column < width else None)
    return around


def _corner(span: Tensor, outside: list[int], images: int) -> Tensor:
    """The combinations (images, count) that vanish where the corner's patches lie on padding."""
    if len(span) == images:  # there is no other place
        return torch.eye(images).to(span)
    left, singular, _ = torch.linalg.svd(span[:, :, outside].flatten(1), full_matrices=False)
    if len(singular) < len(span) or not float(singular[-images - 1]) > RESOLVED * float(singular[-images]):
        raise UnresolvedError("not only the corner's patches vanish on padding")
    return left[:, -images:].T


def _neighbour(span: Tensor, around: Sequence[Place | None], seen: Mapping[Place, list[Tensor]]) -> Tensor:
    """The combinations (images, count) that are, in every known cell, what was seen there, and 0 on padding."""
    cells = [cell for cell, at in enumerate(around) if at is None or at in seen]
    like = next(iter(seen.values()))[0]
    wanted = [
        torch.zeros_like(like) if (at := around[cell]) is None else torch.stack(seen[at]).mean(dim=0) for cell in cells
    ]
    known = span[:, :, cells].flatten(1)
    return torch.linalg.lstsq(known.T, torch.stack(wanted, dim=2).flatten(1).T).solution.T


def _sparse(mixed: Tensor, images: int) -> Tensor:
    """The combinations (images, images) of the rows of `mixed` (images, N) that are images."""
    left, singular, rows = torch.linalg.svd(mixed, full_matrices=False)
    rows = rows * mixed.shape[1] ** 0.5
    generator = torch.Generator().manual_seed(0)
    found = mixed.new_empty(0, images)
    for _ in range(SEARCHES):
        start = torch.randn(STARTS, images, generator=generator, dtype=torch.float64).to(mixed)
        found = _sparsest(torch.cat([found, _sparser(start, rows)]), rows)
        if len(found) == images:
            return found / singular * mixed.shape[1] ** 0.5 @ left.T
    raise UnresolvedError(f"{len(found)} of {images} images told from the others by their zeros")


def _sparsest(combinations: Tensor, rows: Tensor) -> Tensor:
    """Those nowhere negative, of most zeros, that are independent: mixtures of images have fewer than any of these."""
    values = combinations @ rows
    signs = values.sum(dim=1, keepdim=True).sign()
    values = values * signs / values.abs().mean(dim=1, keepdim=True)
    zeros = (values.abs() < ZERO).sum(dim=1)
    zeros[(values < -ZERO).double().mean(dim=1) > NEGATIVE] = 0
    kept, basis = list[int](), rows.new_empty(0, rows.shape[0])
    for place in torch.argsort(zeros, descending=True, stable=True).tolist():
        rest = combinations[place] - combinations[place] @ basis.T @ basis
        if zeros[place] > SPARSE * rows.shape[1] and float(rest.norm()) > APART:
            kept.append(place)
            basis = torch.cat([basis, (rest / rest.norm())[None]])
    return (combinations * signs)[kept]


def _sparser(start: Tensor, rows: Tensor) -> Tensor:
    """Combinations (S, n) of orthogonal rows (n, N), of length 1 and with as many zeros as can be reached."""
    combination, mean = start, rows.mean(dim=1)
    typical = (start @ rows).abs().median(dim=1, keepdim=True).values
    for step in range(STEPS):
        small = typical * SHARPER ** (step / STEPS)
        weights = 1 / ((combination @ rows).square() + small.square())
        squares = torch.stack([(rows * weight) @ rows.T for weight in weights])
        squares = squares + 1e-13 * torch.diag_embed(squares.diagonal(dim1=1, dim2=2))
        combination = torch.linalg.solve(squares, mean.expand(len(start), -1))
        combination = combination / (combination @ mean)[:, None]  # the mean stays, or 0 would be sparsest
    return combination / combination.norm(dim=1, keepdim=True)
