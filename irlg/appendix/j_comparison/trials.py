"""Every method on the batches of every setting: a row a batch and method."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from irlg.appendix.clients import accuracy
from irlg.appendix.comparison import compare
from irlg.appendix.j_comparison.settings import Setting
from irlg.appendix.servers import Server
from irlg.artifact import code, jobs
from irlg.artifact.progress import progress

SLOW = {"rlg": (1000, 5)}  # classes from which on a method takes many seconds, and batches that it then gets


def of_server(
    server: Server, settings: Sequence[Setting], count: int, seed: int
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """For each of the settings at this network what it is, and the rows of `count` batches; kept (see `jobs`).

    Settings whose batches are larger than what the clients hold are left out.
    """
    clients, digest = server.clients, code.digest(Path(__file__))
    for setting in progress(settings, f"settings of {server.name}"):
        if setting.network == server.name and setting.size <= len(clients.labels):
            made_of = (clients.images.source, len(clients.labels), accuracy(clients), count, seed)
            rows = jobs.kept(f"J {setting.name}", partial(_rows, server, setting, count, seed), *made_of, digest)
            about = {"setting": setting.name, "group": setting.group, **clients.about, "K": setting.size}
            del about["initialisation"]
            more = {"what": setting.what, "knows": setting.knows, "accuracy": accuracy(clients)}
            more["auxiliary"] = len(server.auxiliary.embeddings)
            yield about | more, rows


def _rows(server: Server, setting: Setting, count: int, seed: int) -> list[dict[str, Any]]:
    classes = server.clients.model.head.out_features
    rows = []
    for trial in range(count):
        case = setting.make(server, setting.size, server.clients.stream(seed, setting.name, trial))
        slow = {name for name, (most, batches) in SLOW.items() if classes >= most and trial >= batches}
        rows += [{"setting": setting.name, "trial": trial, **row} for row in compare(case, slow)]
    return rows


def frames(
    found: Sequence[tuple[dict[str, Any], list[dict[str, Any]]]], wanted: Sequence[Setting]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All settings, a row each, in the order of `wanted`, and all trials: `refused` is NaN of those answered."""
    order = {setting.name: number for number, setting in enumerate(wanted)}
    ordered = sorted(found, key=lambda each: order[each[0]["setting"]])
    trials = pd.DataFrame([row for _, rows in ordered for row in rows])
    return pd.DataFrame([about for about, _ in ordered]), trials.assign(refused=trials.refused.replace("", np.nan))
