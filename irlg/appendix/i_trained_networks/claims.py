"""What notebook I bears out, claim by claim, from its per-batch rows."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from irlg.appendix.i_trained_networks import memorised, tables
from irlg.appendix.i_trained_networks.tables import lattice, unique
from irlg.appendix.scores import SURE, certain
from irlg.appendix.trained import LITE0
from irlg.artifact import statistics
from irlg.artifact.claims import Claim, on_real
from irlg.artifact.derived import Derived
from irlg.artifact.summary import Row
from irlg.artifact.tables import span

ENOUGH, ENOUGH_SURE = 30, 300  # batches of a row, and sure answers, that a claim takes
SEEN = 1e-4  # 1 − p of an instance that float32 leaves enough of, on networks of development
LENET = "LeNet-5", "12 epochs"
# Least share of exact batches, and most seconds (median), that were aimed at, by network, training and K.
EXACT = {
    (LITE0, "published weights", 64): 0.95,
    (LITE0, "published weights", 128): 0.95,
    (LITE0, "published weights", 256): 0.80,
    (*LENET, 24): 0.98,
    (*LENET, 48): 0.98,
}
SECONDS = {
    (LITE0, "published weights", 24): 0.5,
    (LITE0, "published weights", 64): 3.0,
    (LITE0, "published weights", 128): 13.0,
    (LITE0, "published weights", 256): 120.0,
    (*LENET, 24): 1.0,
    (*LENET, 48): 1.0,
}


def claims(rows: pd.DataFrame, train: pd.DataFrame, networks: pd.DataFrame) -> list[Claim]:
    """What notebook I bears out; of networks, K and trainings that were left out, nothing."""
    ours = lattice(rows)
    found = [
        *(_exact(part, least) for part, least in _where(ours, EXACT)),
        sure(pd.concat([ours, lattice(train)], ignore_index=True)),
        *(_seconds(part, most) for part, most in _where(ours, SECONDS)),
        *(_in_train_mode(part, ours) for _, part in lattice(train).groupby("network", sort=False)),
        *(_memorised(part) for _, part in ours[ours.network == memorised.NAME].groupby("K")),
    ]
    if LITE0 in set(networks.network):
        found += [_learnt(networks[networks.network == LITE0].iloc[0]), *_grows(ours), *_recovered(ours)]
    return found


def _where(rows: pd.DataFrame, aims: dict[tuple[str, str, int], float]) -> list[tuple[pd.DataFrame, float]]:
    """The rows of each aim that there are any of, and the aim."""
    groups = dict(iter(rows.groupby(["network", "training", "K"])))
    return [(groups[key], aim) for key, aim in aims.items() if key in groups]


def _name(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    training = "" if first.network == LITE0 else f", {first.training}"
    return f"{first.network}{training}, K = {first.K}"


def _exact(rows: pd.DataFrame, least: float) -> Claim:
    exact, n, data = int(rows.exact.sum()), len(rows), unique(rows.data)
    verdict = "too few" if n < ENOUGH else "holds" if exact >= least * n else "below"
    return Claim(
        claim=f"{_name(rows)}: exact batches, {least:.0%} aimed at",
        paper="not measured",
        ours=f"{exact} of {n}",
        n=n,
        interval=span(*statistics.wilson(exact, n)),
        data=data,
        verdict=on_real(data, verdict),
    )


def sure(rows: pd.DataFrame) -> Claim:
    """Whether answers at p > `SURE` are ever wrong, over all networks, K and modes together."""
    n, right = certain(rows)
    data = unique(rows.data)
    wrong = rows[(rows.probability > SURE) & ~rows.exact]
    verdict = "fails" if right < n else "too few" if n < ENOUGH_SURE else "holds"
    where = f" (wrong: {unique(wrong.network + ', K = ' + wrong.K.astype(str))})" if len(wrong) else ""
    return Claim(
        claim=f"Trained networks: batches answered at p > {SURE:g} are exact, all of them aimed at",
        paper="n/a",
        ours=f"{right:,} of {n:,}{where}",
        n=n,
        interval=span(*(statistics.wilson(right, n) if n else (0.0, 1.0)), 4),
        data=data,
        verdict=on_real(data, verdict),
    )


def _seconds(rows: pd.DataFrame, most: float) -> Claim:
    low, middle, high = rows.seconds.quantile([0.05, 0.5, 0.95])
    exact, n = int(rows.exact.sum()), len(rows)
    # To give up soon is not to be fast.
    verdict = "slower" if middle > most else "holds" if 2 * exact >= n else "too few exact"
    return Claim(
        claim=f"{_name(rows)}: seconds of a restoration, at most {most:g} aimed at",
        paper="n/a",
        ours=f"{_digits(middle)}, exact {exact} of {n}",
        n=n,
        interval=f"median; 5 to 95 % of batches {_digits(low)} to {_digits(high)}",
        data=unique(rows.data),
        verdict=verdict,
    )


def _digits(seconds: float) -> str:
    """Two of them, and all of a number of seconds that has more."""
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"


def _in_train_mode(rows: pd.DataFrame, others: pd.DataFrame) -> Claim:
    same = others.merge(rows[["network", "draw", "trial"]])
    exact, n, data = int(rows.exact.sum()), len(rows), unique(rows.data)
    sizes = " and ".join(str(size) for size in dict.fromkeys(rows.K))
    return Claim(
        claim=f"{rows.network.iloc[0]} in train mode, K = {sizes}: exact",
        paper="not measured",
        ours=f"{exact} of {n}; the same batches in eval mode: {int(same.exact.sum())} of {len(same)}",
        n=n,
        interval=span(*statistics.wilson(exact, n)),
        data=data,
        verdict=on_real(data, "measured"),
    )


def _memorised(rows: pd.DataFrame) -> Claim:
    exact, n, data = int(rows.exact.sum()), len(rows), unique(rows.data)
    seen = rows[rows.weakest >= SEEN]
    return Claim(
        claim=f"{_name(rows)}: exact",
        paper="not measured",
        ours=f"{exact} of {n}, IRec {rows.i_rec.mean():.2f}; if each instance leaves 1 − p of {SEEN:g}:"
        f" {int(seen.exact.sum())} of {len(seen)}",
        n=n,
        interval=span(*statistics.wilson(exact, n)),
        data=data,
        verdict=on_real(data, "measured"),
    )


def _learnt(network: pd.Series) -> Claim:
    n = int(network.images)
    right = round(network.accuracy * n)
    return Claim(
        claim=f"{network.network}: photographs that it is right about",
        paper="n/a",
        ours=f"{network.accuracy:.3f}; median p of the true class {network.median_p:.2f}",
        n=n,
        interval=span(*statistics.wilson(right, n)),
        data=network.data,
        verdict=on_real(network.data, "measured"),
    )


def _grows(rows: pd.DataFrame) -> list[Claim]:
    steps = tables.growth(rows)
    if steps.empty:
        return []
    powers = (f"{step.power:.1f} from K = {step.K} to {step.until}" for step in steps.itertuples())
    return [
        Claim(
            claim=f"{LITE0}: seconds grow with K to the power of",
            paper="n/a",
            ours=", ".join(powers),
            n=int((rows.network == LITE0).sum()),
            interval="of medians",
            data=unique(rows[rows.network == LITE0].data),
            verdict="measured",
        )
    ]


def _recovered(rows: pd.DataFrame) -> list[Claim]:
    ran = tables.searched(rows).dropna(subset="error")
    if ran.empty:
        return []
    data = unique(ran.data)
    return [
        Claim(
            claim=f"{LITE0}: relative error of an instance's embedding, median",
            paper="n/a",
            ours=f"{ran.error.median():.1e} (worst instance of all {ran.worst_error.max():.1e})",
            n=len(ran),
            interval=f"5 to 95 % of batches {ran.error.quantile(0.05):.1e} to {ran.error.quantile(0.95):.1e}",
            data=data,
            verdict=on_real(data, "measured"),
        )
    ]


BOTH = ("I_trials", "I_train_trials")
KEYS = {"network": "network", "K": "K"}  # columns that name a row of a table, and their headings
DERIVED = (
    Derived("I_eval", BOTH[:1], tables.table, lambda made: tables.view(made, KEYS)),
    Derived("I_train", BOTH, tables.beside, lambda made: tables.view(made, {**KEYS, "mode": "mode"})),
    Derived(
        "I_sure",
        BOTH,
        lambda *rows: tables.sureness(pd.concat(map(lattice, rows), ignore_index=True)),
        tables.sureness_view,
    ),
    Derived("I_embeddings", BOTH[:1], lambda rows: tables.recovered(lattice(rows)), tables.recovered_view),
)


def claims_again(folder: Path, found: Sequence[Claim]) -> list[Claim]:
    """Those that follow from the trials in `folder`: all."""
    rows, train, networks = (pd.read_csv(folder / f"{name}.csv") for name in (*BOTH, "I_networks"))
    return claims(rows, train, networks)


def findings(folder: Path, claims: Sequence[Claim]) -> list[Row]:
    """For the summary: exact batches at the three largest K together, on the network that others trained or else the
    first there is, those of Algorithm 1 beside them, and whether sure answers are right."""
    rows = pd.read_csv(folder / "I_trials.csv")
    counted = pd.read_csv(folder / "I_sure.csv").iloc[-1]
    shown = rows[rows.network == (LITE0 if LITE0 in set(rows.network) else rows.network.iloc[0])]
    shown = shown[shown.K.isin(sorted(set(shown.K))[-3:])]
    theirs = shown[shown.method == "irlg"].exact
    ours, sizes = lattice(shown), unique(shown.K.astype(str))
    here = (
        f"exact: {unique(shown.network)} {int(ours.exact.sum())} of {len(ours)} at K = {sizes}, by Algorithm 1"
        f" {int(theirs.sum())} of {len(theirs)}; p > {SURE:g} right in {counted.right:,} of {counted.sure:,}"
    )
    return [Row("n/a", here, claims)]
