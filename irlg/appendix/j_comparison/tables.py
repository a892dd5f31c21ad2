"""Notebook J's tables from per-batch rows; nothing here runs an experiment."""

from typing import Any

import numpy as np
import pandas as pd

from irlg.appendix.comparison import MARK
from irlg.appendix.j_comparison.settings import LOSS
from irlg.appendix.scores import SURE, certain
from irlg.artifact import statistics
from irlg.artifact.tables import markdown, span

LATTICE = "lattice"
NOBODY = ("zeros", "prior")  # answers that look at no gradient
METRICS = {"exact": "exact", "i_rec": "IRec", "ln_acc": "LnAcc"}
SCORES = ("le_acc", "ln_acc", "i_rec", "count_error", "probability")
NEXT_TO_NONE = 0.05  # share of exact batches below which nothing can be told apart


def summary(trials: pd.DataFrame) -> pd.DataFrame:
    """A row a setting and method, in the order of appearance: batches answered (N) and refused, mean scores, share of
    exact batches with Wilson interval, LnAcc and IRec with bootstrap intervals, median seconds."""
    rows = []
    for (setting, method), group in trials.groupby(["setting", "method"], sort=False):
        answered = group[group.refused.isna()]
        row: dict[str, Any] = {"setting": setting, "method": method, "N": len(answered)}
        row |= {"refused": len(group) - len(answered)} | {name: answered[name].mean() for name in SCORES}
        counted = answered.exact.dropna().astype(bool)
        if len(counted):
            row["exact"] = counted.mean()
            row["exact_low"], row["exact_high"] = statistics.wilson(int(counted.sum()), len(counted))
            for name in ("ln_acc", "i_rec"):
                row[f"{name}_low"], row[f"{name}_high"] = statistics.bootstrap(answered[name])
        rows.append(row | {"seconds": answered.seconds.median()})
    return pd.DataFrame(rows)


def differences(trials: pd.DataFrame) -> pd.DataFrame:
    """The lattice's score less each rival's on the same batches: mean and bootstrap interval, a row a setting, rival
    and score. Rivals that tell existence alone, or refuse, are left out."""
    rows = []
    counted = trials.dropna(subset="exact").assign(exact=lambda rows: rows.exact.astype(float))
    for setting, group in counted.groupby("setting", sort=False):
        ours = group[group.method == LATTICE].set_index("trial")
        for rival, theirs in group[group.method != LATTICE].groupby("method", sort=False):
            for score in METRICS:
                apart = (ours[score] - theirs.set_index("trial")[score]).dropna()
                if len(apart):
                    low, high = statistics.bootstrap(apart)
                    row = {"setting": setting, "rival": rival, "score": score, "N": len(apart)}
                    rows.append(row | {"difference": apart.mean(), "low": low, "high": high})
    return pd.DataFrame(rows)


def behind(apart: pd.DataFrame, marked: bool) -> pd.DataFrame:
    """Those of `differences` in which the rival is better by more than the interval, rivals with images of the server's
    own (`marked`) or without, the worst first."""
    of_kind = apart.rival.str.endswith(MARK) == marked
    return apart[of_kind & (apart.high < 0)].sort_values("difference", kind="stable")


def behind_view(worse: pd.DataFrame) -> str:
    """The same as Markdown, a row a setting: the worst difference of each score."""
    if worse.empty:
        return "Nowhere."
    rows = []
    for setting, group in worse.groupby("setting", sort=False):
        row = {"setting": setting}
        for score, name in METRICS.items():
            worst = group[group.score == score].head(1)
            cells = [f"{r.rival} {r.difference:+.3f} {span(r.low, r.high)}" for r in worst.itertuples()]
            row[f"{name}: lattice less rival"] = "".join(cells)
        rows.append(row | {"N": str(group.N.iloc[0])})
    return markdown(pd.DataFrame(rows))


