"""What notebook H bears out, claim by claim, from its per-batch rows."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from irlg.appendix.h_clients import tables
from irlg.appendix.h_clients.tables import BATCH
from irlg.appendix.losses import LOSSES
from irlg.appendix.published import PAPER_DEFENCES
from irlg.appendix.recurring import interval
from irlg.appendix.scores import SURE, certain
from irlg.artifact import statistics
from irlg.artifact.claims import Claim, on_real
from irlg.artifact.derived import Derived
from irlg.artifact.summary import Row
from irlg.artifact.tables import span

ENOUGH = 2000  # sure answers that their claim takes
ENOUGH_UNTOLD = 30  # and those of a server that is not told
NETWORKS = ("LeNet-5", "ResNet-18")
# (setting, K), and the least share of exact batches or LnAcc that was aimed at.
EXACT = {("noise 0.001", 24): 0.99}
LN_ACC = {("noise 0.001", 128): 0.99, ("noise 0.01", 24): 0.99}
DEFENDED = "ResNet-18"  # the network of the paper's defences, which are at K = 24


def claims(
    sent: pd.DataFrame, steps: pd.DataFrame, local: pd.DataFrame, losses: pd.DataFrame, noise: pd.DataFrame
) -> list[Claim]:
    """What notebook H bears out: noise, compression, probabilities, updates, losses and scale."""
    told = losses[losses.server == "told"]
    of_loss = told.setting.isin(LOSSES)
    return [
        *_aimed(sent),
        sure(sent),
        never_worse(sent),
        measured(noise),
        _all_exact(steps, f"Updates by SGD at rates of {_rates(steps)}, K = {steps.K.iloc[0]}: exact"),
        *(
            _all_exact(rows, f"Told of {', '.join(dict.fromkeys(rows.setting))}: exact")
            for rows in (told[of_loss], told[~of_loss])
        ),
        *(_exact_and_sure(losses[losses.server == way], text) for way, text in LOOKED_FOR.items()),
        unaware(losses),
        *_local(local),
    ]


LOOKED_FOR = {
    "unknown": "Server told only that the scale is unknown",
    "inferred": "K not told after Poisson sampling",
    "without": "Heads without a bias",
}


def _aimed(sent: pd.DataFrame) -> list[Claim]:
    found = []
    for network in NETWORKS:
        ours = sent[sent.network == network]
        for (setting, size), least in EXACT.items():
            rows = ours[(ours.setting == setting) & ours.K.eq(size)]
            low, high = statistics.wilson(int(rows.exact.sum()), len(rows))
            text = f"{network} untrained, {setting}, K = {size}: exact batches, {least:.0%} aimed at"
            found.append(
                _claim(text, "not measured", rows, f"{rows.exact.mean():.3f}", span(low, high), least, "exact")
            )
        published = PAPER_DEFENCES if network == DEFENDED else {}
        aims = {(setting, 24): score for setting, score in published.items()} | LN_ACC
        for (setting, size), least in aims.items():
            rows = ours[(ours.setting == setting) & ours.K.eq(size)]
            text = f"{network} untrained, {setting}, K = {size}: LnAcc, {least:.3g} and no rival above aimed at"
            paper = f"{published[setting]:.3f}" if size == 24 and setting in published else "not measured"
            interval = span(*statistics.bootstrap(rows.ln_acc.dropna()))
            rivals = f"Algorithm 1 {rows.ln_irlg.mean():.3f}, guess {rows.ln_uniform.mean():.3f}"
            here = f"{rows.ln_acc.mean():.3f}; {rivals}"
            found.append(_claim(text, paper, rows, here, interval, least, "ln_acc"))
    return found


def _claim(text: str, paper: str, rows: pd.DataFrame, ours: str, interval: str, least: float, score: str) -> Claim:
    data = ", ".join(dict.fromkeys(rows.data))
    outdone = score == "ln_acc" and len(tables.below(tables.rivals(rows)))
    verdict = "below" if rows[score].mean() < least or outdone else "holds"
    return Claim(text, paper, ours, len(rows), interval, data, on_real(data, verdict))


def sure(sent: pd.DataFrame) -> Claim:
    """Whether answers at p > `SURE` are right, over all noise and compression together."""
    n, right = certain(sent)
    data = ", ".join(dict.fromkeys(sent.data))
    verdict = "too few" if n < ENOUGH else "holds" if right >= 0.995 * n else "fails"
    return Claim(
        claim=f"Noisy, sparse and coarse gradients: batches answered at p > {SURE:g} are exact, 99.5 % aimed at",
        paper="n/a",
        ours=f"{right:,} of {n:,}" + (f" ({right / n:.2%})" if n else ""),
        n=n,
        interval=interval(sent, BATCH),
        data=data,
        verdict=on_real(data, verdict),
    )


def never_worse(sent: pd.DataFrame) -> Claim:
    """Whether any mean LnAcc is below that of Algorithm 1 or the guess by two standard errors, paired."""
    differences = tables.rivals(sent)
    worse, data = tables.below(differences), ", ".join(dict.fromkeys(sent.data))
    least = (worse if len(worse) else differences.sort_values("difference")).iloc[0]
    return Claim(
        claim="Noise and compression: nowhere below Algorithm 1 or the guess by two standard errors (LnAcc, paired)",
        paper="not measured",
        ours=f"{len(worse)} of {len(differences)} comparisons; least difference {least.difference:+.3f},"
        f" {least.network}, {least.setting}, K = {least.K}, {least.rival}",
        n=len(sent),
        interval=f"± {2 * least.standard_error:.3f}; by chance alone {0.023 * len(differences):.0f} of as many equals",
        data=data,
        verdict=on_real(data, "fails" if len(worse) else "holds" if differences.N.min() > 1 else "too few trials"),
    )


def measured(noise: pd.DataFrame) -> Claim:
    """Whether the mean of measured over true deviation is within 5 % of 1, and the spread as theory has it."""
    worst = noise.loc[(noise["mean"] - 1).abs().idxmax()]
    data = ", ".join(dict.fromkeys(noise.data))
    off, error = abs(worst["mean"] - 1) - 0.05, 2 * worst.error
    spread, theory = (np.sqrt((noise[name] ** 2).mean()) for name in ("spread", "theory"))
    return Claim(
        claim=f"Gaussian noise is measured within 5 % of its deviation in the mean, worst of {len(noise)} (m ≥"
        f" {noise.m.min()}, C ≥ 10)",
        paper="n/a",
        ours=f"{worst['mean']:.3f} times the true one ({worst.network}, {worst['std']:g}); spread over batches"
        f" {spread:.1%}, in theory {theory:.1%}",
        n=int(noise.N.sum()),
        interval=f"of that mean ± {error:.3f}",
        data=data,
        verdict=on_real(data, "holds" if off <= 0 else "fails" if off > error else "too few"),
    )


def _all_exact(rows: pd.DataFrame, text: str) -> Claim:
    exact, data = int(rows.exact.sum()), ", ".join(dict.fromkeys(rows.data))
    failed = ", ".join(f"{name} {part}" for name, part in rows[~rows.exact].groupby("network").size().items())
    return Claim(
        claim=text,
        paper="not measured",
        ours=f"{exact} of {len(rows)}" + (f"; not exact: {failed}" if failed else ""),
        n=len(rows),
        interval=span(*statistics.wilson(exact, len(rows))),
        data=data,
        verdict=on_real(data, "holds" if exact == len(rows) else "not all"),
    )


def _exact_and_sure(rows: pd.DataFrame, text: str) -> Claim:
    n, right = certain(rows)
    exact, data = int(rows.exact.sum()), ", ".join(dict.fromkeys(rows.data))
    return Claim(
        claim=f"{text}: exact; right where p > {SURE:g}",
        paper="not measured",
        ours=f"{exact} of {len(rows)}; {right} of {n}",
        n=len(rows),
        interval=f"exact {span(*statistics.wilson(exact, len(rows)))}",
        data=data,
        verdict=on_real(data, "measured" if right == n else "fails"),
    )


def unaware(losses: pd.DataFrame) -> Claim:
    """Whether a server that is not told is ever sure and wrong."""
    rows = losses[losses.server == "untold"]
    n, right = certain(rows)
    wrong = rows[(rows.probability > SURE) & ~rows.exact]
    data, names = ", ".join(dict.fromkeys(rows.data)), ", ".join(dict.fromkeys(wrong.setting))
    refused = int(rows.refused.sum())
    return Claim(
        claim=f"Not told of any of these: batches answered at p > {SURE:g} are exact, all of them aimed at",
        paper="n/a",
        ours=f"{right} of {n}"
        + (f" (wrong: {names})" if names else "")
        + f"; of all {len(rows)}, {len(rows) - n - refused} were less sure and {refused} refused",
        n=n,
        interval=interval(rows, BATCH),
        data=data,
        verdict=on_real(data, "fails" if right < n else "too few" if n < ENOUGH_UNTOLD else "holds"),
    )


def _local(local: pd.DataFrame) -> list[Claim]:
    found = []
    for training, group in local[local.E > 1].groupby("training", sort=False):
        steps = ", ".join(map(str, dict.fromkeys(group.E)))
        found.append(_exact_and_sure(group, f"{group.network.iloc[0]}, {training}, {steps} local steps"))
    return found


# Columns that name a row of a table, and their headings.
SENT, RATES = {"setting": "setting", "K": "K"}, {"rate": "rate", "network": "network"}
TOLD = {"setting": "client", "server": "server"}


def _shown(keys: dict[str, str]) -> Callable[[pd.DataFrame], str]:
    return lambda table: tables.view(table, keys)


def _rates(rows: pd.DataFrame) -> str:
    return ", ".join(f"{rate:g}" for rate in dict.fromkeys(rows.rate))


DERIVED = (
    Derived("H_noise", ("H_sent_trials",), tables.noise, tables.noise_view),
    Derived("H_sent_by_network", ("H_sent_trials",), lambda rows: tables.table(rows, [*SENT, "network", "data"])),
    Derived("H_sent", ("H_sent_trials",), lambda rows: tables.table(rows[rows.C == 100], [*SENT]), _shown(SENT)),
    Derived("H_below", ("H_sent_trials",), tables.rivals, tables.below_view),
    Derived("H_updates", ("H_updates_trials",), lambda rows: tables.table(rows, [*RATES, "data"]), _shown(RATES)),
    Derived("H_local", ("H_local_trials",), lambda rows: tables.table(rows, ["training", "E", "rate"])),
    Derived("H_losses", ("H_losses_trials",), lambda rows: tables.table(rows, [*TOLD]), _shown(TOLD)),
    Derived("H_losses_by_network", ("H_losses_trials",), lambda rows: tables.table(rows, [*TOLD, "network", "data"])),
)


def claims_again(folder: Path, found: Sequence[Claim]) -> list[Claim]:
    """Those that follow from the trials in `folder`: all."""
    files = (f"H_{name}_trials.csv" for name in ("sent", "updates", "local", "losses"))
    sent, updates, local, losses = (pd.read_csv(folder / name) for name in files)
    return claims(sent, updates, local, losses, tables.noise(sent))


def findings(folder: Path, claims: Sequence[Claim]) -> list[Row]:
    """For the summary: the paper's network under its noise, and how sure answers fare."""
    sent = pd.read_csv(folder / "H_sent_trials.csv")
    strong = sent[(sent.setting == "noise 0.01") & (sent.K == 24) & (sent.network == DEFENDED)]
    n, right = certain(sent)
    paper = f"LnAcc {PAPER_DEFENCES['noise 0.01']:.3f} at noise 0.01 (logs)"
    here = (
        f"LnAcc {strong.ln_acc.mean():.3f}, Algorithm 1 {strong.ln_irlg.mean():.3f}; over all noise and compression"
        f" p > {SURE:g} right in {right:,} of {n:,}"
    )
    return [Row(paper, here, claims)]
