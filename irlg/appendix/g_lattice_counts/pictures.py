"""Notebook G's pictures. Each function draws results that it is given and runs nothing."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pandas.api.typing import DataFrameGroupBy

from irlg.artifact.style import BLUE, GREEN, GREY, ORANGE, panels

Array = NDArray[np.float64]


def explosion(grad_bias: Array, norms: Array, pooled: Array, true_norms: Array) -> Figure:
    """Length of each class's inferred embedding over |∇b_i|: the quotient's and the pooled fit's.

    **Arguments:** (C,) each; the last are the lengths of the true class means.
    """
    figure, (axis,) = panels(1, 1, (6.4, 3.6))
    size = np.abs(grad_bias)
    axis.loglog(size, norms, "o", color=ORANGE, ms=4, label=r"$e^i = \nabla W_i / \nabla b_i$ (Algorithm 1)")
    axis.loglog(size, pooled, "o", color=BLUE, ms=4, label=r"$\mu + \delta_i$ (pooled)")
    axis.axhspan(true_norms.min(), true_norms.max(), color=GREY, alpha=0.3, lw=0, label="true class means")
    axis.set(xlabel=r"$|\nabla b_i|$", ylabel="length of the embedding of class i")
    axis.legend(fontsize=8)
    return figure


def covariance(matrix: Array, error: Array) -> Figure:
    """Correlations of the real-valued counts, and the spectrum of their covariance, with a batch's true error.

    **Arguments:** R (C, C); `error` (C,), real-valued less true counts of the batch.
    """
    figure, (left, right) = panels(1, 2, (9.2, 3.9))
    scale = np.sqrt(np.diag(matrix))
    # Classes that move together side by side.
    values, vectors = np.linalg.eigh(matrix)
    order = np.argsort(vectors[:, -1] / scale)
    correlation = (matrix / np.outer(scale, scale))[np.ix_(order, order)]
    shown = left.imshow(correlation, vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
    left.set(xlabel="class, sorted", ylabel="class, sorted", title="correlation of the real-valued counts")
    figure.colorbar(shown, ax=left, shrink=0.85)
    rank = np.arange(1, len(values) + 1)
    right.semilogy(rank, np.sqrt(values.clip(min=1e-12))[::-1], "o", color=BLUE, ms=3, label="standard deviation by R")
    right.semilogy(rank, np.abs(error @ vectors)[::-1], "x", color=ORANGE, ms=4, label="|true error| of this batch")
    right.axhline(0.5, color=GREY, lw=0.8, ls="--", label="half an instance")
    right.set(xlabel="direction (eigenvector of R)", ylabel="instances", ylim=(1e-5, None), title="spectrum")
    right.legend(fontsize=8)
    return figure


def decoders(trials: pd.DataFrame) -> Figure:
    """Share of batches decoded exactly over K, one line a way to make whole numbers of the same x and R."""
    figure, (axis,) = panels(1, 1, (6.4, 3.4))
    colours = dict(zip(dict.fromkeys(trials.decoder), (GREY, ORANGE, BLUE), strict=True))
    for shift, (name, group) in enumerate(trials.groupby("decoder", sort=False)):
        share = group.groupby("K").exact.agg(["mean", "size"])
        error = np.sqrt(share["mean"] * (1 - share["mean"]) / share["size"])
        axis.errorbar(
            share.index * 1.03**shift, share["mean"], yerr=error, fmt="o-", ms=4, color=colours[name], label=name
        )
    axis.set(
        xscale="log", xlabel="K, all 100 classes equally often", ylabel="share of batches exact", ylim=(-0.04, 1.04)
    )
    axis.legend(fontsize=8)
    return figure


def beyond(table: pd.DataFrame) -> Figure:
    """LnAcc of every setting: Algorithm 1, the guess, the lattice, and where told that embeddings are ≥ 0.

    A panel a network, in two columns.
    """
    places = [table[table.network == name].groupby(["training", "draw"], sort=False) for name in table.network.unique()]
    until = np.cumsum([len(rows) for rows in places])
    left = int(np.abs(until - until[-1] / 2).argmin()) + 1  # which makes columns about as long
    columns = [part for part in (places[:left], places[left:]) if part]
    rows = max(sum(len(place) + 3 for place in part) for part in columns)
    figure = Figure(figsize=(6.2 * len(columns), 0.2 * rows), layout="constrained")
    for subfigure, part in zip(np.ravel(figure.subfigures(1, len(columns), squeeze=False)), columns, strict=True):
        sizes = [len(place) + 1 for place in part]
        for axis, place in zip(np.ravel(subfigure.subplots(len(part), 1, height_ratios=sizes)), part, strict=True):
            _beyond(axis, place)
        axis.set_xlabel("LnAcc")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return figure


def _beyond(axis: Axes, places: DataFrameGroupBy) -> None:
    """One network's settings, a line each."""
    styles = {
        "irlg": ("s", ORANGE, "Algorithm 1"),
        "uniform": ("|", "black", "guess Σp = K/C"),
        "lattice, told": ("o", GREEN, "lattice, ReLU told"),
        "lattice": ("o", BLUE, "lattice"),
    }
    table, heights = places.obj, places.ngroup()
    for method, (marker, colour, label) in styles.items():
        part = table[table.method == method]
        spread = np.abs(part[["ln_acc_low", "ln_acc_high"]].to_numpy().T - part.ln_acc.to_numpy())
        axis.errorbar(part.ln_acc, heights[part.index], xerr=spread, fmt=marker, color=colour, ms=5, lw=1, label=label)
    axis.set_yticks(range(len(places)), [", ".join(name) for name, _ in places], fontsize=7)
    axis.set(xlim=(-0.02, 1.02), ylim=(len(places) - 0.5, -0.5))
    axis.set_title(f"{table.network.iloc[0]}: LnAcc, mean and 95 % interval", fontsize=9)
    axis.grid(axis="x", alpha=0.3)