def beside(settings: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """A row a setting: the lattice, Algorithm 1, and the best of all other methods with and without images of the
    server's own, by exact batches and then IRec; `table` of `summary`."""
    rows = []
    for setting, group in table.dropna(subset="exact").groupby("setting", sort=False):
        marked = group.method.str.endswith(MARK)
        row: dict[str, Any] = {"setting": setting}
        kinds = {
            "lattice": group[group.method == LATTICE],
            "irlg": group[group.method == "irlg"],
            "other": group[~marked & ~group.method.isin([LATTICE, "irlg"])],
            "marked": group[marked],
        }
        for kind, part in kinds.items():
            best = part.sort_values(["exact", "i_rec"], ascending=False, kind="stable").head(1)
            names = ("method", "N", "exact", "exact_low", "exact_high", "i_rec", "ln_acc")
            row |= {f"{kind}_{name}": best[name].iloc[0] if len(best) else np.nan for name in names}
        rows.append(row)
    return settings.merge(pd.DataFrame(rows), on="setting")


def beside_view(table: pd.DataFrame) -> str:
    """The same as Markdown: exact and IRec of each."""
    rows = []
    for r in table.to_dict("records"):
        row = {"setting": r["setting"], "accuracy": f"{r['accuracy']:.2f}"}
        interval = span(r["lattice_exact_low"], r["lattice_exact_high"], 2)
        row["lattice: exact [95 %], IRec"] = f"{r['lattice_exact']:.2f} {interval}, {r['lattice_i_rec']:.3f}"
        row["Algorithm 1"] = _pair(r, "irlg")
        row["best other"] = _named(r, "other")
        row[f"best with own images ({MARK})"] = _named(r, "marked")
        rows.append(row | {"N": str(int(r["lattice_N"]))})
    return markdown(pd.DataFrame(rows))


def _pair(r: dict[str, Any], kind: str) -> str:
    return "n/a" if pd.isna(r[f"{kind}_exact"]) else f"{r[f'{kind}_exact']:.2f}, {r[f'{kind}_i_rec']:.3f}"


def _named(r: dict[str, Any], kind: str) -> str:
    return "n/a" if pd.isna(r[f"{kind}_exact"]) else f"{r[f'{kind}_method']} {_pair(r, kind)}"


def settings_view(settings: pd.DataFrame) -> str:
    """What the settings are, and what the server is told in each, as Markdown."""
    names = {
        "setting": "setting",
        "group": "group",
        "C": "C",
        "m": "m",
        "accuracy": "accuracy",
        "knows": "the server knows",
    }
    shown = settings.assign(accuracy=settings.accuracy.map("{:.2f}".format)).astype({"C": str, "m": str})
    shown["own images"] = settings.auxiliary.astype(str)
    shown["data"] = settings.data
    return markdown(shown[[*names, "own images", "data"]].rename(columns=names))


def refusals(trials: pd.DataFrame) -> pd.DataFrame:
    """Why methods refuse, and in how many settings and batches: a row a method and reason."""
    refused = trials.dropna(subset="refused")
    # The number of a batch or a network is no part of the reason.
    reason = refused.refused.str.replace(r"\d[\d,.]*", "N", regex=True)
    groups = refused.assign(reason=reason).groupby(["method", "reason"], sort=False)
    return groups.agg(settings=("setting", "nunique"), batches=("trial", "size")).reset_index()


def refusals_view(table: pd.DataFrame) -> str:
    """The same as Markdown."""
    return markdown(table.astype(str)) if len(table) else "None."


def sureness(settings: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Of answers that state a probability those at p > `SURE`, and of these the right ones, by group and over all."""
    ours = trials[(trials.method == LATTICE) & trials.probability.notna()].merge(settings[["setting", "group"]])
    ours = ours.assign(exact=ours.exact.astype(bool))
    rows = []
    for name, group in [*ours.groupby("group", sort=False), ("all", ours)]:
        sure, right = certain(group)
        low, high = statistics.wilson(right, sure) if sure else (0.0, 1.0)
        rows.append({"group": name, "N": len(group), "sure": sure, "right": right, "low": low, "high": high})
    return pd.DataFrame(rows)


def sureness_view(table: pd.DataFrame) -> str:
    """The same as Markdown."""
    rows = [
        {
            "settings": r.group,
            f"p > {SURE:g}": f"{r.sure:,} of {r.N:,}",
            "of these right": f"{r.right:,}",
            "share [95 %]": span(r.low, r.high, 4),
        }
        for r in table.itertuples()
    ]
    return markdown(pd.DataFrame(rows))


def seconds(settings: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Seconds of a restoration by method and number of classes: median and largest."""
    rows = trials[trials.refused.isna()].merge(settings[["setting", "C"]])
    groups = rows.groupby(["method", "C"], sort=False).seconds
    return groups.agg(N="size", median="median", largest="max").reset_index()


def seconds_view(table: pd.DataFrame) -> str:
    """The same as Markdown, a row a method."""
    cells = table.assign(cell=[f"{r.median:.2g} ({r.largest:.2g})" for r in table.itertuples()])
    wide = cells.pivot(index="method", columns="C", values="cell").reindex(dict.fromkeys(table.method)).fillna("n/a")
    return markdown(wide.rename(columns=lambda c: f"C = {c:,}").reset_index())


def alike(settings: pd.DataFrame, apart: pd.DataFrame) -> pd.DataFrame:
    """Those of `differences`, or of `summary`, in settings in which the lattice is told no more than its rivals: not of
    a loss."""
    told_more = settings[settings.knows.str.contains(LOSS, regex=False)].setting
    return apart[~apart.setting.isin(told_more)]


def ends(table: pd.DataFrame, marked: bool) -> tuple[int, int]:
    """In how many settings both the lattice and the best rival of the kind are exact in every batch, and in how many
    neither is in more than `NEXT_TO_NONE`; `table` of `summary`."""
    shares = wide(table, "exact")
    rivals = [name for name in shares if name.endswith(MARK) == marked and name not in (LATTICE, *NOBODY)]
    ours, best = shares[LATTICE], shares[rivals].max(axis=1)
    return int((ours.eq(1) & best.eq(1)).sum()), int((ours.lt(NEXT_TO_NONE) & best.lt(NEXT_TO_NONE)).sum())


def standing(apart: pd.DataFrame, marked: bool, score: str) -> tuple[int, int, int]:
    """In how many settings the lattice is ahead of every rival of the kind by the interval, in how many of none less,
    and in how many some rival is ahead of it."""
    of_kind = apart[(apart.score == score) & (apart.rival.str.endswith(MARK) == marked)]
    groups = of_kind.groupby("setting")
    ahead, behind = groups.low.min().gt(0), groups.high.min().lt(0)
    return int(ahead.sum()), int((~ahead & ~behind).sum()), int(behind.sum())


def wide(table: pd.DataFrame, score: str) -> pd.DataFrame:
    """Mean `score` by setting (rows) and method (columns), NaN where it refuses or tells none."""
    made = table.pivot(index="setting", columns="method", values=score)
    made = made.reindex(index=dict.fromkeys(table.setting), columns=dict.fromkeys(table.method))
    return made.dropna(axis=1, how="all")


def wide_view(table: pd.DataFrame, score: str) -> str:
    """The same as Markdown."""
    return markdown(wide(table, score).map("{:.2f}".format).replace("nan", "n/a").reset_index())
