"""Pictures. Each function draws results that it is given and runs nothing."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from irlg import tables
from irlg.artifact.style import BLUE, GREY, ORANGE, panels

Array = NDArray[np.float64]


def gradient_errors(errors: pd.DataFrame) -> Figure:
    """Relative error of the closed form against each oracle over C, one line a dtype."""
    figure, axes = panels(1, 1, (6.4, 3.8))
    axis = axes[0]
    for (dtype, oracle), group in errors.groupby(["dtype", "oracle"]):
        colour = BLUE if dtype == "float64" else ORANGE
        style = "o-" if oracle == "autograd" else "s--"
        axis.loglog(group.C, group.error.clip(lower=1e-17), style, color=colour, label=f"{oracle}, {dtype}")
    for dtype, colour in ((np.float32, ORANGE), (np.float64, BLUE)):
        epsilon = float(np.finfo(dtype).eps)
        axis.axhline(epsilon, color=colour, lw=0.8, ls=":")
        name = f"ε of {np.dtype(dtype).name}"
        axis.text(errors.C.max(), epsilon * 1.3, name, fontsize=8, color=colour, ha="right")
    axis.set(xlabel="classes C", ylabel="relative error")
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def table_3(table: pd.DataFrame) -> Figure:
    """LnAcc of Algorithm 1 and of the constant guess, each network in both modes."""
    figure, axes = panels(1, 1, (7.6, 3.2))
    names = list(dict.fromkeys(table.variant))
    _score_dots(axes[0], table, [f"{r.variant}, {r.mode}" for r in table.itertuples()], len(names) * 2)
    return figure


def table_4(table: pd.DataFrame) -> Figure:
    """LnAcc of Algorithm 1 and of the constant guess, a line a distribution."""
    figure, axes = panels(1, 1, (7.6, 3.2))
    _score_dots(axes[0], table, list(table.row), table.row.nunique())
    published = [(index, tables.PAPER_TABLE_4[row][1]) for index, row in enumerate(dict.fromkeys(table.row))]
    heights, values = zip(*published, strict=True)
    axes[0].plot(values, heights, "|", color="black", ms=16, label="paper", zorder=0)
    axes[0].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def _score_dots(axis: Axes, table: pd.DataFrame, labels: list[str], rows: int) -> None:
    places = {label: index for index, label in enumerate(dict.fromkeys(labels))}
    heights = np.array([places[label] for label in labels])
    styles = {"irlg": ("o", BLUE, "Algorithm 1", -0.13), "uniform": ("D", ORANGE, "guess Σp = K/C", 0.13)}
    for method, (marker, colour, name, shift) in styles.items():
        mine = (table.method == method).to_numpy()
        part = table[mine]
        spread = np.abs(part[["ln_acc_low", "ln_acc_high"]].to_numpy().T - part.ln_acc.to_numpy())
        axis.errorbar(
            part.ln_acc, heights[mine] + shift, xerr=spread, fmt=marker, color=colour, ms=5, label=name, capsize=2
        )
    axis.set_yticks(range(rows), list(places), fontsize=8)
    axis.invert_yaxis()
    low = min(0.9, float(table.ln_acc_low.min()) - 0.01)
    axis.set(xlabel="LnAcc, mean and 95 % interval", xlim=(low, 1.005))
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    axis.grid(axis="x", alpha=0.3)


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


def unique_failure(grad_bias: Array, norms: Array, raw: Array, wrong: NDArray[np.bool_]) -> Figure:
    """One Unique batch, a dot a class: ∇b_i, ‖e^i‖ against it, and n_i before rounding."""
    figure, (left, middle, right) = panels(1, 3, (11.5, 3.6))
    classes = len(raw)
    left.axhline(0, color=GREY, lw=0.8)
    for part, colour, name in ((~wrong, BLUE, "count right"), (wrong, ORANGE, "count wrong")):
        places = np.arange(classes)[part]
        left.plot(places, grad_bias[part], "o", color=colour, ms=4, label=name)
        middle.loglog(np.abs(grad_bias[part]), norms[part], "o", color=colour, ms=4)
        right.plot(places, raw[part], "o", color=colour, ms=4)
    left.set(xlabel="class i", ylabel=r"$\nabla b_i$", title="gradient of the bias")
    left.legend(fontsize=8)
    middle.set(xlabel=r"$|\nabla b_i|$", ylabel=r"$\|e^i\|$", title="class embeddings")
    right.axhline(1, color="black", lw=0.8, ls="--")
    right.axhspan(0.5, 1.5, color=GREY, alpha=0.15, lw=0)
    right.set(xlabel="class i", ylabel="$n_i$ before rounding", title="solution of equation (6); all true counts are 1")
    right.title.set_fontsize(9)
    return figure


def unique_initialisations(trials: pd.DataFrame) -> Figure:
    """LnAcc of every Unique trial of Algorithm 1, a column an initialisation, beside the paper's mean."""
    figure, axes = panels(1, 1, (6.4, 3.4))
    axis = axes[0]
    for initialisation, group in trials.groupby("initialisation"):
        jitter = np.linspace(-0.25, 0.25, len(group))
        axis.plot(initialisation + jitter, group.ln_acc, ".", color=BLUE, ms=4, alpha=0.7)
        axis.plot(initialisation + np.array([-0.35, 0.35]), [group.ln_acc.mean()] * 2, color=ORANGE, lw=2)
    paper = tables.PAPER_TABLE_4[trials.row.iloc[0]][1]
    axis.axhline(paper, color="black", lw=0.8, ls="--", label=f"paper's mean, {paper:.3f}")
    axis.legend(fontsize=8, loc="center left")
    axis.set(xlabel="initialisation (blue: trials, orange: their mean)", ylabel="LnAcc", ylim=(-0.03, 1.03))
    axis.set_xticks(sorted(trials.initialisation.unique()))
    return figure
