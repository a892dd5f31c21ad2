"""Sure answers where the same batches recur from setting to setting, and so are no independent trials."""

from collections.abc import Sequence

import pandas as pd

from irlg.appendix.scores import SURE
from irlg.artifact import statistics
from irlg.artifact.tables import span


def interval(rows: pd.DataFrame, batch: Sequence[str]) -> str:
    """95 % Wilson interval of the share of batches whose sure answers are all right, in words.

    **Arguments:** `rows`, an answer each, with `probability` and `exact`; `batch`, the columns that name a batch.
    """
    right = rows[rows.probability > SURE].groupby(list(batch)).exact.all()
    if right.empty:
        return span(0.0, 1.0, 4)
    return f"{span(*statistics.wilson(int(right.sum()), len(right)), 4)} over {len(right):,} different batches"
