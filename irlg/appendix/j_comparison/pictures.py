"""Notebook J's pictures. Each function draws results that it is given and runs nothing."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from irlg.appendix.comparison import MARK
from irlg.appendix.j_comparison import tables
from irlg.artifact.style import BLUE, GREEN, GREY, ORANGE, panels

LINES = {  # methods that curves show: colour, and dashes where the server has images of its own
    "lattice": (BLUE, "o-"),
    "irlg": (ORANGE, "s-"),
    "uniform": ("black", "^-"),
    "llbg": (GREEN, "v-"),
    f"rlu{MARK}": (GREY, "D--"),
    f"posterior{MARK}": (ORANGE, "x--"),
}


def heat_map(settings: pd.DataFrame, table: pd.DataFrame, score: str, label: str) -> Figure:
    """Mean `score` of each method (columns) in each setting (rows), as number and colour; blank where it has none."""
    values = tables.wide(table, score)
    figure, (axis,) = panels(1, 1, (3.6 + 0.48 * values.shape[1], 1.2 + 0.19 * len(values)))
    colours = colormaps["cividis"]
    axis.imshow(values.to_numpy(), cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(values.to_numpy()):
        shown, ink = ("n/a", "black") if np.isnan(value) else (f"{value:.2f}", "white" if value < 0.5 else "black")
        axis.text(column, row, shown, ha="center", va="center", fontsize=6, color=ink)
    axis.set_xticks(range(values.shape[1]), list(values), rotation=45, ha="left", fontsize=8)
    axis.set_yticks(range(len(values)), list(values.index), fontsize=6.5)
    axis.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    starts = settings.set_index("setting").group.reindex(values.index).to_numpy()
    for edge in np.flatnonzero(starts[1:] != starts[:-1]):
        axis.axhline(edge + 0.5, color="white", lw=3)
    axis.spines[:].set_visible(False)
    axis.set_title(label, fontsize=9, loc="left")
    return figure


def over_size(settings: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Exact batches and IRec over K, of the untrained networks that are tried at several."""
    lines = []
    for name in ("FCN-3", "LeNet-5"):
        rows = _plain(settings, name)
        rows = rows[rows.training == "untrained"]
        lines.append((f"{name}, untrained", rows, np.log2(rows.K), rows.K.astype(str)))
    return _curves(table, lines, "K")


def over_training(settings: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Exact batches and IRec over what LeNet-5 has learnt, of images that it has not seen."""
    rows = _plain(settings, "LeNet-5")
    rows = rows[~rows.training.str.contains("seen")]
    sizes = sorted(set(rows[rows.training != "untrained"].K))
    lines = []
    for size in sizes:
        part = rows[size == rows.K]
        lines.append((f"LeNet-5, K = {size}", part, pd.Series(range(len(part)), part.index), part.training))
    return _curves(table, lines, "training")


def _plain(settings: pd.DataFrame, name: str) -> pd.DataFrame:
    return settings[(settings.network == name) & settings.what.eq("")]


def _curves(table: pd.DataFrame, lines: list[tuple[str, pd.DataFrame, pd.Series, pd.Series]], over: str) -> Figure:
    """A row of two panels a title: its settings, where each lies on the axis, and what is written there."""
    figure, axes = panels(max(1, len(lines)), 2, (9.4, 2.7 * max(1, len(lines))))
    for number, (title, rows, place, text) in enumerate(lines):
        found = rows.assign(place=place).merge(table, on="setting")
        for axis, score, label in zip(axes[2 * number :], ("exact", "i_rec"), ("exact batches", "IRec"), strict=False):
            for order, (method, (colour, marker)) in enumerate(LINES.items()):
                line = found[found.method == method]
                # The lattice above all, as it hides least of the others.
                axis.plot(line.place, line[score], marker, color=colour, ms=4, label=method, zorder=9 - order)
            axis.set_xticks(list(place), list(text), fontsize=8)
            axis.set(xlabel=over, ylabel=label, ylim=(-0.04, 1.04), title=title)
            axis.grid(alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(LINES), fontsize=8, frameon=False)
    return figure
