import pytest

from irlg.appendix.scores import aggregate
from tests.helpers import scored


def test_aggregate_by_hand():
    row = aggregate(scored(ln=(0.5, 1.0, 1.0, 1.0)), ["row", "method"]).iloc[0]
    assert (row.N, row.K, row.ln_acc, row.exact, row.le_acc) == (4, 100, 0.875, 0.75, 1.0)
    assert 0.5 <= row.ln_acc_low < 0.875 < row.ln_acc_high <= 1
    assert (row.le_acc_low, row.le_acc_high) == (1, 1)
    assert row.exact_low == pytest.approx(0.3006, abs=1e-4)
