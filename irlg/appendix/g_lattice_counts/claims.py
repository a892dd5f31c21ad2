"""What notebook G bears out, claim by claim, from its tables and trials."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from irlg.appendix.g_lattice_counts import tables
from irlg.appendix.g_lattice_counts.costs import Costs, cost_claims
from irlg.appendix.g_lattice_counts.tables import NAMES, SCORES, calibration_error, calibration_interval, reliability
from irlg.appendix.published import PAPER_TABLE_4
from irlg.appendix.scores import certain
from irlg.artifact import statistics
from irlg.artifact.claims import Claim, on_real
from irlg.artifact.summary import Row
from irlg.artifact.tables import span

WELL_CALIBRATED = 0.05  # expected calibration error that was aimed at
TARGET_ACCURACY = 0.33  # of LeNet-5 after 12 epochs, at which the search's target is set


def claims(
    table_4: pd.DataFrame,
    table: pd.DataFrame,
    trials: pd.DataFrame,
    differ: pd.DataFrame,
    networks: pd.DataFrame,
    costs: Costs,
) -> list[Claim]:
    """What notebook G bears out: Table 4 again, beyond it, no rival better, probabilities, costs."""
    return [*of_trials(table_4, table, trials, differ, networks), *cost_claims(costs, table)]


def of_trials(
    table_4: pd.DataFrame, table: pd.DataFrame, trials: pd.DataFrame, differ: pd.DataFrame, networks: pd.DataFrame
) -> list[Claim]:
    """All but what it costs."""
    data = ", ".join(dict.fromkeys(table.data))
    return [
        _again(table_4),
        *_untrained(table),
        *_search(trials, networks),
        never_worse(differ, data),
        *_probabilities(trials, data),
    ]


def _again(table: pd.DataFrame) -> Claim:
    ours, data = table[table.method == "lattice"], table.data.iloc[0]
    n = int(ours.N.sum())
    good = bool((ours.exact == 1).all() and (ours.total_min == ours.K).all() and (ours.total_max == ours.K).all())
    low, high = statistics.wilson(round(float((ours.exact * ours.N).sum())), n)
    worst = min(ln for _, ln in PAPER_TABLE_4.values())
    return Claim(
        claim="Table 4 by the lattice, worst of its eight rows; Σ n̂ = K in every trial",
        paper=f"LnAcc {worst:.3f}",
        ours=f"{ours.le_acc.min():.3f} / {ours.ln_acc.min():.3f}",
        n=n,
        interval=f"exact, all rows {span(low, high)}",
        data=data,
        verdict=on_real(data, "holds" if good else "fails"),
    )


def _untrained(table: pd.DataFrame) -> list[Claim]:
    claims = []
    untrained = table[(table.training == "untrained") & (table.method == "lattice")]
    for networks in (("LeNet-5", "LeNet-5 SiLU", "LeNet-5 LeakyReLU"), ("LeNet-5 Tanh",)):
        ours = untrained[untrained.network.isin(networks)]
        for chosen, least in ((ours[ours.draw != "100 × 40"], 0.9995), (ours[ours.draw == "100 × 40"], 0.995)):
            if not len(chosen):  # few settings
                continue
            worst = chosen.loc[chosen.ln_acc.idxmin()]
            activations = ", ".join(name.removeprefix("LeNet-5").strip() or "ReLU" for name in networks)
            claims.append(
                Claim(
                    claim=f"LeNet-5 untrained, {activations}, {', '.join(chosen.draw.unique())}: LnAcc, worst row,"
                    f" {least:g} aimed at",
                    paper="not measured",
                    ours=f"{worst.ln_acc:.3f}",
                    n=int(chosen.N.sum()),
                    interval=f"of that row {span(worst.ln_acc_low, worst.ln_acc_high)}",
                    data=worst.data,
                    verdict=on_real(worst.data, "holds" if worst.ln_acc >= least else "below"),
                )
            )
    return claims


def _search(trials: pd.DataFrame, networks: pd.DataFrame) -> list[Claim]:
    accuracy = networks.set_index(["network", "training"])["mean"]
    learnt = trials[(trials.training != "untrained") & (trials.draw == "random 24") & (trials.network == "LeNet-5")]
    claims = []
    for training, group in learnt.groupby("training", sort=False):
        shares = {}
        for method in ("lattice, no search", "lattice"):
            exact = group[group.method == method].exact
            low, high = statistics.wilson(int(exact.sum()), len(exact))
            shares[method] = (exact.mean(), span(low, high, 2), len(exact))
        (before, around, _), (after, near, n) = shares.values()
        data, right = group.data.iloc[0], accuracy["LeNet-5", training]
        verdict = "below 0.95" if after < 0.95 else "holds"
        if training == "12 epochs" and right < TARGET_ACCURACY:
            verdict += f", at an accuracy below {TARGET_ACCURACY:.0%}"
        claims.append(
            Claim(
                claim=f"LeNet-5, {training} (accuracy {right:.1%}), K = 24: exact batches with the search",
                paper="not measured",
                ours=f"{after:.2f} (without: {before:.2f} {around})",
                n=n,
                interval=near,
                data=data,
                verdict=on_real(data, verdict),
            )
        )
    found = trials[(trials.method == "lattice") & (trials.found == True)]  # noqa: E712 (missing for other methods)
    if len(found):
        exact, data = int(found.exact.sum()), ", ".join(dict.fromkeys(found.data))
        claims.append(
            Claim(
                claim="Batches whose every instance was found: exact",
                paper="n/a",
                ours=f"{exact} of {len(found)}, mean stated probability {found.probability.mean():.4f}",
                n=len(found),
                interval=span(*statistics.wilson(exact, len(found))),
                data=data,
                verdict=on_real(data, "holds" if exact == len(found) else "not all"),
            )
        )
    return claims


def never_worse(differ: pd.DataFrame, data: str) -> Claim:
    """Whether any paired difference of `tables.differences` is below 0 by two standard errors."""
    worse = differ[differ.difference < -2 * differ.standard_error.clip(lower=1e-12)]
    least = (worse if len(worse) else differ).nsmallest(1, "difference").iloc[0]  # all are in G_below
    named = f"{SCORES[least.score]} of {least.network} {least.training} {least['draw']} against {NAMES[least.rival]}"
    return Claim(
        claim="Nowhere worse than Algorithm 1 or the guess by two standard errors (LeAcc and LnAcc, paired)",
        paper="not measured",
        ours=f"{len(worse)} of {len(differ)} comparisons; least difference {least.difference:+.3f}, {named}",
        n=int(differ.N.sum()) // 4,
        interval=f"± {2 * least.standard_error:.3f}; by chance alone {0.023 * len(differ):.0f} of as many equals",
        data=data,
        verdict=on_real(data, "fails" if len(worse) else "holds" if differ.N.min() > 1 else "too few trials"),
    )


def _probabilities(trials: pd.DataFrame, data: str) -> list[Claim]:
    ours = trials[trials.method == "lattice"]
    claims = []
    for name, least in (("untrained", 0.995), ("trained", 0.99)):
        n, exact = certain(ours[ours.trained == name])
        low, high = statistics.wilson(exact, n) if n else (0.0, 1.0)
        claims.append(
            Claim(
                claim=f"Batches reported at p > 0.999, {name} networks: exact",
                paper="n/a",
                ours=f"{exact} of {n}" + (f" ({exact / n:.1%})" if n else ""),
                n=n,
                interval=span(low, high),
                data=data,
                verdict=on_real(data, "holds" if n and exact >= least * n else "fails"),
            )
        )
    for name, part in ours.groupby("trained", sort=False):
        error, (low, high) = calibration_error(reliability(part)), calibration_interval(part)
        verdict = "holds" if high < WELL_CALIBRATED else "fails" if low >= WELL_CALIBRATED else "undecided"
        claims.append(
            Claim(
                claim=f"Expected calibration error, {name} networks, below {WELL_CALIBRATED} aimed at",
                paper="n/a",
                ours=f"{error:.4f}",
                n=len(part),
                interval=f"{span(low, high)}, bootstrap over batches; ten equal bins",
                data=data,
                verdict=on_real(data, verdict),
            )
        )
    return claims


DERIVED = tables.DERIVED


def claims_again(folder: Path, found: Sequence[Claim]) -> list[Claim]:
    """Those that follow from the trials in `folder`: all but what it costs."""
    files = (f"G_{name}.csv" for name in ("table_4_trials", "beyond", "trials", "networks"))
    again, table, trials, networks = (pd.read_csv(folder / name) for name in files)
    return of_trials(tables.table_4(again), table, trials, tables.differences(trials), networks)


def findings(folder: Path, claims: Sequence[Claim]) -> list[Row]:
    """For the summary: means over settings, of untrained networks and of those that have learnt something."""
    table = pd.read_csv(folder / "G_beyond.csv")
    parts, learnt = [], table.training != "untrained"
    for kind, rows in (("trained", table[learnt]), ("untrained", table[~learnt])):
        means = rows.groupby("method").ln_acc.mean().map("{:.3f}".format)
        parts.append(f"{means['lattice']} ({means['irlg']} and {means['uniform']}) on {kind} networks")
    return [Row("n/a", f"mean LnAcc, of Algorithm 1 and the guess in brackets: {', '.join(parts)}", claims)]
