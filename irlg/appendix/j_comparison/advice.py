"""The ten lines that a reader takes home, from the tables."""

import pandas as pd

from irlg.appendix.comparison import MARK
from irlg.appendix.j_comparison import tables
from irlg.appendix.j_comparison.tables import LATTICE, METRICS, NEXT_TO_NONE, NOBODY, standing
from irlg.appendix.scores import SURE

FEW = 64  # instances: more are many


def advice(
    settings: pd.DataFrame, table: pd.DataFrame, apart: pd.DataFrame, sure: pd.DataFrame, times: pd.DataFrame
) -> str:
    """Which method to use when, where each fails and why: a numbered list.

    **Arguments:** `table` of `tables.summary`, `apart` of `differences`, `sure` of `sureness`, `times` of `seconds`.
    """
    everything = sure[sure.group == "all"].iloc[0]
    fair, answered = tables.alike(settings, apart), tables.alike(settings, table)
    always, hardly = tables.ends(answered, False)
    lines = [
        f"**Without images of your own use the lattice.** {_mean(table, LATTICE)} In {_of(fair, False)} settings no"
        f" method with the same knowledge beats it by more than the interval of {apart.N.max()} batches. (Settings with"
        " a loss that it alone is told of are left out. Of the others the lattice and the best of these methods are"
        f" both always exact in {always}, and both hardly ever, in up to {NEXT_TO_NONE:.0%} of batches, in {hardly}.)",
        f"**Believe it where it says p > {SURE:g}:** right in {everything.right:,} of {everything.sure:,} such answers,"
        f" of {everything.N:,} in all. No other method says when it is right.",
        f"**Where a rival with the same knowledge wins:** {_winners(tables.behind(apart, False), table)}.",
        f"**With images of the server's own ({MARK}),** {_winners(tables.behind(apart, True), table)}.",
        _existence(answered),
        f"**Algorithm 1:** {_mean(table, 'irlg')} Its class-wise embeddings need rows of ∇W that one class dominates."
        f" {_groups(settings, table, 'irlg')}.",
        f"**A guess that looks at ∇b alone** (`uniform`) is above Algorithm 1 in {_above(table, 'uniform', 'irlg')}"
        " settings by IRec. It takes Σ_k p_kj for K/C, which holds for an untrained network.",
        f"**One label at a time** fails with many instances: {_by_size(settings, table, ('llg', 'ebi'))}. They take the"
        " negative part of the gradient for all that labels gave, and where others give a class much softmax none is"
        f" left. `llbg`, which takes as much for each label, does not: {_by_size(settings, table, ('llbg',))}.",
        _flattered(table),
        _slow(times),
    ]
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))


def _mean(table: pd.DataFrame, method: str) -> str:
    ours = table[(table.method == method) & table.exact.notna()]
    return (
        f"Over {len(ours)} settings its share of exact batches is {ours.exact.mean():.2f} in the mean, its IRec"
        f" {ours.i_rec.mean():.3f}."
    )


def _of(apart: pd.DataFrame, marked: bool) -> str:
    counts = {name: standing(apart, marked, score) for score, name in METRICS.items()}
    return ", ".join(
        f"{ahead + level} of {ahead + level + behind} ({name}; in {ahead} it is ahead of all)"
        for name, (ahead, level, behind) in counts.items()
    )


def _winners(worse: pd.DataFrame, table: pd.DataFrame, most: int = 6) -> str:
    """Which rival, where, and by what: in each setting the score that it is furthest ahead in."""
    chosen = worse.drop_duplicates("setting")
    if chosen.empty:
        return "no rival is ahead"
    scores = table.set_index(["setting", "method"])
    parts = [
        f"{r.rival} at {r.setting} ({METRICS[r.score]} {scores[r.score][r.setting, r.rival]:.3f} against the lattice's"
        f" {scores[r.score][r.setting, LATTICE]:.3f})"
        for r in chosen.head(most).itertuples()
    ]
    more = f" and {len(chosen) - most} more" if len(chosen) > most else ""
    return "ahead are " + "; ".join(parts) + more


def _existence(table: pd.DataFrame) -> str:
    methods = ["idlg", "gradinversion", "rlg", LATTICE]
    rows = table[(table.N > 0) & table.method.isin(methods)].pivot(index="setting", columns="method", values="le_acc")
    if set(methods) - set(rows):
        return "**If only presence is asked for,** not all methods that tell of it answer."
    rows = rows[methods].dropna()
    means = ", ".join(f"{method} {value:.3f}" for method, value in rows.mean().items())
    return (
        f"**If only presence is asked for,** mean LeAcc is {means}, over the {len(rows)} settings that all four answer"
        " in, but those of a loss that the lattice alone is told of. The first two need embeddings that are not"
        " negative, `rlg` K < min(m, C)."
    )


def _groups(settings: pd.DataFrame, table: pd.DataFrame, method: str) -> str:
    rows = table[table.method == method].merge(settings[["setting", "group"]])
    groups = rows.groupby("group", sort=False).i_rec.mean()
    return "IRec by group of settings: " + ", ".join(f"{name} {value:.3f}" for name, value in groups.items())


def _by_size(settings: pd.DataFrame, table: pd.DataFrame, methods: tuple[str, ...]) -> str:
    """Mean exact batches and IRec up to `FEW` instances, and above."""
    rows = table[table.exact.notna()].merge(settings[["setting", "K"]])
    few = rows.K.le(FEW)
    parts = {f"up to K = {FEW}": rows[few], "above": rows[~few]}
    return "; ".join(
        f"`{method}` "
        + ", ".join(
            f"exact {ours.exact.mean():.2f} and IRec {ours.i_rec.mean():.2f} {where}"
            for where, part in parts.items()
            if len(ours := part[part.method == method])
        )
        for method in methods
    )


def _above(table: pd.DataFrame, one: str, other: str) -> str:
    values = tables.wide(table, "i_rec")
    both = values[[one, other]].dropna()
    return f"{int((both[one] > both[other]).sum())} of {len(both)}"


def _flattered(table: pd.DataFrame) -> str:
    nobody = table[table.method == "zeros"]
    values = tables.wide(table, "ln_acc")
    beaten = values.drop(columns=[name for name in NOBODY if name in values]).lt(values["zeros"], axis=0)
    count = int(beaten.any(axis=1).sum())
    return (
        f"**Don't read LnAcc alone.** “Nobody is there” (`zeros`) has up to {nobody.ln_acc.max():.3f}, and more than"
        f" some real method in {count} of {len(values)} settings. Look at exact batches and IRec."
    )


def _slow(times: pd.DataFrame) -> str:
    large = times[times.C.max() == times.C]
    slow = large[large["median"] > 1]
    named = ", ".join(f"{r.method} {r.median:.2g} s" for r in slow.itertuples()) or "none"
    return f"**Time** at C = {times.C.max():,}: more than a second in the median take {named}."
