"""Notebook K's pictures. Each function draws results that it is given and runs nothing."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from irlg.appendix.k_defences.tables import UNDER
from irlg.appendix.k_defences.trials import LATTICE, SIZE
from irlg.artifact.style import BLUE, GREEN, GREY, ORANGE, panels


def heat(table: pd.DataFrame) -> Figure:
    """The share of exact batches, methods × defences, a panel a network and training, from `tables.summary` at one K.

    Hatched where a method does not apply.
    """
    rows = table[table.K.eq(SIZE) & ~table.training.str.endswith(UNDER)].dropna(subset="exact")
    rows = rows[rows.exact.groupby(rows.method).transform("max").gt(0) | rows.method.eq(LATTICE)]
    defences, methods = list(dict.fromkeys(rows.defence)), list(dict.fromkeys(rows.method))
    groups = list(rows.groupby(["network", "training"], sort=False))
    figure, axes = panels(len(groups), 1, (10.4, (0.21 * len(methods) + 0.35) * len(groups) + 0.9))
    for axis, ((network, training), group) in zip(axes, groups, strict=True):
        shares = group.pivot(index="method", columns="defence", values="exact").reindex(methods)[defences].to_numpy()
        axis.set_facecolor("white")
        axis.imshow(np.ma.masked_invalid(shares), cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for (i, j), share in np.ndenumerate(shares):
            if np.isnan(share):
                axis.add_patch(_hatched(i, j))
            else:
                text = f"{share:.2f}".lstrip("0") if 0 < share < 1 else f"{share:.0f}"
                axis.text(j, i, text, ha="center", va="center", fontsize=6, color="black" if share > 0.5 else "white")
        axis.set_yticks(range(len(methods)), methods, fontsize=7)
        axis.set_xticks(range(len(defences)), defences if axis is axes[-1] else [], rotation=60, ha="right", fontsize=7)
        axis.set_title(f"{network}, {training}", fontsize=8)
    return figure


def _hatched(row: int, column: int) -> Rectangle:
    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch="///", edgecolor=GREY, lw=0)


def over_strength(defended: pd.DataFrame, kind: str, label: str) -> Figure:
    """Exact batches and recall of the best method over the strength of one kind of defence, a panel a network and
    training, at one K; the recall of not looking, and the accuracy of FCN-3 trained with it, on the same axis."""
    rows = defended[(defended.kind == kind) & defended.K.eq(SIZE)]
    groups = list(rows.groupby(["network", "training"], sort=False))
    columns = min(3, len(groups))
    lines = -(-len(groups) // columns)
    figure, axes = panels(lines, columns, (10.4, 2.7 * lines + 0.4))
    for axis, ((network, training), group) in zip(axes, groups, strict=False):
        _curves(axis, group.sort_values("strength"))
        axis.set_xlabel(label)
        axis.set_title(f"{network}, {training}", fontsize=10)
    for axis in axes[len(groups) :]:
        axis.remove()
    _explained(figure, axes[0])
    return figure


def _explained(figure: Figure, first: Axes) -> None:
    """What lines are, below all panels, and what is on their axis."""
    first.set_ylabel("share")
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)


def _curves(axis: Axes, group: pd.DataFrame, x: str = "strength") -> None:
    axis.fill_between(group[x], group.exact_low, group.exact_high, color=BLUE, alpha=0.15, lw=0)
    axis.plot(group[x], group.exact, "o-", ms=4, color=BLUE, label="exact, best method")
    axis.plot(group[x], group.lattice_exact, "+:", ms=6, color=BLUE, label="exact, lattice")
    axis.plot(group[x], group.i_rec, "s--", ms=4, color=ORANGE, label="IRec, best method")
    axis.plot(group[x], group.trivial_i_rec, "-.", lw=1, color=GREY, label="IRec without looking")
    axis.plot(group[x], group.accuracy, "D-", ms=4, color=GREEN, label="accuracy of FCN-3 trained with it")
    axis.set(xscale="log", ylim=(-0.04, 1.04))
    axis.grid(alpha=0.3)


def finite(defended: pd.DataFrame) -> bool:
    """Whether there is any ε to draw."""
    return bool(np.isfinite(defended.epsilon).any())


def over_epsilon(defended: pd.DataFrame) -> Figure:
    """The same over ε of DP-SGD, on FCN-3; clipping alone, whose ε is infinite, stands at the right edge."""
    rows = defended[(defended.kind == "DP-SGD") & (defended.network == "FCN-3")]
    groups = list(rows.groupby("training", sort=False))
    figure, axes = panels(1, len(groups), (10.4, 3.2))
    for axis, (training, group) in zip(axes, groups, strict=True):
        finite = group.epsilon[np.isfinite(group.epsilon)]
        edge = 30 * finite.max() if len(finite) else 1.0
        bounded = group[np.isfinite(group.epsilon)].sort_values("epsilon")
        alone = group[~np.isfinite(group.epsilon)].assign(epsilon=edge)
        gap = pd.DataFrame({"epsilon": [np.nan]})  # so that no line joins what has an ε with what has none
        _curves(axis, pd.concat([bounded, gap, alone]), "epsilon")
        axis.axvline(edge, color=GREY, lw=0.6)
        axis.text(edge, 0.28, "clipped alone ", rotation=90, ha="right", va="center", fontsize=7, color=GREY)
        axis.set(title=f"FCN-3, {training}", xlabel="ε of the training")
    _explained(figure, axes[0])
    return figure


def over_size(defended: pd.DataFrame) -> Figure:
    """The share of exact batches of the best method over K, a line a noise, a panel a network and training; dotted, the
    accuracy of FCN-3 trained at that K on as many images."""
    rows = defended[~defended.training.str.endswith(UNDER) & defended.kind.isin(("none", "noise"))]
    groups = [group for group in rows.groupby(["network", "training"], sort=False) if group[1].K.nunique() > 1]
    shown = [name for name in ("none", "noise 0.001", "noise 0.003", "noise 0.01") if name in set(rows.defence)]
    figure, axes = panels(1, len(groups), (10.4, 3.2))
    for axis, ((network, training), group) in zip(axes, groups, strict=True):
        # Thinner from line to line: those below are seen where they are the same.
        for name, colour, marker, width in zip(
            shown, (BLUE, GREEN, ORANGE, GREY), "osD^", (5, 3.4, 2, 1), strict=False
        ):
            line = group[group.defence == name].sort_values("K")
            axis.plot(line.K, line.exact, f"{marker}-", ms=3 + width, lw=width, color=colour, label=f"exact, {name}")
            if name == "none":
                axis.plot(line.K, line.accuracy, "k:", lw=1, label="accuracy, none")
        sizes = sorted(set(group.K))
        axis.set(xscale="log", ylim=(-0.04, 1.04), title=f"{network}, {training}", xlabel="K")
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    _explained(figure, axes[0])
    return figure
