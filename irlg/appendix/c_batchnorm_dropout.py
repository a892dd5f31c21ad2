"""Notebook C: Table 3, by networks with and without BatchNorm and Dropout, in both modes."""

import pandas as pd
from matplotlib.figure import Figure

from irlg.appendix import scores
from irlg.appendix.published import PAPER_TABLE_3
from irlg.appendix.scores import aggregate, intervals, rounds_to
from irlg.artifact.claims import Claim, on_real


def table_3(trials: pd.DataFrame) -> pd.DataFrame:
    """Table 3: one row a network, mode and method, the paper's figures in the eval-mode rows."""
    table = aggregate(trials, ["variant", "mode", "method", "data"])
    paper = [
        PAPER_TABLE_3[r.variant] if (r.mode, r.method) == ("eval", "irlg") else (None, None) for r in table.itertuples()
    ]
    return table.assign(paper_le_acc=[p[0] for p in paper], paper_ln_acc=[p[1] for p in paper])


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


def dots(table: pd.DataFrame) -> Figure:
    """LnAcc of Algorithm 1 and of the constant guess, each network in both modes."""
    return scores.dots(table, [f"{r.variant}, {r.mode}" for r in table.itertuples()])
