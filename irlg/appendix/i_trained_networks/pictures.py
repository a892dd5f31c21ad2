"""Notebook I's pictures. Each function draws results that it is given and runs nothing."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from irlg.appendix.i_trained_networks import tables
from irlg.appendix.i_trained_networks.tables import NAMES, lattice
from irlg.artifact.style import BLUE, GREEN, GREY, ORANGE, panels

COLOURS = {"irlg": ORANGE, "uniform": "black", "lattice, no search": GREEN, "lattice": BLUE}
NETWORKS = (BLUE, ORANGE, "black", GREEN)


def over_size(summary: pd.DataFrame) -> Figure:
    """Instance recall, and the share of exact batches with intervals, over K: a line a method, a row a network."""
    networks = list(dict.fromkeys(summary.network))
    figure, axes = panels(len(networks), 2, (9.4, 2.5 * len(networks)))
    for number, network in enumerate(networks):
        left, right = axes[2 * number : 2 * number + 2]
        lines = summary[summary.network == network].groupby("method", sort=False)
        for shift, (method, line) in enumerate(lines):
            colour, name = COLOURS.get(method, GREY), NAMES.get(method, method)
            left.plot(line.K, line.i_rec, "o-", ms=4, color=colour, label=name)
            spread = np.abs(line[["exact_low", "exact_high"]].to_numpy().T - line.exact.to_numpy())
            right.errorbar(line.K * 1.015**shift, line.exact, yerr=spread, fmt="o-", ms=4, lw=1, color=colour)
        for axis, score in ((left, "IRec"), (right, "share of batches exact")):
            _sizes(axis, summary[summary.network == network])
            axis.set(ylabel=score, ylim=(-0.04, 1.04), title=network)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8, frameon=False)
    return figure


def time_and_error(rows: pd.DataFrame) -> Figure:
    """Seconds over K, each batch's and medians, and embeddings' worst error over what the weakest instance leaves."""
    figure, (left, right) = panels(1, 2, (10.4, 4.0))
    ours = lattice(rows)
    for (network, part), colour in zip(ours.groupby("network", sort=False), NETWORKS, strict=False):
        found = tables.found(part)
        shift = 1.02 ** (list(dict.fromkeys(ours.network)).index(network) - 1)
        left.plot(part[found].K * shift, part[found].seconds, "o", ms=3, alpha=0.6, color=colour, label=network)
        left.plot(part[~found].K * shift, part[~found].seconds, "x", ms=4, alpha=0.6, color=colour)
        medians = part.groupby("K").seconds.median()
        left.plot(medians.index * shift, medians, "-", lw=1, color=colour)
        right.plot(part[found].weakest, part[found].worst_error, "o", ms=3, alpha=0.6, color=colour)
    left.plot([], [], "x", ms=4, color=GREY, label="not all instances found, or none looked for")
    left.set(yscale="log", ylabel="seconds", title=f"time, N = {len(ours):,}")
    _sizes(left, ours)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
    recovered = int(ours.worst_error.gt(0).sum())
    scale = "log" if recovered else "linear"  # a logarithm takes something to show
    right.set(
        xscale=scale,
        yscale=scale,
        xlabel="1 − p of the batch's most confident instance",
        ylabel="largest |ê − e| / |e| of the batch",
        title=f"embeddings of {recovered:,} batches",
    )
    return figure


def _sizes(axis: Axes, rows: pd.DataFrame) -> None:
    sizes = sorted(set(rows.K))
    axis.set_xscale("log")
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    axis.set_xlabel("K")
    axis.grid(alpha=0.3)
