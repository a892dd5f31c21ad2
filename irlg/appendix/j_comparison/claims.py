"""What notebook J bears out, claim by claim, from its per-batch rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from irlg.appendix.comparison import MARK
from irlg.appendix.j_comparison import initialisations, tables
from irlg.appendix.j_comparison.published import PAPER_LN_ACC, RLU_EPOCHS
from irlg.appendix.j_comparison.settings import EPOCHS
from irlg.appendix.j_comparison.tables import LATTICE, METRICS, NOBODY, standing
from irlg.appendix.scores import SURE
from irlg.artifact.claims import Claim, on_real
from irlg.artifact.derived import Derived
from irlg.artifact.summary import Row
from irlg.artifact.tables import span

BEST_IN = 0.9  # share of settings in which no rival with the same knowledge is to be better
ENOUGH, FEWEST = 30, 5  # batches of a setting, and initialisations, that a claim takes
MOST_SECONDS = 1.0  # of a restoration at C = 1,000


def claims(settings: pd.DataFrame, trials: pd.DataFrame, over: pd.DataFrame) -> list[Claim]:
    """What notebook J bears out: who is best where, the published figures, sure answers, RLU's setting, seconds.

    **Arguments:** `over` initialisations, `initialisations.algorithm1`.
    """
    table, apart = tables.summary(trials), tables.alike(settings, tables.differences(trials))
    level = {marked: tables.ends(table[table.setting.isin(apart.setting)], marked) for marked in (False, True)}
    data = ", ".join(dict.fromkeys(settings.data))
    return [
        *(_best(apart, marked, score, level[marked], data) for marked in (False, True) for score in METRICS),
        *_over_initialisations(over),
        *_published(settings, table, set(over.setting)),
        _sure(settings, trials, data),
        *_epochs(settings, table),
        *_seconds(settings, trials),
    ]


def _best(apart: pd.DataFrame, marked: bool, score: str, level_at: tuple[int, int], data: str) -> Claim:
    ahead, level, behind = standing(apart, marked, score)
    good, n = ahead + level, ahead + level + behind
    chosen = apart[apart.score == score]
    worst = tables.behind(chosen, marked).head(1)
    named = "".join(f"; worst {r.setting}: {r.rival} {r.difference:+.3f}" for r in worst.itertuples())
    if score == "exact":
        named = f"; both exact in every batch in {level_at[0]}, neither in more than 5 % in {level_at[1]}{named}"
    of_whom = f"with images of the server's own ({MARK})" if marked else "with the same knowledge"
    verdict = "measured" if marked else "holds" if good >= BEST_IN * n else "fails"
    return Claim(
        claim=f"Settings in which no rival {of_whom} beats the lattice by its paired interval, {METRICS[score]}"
        + ("" if marked else f", {BEST_IN:.0%} aimed at"),
        paper="n/a",
        ours=f"{good} of {n}, of which it is ahead of all in {ahead}{named}",
        n=n,
        interval=f"95 % bootstrap over {int(apart.N.max()) if len(apart) else 0} batches a setting",
        data=data,
        verdict=on_real(data, verdict if len(apart) and apart.N.min() >= ENOUGH else "too few"),
    )


def _over_initialisations(over: pd.DataFrame) -> Iterator[Claim]:
    for row in initialisations.table(over).itertuples():
        verdict = "reproduced" if row.low <= row.paper <= row.high else "differs"
        yield Claim(
            claim=f"Algorithm 1, {row.setting}, over initialisations: LnAcc",
            paper=f"{row.paper:.3f}",
            ours=f"{row.mean:.3f}, from {row.least:.3f} to {row.greatest:.3f} over {row.initialisations}",
            n=row.N,
            interval=f"{span(max(0.0, row.low), min(1.0, row.high))} for one more initialisation",
            data=row.data,
            verdict=on_real(row.data, verdict if row.initialisations >= FEWEST else "too few"),
        )


def _published(settings: pd.DataFrame, table: pd.DataFrame, others: set[str]) -> Iterator[Claim]:
    """The published figures of all settings but `others`, each of one network of ours: too few to contradict one."""
    for setting, paper in PAPER_LN_ACC.items():
        for row in table[
            (table.setting == setting) & (table.method == "irlg") & ~table.setting.isin(others)
        ].itertuples():
            data = settings[settings.setting == setting].data.iloc[0]
            inside = round(row.ln_acc_low, 3) <= paper <= round(row.ln_acc_high, 3)
            verdict = "reproduced" if inside else "too few trainings"
            yield Claim(
                claim=f"Algorithm 1, {setting}: LnAcc",
                paper=f"{paper:.3f}",
                ours=f"{row.ln_acc:.3f}",
                n=row.N,
                interval=f"{span(row.ln_acc_low, row.ln_acc_high)} over batches of one training",
                data=data,
                verdict=on_real(data, verdict if row.N >= ENOUGH else "too few"),
            )


def _sure(settings: pd.DataFrame, trials: pd.DataFrame, data: str) -> Claim:
    counted = tables.sureness(settings, trials).iloc[-1]
    verdict = "fails" if counted.right < counted.sure else "holds" if counted.sure >= ENOUGH else "too few"
    return Claim(
        claim=f"All settings: batches that the lattice answers at p > {SURE:g} are exact",
        paper="n/a",
        ours=f"{counted.right:,} of {counted.sure:,}, of {counted.N:,} batches",
        n=int(counted.sure),
        interval=span(counted.low, counted.high, 4),
        data=data,
        verdict=on_real(data, verdict),
    )


def _epochs(settings: pd.DataFrame, table: pd.DataFrame) -> Iterator[Claim]:
    """RLU, by our reading of it, and the lattice in a setting like RLU's own, of several local epochs."""
    classes, instances = RLU_EPOCHS
    for place in settings[settings.what == f"update of {EPOCHS} epochs"].itertuples():
        rows = table[table.setting == place.setting].set_index("method")
        for method, what in ((LATTICE, "the lattice"), (f"rlu{MARK}", "RLU, our reading")):
            row = rows.loc[method]
            yield Claim(
                claim=f"Update of {EPOCHS} epochs, {place.network}, {place.training}: LeAcc / IRec of {what}",
                paper=f"n/a; RLU's, of other networks: {classes:.2f} / {instances:.2f}",
                ours=f"{row.le_acc:.3f} / {row.i_rec:.3f}",
                n=int(row.N),
                interval=f"IRec {span(row.i_rec_low, row.i_rec_high)}",
                data=place.data,
                verdict=on_real(place.data, "measured"),
            )


