"""The price of protection, and what to make of it, from rows of `tables.defended`; nothing here runs an experiment."""

import numpy as np
import pandas as pd

from irlg.appendix.k_defences.tables import LIMIT, PLACE, UNDER, epsilon, lost
from irlg.artifact.tables import markdown, span

KINDS = ("noise", "DP-SGD")  # of which there is a least strength
HELPFUL = 0.05  # recall above that of not looking, from which on a gradient is said to tell something


def prices(defended: pd.DataFrame) -> pd.DataFrame:
    """The least noise, and the least σ of DP-SGD, from which on the best method is exact in less than `LIMIT`.

    A row a network, training, K and kind; by the share itself, which `exact_low` and `exact_high` bound. `strength` is
    NaN where none of those tried does it, and 0 where no defence is needed; `before`: the share one strength lower.
    """
    rows = []
    for place, group in defended.groupby(PLACE, sort=False):
        for kind in KINDS:
            tried = group[group.kind == kind].sort_values("strength", kind="stable")
            if len(tried) > 1 or (len(tried) and place[1].endswith(UNDER)):
                rows.append(dict(zip(PLACE, place, strict=True)) | {"kind": kind} | _least(group, tried))
    return pd.DataFrame(rows)


def _least(group: pd.DataFrame, tried: pd.DataFrame) -> dict[str, object]:
    names = [
        "defence",
        "method",
        "exact",
        "exact_low",
        "exact_high",
        "i_rec",
        "recalls",
        "trivial_i_rec",
        "lost",
        "lost_error",
        "epsilon",
        "N",
    ]
    steps = pd.concat([group[group.defence == "none"].assign(strength=0.0), tried])
    enough = steps.exact.lt(LIMIT).to_numpy()
    number = len(steps) - int(np.cumprod(enough[::-1]).sum())  # from where on all are
    about: dict[str, object] = {"data": steps.data.iloc[0]}
    if number == len(steps):
        last = steps.iloc[-1]
        return about | {"strength": np.nan, "before": last.exact} | {name: last[name] for name in names}
    chosen = steps.iloc[number]
    before = steps.exact.iloc[number - 1] if number else np.nan
    return about | {"strength": chosen.strength, "before": before} | {name: chosen[name] for name in names}


def prices_view(table: pd.DataFrame) -> str:
    """The same as Markdown."""
    rows = []
    for r in table.to_dict("records"):
        row = {"network": r["network"], "training": r["training"], "K": str(r["K"]), "what": r["kind"]}
        row["least"] = strength(r)
        row["exact there [95 %]"] = f"{r['exact']:.2f} {span(r['exact_low'], r['exact_high'], 2)}"
        row["one step less"] = "" if np.isnan(r["before"]) else f"{r['before']:.2f}"
        row["IRec, best"] = f"{r['i_rec']:.3f} ({r['recalls']})"
        row["IRec without looking"] = f"{r['trivial_i_rec']:.3f}"
        row["accuracy lost"] = lost(r)
        rows.append(row | {"ε": epsilon(r["epsilon"]), "N": str(r["N"])})
    return markdown(pd.DataFrame(rows))


def strength(row: pd.Series | dict[str, object]) -> str:
    """The least strength of a row of `prices`, in words."""
    if pd.isna(row["strength"]):
        return "none that was tried"
    return "not needed" if row["defence"] == "none" else str(row["defence"])
