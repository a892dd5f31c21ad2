"""A convolution's input, from the gradient of its kernel and the loss's derivatives by its output.

The gradient of a kernel, Σ derivative · patch, is linear in the patches: an equation for each cell and output. A
derivative taken for 0, or not, where it should not, makes the equations of its output wrong and all that is solved with
them: outputs that fit least are left out, and the rest solved again.
"""

import math

import torch
from torch import Tensor, nn

SOLVED = 1e-5  # of the gradient, what equations leave that are right
ROUNDS = 12
WRONG = 4.0  # times what is usually left of an output's equations, from which on they are wrong
SPARE = 1.2  # equations an unknown that are kept


def padding(layer: nn.Conv2d) -> tuple[int, ...]:
    """Zeros on each side; `same` and `valid` are not told."""
    return (-1, -1) if isinstance(layer.padding, str) else layer.padding


def is_plain(layer: nn.Conv2d) -> bool:
    """Without groups, dilation, padding other than with zeros or with as many as it takes."""
    grouped = layer.groups != 1 or layer.dilation != (1, 1)
    return not grouped and layer.padding_mode == "zeros" and min(padding(layer)) >= 0


def solved_input(layer: nn.Conv2d, gradient: Tensor, derivatives: Tensor, size: torch.Size) -> tuple[Tensor, float]:
    """The input of `size` (K, channels, height, width) by least squares, a channel alike.

    **Arguments:** `layer`, a plain one; `gradient` of its kernel; `derivatives` (K, outputs, rows, columns).
    **Returns** with it what is left of the gradient, as a share of it: ∞ where equations are fewer than unknowns.
    """
    images, channels, height, width = size
    (stride, other), (above, before) = layer.stride, padding(layer)
    rows, columns = derivatives.shape[2:]
    equations = []
    for row in range(layer.kernel_size[0]):
        for column in range(layer.kernel_size[1]):
            grid = derivatives.new_zeros(*derivatives.shape[:2], height + 2 * above, width + 2 * before)
            grid[:, :, row::stride, column::other][:, :, :rows, :columns] = derivatives
            inside = grid[:, :, above : above + height, before : before + width]
            equations.append(inside.transpose(0, 1).flatten(1))
    matrix = torch.stack(equations, dim=1).cpu()  # (outputs, cells, images · height · width)
    sums = gradient.detach().double().permute(0, 2, 3, 1).flatten(1, 2).cpu()  # (outputs, cells, channels)
    kept = torch.ones(len(matrix), dtype=torch.bool)
    for _ in range(ROUNDS):
        found = torch.linalg.lstsq(matrix[kept].flatten(0, 1), sums[kept].flatten(0, 1))  # on the CPU it tells the rank
        apart = (matrix @ found.solution - sums).flatten(1).norm(dim=1)
        left = float(apart[kept].norm() / sums[kept].norm())
        fitting = kept & (apart <= WRONG * apart[kept].median())
        if left < SOLVED or int(fitting.sum()) * matrix.shape[1] < SPARE * matrix.shape[2]:
            break
        kept = fitting
    solution = found.solution.to(derivatives).view(images, height, width, channels).permute(0, 3, 1, 2)
    return solution, left if int(found.rank) == matrix.shape[2] else math.inf
