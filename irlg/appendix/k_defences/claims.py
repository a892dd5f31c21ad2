"""What notebook K bears out, claim by claim, from its per-trial rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from irlg.appendix.k_defences import prices, tables
from irlg.appendix.k_defences.tables import LIMIT
from irlg.appendix.k_defences.trials import LATTICE, SIZE
from irlg.appendix.published import PAPER_DEFENCES, PAPER_DEFENCES_LE_ACC, PAPER_DEFENCES_TRAINED
from irlg.appendix.recurring import interval
from irlg.appendix.scores import SURE, certain, pair
from irlg.artifact import statistics
from irlg.artifact.claims import Claim, on_real
from irlg.artifact.derived import Derived
from irlg.artifact.summary import Row
from irlg.artifact.tables import span

ENOUGH, ENOUGH_SURE = 30, 300  # batches of a row, and sure answers, that a claim takes
DEFENDED = "ResNet-18"  # the network of the paper's defences


def claims(settings: pd.DataFrame, trials: pd.DataFrame, accuracy: pd.DataFrame) -> list[Claim]:
    """What notebook K bears out; of networks and defences that were left out, nothing."""
    rows, summary = tables.full(settings, trials), tables.summary(settings, trials)
    costs = tables.costs(accuracy)
    priced = prices.prices(tables.defended(tables.best(summary), costs))
    return [
        *published(rows),
        *trained(rows),
        *(_price(row) for row in priced.to_dict("records")),
        *_leaks(priced),
        *(sure(part, text) for text, part in _told(rows)),
        ahead(tables.differences(settings, trials)),
    ]


def _data(rows: pd.DataFrame) -> str:
    return ", ".join(dict.fromkeys(rows.data))


def published(rows: pd.DataFrame) -> list[Claim]:
    """The paper's method under the paper's defences, beside its logs: within our intervals or not. These are over
    batches of one initialisation, too few to contradict another."""
    found = []
    for name, ln in PAPER_DEFENCES.items():
        le = PAPER_DEFENCES_LE_ACC[name]
        theirs = rows[(rows.network == DEFENDED) & (rows.method == "irlg") & rows.K.eq(SIZE)]
        ours = theirs[theirs.defence == name]
        if ours.empty:
            continue
        bounds = statistics.bootstrap(ours.le_acc), statistics.bootstrap(ours.ln_acc)
        means = ours.le_acc.mean(), ours.ln_acc.mean()
        inside = all(low <= paper <= high for (low, high), paper in zip(bounds, (le, ln), strict=True))
        verdict = "reproduced" if inside else "too few initialisations"
        found.append(
            Claim(
                claim=f"{DEFENDED} untrained, {name}, K = {SIZE}: LeAcc / LnAcc of Algorithm 1",
                paper=pair((le, ln)),
                ours=pair(means) + ("" if inside else _across(theirs[theirs.kind == ours.kind.iloc[0]], ln, ours)),
                n=len(ours),
                interval=f"LeAcc {span(*bounds[0])}, LnAcc {span(*bounds[1])} over batches of one initialisation",
                data=_data(ours),
                verdict=on_real(_data(ours), verdict if len(ours) >= ENOUGH else "too few"),
            )
        )
    return found


def _across(rows: pd.DataFrame, paper: float, ours: pd.DataFrame) -> str:
    """The next strength of the same kind whose LnAcc is on the other side of the paper's than ours."""
    means = rows.groupby(["defence", "strength"], sort=False).ln_acc.mean().reset_index()
    others = means[(means.ln_acc < paper) == (ours.ln_acc.mean() > paper)]
    if others.empty:
        return ""
    first = others.loc[np.log(others.strength / ours.strength.iloc[0]).abs().idxmin()]
    return f"; LnAcc at {first.defence} {first.ln_acc:.3f}"


