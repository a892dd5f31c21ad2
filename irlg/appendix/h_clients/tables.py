"""Notebook H's tables from per-batch rows; nothing here runs an experiment."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from irlg.appendix.recurring import interval
from irlg.appendix.scores import SURE, certain
from irlg.artifact import statistics
from irlg.artifact.tables import markdown, span

BATCH = ("network", "initialisation", "K", "trial")  # columns that name a batch, which is the same in every setting


def table(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row a group of batches, in the order of appearance: share exact with Wilson interval, means, sure answers."""
    return pd.DataFrame(
        dict(zip(by, key, strict=True)) | _of(group) for key, group in rows.groupby(list(by), sort=False)
    )


def _of(group: pd.DataFrame) -> dict[str, Any]:
    exact, (sure, right) = int(group.exact.sum()), certain(group)
    low, high = statistics.wilson(exact, len(group))
    row = {"N": len(group), "exact": exact / len(group), "exact_low": low, "exact_high": high}
    means = [name for name in ("le_acc", "ln_acc", "ln_irlg", "ln_uniform", "error", "misfit") if name in group]
    row |= {name: group[name].mean() for name in (*means, "probability")}
    return row | {"sure": sure, "sure_right": right, "refused": int(group.refused.sum())}


def view(summary: pd.DataFrame, keys: dict[str, str]) -> str:
    """A table of `table` as Markdown. **Arguments:** `keys`: the headings of the columns that name a row, by column."""
    rows = []
    for r in summary.to_dict("records"):
        row = {heading: str(r[column]) for column, heading in keys.items()}
        row["exact [95 %]"] = f"{r['exact']:.2f} {span(r['exact_low'], r['exact_high'], 2)}"
        row["LnAcc"] = _number(r["ln_acc"], 3)
        if "ln_irlg" in r:
            row["of Algorithm 1"], row["of the guess"] = (_number(r[name], 3) for name in ("ln_irlg", "ln_uniform"))
        row["mean p"] = f"{r['probability']:.2f}"
        row[f"p > {SURE:g}: right"] = f"{r['sure_right']} of {r['sure']}" if r["sure"] else "none"
        if summary.refused.any():
            row["refused"] = str(r["refused"])
        rows.append(row | {"N": str(r["N"])})
    return markdown(pd.DataFrame(rows))


def _number(value: float, digits: int) -> str:
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def noise(rows: pd.DataFrame) -> pd.DataFrame:
    """Measured over true standard deviation of Gaussian noise, by network and deviation: mean over batches and spread.

    `theory` is the relative spread that m + 1 column sums allow, 1/√(2 (m + 1)).
    """
    chosen = rows[(rows.kind == "noisy") & ~rows.refused]
    ratios = (chosen.measured / chosen["std"]).groupby(
        [chosen.network, chosen.m, chosen["std"], chosen.data], sort=False
    )
    found = ratios.agg(N="size", mean="mean", spread="std").reset_index()
    return found.assign(error=found.spread / np.sqrt(found.N), theory=1 / np.sqrt(2 * (found.m + 1)))


def noise_view(found: pd.DataFrame) -> str:
    """The same over all deviations, a line a network, as Markdown."""
    rows = []
    for (network, m), group in found.groupby(["network", "m"], sort=False):
        spread = float(np.sqrt((group.spread**2).mean()))
        row = {"network": network, "m": str(m), "measured / true": f"{np.average(group['mean'], weights=group.N):.3f}"}
        row |= {"least and greatest mean of a deviation": f"{group['mean'].min():.3f}, {group['mean'].max():.3f}"}
        row |= {"spread over batches": f"{spread:.1%}", "1/√(2 (m + 1))": f"{group.theory.iloc[0]:.1%}"}
        rows.append(row | {"N": str(int(group.N.sum()))})
    return markdown(pd.DataFrame(rows))


def rivals(rows: pd.DataFrame) -> pd.DataFrame:
    """LnAcc less that of Algorithm 1 and of the guess, paired by batch, by network, K and setting: mean and error."""
    by = ["setting", "K", "network", "data"]
    found = []
    for rival, name in (("ln_irlg", "Algorithm 1"), ("ln_uniform", "guess")):
        differences = (rows.ln_acc - rows[rival]).groupby([rows[key] for key in by], sort=False)
        table = differences.agg(N="count", difference="mean", standard_error="sem").reset_index()
        found.append(table.assign(rival=name))
    return pd.concat(found, ignore_index=True)


def below(differences: pd.DataFrame) -> pd.DataFrame:
    """Those of `rivals` that are below 0 by more than two standard errors, the worst first."""
    error = 2 * differences.standard_error.clip(lower=1e-12)
    return differences[differences.difference < -error].sort_values("difference", kind="stable")


def below_view(differences: pd.DataFrame) -> str:
    """The worst network and rival of each setting and K of `below`, as Markdown."""
    worst = below(differences).drop_duplicates(["setting", "K"])
    cells = {
        "setting": worst.setting,
        "K": worst.K.astype(str),
        "network": worst.network,
        "rival": worst.rival,
        "LnAcc less the rival's": worst.difference.map("{:+.3f}".format)
        + (2 * worst.standard_error).map(" ± {:.3f}".format),
        "N": worst.N.astype(str),
    }
    return markdown(pd.DataFrame(cells)) if len(worst) else "Nowhere."


def belief(rows: pd.DataFrame) -> str:
    """When to believe the answer: a paragraph of what these rows show."""
    sure, right = certain(rows)
    others, doubtful = rows[rows.probability <= SURE], rows[rows.probability < 0.5]
    never = rows.groupby(["setting", "K"], sort=False).filter(lambda group: certain(group)[0] == 0)
    names = [f"at K = {size} with {', '.join(dict.fromkeys(part.setting))}" for size, part in never.groupby("K")]
    unsure = f"No answer was that sure {'; '.join(names)}." if names else ""
    share, less = (_share(int(part.exact.sum()), len(part)) for part in (others, doubtful))
    return f"""
**Believe p > {SURE:g}.** Over all noise and compression above, {len(rows):,} batches, {sure:,} answers were that
sure, and **{right:,} of these {sure:,} were right** ({_share(right, sure)}; 95 % interval {interval(rows, BATCH)}).
Of the other {len(others):,} answers {share} were right too, but nothing tells which; of the {len(doubtful):,} at p
below one half, {less}. {unsure}
"""


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"
