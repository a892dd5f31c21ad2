"""What a defender should do, in ten lines made of the rows; nothing here runs an experiment."""

import numpy as np
import pandas as pd

from irlg.appendix.k_defences.prices import strength
from irlg.appendix.k_defences.tables import LIMIT, UNDER, beaten, epsilon
from irlg.appendix.k_defences.trials import LATTICE, SIZE

ELSEWHERE = (
    "then nothing of its gradient is seen, but somebody has to train that layer, or it stays at random as here; and"
    " others restored labels without it (Gradient Bridge, 2024, by its own report over 80 %)"
)


def advice(defended: pd.DataFrame, prices: pd.DataFrame, gaps: pd.DataFrame, costs: pd.DataFrame) -> str:
    """Ten lines of Markdown: what each defence does and costs, where a rival wins, and what follows.

    **Arguments:** as of `tables.defended`, `prices.prices`, `tables.differences` and `tables.costs`.
    """
    rows = defended[defended.K.eq(SIZE)]
    lines = [
        f"**Without a defence** the best method is exact in {_shares(rows[rows.kind == 'none'])} of batches of {SIZE}.",
        *_priced(prices, "noise", "Noise"),
        *_priced(prices, "DP-SGD", "DP-SGD"),
        _tried(rows, "clipped", "Clipping without noise"),
        _sparse(rows),
        " ".join(_tried(rows, name, text) for name, text in (("int8", "int8"), ("signs", "Signs alone"))),
        _tried(rows, "no bias", "A head without a bias"),
        f"**The last layer withheld**: {ELSEWHERE}. Frozen, it costs FCN-3 {_paid(costs, 'withheld')} of accuracy.",
        *_larger(defended, costs),
        _rivals(gaps),
        _conclusion(rows, costs),
    ]
    return "\n".join(f"{number}. {line}" for number, line in enumerate(filter(None, lines), 1))


def _name(row: pd.Series) -> str:
    return f"{row.network} {row.training}"


def _shares(rows: pd.DataFrame) -> str:
    return ", ".join(f"{r.exact:.0%} ({_name(r)})" for _, r in rows.iterrows())


def _range(values: pd.Series) -> str:
    low, high = f"{values.min():.2f}", f"{values.max():.2f}"
    return low if low == high else f"{low} to {high}"


def _paid(costs: pd.DataFrame, name: str) -> str:
    row = costs[costs.defence.eq(name) & costs.K.eq(costs.K.min())].iloc[0]
    return _points(row.lost)


def _points(lost: float) -> str:
    return f"{100 * lost:+.1f} points"


def _priced(prices: pd.DataFrame, kind: str, title: str) -> list[str]:
    found = []
    rows = prices[(prices.kind == kind) & prices.K.eq(SIZE)]
    if rows.empty:
        return []
    where = ", ".join(f"{strength(r.to_dict())} ({_name(r)})" for _, r in rows.iterrows())
    found.append(f"**{title}**: the least with exact batches under {LIMIT:.0%} is {where}.")
    paid = rows.dropna(subset=["lost", "strength"])
    if len(paid):
        dearest = paid.loc[paid.lost.idxmax()]
        private = f", at ε = {epsilon(dearest.epsilon)}" if not np.isnan(dearest.epsilon) else ""
        found[0] += f" On FCN-3 it costs up to {_points(dearest.lost)} of accuracy{private}."
    reached = rows.dropna(subset="strength")
    if len(reached):
        found.append(
            f"**Not exact is not protected**: at that {'noise' if kind == 'noise' else 'σ'} the best method names"
            f" {_range(reached.i_rec)} of the instances (IRec), and not looking {_range(reached.trivial_i_rec)}."
        )
    return found


def _tried(rows: pd.DataFrame, name: str, title: str) -> str:
    ours = rows[rows.defence == name]
    if ours.empty:
        return ""
    most = ours.loc[ours.exact.idxmax()]
    by = f", {most.method} on {_name(most)}" if most.exact else ""
    lost = ours.lost.dropna()
    cost = f"; FCN-3 loses {_points(lost.iloc[0])}" if len(lost) else ""
    return f"**{title}**: exact in {_range(ours.exact)}{by}; IRec {_range(ours.i_rec)}{cost}."


def _sparse(rows: pd.DataFrame) -> str:
    ours = rows[rows.kind == "sparse"]
    worst = ours.groupby("strength").exact.max()
    safe = worst[worst < LIMIT]
    if safe.empty:
        return f"**The largest entries alone**: no share brings exact batches under {LIMIT:.0%} everywhere."
    chosen = ours[ours.strength == safe.index.max()]
    lost = chosen.lost.dropna()
    return (
        f"**The largest entries alone**: under {LIMIT:.0%} of batches are exact anywhere with {safe.index.max():.0%}"
        f" of them or fewer; IRec there {_range(chosen.i_rec)}"
        + (f"; FCN-3 loses {_points(lost.iloc[0])}." if len(lost) else ".")
    )


def _larger(defended: pd.DataFrame, costs: pd.DataFrame) -> list[str]:
    rows = defended[(defended.defence == "none") & defended.K.gt(SIZE) & ~defended.training.str.endswith(UNDER)]
    if rows.empty:
        return []
    shares = ", ".join(f"{r.exact:.0%} (K = {r.K}, {_name(r)})" for _, r in rows.iterrows())
    paid = costs[(costs.defence == "none") & costs.K.gt(SIZE)]
    cost = ", ".join(f"{_points(r.lost_in_all)} at K = {r.K}" for r in paid.itertuples())
    return [f"**Larger batches**: exact in {shares}; of as many images FCN-3 learns less by {cost}."]


def _rivals(gaps: pd.DataFrame) -> str:
    ahead = beaten(gaps)
    settings = ahead.setting.nunique()
    if not settings:
        return "**No rival** is exact more often than the lattice by two standard errors in any setting."
    by = ahead.groupby("method").setting.nunique().sort_values(ascending=False, kind="stable")
    names = ", ".join(f"{name} in {number}" for name, number in by.head(4).items())
    first = ahead.iloc[0]
    return (
        f"**Where a rival wins**: in {settings} of {gaps.setting.nunique()} settings one is exact more often than the"
        f" {LATTICE} by two standard errors ({names}); furthest {first.method}, by {-first.exact:.2f}, at"
        f" {first.defence}, K = {first.K}, {_name(first)}."
    )


def _conclusion(rows: pd.DataFrame, costs: pd.DataFrame) -> str:
    worst = rows[rows.kind != "none"].groupby("defence", sort=False).exact.max()
    safe = costs[costs.K.eq(SIZE) & costs.defence.isin(worst[worst < LIMIT].index)].sort_values("lost", kind="stable")
    if safe.empty:
        return f"**What to do**: nothing that was tried keeps exact batches under {LIMIT:.0%} on every network."
    first = safe.iloc[0]
    ours = rows[rows.defence == first.defence]
    gain = (ours.i_rec - ours.trivial_i_rec).max()
    listed = ", ".join(f"{r.defence} ({_points(r.lost)})" for r in safe.itertuples())
    return (
        f"**What to do**: under {LIMIT:.0%} of batches are exact on any network with {listed}. The cheapest,"
        f" {first.defence}, still lets the best method name up to {gain:.2f} more of the instances than not looking."
        " Of all these DP-SGD alone bounds what other attacks can do."
    )