def trained(rows: pd.DataFrame) -> list[Claim]:
    """Algorithm 1 on a trained network of 100 classes under noise, beside the answer that nobody is there."""
    name, paper, nobody = PAPER_DEFENCES_TRAINED
    part = rows[rows.C.eq(100) & (rows.training != "untrained") & rows.K.eq(SIZE)]
    ours = part[(part.defence == name) & (part.method == "irlg")]
    zeros = part[part.method == "zeros"]
    if ours.empty or zeros.empty:
        return []
    first = ours.iloc[0]
    return [
        Claim(
            claim=f"{first.network}, {first.training}, {name}, K = {SIZE}: LeAcc of Algorithm 1, and of 0 everywhere",
            paper=f"{paper:.3f}, and {nobody:.3f} (ResNet-18, 100 epochs)",
            ours=f"{ours.le_acc.mean():.3f}, and {zeros.le_acc.mean():.3f}",
            n=len(ours),
            interval=span(*statistics.bootstrap(ours.le_acc)),
            data=_data(ours),
            verdict=on_real(_data(ours), "measured"),
        )
    ]


def _price(row: dict[str, object]) -> Claim:
    private = "" if pd.isna(row["epsilon"]) else f", ε = {tables.epsilon(float(str(row['epsilon'])))}"
    lost = "" if pd.isna(row["lost"]) else f", accuracy lost {tables.lost(row)}"
    return Claim(
        claim=f"{row['network']}, {row['training']}, K = {row['K']}: least {row['kind']} with under {LIMIT:.0%} exact",
        paper="not measured",
        ours=f"{prices.strength(row)}{lost}{private}; exact there {row['exact']:.2f}, IRec {row['i_rec']:.2f}"
        f" (without looking {row['trivial_i_rec']:.2f})",
        n=int(str(row["N"])),
        interval=f"exact {span(float(str(row['exact_low'])), float(str(row['exact_high'])), 2)}",
        data=str(row["data"]),
        verdict=on_real(str(row["data"]), "measured"),
    )


def _leaks(priced: pd.DataFrame) -> list[Claim]:
    rows = priced[(priced.kind == "noise") & priced.strength.gt(0)]
    if rows.empty:
        return []
    gain = rows.i_rec - rows.trivial_i_rec
    telling = int(gain.gt(prices.HELPFUL).sum())
    return [
        Claim(
            claim=f"Noise that brings exact batches under {LIMIT:.0%} leaves nothing to recall",
            paper="not measured",
            ours=f"{telling} of {len(rows)} still recall {prices.HELPFUL:g} or more above not looking",
            n=int(rows.N.sum()),
            interval=f"IRec above it: {gain.min():+.2f} to {gain.max():+.2f}",
            data=_data(rows),
            verdict=on_real(_data(rows), "no" if telling else "yes"),
        )
    ]


