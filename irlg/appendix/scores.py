"""Scores over trials: means with intervals, for readers as Markdown and as dots.

Every function takes what `trials` returns, a row a trial and method, or what `aggregate` makes of it; none runs an
experiment.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from irlg.artifact import statistics
from irlg.artifact.style import BLUE, ORANGE, panels
from irlg.artifact.tables import markdown, span

SURE = 0.999  # stated probability from which on an answer is called sure


def aggregate(trials: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Means over trials, with 95 % intervals: one row a group, in the order of appearance.

    Intervals are percentile bootstrap for LeAcc and LnAcc, Wilson for the share of exact batches.
    """
    rows = []
    for key, group in trials.groupby(list(by), sort=False):
        le, ln = statistics.bootstrap(group.le_acc), statistics.bootstrap(group.ln_acc)
        exact = int(group.exact.sum())
        share = statistics.wilson(exact, len(group))
        rows.append(
            {
                **dict(zip(by, key, strict=True)),
                "N": len(group),
                "K": int(group.K.iloc[0]),
                "le_acc": group.le_acc.mean(),
                "le_acc_low": le[0],
                "le_acc_high": le[1],
                "ln_acc": group.ln_acc.mean(),
                "ln_acc_low": ln[0],
                "ln_acc_high": ln[1],
                "i_rec": group.i_rec.mean(),
                "total_mean": group.total.mean(),
                "total_min": group.total.min(),
                "total_max": group.total.max(),
                "exact": exact / len(group),
                "exact_low": share[0],
                "exact_high": share[1],
            }
        )
    return pd.DataFrame(rows)


def certain(trials: pd.DataFrame) -> tuple[int, int]:
    """How many batches were answered at p > `SURE`, and how many of these are exact."""
    chosen = trials[trials.probability > SURE]
    return len(chosen), int(chosen.exact.sum())


def view(table: pd.DataFrame, keys: dict[str, str]) -> str:
    """A table of `aggregate` as Markdown for readers, three decimals.

    **Arguments:** `keys`: the headings of the columns that name a row, by column.
    """
    rows = []
    for r in table.to_dict("records"):
        published = r.get("paper_ln_acc")
        row = {heading: r[column] for column, heading in keys.items()}
        if "paper_ln_acc" in r:
            row["paper LeAcc / LnAcc"] = "" if pd.isna(published) else f"{r['paper_le_acc']:.3f} / {published:.3f}"
        row |= {
            "LeAcc": f"{r['le_acc']:.3f}",
            "LnAcc [95 %]": f"{r['ln_acc']:.3f} {span(r['ln_acc_low'], r['ln_acc_high'])}",
            "IRec": f"{r['i_rec']:.3f}",
            "Σ n̂ of K": f"{r['total_mean']:.1f} ({r['total_min']} to {r['total_max']}) of {r['K']}",
            "exact [95 %]": f"{r['exact']:.2f} {span(r['exact_low'], r['exact_high'], 2)}",
            "N": r["N"],
        }
        rows.append(row)
    return markdown(pd.DataFrame(rows))


def intervals(row: Any) -> str:
    """Those of a row of `aggregate`, for a claim."""
    exact = span(row.exact_low, row.exact_high, 2)
    return f"LnAcc {span(row.ln_acc_low, row.ln_acc_high)}, exact {exact}"


def rounds_to(row: Any, paper: tuple[float, float]) -> bool:
    """Whether a row of `aggregate` shows the published (LeAcc, LnAcc) at three decimals."""
    return (round(row.le_acc, 3), round(row.ln_acc, 3)) == paper


def pair(scores: tuple[float, float]) -> str:
    """(LeAcc, LnAcc) as text."""
    return " / ".join(f"{score:.3f}" for score in scores)


def worst(table: pd.DataFrame) -> str:
    """The least LeAcc and the least LnAcc of rows of `aggregate`, as text."""
    return pair((table.le_acc.min(), table.ln_acc.min()))


def with_papers(row: pd.Series, score: str) -> str:
    """A cell of a table as the appendix prints it: `score`, LeAcc or LnAcc, and the published one in brackets.

    **Arguments:** `row` of `aggregate`, with `paper_le_acc` and `paper_ln_acc`.
    """
    column = {"LeAcc": "le_acc", "LnAcc": "ln_acc"}[score]
    return f"{row[column]:.3f} ({row[f'paper_{column}']:.3f})"


def dots(table: pd.DataFrame, labels: list[str]) -> Figure:
    """LnAcc of Algorithm 1 and of the constant guess with intervals: a line a label, of which each row has one."""
    figure, (axis,) = panels(1, 1, (7.6, 3.2))
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
    axis.set_yticks(range(len(places)), list(places), fontsize=8)
    axis.invert_yaxis()
    low = min(0.9, float(table.ln_acc_low.min()) - 0.01)
    axis.set(xlabel="LnAcc, mean and 95 % interval", xlim=(low, 1.005))
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    axis.grid(axis="x", alpha=0.3)
    return figure
