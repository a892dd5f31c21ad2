"""Notebook F: Table 4, by how a batch's labels are distributed, and why its last row fails."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from irlg.appendix import scores
from irlg.appendix.published import DISTRIBUTIONS, PAPER_TABLE_4, row_name
from irlg.appendix.scores import aggregate, intervals, pair, rounds_to, view, with_papers, worst
from irlg.artifact import statistics
from irlg.artifact.claims import Claim, on_real
from irlg.artifact.derived import Derived
from irlg.artifact.style import BLUE, GREY, ORANGE, panels
from irlg.artifact.summary import Row
from irlg.artifact.tables import markdown, span

Array = NDArray[np.float64]
COLLAPSED = 0.5  # LnAcc of one instance a class below which a solution has gone into one class, or nearly


def table_4(trials: pd.DataFrame) -> pd.DataFrame:
    """Table 4: one row a configuration and method, over the trials of initialisation 0."""
    table = aggregate(trials[trials.initialisation == 0], ["row", "method", "data"])
    paper = [PAPER_TABLE_4[r.row] if r.method == "irlg" else (None, None) for r in table.itertuples()]
    return table.assign(paper_le_acc=[p[0] for p in paper], paper_ln_acc=[p[1] for p in paper])


def unique_by_initialisation(trials: pd.DataFrame) -> pd.DataFrame:
    """The Unique row once an initialisation, for Algorithm 1, with the range of its trials, how many of them have
    `collapsed` into one class, and the mean LnAcc of the `others`."""
    unique = trials[(trials.row == list(PAPER_TABLE_4)[-1]) & (trials.method == "irlg")]
    table = aggregate(unique, ["initialisation", "data"])
    groups = unique.assign(others=unique.ln_acc.where(unique.ln_acc >= COLLAPSED)).groupby("initialisation", sort=False)
    columns = {"ln_acc_min": groups.ln_acc.min(), "ln_acc_max": groups.ln_acc.max(), "others": groups.others.mean()}
    columns["collapsed"] = groups.size() - groups.others.count()
    return table.assign(**{name: column.to_numpy() for name, column in columns.items()})


def unique_view(table: pd.DataFrame) -> str:
    """The same as Markdown."""
    rows = [
        {
            "initialisation": str(r.initialisation),
            "LeAcc": f"{r.le_acc:.3f}",
            "LnAcc [95 %]": f"{r.ln_acc:.3f} {span(r.ln_acc_low, r.ln_acc_high)}",
            "of trials from to": f"{r.ln_acc_min:.2f} to {r.ln_acc_max:.2f}",
            f"trials below {COLLAPSED}": str(r.collapsed),
            "LnAcc of the others": f"{r.others:.3f}",
            "N": str(r.N),
        }
        for r in table.itertuples()
    ]
    return markdown(pd.DataFrame(rows))


# With the columns that name a row, and their headings.
DERIVED = (
    Derived("table_4", ("F_trials",), table_4, lambda table: view(table, {"row": "configuration", "method": "method"})),
    Derived(
        "F_unique",
        ("F_trials",),
        unique_by_initialisation,
        unique_view,
    ),
)


def claims(table: pd.DataFrame, unique: pd.DataFrame) -> list[Claim]:
    """A claim a row of Table 4, and one on whether the table tells methods apart.

    A row published as 1.000 / 1.000 is reproduced if ours rounds to it. Unique is if both published
    figures lie in the 95 % prediction intervals for one more initialisation, as the paper's is.
    """
    found = []
    for r in table[table.method == "irlg"].itertuples():
        paper = PAPER_TABLE_4[r.row]
        ours, n = f"{r.le_acc:.3f} / {r.ln_acc:.3f}", int(r.N)
        interval = intervals(r)
        good = rounds_to(r, paper)
        if r.row.startswith("Unique") and len(unique) > 1:
            bounds = [np.clip(statistics.prediction(unique[score]), 0, 1) for score in ("le_acc", "ln_acc")]
            good = all(low <= value <= high for value, (low, high) in zip(paper, bounds, strict=True))
            n, collapsed = int(unique.N.sum()), int(unique.collapsed.sum())
            ours = f"{unique.le_acc.mean():.3f} / {unique.ln_acc.mean():.3f}"
            if collapsed:
                ours += f"; LnAcc {_others(unique)} but for {collapsed} of {n} that went into one class or nearly"
            of_each = ", ".join(f"{name} {span(*of)}" for name, of in zip(("LeAcc", "LnAcc"), bounds, strict=True))
            interval = f"one more of {len(unique)} initialisations: {of_each}"
        found.append(
            Claim(
                claim=f"Table 4, {r.row}",
                paper=f"{paper[0]:.3f} / {paper[1]:.3f}",
                ours=ours,
                n=n,
                interval=interval,
                data=r.data,
                verdict=on_real(r.data, "reproduced" if good else "differs"),
            )
        )
    uniform = table[table.method == "uniform"]
    worst, n = uniform.ln_acc.min(), int(uniform.N.sum())
    exact = statistics.wilson(round(float((uniform.exact * uniform.N).sum())), n)
    data = uniform.data.iloc[0]
    found.append(
        Claim(
            claim="Table 4 tells methods apart (constant guess Σp = K/C, worst of its rows)",
            paper="implied",
            ours=f"{uniform.le_acc.min():.3f} / {worst:.3f}",
            n=n,
            interval=f"exact, all rows {span(*exact, 2)}",
            data=data,
            verdict=on_real(data, "no: the guess scores 1.000" if worst >= 0.9995 else "yes"),
        )
    )
    return found


def _others(unique: pd.DataFrame) -> str:
    return f"{unique.others.min():.3f} to {unique.others.max():.3f}"


def claims_again(folder: Path, found: Sequence[Claim]) -> list[Claim]:
    """Those that follow from the trials in `folder`: all."""
    trials = pd.read_csv(folder / "F_trials.csv")
    return claims(table_4(trials), unique_by_initialisation(trials))


def as_printed(table: pd.DataFrame, unique: pd.DataFrame) -> pd.DataFrame:
    """Table 4 as the appendix prints it: in each cell ours, and the paper's in brackets.

    Unique is the mean over initialisations, of `unique_by_initialisation`, as it is claimed.
    """
    own = table[table.method == "irlg"].set_index("row")
    own.loc[list(PAPER_TABLE_4)[-1], ["le_acc", "ln_acc"]] = unique[["le_acc", "ln_acc"]].mean()
    names = [(group, *pair) for group, pairs in DISTRIBUTIONS.items() for pair in pairs]
    cells = [{score: with_papers(own.loc[row_name(*name)], score) for score in ("LeAcc", "LnAcc")} for name in names]
    labels = [(group, f"NoC={noc}, MRoC={mroc}") for group, noc, mroc in names]
    return pd.DataFrame(cells, pd.MultiIndex.from_tuples(labels)).rename_axis(columns="Distribution Configuration")


def findings(folder: Path, claims: Sequence[Claim]) -> list[Row]:
    """For the summary: the worst of the easy rows, and Unique."""
    table, unique = pd.read_csv(folder / "table_4.csv"), pd.read_csv(folder / "F_unique.csv")
    ours, guess = table[table.method == "irlg"], table[table.method == "uniform"]
    *easy, last = PAPER_TABLE_4
    paper = f"{pair(min(PAPER_TABLE_4[row] for row in easy))} in {len(easy)} rows, Unique {pair(PAPER_TABLE_4[last])}"
    mean = pair((unique.le_acc.mean(), unique.ln_acc.mean()))
    here = (
        f"worst of {len(easy)} rows {worst(ours[ours.row != last])}, of a guess {worst(guess)};"
        f" Unique {mean} over {len(unique)} initialisations"
    )
    return [Row(paper, here, claims)]


def dots(table: pd.DataFrame) -> Figure:
    """LnAcc of Algorithm 1 and of the constant guess, a line a distribution."""
    figure = scores.dots(table, list(table.row))
    axis = figure.axes[0]
    published = [(index, PAPER_TABLE_4[row][1]) for index, row in enumerate(dict.fromkeys(table.row))]
    heights, values = zip(*published, strict=True)
    axis.plot(values, heights, "|", color="black", ms=16, label="paper", zorder=0)
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def givers(probabilities: Array, raw: Array, wrong: NDArray[np.bool_]) -> NDArray[np.intp]:
    """For each wrong count the other class whose mean softmax adds most to it, in Σ_i n_i p^i_j."""
    given = raw[:, None] * probabilities
    np.fill_diagonal(given, -np.inf)
    return given[:, wrong].argmax(axis=0)


def unique_failure(
    grad_bias: Array, norms: Array, raw: Array, wrong: NDArray[np.bool_], giving: NDArray[np.intp]
) -> Figure:
    """One Unique batch, a dot a class: ∇b_i, ‖e^i‖ against it, and n_i before rounding; with rings `giving`."""
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
    middle.loglog(
        np.abs(grad_bias[giving]),
        norms[giving],
        "o",
        ms=9,
        mfc="none",
        color="black",
        label="adds most to a wrong count",
    )
    middle.legend(fontsize=8)
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
    paper = PAPER_TABLE_4[trials.row.iloc[0]][1]
    axis.axhline(paper, color="black", lw=0.8, ls="--", label=f"paper's mean, {paper:.3f}")
    axis.legend(fontsize=8, loc="center left")
    axis.set(xlabel="initialisation (blue: trials, orange: their mean)", ylabel="LnAcc", ylim=(-0.03, 1.03))
    axis.set_xticks(sorted(trials.initialisation.unique()))
    return figure
