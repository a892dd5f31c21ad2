"""The methods of others: each an answer worked out by hand, and what all methods have in common."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.optimize import linprog

from irlg import Observation, restore
from irlg.restoration.registry import METHODS
from irlg.restoration.rivals.greedy import one_by_one
from irlg.restoration.rivals.means import to_total
from irlg.restoration.rivals.rlg import separable
from tests.helpers import linear, observe, problems, rebuilt
from tests.restoration.by_hand import CONFIDENT, DUMMIES, UNEVEN, by_hand, given_to, of_zeros, tensor

EXISTENCE = {"idlg", "gradinversion", "rlg"}


def test_the_batch_by_hand_is_one():
    embeddings, labels = tensor((3, 0), (3, 0), (0, 3), (3, 0)), torch.tensor([0, 0, 1, 0])
    seen, told = Observation.from_embeddings(embeddings, labels, linear(by_hand().weight, by_hand().bias)), by_hand()
    torch.testing.assert_close(seen.grad_weight, told.grad_weight)
    torch.testing.assert_close(seen.grad_bias, told.grad_bias)


@pytest.mark.parametrize(
    ("method", "auxiliary", "counts"),
    [
        ("zeros", None, [0, 0, 0]),
        # 4/3 each, rounded; the sum is 3, as nothing repairs it.
        ("prior", None, [1, 1, 1]),
        # a = (−5, 1, 4)/4: class 1 is there, and its sum positive all the same.
        ("idlg", None, [1, 0, 0]),
        # Smallest entries of 4 ∇W: −6, −2, 1.
        ("gradinversion", None, [1, 1, 0]),
        # M = (1 + 1/3)(−5/4)/4 = −5/12. Class 0 gets one, and −15/12 + 5/12 = −10/12 is left, still the smallest:
        # again, −5/12; again, 0; and 0 is below 1/4 and 1. All four are class 0's.
        ("llg", None, [4, 0, 0]),
        # In twelfths: a_0 = −5, M = −5/4. Left after each label: −3.75, −2.5, −1.25, 0, always below 1 and 4.
        ("ebi", None, [4, 0, 0]),
        # In twelfths: M = −3, offset 4. Class 0 gets one: −5 + 3 = −2. Offset off: (−6, −3, 0). Class 0: −3. Then class
        # 0 and class 1, which are equal, have one each.
        ("llbg", None, [3, 1, 0]),
        # γ = 2/3, so M = −1, offset 4, in twelfths: −5 + 1 = −4, offset off (−8, −3, 0); class 0: −7, −6, −5.
        ("llbg", CONFIDENT, [4, 0, 0]),
        # A dummy batch of one class has a_j = (1/3 − 1) 3 = −2, so M = (4/3)(−2)/4 = −2/3; one without it a_j = 1.
        # In twelfths: −15 + 8 = −7, offset off (−19, −9, 0); class 0: −11; class 0: −3; class 1.
        ("llg-star", DUMMIES, [3, 1, 0]),
    ],
)
def test_labels_by_hand(method, auxiliary, counts):
    restored = restore(by_hand(), method, auxiliary=auxiliary)
    assert restored.counts.tolist() == counts and restored.method == method


@pytest.mark.parametrize(
    ("method", "auxiliary", "raw", "counts"),
    [
        # 4/3 − 4 (−5, 1, 4)/4 / 3 = (4 + 5, 4 − 1, 4 − 4)/3.
        ("zlg", DUMMIES, (3, 1, 0), [3, 1, 0]),
        # Of two steps, Ō is 3 and (3 + 6)/2 = 9/2, so 1/Ō in the mean (1/3 + 2/9)/2 = 5/18:
        # 4/3 + (5, −1, −4) 5/18 = (49, 19, 4)/18. Down: (2, 1, 0); the one left goes to the remainder 13/18.
        (
            "dimitrov",
            replace(DUMMIES, after=of_zeros((6, 0), (0, 6)), local_steps=2),
            (49 / 18, 19 / 18, 4 / 18),
            [3, 1, 0],
        ),
        # Of one step, ZLG at the network before.
        ("dimitrov", replace(DUMMIES, after=of_zeros((6, 0), (0, 6))), (3, 1, 0), [3, 1, 0]),
        # Of others than classes 0, 1 and 2 the mean softmax is (2/9, 2/9, 1/6) there. In 36ths
        # (8, 8, 6) − (−15, 3, 12) = (23, 5, −6), the last to 0. 4 · (23, 5, 0)/28.
        ("rlu", UNEVEN, (23 / 7, 5 / 7, 0), [3, 1, 0]),
        # Half-way to the logits' negatives all are 0, and it is 1/3: over two steps (5/18, 5/18, 1/4) in the mean. In
        # 36ths (10, 10, 9) − (−15, 3, 12) = (25, 7, −3). 4 · (25, 7, 0)/32.
        (
            "rlu",
            replace(UNEVEN, after=replace(UNEVEN, logits=-UNEVEN.logits), local_steps=2),
            (25 / 8, 7 / 8, 0),
            [3, 1, 0],
        ),
        # Of one step, that at the network before.
        ("rlu", replace(UNEVEN, after=replace(UNEVEN, logits=-UNEVEN.logits)), (23 / 7, 5 / 7, 0), [3, 1, 0]),
    ],
)
def test_counts_by_hand(method, auxiliary, raw, counts):
    restored = restore(by_hand(), method, auxiliary=auxiliary)
    torch.testing.assert_close(restored.raw_counts, tensor(*raw))
    assert restored.counts.tolist() == counts and not restored.existence_only


def test_posteriors_by_hand():
    """Three instances of class 0 and one of 1, each as confident as the auxiliary ones: in sixths, Σ p = 3 (4, 1, 1) +
    (1, 4, 1) = (13, 7, 4), and 4 ∇b = Σ p − n = (−5, 1, 4)/6. φ⁺ = 2/3, φ⁻ = 1/6, below the line 1/2:
    8 (1/6 − ∇b) = 8 (4 + 5, 4 − 1, 4 − 4)/24 = (3, 1, 0).
    """
    seen = rebuilt(by_hand(), grad_bias=tensor(-5, 1, 4) / 24)
    restored = restore(seen, "posterior", auxiliary=CONFIDENT)
    torch.testing.assert_close(restored.raw_counts, tensor(3, 1, 0))
    assert restored.counts.tolist() == [3, 1, 0]


def test_separation_by_hand():
    """C = 4, K = 2 at a head of zeros, e of class 0 (−2, 0, 0) and of class 1 (0, 1, 0).

    8 ∇W_j = (6, 1), (−2, −3), (−2, 1), (−2, 1) in the first two columns: the first's sign is that of −(p − y). By
    q = (−1, 0) class 0 alone is negative, by (0, 1) class 1 alone; what has class 2 negative has class 3 negative too.
    """
    embeddings, head = tensor((-2, 0, 0), (0, 1, 0)), linear(torch.zeros(4, 3).double(), torch.zeros(4).double())
    seen = Observation.from_embeddings(embeddings, torch.tensor([0, 1]), head)
    torch.testing.assert_close(8 * seen.grad_weight[:, :2], tensor((6, 1), (-2, -3), (-2, 1), (-2, 1)))
    assert restore(seen, "rlg").counts.tolist() == [1, 1, 0, 0]
    assert restore(seen, "idlg").counts.tolist() == [0, 1, 1, 1]  # what signs say where embeddings are negative


def test_separation_finds_every_class_of_a_batch():
    seen = observe(30, 20, 8, 3, labels=[1, 1, 4, 7, 7, 7, 20, 29])
    assert restore(seen, "rlg").counts.nonzero().flatten().tolist() == [1, 4, 7, 20, 29]
    nothing = Observation(torch.zeros(5, 4), torch.zeros(5), torch.ones(5, 4), torch.zeros(5), 2)
    assert restore(nothing, "rlg").counts.tolist() == [0] * 5


@pytest.mark.parametrize("seed", range(4))
def test_separation_is_what_the_linear_programme_says(seed):
    """Programmes of rows that any may separate: q with rows[j] · q = −1 and rows[i] · q ≥ 0."""
    rows = np.random.default_rng(seed).normal(size=(12, 6))
    for j in range(len(rows)):
        others = np.delete(rows, j, axis=0)
        solved = linprog(np.zeros(6), -others, np.zeros(11), rows[j : j + 1], [-1.0], bounds=(None, None))
        assert separable(rows, j) == (solved.status == 0)


def test_more_negative_entries_than_labels_are_all_given():
    assert one_by_one(tensor(-1, -2, -3, 6), -1.0, 0.0, 2).tolist() == [1, 1, 1, 0]


def test_rounding_to_a_total():
    # Down (1, 0, 0), and from 0: two are missing; remainders (0.6, 0.9, −0.2).
    assert to_total(tensor(1.6, 0.9, -0.2), 3).tolist() == [2, 1, 0]
    # Down (2, 3, 0) is one too many; the smaller remainder of those that have some loses it.
    assert to_total(tensor(2.1, 3.4, -1.5), 4).tolist() == [1, 3, 0]
    # At most 3 each, three too many: each loses one, then the smaller remainder.
    assert to_total(tensor(-9.0, 50.0, 50.5), 3).tolist() == [0, 1, 2]


def permuted(auxiliary, order):
    if auxiliary is None:
        return None
    after = permuted(auxiliary.after, order)
    return replace(auxiliary, logits=auxiliary.logits[:, order], labels=order.argsort()[auxiliary.labels], after=after)


@settings(deadline=None, max_examples=25)
@given(**problems)
def test_all_methods_answer_in_one_shape_and_follow_a_permutation_of_classes(classes, width, batch, seed):
    seen = observe(classes, width, batch, seed)
    order = torch.as_tensor(np.random.default_rng(seed).permutation(classes))
    fields = ("grad_weight", "grad_bias", "weight", "bias")
    turned = rebuilt(seen, **{name: getattr(seen, name)[order] for name in fields})
    for method in METHODS:
        if method == "rlg" and batch >= min(classes, width):
            continue
        options = {"search": False} if method == "lattice" else {}
        if auxiliary := given_to(method, classes, width, seed, linear(seen.weight, seen.bias)):
            options["auxiliary"] = auxiliary
        restored = restore(seen, method, **options)
        assert restored.counts.shape == restored.raw_counts.shape == (classes,)
        assert restored.counts.dtype == torch.int64 and restored.raw_counts.dtype == torch.float64
        assert torch.isfinite(restored.raw_counts).all() and int(restored.counts.min()) >= 0
        assert restored.method == method and restored.existence_only == (method in EXISTENCE)
        if restored.existence_only:
            assert int(restored.counts.max()) <= 1
        if method == "lattice":
            continue  # which of two equally likely vectors comes first is not said
        if auxiliary:
            options["auxiliary"] = permuted(auxiliary, order)
        again = restore(turned, method, **options)
        torch.testing.assert_close(again.raw_counts, restored.raw_counts[order], rtol=1e-6, atol=1e-6)
