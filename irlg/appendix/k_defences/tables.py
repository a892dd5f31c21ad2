"""Notebook K's tables from per-trial rows and trainings; nothing here runs an experiment."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from irlg.appendix.k_defences.trials import LATTICE, TRIVIAL
from irlg.artifact import statistics
from irlg.artifact.tables import markdown, span

LIMIT = 0.05  # share of exact batches below which a defence is said to prevent them
PLACE = ["network", "training", "K"]
ABOUT = ["setting", *PLACE, "defence", "kind", "strength", "data"]
SCORES = ("le_acc", "ln_acc", "i_rec", "count_error")
BATCH = ["network", "K", "trial"]  # columns that name a batch, which is the same under every defence
UNDER = " under it"  # ends the training of a network that learnt under the defence that is tried on it


def full(settings: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """A row a batch and method with its setting, and scores as shares: `le_acc`, `ln_acc`, `i_rec`, `count_error`."""
    rows = trials.merge(settings.drop(columns="trials"), on="setting")
    shares = {"le_acc": ("le", "C"), "ln_acc": ("ln", "C"), "i_rec": ("recalled", "K"), "count_error": ("off", "C")}
    found = {name: rows[part].astype(float) / rows[whole] for name, (part, whole) in shares.items()}
    return rows.assign(**found, exact=rows.exact.astype(float), probability=rows.p.astype(float))


def summary(settings: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """A row a setting and method: share of exact batches with its Wilson interval, mean scores with standard errors,
    mean probability, median milliseconds. N: batches tried; `answered`: those that the method took."""
    rows = full(settings, trials)
    tried = settings.set_index("setting").trials
    groups = rows.groupby([*ABOUT, "method"], sort=False, dropna=False)
    columns = {name: (name, "mean") for name in SCORES} | {f"{name}_error": (name, "sem") for name in SCORES}
    counts = {"answered": ("trial", "size"), "right": ("exact", lambda exact: exact.sum(min_count=1))}
    found = groups.agg(**counts, **columns, probability=("probability", "mean"), ms=("ms", "median")).reset_index()
    found.insert(found.columns.get_loc("answered"), "N", found.setting.map(tried))
    pairs = zip(found.right, found.N, strict=True)
    intervals = [(np.nan, np.nan) if np.isnan(right) else statistics.wilson(int(right), n) for right, n in pairs]
    bounds = pd.DataFrame(intervals, columns=["exact_low", "exact_high"])
    return found.drop(columns="right").assign(exact=found.right / found.N, **bounds)


def trivial(table: pd.DataFrame) -> pd.DataFrame:
    """The best recall of an answer that looks at no gradient, by `PLACE`, from `summary`."""
    rows = table[table.method.isin(TRIVIAL)]
    best = rows.loc[rows.groupby(PLACE, sort=False).i_rec.idxmax()]
    return best[[*PLACE, "method", "i_rec"]].rename(columns={"method": "trivial", "i_rec": "trivial_i_rec"})


def best(table: pd.DataFrame) -> pd.DataFrame:
    """A row a setting, from `summary`: the method that is exact most often, and the one that recalls most, of all
    batches; beside them the lattice, and the best answer that looks at no gradient. Of equals the first of the
    registry."""
    rows = table[~table.method.isin(TRIVIAL)].dropna(subset="exact")
    rows = rows.assign(i_rec=rows.i_rec * rows.answered / rows.N)  # of batches that it refuses a method recalls nothing
    groups = rows.groupby("setting", sort=False)
    exact, recall = rows.loc[groups.exact.idxmax()], rows.loc[groups.i_rec.idxmax()]
    found = exact[[*ABOUT, "N", "method", "exact", "exact_low", "exact_high"]]
    recalled = recall[["setting", "method", "i_rec", "i_rec_error"]].rename(columns={"method": "recalls"})
    ours = rows[rows.method == LATTICE][["setting", "exact", "i_rec"]]
    ours = ours.rename(columns={"exact": "lattice_exact", "i_rec": "lattice_i_rec"})
    found = found.merge(recalled, on="setting").merge(ours, on="setting", how="left")
    looks = trivial(table)
    same = looks.assign(training=looks.training + UNDER)  # a network's batches are the same, whatever it learnt
    return found.merge(pd.concat([looks, same]), on=PLACE, how="left")


def differences(settings: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """The lattice less each rival, paired by batch, a row a setting and rival: means and standard errors of the share
    of exact batches and of recall."""
    rows = full(settings, trials)
    rows = rows[~rows.method.isin(TRIVIAL)].dropna(subset="exact")
    ours, theirs = rows[rows.method == LATTICE], rows[~rows.method.str.startswith(LATTICE)]
    both = theirs.merge(ours[["setting", "trial", "exact", "i_rec"]], on=["setting", "trial"], suffixes=("", "_ours"))
    gaps = both.assign(exact=both.exact_ours - both.exact, i_rec=both.i_rec_ours - both.i_rec)
    columns = {"exact": ("exact", "mean"), "exact_error": ("exact", "sem")}
    columns |= {"i_rec": ("i_rec", "mean"), "i_rec_error": ("i_rec", "sem")}
    groups = gaps.groupby([*ABOUT, "method"], sort=False, dropna=False)
    return groups.agg(N=("trial", "size"), **columns).reset_index()


def beaten(gaps: pd.DataFrame, score: str = "exact") -> pd.DataFrame:
    """Those of `differences` where a rival is ahead by more than two standard errors, the furthest first."""
    error = 2 * gaps[f"{score}_error"].fillna(np.inf).clip(lower=1e-12)
    return gaps[gaps[score] < -error].sort_values(score, kind="stable")


def beaten_view(gaps: pd.DataFrame) -> str:
    """The rival furthest ahead in each setting where one is, as Markdown."""
    rows = beaten(gaps).drop_duplicates("setting")
    cells = rows[["network", "training", "K", "defence"]].astype(str)
    cells["ahead"] = rows.method
    cells["exact, less the lattice's"] = [f"{-r.exact:+.2f} ± {2 * r.exact_error:.2f}" for r in rows.itertuples()]
    cells["IRec, less the lattice's"] = [f"{-r.i_rec:+.3f} ± {2 * r.i_rec_error:.3f}" for r in rows.itertuples()]
    return markdown(cells.assign(N=rows.N.astype(str))) if len(rows) else "Nowhere."


def costs(accuracy: pd.DataFrame) -> pd.DataFrame:
    """A row a defence and K, from a row a training: accuracy over seeds, and what is lost against none, paired by seed:
    `lost` at the same K, and `lost_in_all` against the smallest K; `lost_error` and `lost_in_all_error`, half their
    95 % interval, by Student's t."""
    none = accuracy[accuracy.defence == "none"]
    paired = accuracy.merge(none[["K", "number", "accuracy"]], on=["K", "number"], suffixes=("", "_none"))
    least = none[none.K.eq(accuracy.K.min())][["number", "accuracy"]]
    paired = paired.merge(least, on="number", suffixes=("", "_least"))
    paired = paired.assign(
        lost=paired.accuracy_none - paired.accuracy, lost_in_all=paired.accuracy_least - paired.accuracy
    )
    groups = paired.groupby(["defence", "K", "steps", "rate", "epsilon", "data"], sort=False, dropna=False)
    means = {name: (name, "mean") for name in ("accuracy", "lost", "lost_in_all")}
    spread = {"accuracy_min": ("accuracy", "min"), "accuracy_max": ("accuracy", "max")}
    errors = {f"{name}_error": (name, _half) for name in ("lost", "lost_in_all")}
    return groups.agg(N=("number", "size"), **means, **spread, **errors).reset_index()