def reliability(bins: dict[str, pd.DataFrame]) -> Figure:
    """Share of exact batches over the stated probability, a line a group; the area of a dot is its N."""
    figure, (axis,) = panels(1, 1, (4.6, 4.2))
    axis.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
    for (name, table), colour in zip(bins.items(), (BLUE, ORANGE), strict=False):
        spread = np.abs(table[["exact_low", "exact_high"]].to_numpy().T - table.exact.to_numpy())
        axis.errorbar(table.stated, table.exact, yerr=spread, fmt="none", color=colour, lw=1)
        size = 10 + 120 * table.N / max(group.N.max() for group in bins.values())
        axis.scatter(table.stated, table.exact, s=size, color=colour, alpha=0.8, label=f"{name}, N = {table.N.sum():,}")
    axis.set(xlabel="stated probability of the whole vector", ylabel="share of batches exact", xlim=(-0.04, 1.04))
    axis.set_ylim(-0.04, 1.04)
    axis.legend(fontsize=8, loc="upper left")
    return figure


def ablation(table: pd.DataFrame) -> Figure:
    """Mean LnAcc and share of exact batches without each part, a panel a kind of network; lines: with all parts."""
    kinds = [name.removeprefix("LnAcc, ") for name in table if name.startswith("LnAcc")]
    figure, axes = panels(1, len(kinds), (4.6 * len(kinds) + 1.4, 0.27 * len(table) + 1))
    heights = np.arange(len(table))
    for axis, kind in zip(axes, kinds, strict=True):
        for score, marker, colour in ((f"LnAcc, {kind}", "o", BLUE), (f"exact, {kind}", "D", ORANGE)):
            axis.axvline(table[score].iloc[0], color=colour, lw=0.8, ls="--")
            axis.plot(table[score], heights, marker, color=colour, ms=5, label=score.split(",")[0])
        axis.set_yticks(heights, table.without if axis is axes[0] else [""] * len(table), fontsize=8)
        axis.set(
            ylim=(len(table) - 0.5, -0.5),
            xlim=(-0.02, 1.02),
            xlabel="mean over batches",
            title=f"{kind} networks, N = {table[f'N, {kind}'].iloc[0]}",
        )
        axis.grid(axis="x", alpha=0.3)
    axes[0].legend(fontsize=8, loc="lower left")
    return figure
