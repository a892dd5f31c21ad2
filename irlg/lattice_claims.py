"""What notebook G bears out, claim by claim, from its tables and trials."""

from collections.abc import Sequence

import pandas as pd

from irlg import statistics
from irlg.comparison import EASY, LEARNT
from irlg.lattice_report import NAMES, calibration_error, certain, reliability
from irlg.records import Claim
from irlg.tables import PAPER_TABLE_4, on_real, span


def claims(
    table_4: pd.DataFrame, table: pd.DataFrame, trials: pd.DataFrame, differ: pd.DataFrame, seconds: dict[str, float]
) -> list[Claim]:
    """What notebook G bears out: Table 4 again, beyond it, no rival better, probabilities, speed."""
    return [
        _again(table_4),
        *_untrained(table),
        *_search(trials),
        never_worse(differ, ", ".join(dict.fromkeys(table.data))),
        *_probabilities(trials),
        *_speed(seconds),
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
    ours = table[
        (table.training == "untrained") & (table.method == "lattice") & table.network.str.startswith("LeNet-5")
    ]
    for text, chosen, least in (
        ("100 × {1, 2, 10} and random K ≤ 4,096", ours[ours.draw != "100 × 40"], 0.9995),
        ("100 × 40", ours[ours.draw == "100 × 40"], 0.995),
    ):
        worst = chosen.loc[chosen.ln_acc.idxmin()]
        claims.append(
            Claim(
                claim=f"LeNet-5 untrained, ReLU, SiLU, LeakyReLU, {text}: LnAcc of the worst row",
                paper="not measured",
                ours=f"{worst.ln_acc:.3f}",
                n=int(chosen.N.sum()),
                interval=f"of that row {span(worst.ln_acc_low, worst.ln_acc_high)}",
                data=worst.data,
                verdict=on_real(worst.data, "holds" if worst.ln_acc >= least else "fails"),
            )
        )
    return claims


def _search(trials: pd.DataFrame) -> list[Claim]:
    learnt = trials[(trials.training != "untrained") & (trials.draw == "random 24") & (trials.network == "LeNet-5")]
    claims = []
    for training, group in learnt.groupby("training", sort=False):
        shares = {}
        for method in ("lattice, no search", "lattice"):
            exact = group[group.method == method].exact
            low, high = statistics.wilson(int(exact.sum()), len(exact))
            shares[method] = (exact.mean(), span(low, high, 2), len(exact))
        (before, around, _), (after, near, n) = shares.values()
        data = group.data.iloc[0]
        claims.append(
            Claim(
                claim=f"LeNet-5 after {training}, K = 24: exact batches with each instance looked for",
                paper="not measured",
                ours=f"{after:.2f} (without: {before:.2f} {around})",
                n=n,
                interval=near,
                data=data,
                verdict=on_real(data, "holds" if after >= 0.95 else "below 0.95"),
            )
        )
    return claims


def never_worse(differ: pd.DataFrame, data: str) -> Claim:
    """Whether any paired difference of `lattice_report.differences` is below 0 by two standard errors."""
    worse = differ[differ.difference < -2 * differ.standard_error.clip(lower=1e-12)]
    least = differ.loc[differ.difference.idxmin()]
    where = f"{least.network} {least.training} {least.draw} against {NAMES[least.rival]}"
    return Claim(
        claim="The lattice is nowhere worse than Algorithm 1 or the guess by two standard errors (LnAcc, paired)",
        paper="not measured",
        ours=f"{len(worse)} of {len(differ)} comparisons; least difference {least.difference:+.3f} ({where})",
        n=int(differ.N.sum()),
        interval=f"± {2 * least.standard_error:.3f} for the least",
        data=data,
        verdict=on_real(data, "fails" if len(worse) else "holds" if differ.N.min() > 1 else "too few trials"),
    )


def _probabilities(trials: pd.DataFrame) -> list[Claim]:
    ours = trials[trials.method == "lattice"]
    untrained = ours.training == "untrained"
    data = ", ".join(dict.fromkeys(ours.data))
    claims = []
    for name, part, least in (("untrained", ours[untrained], 0.995), ("trained", ours[~untrained], 0.99)):
        n, exact = certain(part)
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
    error = calibration_error(reliability(ours))
    claims.append(
        Claim(
            claim="Expected calibration error over all settings together",
            paper="n/a",
            ours=f"{error:.3f}",
            n=len(ours),
            interval="ten equal bins",
            data=data,
            verdict=on_real(data, "holds" if error < 0.05 else "fails"),
        )
    )
    return claims


def _speed(seconds: dict[str, float]) -> list[Claim]:
    reference = seconds["product"] + 3 * seconds["cholesky"]
    ratio, learnt = seconds["easy"] / reference, seconds["learnt"]

    def claim(text: str, shape: Sequence[int], ours: str, good: bool) -> Claim:
        classes, width, size = shape
        return Claim(
            claim=f"Lattice, C = {classes:,}, m = {width:,}, K = {size}: {text}",
            paper="n/a",
            ours=ours,
            n=1,
            interval="one problem, best of three",
            data="random layer",
            verdict="holds" if good else "slower",
        )

    times = f"{ratio:.2f} ({seconds['easy']:.2f} s against {reference:.2f} s)"
    return [
        claim("time in units of W(K∇W)ᵀ and three factorisations, at most 1.5", EASY, times, ratio <= 1.5),
        claim("seconds on a head like a trained one, at most 3", LEARNT, f"{learnt:.1f} s", learnt <= 3),
    ]