def _half(values: pd.Series) -> float:
    return float(stats.t.ppf(0.975, len(values) - 1) * values.sem()) if len(values) > 1 else np.nan


def costs_view(table: pd.DataFrame) -> str:
    """The same as Markdown."""
    rows = []
    for r in table.to_dict("records"):
        row = {"defence": r["defence"], "K": str(r["K"]), "steps": f"{r['steps']:,}", "rate": f"{r['rate']:g}"}
        row["accuracy [least, greatest]"] = f"{r['accuracy']:.3f} {span(r['accuracy_min'], r['accuracy_max'])}"
        row["lost, same K"] = "" if r["defence"] == "none" else lost(r)
        rows.append(row | {"ε": epsilon(r["epsilon"]), "N": str(r["N"])})
    return markdown(pd.DataFrame(rows))


def lost(row: Mapping[str, Any]) -> str:
    """Accuracy lost, with half its interval over seeds where there are several; empty where FCN-3 says nothing."""
    error = "" if np.isnan(row["lost_error"]) else f" ± {row['lost_error']:.3f}"
    return "" if np.isnan(row["lost"]) else f"{row['lost']:+.3f}{error}"


def epsilon(value: float) -> str:
    """ε in words."""
    return "" if np.isnan(value) else "∞" if np.isinf(value) else f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def defended(best: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """`best`, and what each defence costs FCN-3: `lost` in accuracy at the same K and its
    `lost_error`, its `accuracy`, and `epsilon`."""
    paid = costs[["defence", "K", "accuracy", "lost", "lost_error", "epsilon"]].assign(network="FCN-3")
    return best.merge(paid, on=["network", "defence", "K"], how="left")


def defended_view(table: pd.DataFrame, columns: Sequence[str] = ("network", "training", "defence")) -> str:
    """Rows of `defended` as Markdown."""
    rows = []
    for r in table.to_dict("records"):
        row = {name: str(r[name]) for name in columns}
        row["exact, best [95 %]"] = f"{r['exact']:.2f} {span(r['exact_low'], r['exact_high'], 2)}"
        row["by"] = r["method"] if r["exact"] else "none"
        row["lattice"] = "n/a" if np.isnan(r["lattice_exact"]) else f"{r['lattice_exact']:.2f}"
        row["IRec, best"] = f"{r['i_rec']:.3f} ± {2 * r['i_rec_error']:.3f} ({r['recalls']})"
        row["IRec without looking"] = f"{r['trivial_i_rec']:.3f} ({r['trivial']})"
        row["accuracy lost"] = lost(r)
        rows.append(row | {"ε": epsilon(r["epsilon"]), "N": str(r["N"])})
    return markdown(pd.DataFrame(rows))
