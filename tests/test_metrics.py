from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from irlg import i_rec, le_acc, ln_acc

pairs = (
    st.integers(1, 20)
    .flatmap(lambda c: st.tuples(*[st.lists(st.integers(0, 5), min_size=c, max_size=c)] * 2))
    .filter(lambda pair: sum(pair[1]) > 0)
)


@given(pairs)
def test_against_scikit_learn_and_multisets(pair):
    restored, true = map(np.array, pair)
    assert le_acc(restored, true) == pytest.approx(accuracy_score(true > 0, restored > 0))
    assert ln_acc(restored, true) == pytest.approx(accuracy_score(true, restored))
    both = Counter(dict(enumerate(restored.tolist()))) & Counter(dict(enumerate(true.tolist())))
    assert i_rec(restored, true) == pytest.approx(both.total() / true.sum())


def test_tensors_arrays_and_lists_alike():
    assert le_acc(torch.tensor([1, 0, 2]), [1, 1, 1]) == pytest.approx(2 / 3)
    assert ln_acc(np.array([1, 0, 2]), torch.tensor([1, 1, 1])) == pytest.approx(1 / 3)
    assert i_rec([1, 0, 2], [1, 1, 1]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("restored", "true", "message"),
    [
        ([0.5, 1.0], [1, 1], "restored: expected non-negative whole counts"),
        ([-1, 1], [1, 1], "restored: expected non-negative"),
        ([1, 1], [[1, 1]], "true: expected non-negative whole counts of shape"),
        ([1, 1, 1], [1, 1], "true: expected counts of 3 classes, as restored has, got 2"),
        ([1, 1], [0, 0], "true: expected at least one instance"),
    ],
)
def test_bad_counts(restored, true, message):
    for metric in (le_acc, ln_acc, i_rec):
        with pytest.raises(ValueError, match=message):
            metric(restored, true)
