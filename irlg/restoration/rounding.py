"""Whole counts from real-valued ones, without a model of how these err."""

import torch
from torch import Tensor


def round_counts(raw_counts: Tensor, batch_size: int) -> Tensor:
    """The paper's rounding: negative entries to 0, the rest to the nearest, above K to 0.

    **Arguments:** `raw_counts` (C,), `batch_size` K. **Returns:** (C,) int64. The sum may differ
    from K: no repair enters the published metrics.
    """
    counts = raw_counts.clamp(min=0).round()
    return torch.where(counts > batch_size, 0, counts).to(torch.int64)


def largest_remainder(x: Tensor, lower: Tensor, total: int) -> Tensor:
    """Whole counts near `x` (C,), at least `lower` (C,), that sum to `total`, (C,) int64."""
    room = (x - lower).clamp(min=0)
    room = room if float(room.sum()) > 0 else torch.ones_like(room)
    share = room * ((total - lower.sum()) / room.sum())
    counts = lower + share.floor().to(torch.int64)
    first = torch.argsort(share - share.floor(), descending=True, stable=True)
    counts[first[: total - int(counts.sum())]] += 1
    return counts