def _seconds(settings: pd.DataFrame, trials: pd.DataFrame) -> Iterator[Claim]:
    times = tables.seconds(settings, trials)
    large = times[times.C >= 1000]
    if len(large):
        slow = large[large["median"] > MOST_SECONDS]
        data = ", ".join(dict.fromkeys(settings[settings.C >= 1000].data))
        yield Claim(
            claim=f"At C = 1,000: methods whose restoration takes more than {MOST_SECONDS:g} s in the median",
            paper="n/a",
            ours=", ".join(f"{r.method} {r.median:.2g} s" for r in slow.itertuples()) or "none",
            n=int(large.N.sum()),
            interval="median; seconds of this device",
            data=data,
            verdict="measured",
        )


def _beside(settings: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    return tables.beside(settings, tables.summary(trials))


TRIALS = ("J_trials",)
DERIVED = (
    Derived("J_summary", TRIALS, tables.summary),
    Derived("J_apart", TRIALS, tables.differences),
    Derived("J_beside", ("J_settings", "J_trials"), _beside, tables.beside_view),
    Derived("J_initialisations", ("J_initialisation_trials",), initialisations.table, initialisations.view),
    Derived("J_sure", ("J_settings", "J_trials"), tables.sureness, tables.sureness_view),
    Derived("J_seconds", ("J_settings", "J_trials"), tables.seconds, tables.seconds_view),
)


def claims_again(folder: Path, found: Sequence[Claim]) -> list[Claim]:
    """Those that follow from the trials in `folder`: all."""
    return claims(*(pd.read_csv(folder / f"J_{name}.csv") for name in ("settings", "trials", "initialisation_trials")))


def findings(folder: Path, claims: Sequence[Claim]) -> list[Row]:
    """For the summary: how often the lattice is ahead of all rivals with the same knowledge, level with the best, and
    behind one, and whether sure answers are right."""
    settings, apart, sure = (pd.read_csv(folder / f"J_{name}.csv") for name in ("settings", "apart", "sure"))
    apart = tables.alike(settings, apart)
    ahead, level, behind = standing(apart, False, "i_rec")
    own = standing(apart, True, "i_rec")[2]
    same = set(apart[~apart.rival.str.endswith(MARK)].rival) - set(NOBODY)
    counted = sure.iloc[-1]
    here = (
        f"lattice beside {len(same)} rivals that know the same, by IRec: ahead of all in {ahead} settings, level in"
        f" {level}, behind in {behind}; of those with own images in {own}; p > {SURE:g} right in {counted.right:,} of"
        f" {counted.sure:,}"
    )
    return [Row("n/a", here, claims)]
