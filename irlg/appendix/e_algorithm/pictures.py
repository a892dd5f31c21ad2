"""Pictures of one batch on its way through Algorithm 1. Each draws results that it is given and runs nothing."""

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from irlg.artifact.style import BLUE, GREY, ORANGE, panels

Array = NDArray[np.float64]


def embeddings(cosines: Array, norms: Array, true_norms: Array, grad_bias: Array, counts: Array) -> Figure:
    """Class embeddings of lines 1 to 3, a dot a class: how right they are, and how long.

    **Arguments:** (C,) each: cosine with the true class mean (NaN where absent), ‖e^i‖, the true
    mean's norm (NaN where absent), ∇b_i, true counts.
    """
    figure, (left, right) = panels(1, 2, (9.2, 3.6))
    present = counts > 0
    left.scatter(counts[present] + np.linspace(-0.15, 0.15, present.sum()), cosines[present], s=16, color=BLUE)
    left.set(xlabel="instances of the class in the batch", ylabel="cosine of $e^i$ and the true class mean")
    size = np.abs(grad_bias)
    right.loglog(size[~present], norms[~present], "x", color=GREY, ms=5, label="absent")
    right.loglog(size[present], norms[present], "o", color=BLUE, ms=4, label="present")
    right.axhline(float(np.nanmean(true_norms)), color="black", lw=0.8, ls="--", label="true class means, on average")
    right.set(xlabel=r"$|\nabla b_i|$", ylabel=r"$\|e^i\|$")
    right.legend(fontsize=8)
    right.tick_params(which="both", labelsize=7)
    return figure


def system(probabilities: Array) -> Figure:
    """The probabilities p^i of line 4 and the linear system of equation (6) that they make."""
    figure, (left, right) = panels(1, 2, (9.2, 3.9))
    shown = left.imshow(probabilities, norm=LogNorm(), cmap="viridis", interpolation="nearest")
    left.set(xlabel="class j", ylabel="class i", title="$p^i_j$ (row i: softmax of $W e^i + b$)")
    figure.colorbar(shown, ax=left, shrink=0.85)
    classes = len(probabilities)
    matrix = np.vstack([np.ones(classes), probabilities.T - np.eye(classes)])
    shown = right.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
    right.set(xlabel="unknown $n_i$", ylabel="equation", title="Equation (6), C + 1 rows")
    figure.colorbar(shown, ax=right, shrink=0.85)
    return figure


def counts(true: Array, restored: Array, raw: Array) -> Figure:
    """Restored against true counts, a bar a class, and the solution before rounding."""
    figure, axes = panels(1, 1, (9.2, 3.0))
    axis, places = axes[0], np.arange(len(true))
    axis.bar(places, true, width=0.8, color="#c9d8e6", label="true")
    axis.plot(places, restored, "o", color=BLUE, ms=4, label="restored")
    axis.plot(places, raw, "_", color=ORANGE, ms=7, mew=1.6, label="before rounding")
    axis.set(xlabel="class", ylabel="instances", xlim=(-1, len(true)))
    axis.legend(fontsize=8, ncols=3, loc="upper right")
    axis.margins(y=0.2)
    return figure
