"""Notebook I's tables from per-batch rows; nothing here runs an experiment."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from irlg.appendix.scores import SURE, aggregate, certain
from irlg.appendix.trained import LITE0
from irlg.artifact import statistics
from irlg.artifact.tables import markdown, span

NAMES = {"irlg": "Algorithm 1", "uniform": "guess"}  # where a method is not called by its own name
GROUP = ["network", "training", "mode", "draw", "method", "data"]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a network, mode, K and method: `scores.aggregate`, mean probability, batches whose instances were all
    found, median seconds."""
    groups = rows.assign(found=found(rows)).groupby(GROUP, sort=False)
    more = {"probability": groups.probability.mean(), "found": groups.found.sum(), "seconds": groups.seconds.median()}
    return aggregate(rows, GROUP).assign(**{name: column.to_numpy() for name, column in more.items()})


def view(summary: pd.DataFrame, keys: dict[str, str]) -> str:
    """A table of `table` as Markdown. **Arguments:** `keys`: the headings of the columns that name a row, by column."""
    cells = []
    for r in summary.to_dict("records"):
        row = {heading: str(r[column]) for column, heading in keys.items()}
        row["method"] = NAMES.get(r["method"], r["method"])
        row["LeAcc"] = f"{r['le_acc']:.4f}"
        row["LnAcc [95 %]"] = f"{r['ln_acc']:.4f} {span(r['ln_acc_low'], r['ln_acc_high'], 4)}"
        row["IRec"] = f"{r['i_rec']:.3f}"
        row["exact [95 %]"] = f"{r['exact']:.2f} {span(r['exact_low'], r['exact_high'], 2)}"
        stated = not np.isnan(r["probability"])
        row["mean p"] = f"{r['probability']:.2f}" if stated else ""
        row["all found"] = f"{r['found']} of {r['N']}" if stated and r["method"] == "lattice" else ""
        cells.append(row | {"s": f"{r['seconds']:.2g}", "N": str(r["N"])})
    return markdown(pd.DataFrame(cells))


def found(rows: pd.DataFrame) -> pd.Series:
    """Whether all instances of a batch were found; of methods that don't look for them, no."""
    return rows.found.eq(True)


def lattice(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the lattice alone."""
    return rows[rows.method == "lattice"]


def beside(rows: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """`table` of the lattice on the batches of `train`, in eval and in train mode."""
    ours, theirs = lattice(rows), lattice(train)
    same = ours.merge(theirs[["network", "draw", "trial"]])
    return table(pd.concat([same, theirs], ignore_index=True)).sort_values(["network", "K"], kind="stable")


def sureness(rows: pd.DataFrame) -> pd.DataFrame:
    """How many answers of the lattice were sure, and right or wrong, by network and mode, and over all: a row each."""
    groups = [(*key, group) for key, group in rows.groupby(["network", "mode"], sort=False)]
    made = []
    for network, mode, group in [*groups, ("all", "both", rows)]:
        sure, right = certain(group)
        low, high = statistics.wilson(right, sure) if sure else (0.0, 1.0)
        others = group[~(group.probability > SURE)]
        about = {"network": network, "mode": mode, "N": len(group), "sure": sure, "right": right, "wrong": sure - right}
        about |= {"right_low": low, "right_high": high}
        made.append(about | {"others": len(others), "others_right": int(others.exact.sum())})
    return pd.DataFrame(made)


def sureness_view(counted: pd.DataFrame) -> str:
    """The same as Markdown."""
    shares = zip(counted.right_low, counted.right_high, strict=True)
    return markdown(
        pd.DataFrame(
            {
                "network": counted.network,
                "mode": counted["mode"],
                f"p > {SURE:g} and right": counted.right.map("{:,}".format),
                f"p > {SURE:g} and wrong": counted.wrong.map("{:,}".format),
                "share right [95 %]": [span(low, high, 4) for low, high in shares],
                "less sure": counted.others.map("{:,}".format),
                "of these right": counted.others_right.map("{:,}".format),
                "N": counted.N.map("{:,}".format),
            }
        )
    )


def recovered(rows: pd.DataFrame) -> pd.DataFrame:
    """Error of embeddings where all instances were found, by network and K: a row each, in the order of appearance."""
    groups = rows[found(rows)].groupby(["network", "training", "K", "data"], sort=False)
    made = groups.agg(
        N=("error", "count"),
        error=("error", "median"),
        worst=("worst_error", "median"),
        worst_of_all=("worst_error", "max"),
        weakest=("weakest", "min"),
    )
    return made.reset_index()


def recovered_view(errors: pd.DataFrame) -> str:
    """The same as Markdown."""
    names = {
        "error": "relative error, median",
        "worst": "of the batch's worst, median",
        "worst_of_all": "worst of all",
        "weakest": "least 1 − p",
    }
    shown = errors.drop(columns=["data", "training"]).astype({"K": str, "N": str})
    return markdown(shown.assign(**{name: shown[name].map("{:.1e}".format) for name in names}).rename(columns=names))


def growth(rows: pd.DataFrame, network: str = LITE0) -> pd.DataFrame:
    """How a network's seconds grow from each K to the next: `K`, `until`, the `power` of K between medians, `N`."""
    medians = rows[rows.network == network].groupby("K").seconds.agg(["median", "size"])
    steps = zip(medians.itertuples(), medians[1:].itertuples(), strict=False)
    return pd.DataFrame(
        [
            {
                "K": a.Index,
                "until": b.Index,
                "power": np.log(b.median / a.median) / np.log(b.Index / a.Index),
                "N": a.size + b.size,
            }
            for a, b in steps
        ]
    )


def searched(rows: pd.DataFrame, network: str = LITE0) -> pd.DataFrame:
    """Those batches of a network whose instances were all found."""
    return rows[(rows.network == network) & found(rows)]


def conclusion(rows: pd.DataFrame, train: pd.DataFrame) -> str:
    """What the notebook finds, in two sentences."""
    both = pd.concat([lattice(rows), lattice(train)], ignore_index=True)
    sure, right = certain(both)
    parts = [in_words(group) for _, group in lattice(rows).groupby("network", sort=False)]
    return f"Exact batches: {'; '.join(parts)}. Of answers at p > {SURE:g}, {right:,} of {sure:,} are right."


def in_words(group: pd.DataFrame) -> str:
    """How many batches of one network are exact, by K."""
    shares = group.groupby("K").exact.agg(["sum", "size"]).itertuples()
    return f"{group.network.iloc[0]} " + ", ".join(f"{right} of {n} at K = {size}" for size, right, n in shares)


def unique(names: Iterable[str]) -> str:
    """Names, each once, in the order of appearance."""
    return ", ".join(dict.fromkeys(names))


def sources(parts: Sequence[pd.DataFrame]) -> str:
    """The data that rows are of."""
    return unique(name for part in parts for name in part.data)
