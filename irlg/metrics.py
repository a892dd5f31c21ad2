"""Scores of restored counts against true counts, as the paper's main text defines them."""

from typing import Any

import numpy as np
import torch


def le_acc(restored: Any, true: Any) -> float:
    """Label existence accuracy: the share of the C classes whose presence or absence is right.

    **Arguments:** `restored`, `true`: counts (C,), tensors or arrays. Classes that are rightly
    called absent count, so few present classes flatter the score.
    """
    restored, true = _counts(restored, true)
    return float(np.mean((restored > 0) == (true > 0)))


def ln_acc(restored: Any, true: Any) -> float:
    """Label number accuracy: the share of the C classes whose count is exactly right.

    **Arguments:** as for `le_acc`, whose remark on absent classes holds here too.
    """
    restored, true = _counts(restored, true)
    return float(np.mean(restored == true))


def i_rec(restored: Any, true: Any) -> float:
    """Instance recall: Σ_j min(n̂_j, n_j) / K, with K = Σ_j n_j.

    **Arguments:** as for `le_acc`.
    """
    restored, true = _counts(restored, true)
    return float(np.minimum(restored, true).sum() / true.sum())


def scores(restored: Any, true: Any) -> dict[str, object]:
    """All scores of one restoration by name, with K, the restored `total`, and whether all is `exact`."""
    restored, true = _counts(restored, true)
    return {
        "K": int(true.sum()),
        "le_acc": le_acc(restored, true),
        "ln_acc": ln_acc(restored, true),
        "i_rec": i_rec(restored, true),
        "total": int(restored.sum()),
        "exact": bool((restored == true).all()),
    }


def _counts(restored: Any, true: Any) -> tuple[np.ndarray, np.ndarray]:
    arrays = []
    for name, value in (("restored", restored), ("true", true)):
        array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        if array.ndim != 1 or array.dtype.kind not in "iu" or (array < 0).any():
            raise ValueError(f"{name}: expected non-negative whole counts of shape (C,), got {array!r}")
        arrays.append(array)
    restored, true = arrays
    if len(restored) != len(true):
        raise ValueError(f"true: expected counts of {len(restored)} classes, as restored has, got {len(true)}")
    if true.sum() == 0:
        raise ValueError(f"true: expected at least one instance, got {true!r}")
    return restored, true