def _told(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Rows whose instances all weigh the same, as the lattice takes it, and those of DP-SGD, which do not."""
    private = rows.kind == "DP-SGD"
    parts = {"All defences but DP-SGD": rows[~private], "DP-SGD and clipping": rows[private]}
    return [(text, part) for text, part in parts.items() if len(part)]


def sure(rows: pd.DataFrame, text: str) -> Claim:
    """Whether answers of the lattice at p > `SURE` are ever wrong, under these defences together."""
    ours = rows[rows.method == LATTICE].assign(exact=lambda part: part.exact.eq(1))
    n, right = certain(ours)
    wrong = ours[(ours.probability > SURE) & ~ours.exact]
    where = ", ".join(f"{name} {len(part)}" for name, part in wrong.groupby("defence", sort=False))
    verdict = "fails" if right < n else "too few" if n < ENOUGH_SURE else "holds"
    cells = ours[ours.probability > SURE].setting.nunique(), ours.setting.nunique()
    told = f" (wrong: {where}; sure answers in {cells[0]} of {cells[1]} settings)" if where else ""
    return Claim(
        claim=f"{text}: batches answered at p > {SURE:g} are exact, all of them aimed at",
        paper="n/a",
        ours=f"{right:,} of {n:,}{told}",
        n=n,
        interval=interval(ours, tables.BATCH),
        data=_data(rows),
        verdict=on_real(_data(rows), verdict),
    )


def ahead(gaps: pd.DataFrame) -> Claim:
    """Whether any rival is exact more often than the lattice by two standard errors, paired by batch."""
    rows = tables.beaten(gaps)
    by = rows.groupby("defence", sort=False).method.unique()
    names = "; ".join(f"{defence}: {', '.join(sorted(methods))}" for defence, methods in by.items())
    return Claim(
        claim="Under none of the defences, nor without one, is a rival exact more often than the lattice by two"
        " standard errors, paired by batch",
        paper="not measured",
        ours=f"{len(rows)} of {len(gaps)} comparisons, {rows.setting.nunique()} of {gaps.setting.nunique()} settings"
        + (f" ({names})" if names else ""),
        n=int(gaps.N.sum()),
        interval=f"by chance alone {0.023 * int(gaps.exact_error.gt(0).sum()):.0f} of as many that differ, if equal",
        data=_data(gaps),
        verdict=on_real(_data(gaps), "no" if len(rows) else "yes" if gaps.N.min() >= ENOUGH else "too few"),
    )


BOTH = ("K_settings", "K_trials")
ALL = (*BOTH, "K_accuracy")


def _defended(settings: pd.DataFrame, trials: pd.DataFrame, accuracy: pd.DataFrame) -> pd.DataFrame:
    return tables.defended(tables.best(tables.summary(settings, trials)), tables.costs(accuracy))


DERIVED = (
    Derived("K_summary", BOTH, tables.summary),
    Derived("K_costs", ALL[2:], tables.costs, tables.costs_view),
    Derived("K_defended", ALL, _defended),
    Derived("K_prices", ALL, lambda *rows: prices.prices(_defended(*rows)), prices.prices_view),
    Derived("K_differences", BOTH, tables.differences, tables.beaten_view),
)


def claims_again(folder: Path, found: Sequence[Claim]) -> list[Claim]:
    """Those that follow from the trials in `folder`: all."""
    return claims(*(pd.read_csv(folder / f"{name}.csv") for name in ALL))


def _from(kind: str, rows: pd.DataFrame) -> str:
    """From which strength on, and on how many networks none that was tried is enough."""
    bounds = sorted({rows.strength[rows.strength > 0].min(), rows.strength.max()})
    unpriced = int(rows.strength.isna().sum())
    none = f" (on {unpriced} of {len(rows)} none that was tried)" if unpriced else ""
    return f"{kind} {' to '.join(f'{each:g}' for each in bounds)}{none}"


def _needless(priced: pd.DataFrame) -> str:
    """Networks on which so few are exact without a defence."""
    rows = priced[priced.strength.eq(0)]
    names = dict.fromkeys(f"{r.network}, {r.training}" for r in rows.itertuples())
    return f" ({'; '.join(names)}: 0)" if names else ""


def findings(folder: Path, claims: Sequence[Claim]) -> list[Row]:
    """For the summary: the least noise and the least σ of DP-SGD that keep batches from being exact, over networks;
    and how sure answers fare under DP-SGD."""
    priced = pd.read_csv(folder / "K_prices.csv")
    priced = priced[priced.K.eq(SIZE) & ~priced.training.str.endswith(tables.UNDER)]
    rows = priced[priced.strength.gt(0)]
    parts = [_from(kind, group) for kind, group in priced.groupby("kind", sort=False) if group.strength.gt(0).any()]
    here = f"K = {SIZE}: under {LIMIT:.0%} exact from {', '.join(parts)}{_needless(priced)}" if parts else ""
    recall = f"; IRec {rows.i_rec.min():.2f} to {rows.i_rec.max():.2f}" if parts else ""
    told = tables.full(*(pd.read_csv(folder / f"{table}.csv") for table in BOTH))
    n, right = certain(told[told.kind.eq("DP-SGD") & told.method.eq(LATTICE)].assign(exact=lambda r: r.exact.eq(1)))
    belief = f"; DP-SGD: {right:,} of {n:,} sure right" if n else ""
    return [Row(f"logs of {len(PAPER_DEFENCES)} defences", here + recall + belief, claims)]
