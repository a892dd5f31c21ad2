"""Algorithm 1 over initialisations: the paper's figures are of one, and may be of another than ours."""

from collections.abc import Mapping

import pandas as pd

from irlg.appendix.clients import embedded
from irlg.appendix.j_comparison.published import PAPER_LN_ACC
from irlg.appendix.networks import FIRST
from irlg.appendix.servers import split
from irlg.artifact import statistics
from irlg.artifact.progress import progress
from irlg.artifact.tables import markdown, span
from irlg.data.datasets import ImageSet
from irlg.metrics import ln_acc
from irlg.models import build, fcn3, lenet5
from irlg.restoration import restore

# Of the published settings those of untrained networks: data, network, and K.
UNTRAINED = {"FCN-3": ("mnist", fcn3, (24, 32, 64, 128)), "LeNet-5": ("cifar100", lenet5, (256, 512, 1024))}


def algorithm1(data: Mapping[str, ImageSet], initialisations: int, count: int, seed: int, device: str) -> pd.DataFrame:
    """Mean LnAcc of Algorithm 1 over `count` batches of each K and initialisation: a row each."""
    rows = []
    for name, (source, make, sizes) in UNTRAINED.items():
        if source not in data:
            continue
        images = data[source]
        held = images.subset(split(images, seed).unseen)
        for number in progress(range(initialisations), f"initialisations of {name}"):
            clients = embedded(
                "J", name, "untrained", number, build(make, seed + FIRST + number).to(device), held, device
            )
            for size in (size for size in sizes if size <= len(held.labels)):
                batches = [clients.draw(size, trial, seed) for trial in range(count)]
                scores = [ln_acc(restore(clients.observe(b), "irlg").counts, clients.counts(b)) for b in batches]
                row = {"setting": f"{name}, untrained, K = {size}", "initialisation": number, "N": count}
                rows.append(row | {"ln_acc": sum(scores) / count, "data": images.source})
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a setting: mean LnAcc, least and greatest, a 95 % prediction interval for one more initialisation, and the
    paper's."""
    found = []
    for setting, group in rows.groupby("setting", sort=False):
        low, high = statistics.prediction(group.ln_acc)
        row = {"setting": setting, "initialisations": len(group), "N": int(group.N.sum()), "mean": group.ln_acc.mean()}
        row |= {"least": group.ln_acc.min(), "greatest": group.ln_acc.max(), "low": low, "high": high}
        found.append(row | {"paper": PAPER_LN_ACC[str(setting)], "data": group.data.iloc[0]})
    return pd.DataFrame(found)


def view(made: pd.DataFrame) -> str:
    """The same as Markdown."""
    rows = [
        {
            "setting": r.setting,
            "paper": f"{r.paper:.3f}",
            "mean": f"{r.mean:.3f}",
            "least and greatest": f"{r.least:.3f}, {r.greatest:.3f}",
            "one more, 95 %": span(max(0.0, r.low), min(1.0, r.high)),
            "N": str(r.N),
        }
        for r in made.itertuples()
    ]
    return markdown(pd.DataFrame(rows))
