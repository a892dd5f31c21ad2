"""What notebook E bears out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from irlg.appendix.e_algorithm.solver import agreement, speed
from irlg.artifact.claims import Claim, on_real
from irlg.artifact.summary import Row


def claims(summary: pd.DataFrame, differences: pd.DataFrame, size: str, seconds: Mapping[str, float]) -> list[Claim]:
    """One batch of each network, and the solver against the pseudo-code: counts and time.

    **Arguments:** `summary`, a row of `OneBatch.summary` a network; `differences`, of `solver_differences`; `seconds`,
    of `solver_seconds` at a problem of `size`, in words.
    """
    sources = ", ".join(summary.data)
    exact = ", ".join(summary.ln_acc.map("{:.3f}".format))
    (within, text), (ratio, timing), problems = agreement(differences), speed(seconds), len(differences)
    return [
        Claim(
            claim="Algorithm 1 restores the counts of one batch (FCN-3, LeNet-5): LnAcc",
            paper="implied",
            ours=exact,
            n=len(summary),
            interval="one batch each",
            data=sources,
            verdict=on_real(sources, "holds" if summary.exact.all() else "fails"),
        ),
        Claim(
            claim="Vectorised solver = pseudo-code, before rounding",
            paper="n/a",
            ours=text,
            n=problems,
            interval="all problems",
            data="random layers",
            verdict="holds" if within == problems else f"holds but for {problems - within}",
        ),
        Claim(
            claim=f"Vectorised solver, {size}: times as fast as the literal loop",
            paper="n/a",
            ours=f"{ratio:.1f} ({timing})",
            n=1,
            interval="one problem",
            data="random layer",
            verdict="measured",
        ),
    ]


def claims_again(folder: Path, found: Sequence[Claim]) -> list[Claim]:
    """Those that follow from the tables in `folder`: all but the last, which is a time."""
    batches, differences = (pd.read_csv(folder / f"E_{stem}.csv") for stem in ("batches", "differences"))
    return claims(batches, differences, "", {"irlg": 1, "literal": 1})[:-1]


def findings(folder: Path, claims: Sequence[Claim]) -> list[Row]:
    """For the summary: one batch of each network, and on how many problems the fast solver is the pseudo-code."""
    batches, differences = pd.read_csv(folder / "E_batches.csv"), pd.read_csv(folder / "E_differences.csv")
    scores = ", ".join(f"{row.network.split(' on ')[0]} {row.ln_acc:.3f}" for row in batches.itertuples())
    within = f"{agreement(differences)[0]:,} of {len(differences):,} problems"
    return [Row("pseudo-code", f"LnAcc of one batch: {scores}; fast solver = pseudo-code in {within}", claims)]
