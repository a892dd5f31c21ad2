"""Notebook H's pictures. Each function draws results that it is given and runs nothing."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from irlg.appendix.h_clients.tables import table
from irlg.artifact.style import BLUE, GREEN, GREY, ORANGE, panels

COLOURS = {"noisy": BLUE, "sparse": ORANGE, "coarse": GREEN}
LINES = (BLUE, ORANGE, GREEN, "black", GREY)


def noise(sums: NDArray[np.float64], classes: int, std: float, rows: pd.DataFrame) -> Figure:
    """How noise is read off: column sums of one noisy gradient, and measured over true deviation by setting.

    **Arguments:** `sums` (m + 1,) of C = `classes` entries with noise of `std` each; `rows` of all batches.
    """
    figure, (left, right) = panels(1, 2, (10.4, 4.2))
    width = std * classes**0.5
    places = np.linspace(-4 * width, 4 * width, 200)
    left.hist(
        sums, bins=np.linspace(-4, 4, 33) * width, density=True, color=BLUE, alpha=0.5, label="column sums of [∇W, ∇b]"
    )
    left.plot(
        places,
        np.exp(-((places / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi)),
        color="black",
        label=r"$N(0, C\sigma^2)$",
    )
    left.set(
        xlabel="sum over classes", ylabel="density", title=f"one gradient, {len(sums)} columns, σ = {std:g}", yticks=[]
    )
    left.set_ylim(top=1.3 * left.get_ylim()[1])
    left.legend(fontsize=8, loc="upper left")
    settings = dict.fromkeys(rows.setting)
    for height, setting in enumerate(settings):
        part = rows[(rows.setting == setting) & ~rows.refused]
        low, middle, high = np.quantile(part.measured / part.true, (0.05, 0.5, 0.95))
        colour = COLOURS[part.kind.iloc[0]]
        right.plot([low, high], [height, height], color=colour, lw=2)
        right.plot(middle, height, "o", color=colour, ms=5)
    right.axvline(1, color=GREY, lw=0.8, ls="--")
    right.set_yticks(range(len(settings)), list(settings), fontsize=8)
    right.invert_yaxis()
    right.set(
        xscale="log",
        xlabel="measured / true deviation: median, 5 to 95 % of batches",
        title=f"by what befell the gradient, N = {len(rows):,}",
        xticks=[0.5, 1, 2, 5, 10],
        xticklabels=["0.5", "1", "2", "5", "10"],
    )
    return figure


def over_noise(rows: pd.DataFrame) -> Figure:
    """LnAcc, and share exact beside the mean stated probability, over the deviation of Gaussian noise, a column a K."""
    noisy = rows[rows.kind == "noisy"]
    sizes = list(dict.fromkeys(noisy.K))
    figure, axes = panels(2, len(sizes), (10.4, 6.0))
    summary = table(noisy, ["K", "network", "std"])
    for column, size in enumerate(sizes):
        above, under = axes[column], axes[len(sizes) + column]
        lines = summary[summary.K.eq(size)].groupby("network", sort=False)
        for (network, line), colour in zip(lines, LINES, strict=False):
            above.semilogx(line["std"], line.ln_acc, "o-", ms=4, color=colour, label=network)
            under.semilogx(line["std"], line.exact, "o-", ms=4, color=colour)
            under.semilogx(line["std"], line.probability, "x--", ms=5, lw=0.9, color=colour)
        above.set(title=f"K = {size}", ylabel="LnAcc", ylim=(-0.04, 1.04))
        under.set(xlabel="standard deviation of the noise", ylabel="exact (dots), mean p (crosses)", ylim=(-0.04, 1.04))
    axes[0].legend(fontsize=8, loc="lower left")
    return figure


def compressed(rows: pd.DataFrame) -> Figure:
    """LnAcc by network of sparse and coarse gradients, and that of the constant guess, a panel a K."""
    chosen = rows[rows.kind != "noisy"]
    sizes, settings = list(dict.fromkeys(chosen.K)), list(dict.fromkeys(chosen.setting))
    figure, axes = panels(1, len(sizes), (10.4, 0.4 * len(settings) + 1.2))
    networks = list(dict.fromkeys(chosen.network))
    for axis, size in zip(axes, sizes, strict=True):
        part = chosen[chosen.K.eq(size)]
        for number, (network, colour) in enumerate(zip(networks, LINES, strict=False)):
            line = table(part[part.network == network], ["setting"])
            shift = 0.14 * (number - (len(networks) - 1) / 2)
            heights = np.array([settings.index(name) for name in line.setting]) + shift
            axis.plot(line.ln_acc, heights, "o", ms=4, color=colour, label=network)
            axis.plot(line.ln_uniform, heights, "|", ms=7, color=colour)
        axis.plot([], [], "|", ms=7, color=GREY, label="constant guess")
        axis.set_yticks(range(len(settings)), settings if axis is axes[0] else [""] * len(settings), fontsize=8)
        axis.set(xlim=(-0.02, 1.02), ylim=(len(settings) - 0.5, -0.5), xlabel="LnAcc", title=f"K = {size}")
        axis.grid(axis="x", alpha=0.3)
    axes[0].legend(fontsize=7, loc="upper left")
    return figure


def local_steps(rows: pd.DataFrame) -> Figure:
    """Error of counts before decoding over the learning rate, a line a number of steps, a panel a training."""
    trainings = list(dict.fromkeys(rows.training))
    figure, axes = panels(1, len(trainings), (8.4, 3.4))
    for axis, training in zip(axes, trainings, strict=True):
        _local(axis, rows[(rows.training == training) & ~rows.refused])
        axis.set(title=f"{rows.network.iloc[0]}, {training}", xlabel="learning rate")
    axes[0].set_ylabel("root mean square error of a count")
    low, high = min(a.get_ylim()[0] for a in axes), max(a.get_ylim()[1] for a in axes)
    for axis in axes:
        axis.set_ylim(low, high)
        axis.legend(fontsize=8)
    return figure


def _local(axis: Axes, rows: pd.DataFrame) -> None:
    for (steps, line), colour in zip(rows.groupby("E", sort=False), LINES, strict=False):
        errors = line.groupby("rate").error.quantile([0.1, 0.5, 0.9]).unstack()
        axis.fill_between(errors.index, errors[0.1], errors[0.9], color=colour, alpha=0.2, lw=0)
        exact = table(line, ["rate"]).set_index("rate").exact
        label = f"E = {steps}, exact " + ", ".join(f"{exact[rate]:.2f}" for rate in errors.index)
        axis.loglog(errors.index, errors[0.5], "o-", ms=4, color=colour, label=label)
    axis.axhline(0.5, color=GREY, lw=0.8, ls="--")
