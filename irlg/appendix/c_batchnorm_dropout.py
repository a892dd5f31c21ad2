"""Notebook C: Table 3, by networks with and without BatchNorm and Dropout, in both modes."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from irlg.appendix import scores
from irlg.appendix.published import PAPER_TABLE_3
from irlg.appendix.scores import aggregate, intervals, pair, rounds_to, view, with_papers, worst
from irlg.artifact.claims import Claim, on_real
from irlg.artifact.derived import Derived
from irlg.artifact.summary import Row


def table_3(trials: pd.DataFrame) -> pd.DataFrame:
    """Table 3: one row a network, mode and method, the paper's figures in the eval-mode rows."""
    table = aggregate(trials, ["variant", "mode", "method", "data"])
    paper = [
        PAPER_TABLE_3[r.variant] if (r.mode, r.method) == ("eval", "irlg") else (None, None) for r in table.itertuples()
    ]
    return table.assign(paper_le_acc=[p[0] for p in paper], paper_ln_acc=[p[1] for p in paper])


KEYS = {"variant": "network", "mode": "mode", "method": "method"}  # columns that name a row, and their headings
DERIVED = (Derived("table_3", ("C_trials",), table_3, lambda table: view(table, KEYS)),)


def claims(table: pd.DataFrame) -> list[Claim]:
    """A claim a network and mode: the paper's in eval mode, its reading for clients in train mode."""
    found = []
    for r in table[table.method == "irlg"].itertuples():
        published = r.mode == "eval"
        good = rounds_to(r, PAPER_TABLE_3[r.variant])
        verdict = ("reproduced" if good else "differs") if published else ("holds" if good else "degrades")
        found.append(
            Claim(
                claim=f"Table 3, {r.variant}, {r.mode} mode",
                paper="1.000 / 1.000" if published else "not measured",
                ours=f"{r.le_acc:.3f} / {r.ln_acc:.3f}",
                n=int(r.N),
                interval=intervals(r),
                data=r.data,
                verdict=on_real(r.data, verdict),
            )
        )
    return found


def claims_again(folder: Path, found: Sequence[Claim]) -> list[Claim]:
    """Those that follow from the trials in `folder`: all."""
    return claims(table_3(pd.read_csv(folder / "C_trials.csv")))


def as_printed(table: pd.DataFrame) -> pd.DataFrame:
    """Table 3 as the appendix prints it: in each cell ours in eval mode, and the paper's in brackets."""
    own = table[(table["mode"] == "eval") & (table.method == "irlg")].set_index("variant")
    columns = {"LeNet-5 on CIFAR100": ("LeNet-5", "BN"), "VGG-16 on ImageNet": ("VGG-16", "DO")}
    return pd.DataFrame(
        {
            (heading, score): {f"{way} BN/DO": with_papers(own.loc[f"{network} {way} {part}"], score) for way in ways}
            for heading, (network, part) in columns.items()
            for score in ("LeAcc", "LnAcc")
            for ways in [("WO", "WI")]
        }
    )


def findings(folder: Path, claims: Sequence[Claim]) -> list[Row]:
    """For the summary: the worst row of either mode."""
    table = pd.read_csv(folder / "table_3.csv")
    ours, guess = table[table.method == "irlg"], table[table.method == "uniform"]
    modes = [f"{mode} {worst(ours[ours['mode'] == mode])}" for mode in ("eval", "train")]
    paper = f"LeAcc / LnAcc {pair(min(PAPER_TABLE_3.values()))} in all {len(PAPER_TABLE_3)} rows"
    here = f"worst row: {', '.join(modes)}, guess {worst(guess)}"
    return [Row(paper, here, claims)]


def dots(table: pd.DataFrame) -> Figure:
    """LnAcc of Algorithm 1 and of the constant guess, each network in both modes."""
    return scores.dots(table, [f"{r.variant}, {r.mode}" for r in table.itertuples()])
