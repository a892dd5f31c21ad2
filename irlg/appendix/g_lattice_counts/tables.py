"""Notebook G's tables from per-trial rows; nothing here runs an experiment."""

import numpy as np
import pandas as pd

from irlg.appendix.scores import aggregate, view
from irlg.artifact import statistics
from irlg.artifact.derived import Derived
from irlg.artifact.tables import markdown

SETTING = ["network", "training", "draw"]
BINS = np.linspace(0, 1, 11)
NAMES = {"irlg": "Algorithm 1", "uniform": "guess", "lattice": "lattice", "lattice, told": "lattice, ReLU told"}

SCORES = {"le_acc": "LeAcc", "ln_acc": "LnAcc"}
DIFFERENCE = "mean difference ± 2 standard errors"


def beyond(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a setting and method: means with intervals (see `scores.aggregate`), mean probability, median seconds."""
    table = aggregate(trials, [*SETTING, "method", "data"])
    groups = trials.groupby([*SETTING, "method", "data"], sort=False)
    probability, seconds = groups.probability.mean(), groups.seconds.median()
    return table.assign(probability=probability.to_numpy(), seconds=seconds.to_numpy())


def differences(trials: pd.DataFrame) -> pd.DataFrame:
    """Each score of the lattice less that of each rival, paired by batch: mean and standard error, a row each."""
    index = [*SETTING, "initialisation", "trial"]
    rows = []
    for score in ("le_acc", "ln_acc"):
        wide = trials.pivot_table(index=index, columns="method", values=score, sort=False)
        for key, group in wide.groupby(SETTING, sort=False):
            for rival in ("irlg", "uniform"):
                difference = group["lattice"] - group[rival]
                about = dict(zip(SETTING, key, strict=True)) | {"rival": rival, "score": score, "N": len(difference)}
                rows.append(about | {"difference": difference.mean(), "standard_error": difference.sem()})
    return pd.DataFrame(rows)


def below(differ: pd.DataFrame) -> pd.DataFrame:
    """Those of `differences` in which the lattice is nominally the worse."""
    worse = differ[differ.difference < 0]
    return worse.assign(two_standard_errors=2 * worse.standard_error)


def below_view(worse: pd.DataFrame) -> str:
    """The same as Markdown."""
    rows = [
        {
            "network": f"{r.network}, {r.training}",
            "draw": r.draw,
            "score": SCORES[r.score],
            "against": NAMES[r.rival],
            DIFFERENCE: f"{r.difference:+.4f} ± {r.two_standard_errors:.4f}",
            "N": str(r.N),
        }
        for r in worse.itertuples()
    ]
    return markdown(pd.DataFrame(rows, columns=["network", "draw", "score", "against", DIFFERENCE, "N"]))


def reliability(trials: pd.DataFrame) -> pd.DataFrame:
    """Share of exact batches by what probability was stated, in tenths, with Wilson intervals."""
    place = pd.cut(trials.probability, BINS, labels=False, include_lowest=True)
    rows = []
    for bin_, group in trials.groupby(place):
        exact = int(group.exact.sum())
        low, high = statistics.wilson(exact, len(group))
        rows.append(
            {
                "from": BINS[int(bin_)],
                "to": BINS[int(bin_) + 1],
                "N": len(group),
                "stated": group.probability.mean(),
                "exact": exact / len(group),
                "exact_low": low,
                "exact_high": high,
            }
        )
    return pd.DataFrame(rows)


def reliabilities(trials: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """`reliability` of the lattice on untrained and on trained networks."""
    ours = trials[trials.method == "lattice"]
    return {name: reliability(part) for name, part in ours.groupby("trained", sort=False)}


def calibration_error(bins: pd.DataFrame) -> float:
    """Expected calibration error of `reliability`: mean distance of stated and true share, weighted by N."""
    return float((bins.N * (bins.stated - bins.exact).abs()).sum() / bins.N.sum())


def calibration_interval(trials: pd.DataFrame) -> tuple[float, float]:
    """95 % percentile bootstrap interval of `calibration_error`, from 999 fixed resamples of the batches."""
    stated, exact = trials.probability.to_numpy(), trials.exact.to_numpy(float)
    place = np.digitize(stated, BINS[1:-1], right=True)
    resamples = np.random.default_rng(0).integers(len(stated), size=(999, len(stated)))
    gaps = [np.abs(np.bincount(place[each], (stated - exact)[each])).sum() / len(stated) for each in resamples]
    low, high = np.percentile(gaps, [2.5, 97.5])
    return float(low), float(high)


def ablation(trials: pd.DataFrame) -> pd.DataFrame:
    """Means over settings without each part, untrained and trained networks apart: one row a part."""
    rows = []
    for name, group in trials.groupby("method", sort=False):
        row: dict[str, object] = {"without": name}
        for kind, part in group.groupby("trained", sort=False):
            sure = part[part.probability > 0.999]
            row |= {f"LnAcc, {kind}": part.ln_acc.mean(), f"exact, {kind}": part.exact.mean(), f"N, {kind}": len(part)}
            row |= {f"exact at p > 0.999, {kind}": f"{int(sure.exact.sum())} of {len(sure)}"}
        rows.append(row)
    return pd.DataFrame(rows)


def in_short(trials: pd.DataFrame) -> str:
    """Mean LnAcc of each method over settings, and the lattice's share of exact batches, as Markdown."""
    rows = []
    for (kind, data), group in trials.groupby(["trained", "data"], sort=False):
        means, ours = group.groupby("method").ln_acc.mean(), group[group.method == "lattice"]
        row = {"networks": kind, "data": data}
        row |= {f"LnAcc, {name}": f"{means[method]:.3f}" for method, name in NAMES.items() if method in means}
        rows.append(row | {"exact, lattice": f"{ours.exact.mean():.3f}", "N": str(len(ours))})
    return markdown(pd.DataFrame(rows).fillna(""))


def unknown(trials: pd.DataFrame) -> pd.DataFrame:
    """How often an unknown K is found, by setting, with the mean probability of the K that was taken."""
    groups = trials.groupby(SETTING, sort=False)
    table = groups.agg(N=("right", "size"), right=("right", "mean"), probability=("probability", "mean"))
    return table.assign(exact=groups.exact.mean()).reset_index()


def unknown_view(trials: pd.DataFrame) -> str:
    """The same by network and training alone, as Markdown."""
    table = trials.groupby(["network", "training"], sort=False)[["right", "probability", "exact"]].mean()
    return markdown(table.round(2).astype(str).assign(N=len(trials) // len(table)).astype(str).reset_index())


def table_4(trials: pd.DataFrame) -> pd.DataFrame:
    """Table 4 by three methods, all initialisations together (see `scores.aggregate`)."""
    return aggregate(trials, ["row", "method", "data"])


# What follows from which rows.
DERIVED = (
    Derived(
        "G_table_4",
        ("G_table_4_trials",),
        table_4,
        lambda made: view(made, {"row": "configuration", "method": "method"}),
    ),
    Derived("G_beyond", ("G_trials",), beyond),
    Derived("G_below", ("G_trials",), lambda trials: below(differences(trials)), below_view),
    Derived(
        "G_reliability",
        ("G_trials",),
        lambda trials: pd.concat([part.assign(networks=kind) for kind, part in reliabilities(trials).items()]),
    ),
    Derived("G_ablation", ("G_ablation_trials",), ablation),
    Derived("G_unknown", ("G_unknown_trials",), unknown),
)
