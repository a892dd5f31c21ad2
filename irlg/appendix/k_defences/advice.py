"""What a defender should do, in ten lines made of the rows; nothing here runs an experiment."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from irlg.appendix.comparison import MARK
from irlg.appendix.k_defences.prices import HELPFUL, strength
from irlg.appendix.k_defences.tables import LIMIT, UNDER, beaten, epsilon
from irlg.appendix.k_defences.trials import SIZE
from irlg.artifact.statistics import wilson

PRIVATE = 10.0  # ε up to which DP-SGD is said to promise anything
ELSEWHERE = (
    "nothing of its gradient is seen then, but somebody has to train that layer, or it stays at random as here; and"
    " whether the other layers' gradients tell labels, as others report (Gradient Bridge, 2024), was not tried"
)


def advice(defended: pd.DataFrame, prices: pd.DataFrame, gaps: pd.DataFrame, costs: pd.DataFrame) -> str:
    """Ten lines of Markdown: what to do, what each defence hides and costs, and where a rival wins; and before them
    what they are made of.

    **Arguments:** as of `tables.defended`, `prices.prices`, `tables.differences` and `tables.costs`.
    """
    rows, paid = defended[defended.K.eq(SIZE)], costs[costs.K.eq(SIZE)].set_index("defence")
    lines = [
        _conclusion(rows, paid),
        _undefended(rows[rows.kind == "none"]),
        _priced(prices, "noise", "Noise"),
        _priced(prices, "DP-SGD", "DP-SGD"),
        _tried(rows, "clipped", "Clipping without noise", paid),
        _sparse(rows, paid),
        f"{_tried(rows, 'int8', 'int8', paid)} {_tried(rows, 'signs', 'Signs', paid)}",
        _tried(rows, "no bias", "A head without a bias", paid)
        + f" **The last layer withheld**: {ELSEWHERE}. With it frozen FCN-3 {_change(paid.loc['withheld'])}.",
        _larger(defended, costs),
        _rivals(gaps),
    ]
    numbered = "\n".join(f"{number}. {line}" for number, line in enumerate(filter(None, lines), 1))
    return f"{_made_of(rows, paid)}\n\n{numbered}"


def _made_of(rows: pd.DataFrame, paid: pd.DataFrame) -> str:
    sizes = sorted(set(rows.N), reverse=True)
    most = _listed(f"{wilson(0, n)[1]:.0%} of {n}" for n in sizes)
    return (
        f"*K = {SIZE} unless said. A cell has {' or '.join(map(str, sizes))} batches: where none is exact, the share is"
        f" at most {most} (95 %, Wilson). The best method is so after the fact, one that uses the server's own images"
        f" ({MARK}) too, and none was made for sparse gradients. Accuracy is FCN-3's, over {int(paid.N.max())} seeds, ±"
        f" half a 95 % interval (Student's t). Data: {_listed(dict.fromkeys(rows.data))}.*"
    )


def _name(row: pd.Series) -> str:
    return f"{row.network} {row.training}"


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _undefended(rows: pd.DataFrame) -> str:
    shares = _listed(f"{r.exact:.0%} ({_name(r)})" for _, r in rows.iterrows())
    recall = f"IRec is {_range(rows.i_rec)}, and without looking {_range(rows.trivial_i_rec)}"
    return f"**Without a defence** the best method is exact in {shares} of batches of {SIZE}; {recall}."


def _range(values: pd.Series) -> str:
    low, high = f"{values.min():.2f}", f"{values.max():.2f}"
    return low if low == high else f"{low} to {high}"


def _change(row: pd.Series, name: str = "lost") -> str:
    """What is lost of accuracy, where it is more than its interval over seeds."""
    lost, error = row[name], row[f"{name}_error"]
    if abs(lost) <= error:
        return f"loses no accuracy that these seeds can show ({100 * lost:+.1f} ± {100 * error:.1f} points)"
    return f"{'gains' if lost < 0 else 'loses'} {abs(100 * lost):.1f} ± {100 * error:.1f} points of accuracy"


def _costing(names: Iterable[str], paid: pd.DataFrame) -> str:
    """Defences from the cheapest to the dearest, with what FCN-3 loses by each."""
    cheapest = paid.loc[[*names]].sort_values("lost", kind="stable")
    return _listed(f"{r.Index} ({100 * r.lost:.1f} ± {100 * r.lost_error:.1f})" for r in cheapest.itertuples())


def _conclusion(rows: pd.DataFrame, paid: pd.DataFrame) -> str:
    tried = rows[rows.kind != "none"]
    groups = tried.assign(gain=tried.i_rec - tried.trivial_i_rec).groupby("defence", sort=False)
    worst = groups[["exact", "gain"]].max()
    inexact, silent = (worst.index[hidden] for hidden in (worst.exact < LIMIT, worst.gain < HELPFUL))
    most = groups.get_group(worst.gain.idxmin())
    least, greatest = most.loc[most.gain.idxmin()], most.loc[most.gain.idxmax()]
    text = (
        "**What to do**: of what was attacked here nothing hides the labels on every network. The most is hidden by"
        f" {worst.gain.idxmin()}, where the best"
        f" method's IRec is between {least.gain:+.2f} ({_name(least)}) and {greatest.gain:+.2f} ({_name(greatest)})"
        " above not looking"
    )
    if len(silent):
        text = f"**What to do**: on no network a method recalls {HELPFUL:g} above not looking with"
        text += f" {_costing(silent, paid)}"
    text += f". To keep exact batches under {LIMIT:.0%} on every network takes one of these: " + (
        f"{_costing(inexact, paid)}; in brackets, the points of accuracy that FCN-3 loses"
        if len(inexact)
        else "none that was tried"
    )
    bounded = paid[paid.epsilon <= PRIVATE]
    if len(bounded):
        cheapest = bounded.loc[bounded.lost.idxmin()]
        text += (
            f". DP-SGD alone has a bound for attacks not tried here: of its {np.isfinite(paid.epsilon).sum()} settings"
            f" {len(bounded)} with ε up to {PRIVATE:g}; with {cheapest.name} (ε = {epsilon(cheapest.epsilon)}) FCN-3"
            f" {_change(cheapest)}. Larger K, at which it costs less at the same ε, was not tried"
        )
    return f"{text}. The last layer withheld was not attacked here (line 8)."


def _priced(prices: pd.DataFrame, kind: str, title: str) -> str:
    rows = prices[(prices.kind == kind) & prices.K.eq(SIZE)]
    if rows.empty:
        return ""
    where = _listed(f"{strength(r.to_dict())} ({_name(r)})" for _, r in rows.iterrows())
    text = f"**{title}**: the least with exact batches under {LIMIT:.0%} is {where}."
    paid = rows[rows.defence.ne("none")].dropna(subset=["lost", "strength"])
    if len(paid):
        dearest = paid.loc[paid.lost.idxmax()]
        private = f" at ε = {epsilon(dearest.epsilon)}" if not np.isnan(dearest.epsilon) else ""
        text += f" With {dearest.defence} FCN-3 {_change(dearest)}{private}."
    reached = rows.dropna(subset="strength")
    if len(reached):
        text += (
            f" Not exact is not protected: there the best method still names {_range(reached.i_rec)} of the instances"
            f" (IRec), and not looking {_range(reached.trivial_i_rec)}."
        )
    return text


def _tried(rows: pd.DataFrame, name: str, title: str, paid: pd.DataFrame) -> str:
    ours = rows[rows.defence == name]
    if ours.empty:
        return ""
    most = ours.loc[ours.exact.idxmax()]
    by = f" (most by {most.method}, {_name(most)})" if most.exact else ""
    return (
        f"**{title}**: exact in {_range(ours.exact)}{by}, IRec {_range(ours.i_rec)}; FCN-3 {_change(paid.loc[name])}."
    )


def _sparse(rows: pd.DataFrame, paid: pd.DataFrame) -> str:
    ours = rows[rows.kind == "sparse"]
    worst = ours.groupby("strength").exact.max()
    safe = worst[worst < LIMIT]
    if safe.empty:
        return f"**The largest entries**: no share of them brings exact batches under {LIMIT:.0%} on every network."
    chosen = ours[ours.strength == safe.index.max()]
    return (
        f"**The largest entries**: under {LIMIT:.0%} of batches are exact on any network with {safe.index.max():.0%} of"
        f" them; IRec there {_range(chosen.i_rec)}; FCN-3 {_change(paid.loc[chosen.defence.iloc[0]])}."
    )


def _larger(defended: pd.DataFrame, costs: pd.DataFrame) -> str:
    rows = defended[(defended.defence == "none") & defended.K.gt(SIZE) & ~defended.training.str.endswith(UNDER)]
    if rows.empty:
        return ""
    shares = _listed(f"{r.exact:.0%} (K = {r.K}, {_name(r)})" for _, r in rows.iterrows())
    larger = costs[(costs.defence == "none") & costs.K.gt(SIZE)]
    cost = _listed(f"{_change(r, 'lost_in_all')} at K = {r.K}" for _, r in larger.iterrows())
    return f"**Larger batches**: exact in {shares}. From as many images, in fewer steps, FCN-3 {cost}."


def _rivals(gaps: pd.DataFrame) -> str:
    ahead, of = beaten(gaps), gaps.setting.nunique()
    if ahead.empty:
        return f"**No rival** is exact more often than the lattice by two standard errors in any of {of} settings."
    by = ahead.groupby("method").setting.nunique().sort_values(ascending=False, kind="stable")
    first, names = ahead.iloc[0], _listed(f"{name} in {number}" for name, number in by.head(4).items())
    return (
        f"**Where a rival wins**: in {ahead.setting.nunique()} of {of} settings one is exact more often than the"
        f" lattice by two standard errors ({names}); furthest"
        f" {first.method}, by {-first.exact:.2f}, at {first.defence}, K = {first.K}, {_name(first)}."
    )
