import math
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from irlg import comparison, lattice_claims, lattice_costs, lattice_plots, lattice_report, models, networks, restore
from irlg.data.datasets import open_images
from irlg.restoration.lattice import decoding, least_squares, logits
from irlg.training import adamw, sgd, train


@pytest.fixture(scope="module")
def digits():
    images = open_images("mnist", policy="stand-in")
    return images, list(networks.fcns(images, 1, 0, "cpu"))


def test_training_lowers_the_error_and_leaves_the_model_alone(digits):
    images, kinds = digits
    assert [kind.training for kind in kinds] == ["untrained", "100 steps", "1,000 steps"]
    assert kinds[0].accuracy < 0.3 < 0.7 < kinds[1].accuracy < kinds[2].accuracy
    pixels, labels = images.load(np.arange(640)), torch.as_tensor(images.labels[:640])
    model = models.build(models.fcn3, 0)
    before = [parameter.clone() for parameter in model.parameters()]
    for optimiser in (sgd, adamw):
        one, two = (list(train(model, pixels, labels, optimiser, [5, 12], 3, 64)) for _ in range(2))
        assert not any(part.training for part in one)
        for a, b in zip(one, two, strict=True):
            assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
        assert not torch.equal(one[0].head.weight, one[1].head.weight)
    mirrored = [next(train(model, pixels, labels, adamw, [1], 3, 64, mirror=True)) for _ in range(2)]
    plain = next(train(model, pixels, labels, adamw, [1], 3, 64))
    first, second, other = (part.head.weight for part in (*mirrored, plain))
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))


def test_with_a_test_split_all_images_are_learnt_and_accuracy_is_on_the_others(digits):
    images, _ = digits
    mislabelled = replace(images.subset(np.arange(400)), labels=(images.labels[:400] + 1) % 10)
    images = replace(images, test=mislabelled)
    assert len(networks._Data(images, 0, "cpu").seen) == len(images.labels)
    assert list(networks.fcns(images, 1, 0, "cpu"))[-1].accuracy < 0.05  # they were learnt by their own labels


def test_a_client_of_a_long_tail_learns_ever_fewer_images_of_its_classes_and_draws_its_own(digits):
    images, kinds = digits
    data = networks._Data(images, 0, "cpu")
    tail = data.long_tail(3)
    assert len(np.unique(tail)) == len(tail) and np.isin(tail, data.seen).all()
    assert (tail == data.long_tail(3)).all() and len(np.setxor1d(tail, data.long_tail(4)))
    classes = list(dict.fromkeys(images.labels[tail]))
    there, left = (np.bincount(images.labels[part], minlength=10)[classes] for part in (data.seen, tail))
    assert left[0] == there[0] and left[-1] == max(1, round(there[-1] / networks.TAIL))
    shares = left / there
    assert (np.diff(shares) <= 0).all() and shares[3] == pytest.approx(100 ** (-3 / 9), rel=0.05)
    kind = replace(kinds[1], learnt=tail)
    batch = kind.draw("own 40", 0, 0)
    assert len(np.unique(batch)) == 40 and np.isin(batch, tail).all()
    assert (batch == kind.draw("own 40", 0, 0)).all() and (batch != kind.draw("own 40", 1, 0)).any()


def test_batches_are_those_that_their_names_say_and_the_same_for_every_training(digits):
    _, kinds = digits
    observation, true = kinds[0].observe(kinds[0].draw("3 × 5", 0, 0))
    assert observation.size == 15 and sorted(true[true > 0].tolist()) == [5, 5, 5]
    assert kinds[0].observe(kinds[0].draw("random 40", 0, 0))[0].size == 40
    for what in ("3 × 5", "random 40"):
        one, two = (kind.draw(what, 2, 0) for kind in kinds[:2])
        assert (one == two).all()
        assert (one != kinds[0].draw(what, 3, 0)).any()


def test_trials_score_every_method_and_ablations_leave_no_trace(digits):
    _, kinds = digits
    constants = decoding.WIDTH, least_squares.OMEGA, logits.NU_0
    frame = pd.DataFrame(comparison.trials(kinds[1], ["random 24"], 3, 0, comparison.METHODS | comparison.ABLATIONS))
    assert constants == (decoding.WIDTH, least_squares.OMEGA, logits.NU_0)
    assert frame.groupby("method").size().eq(3).all() and frame.method.nunique() == len(
        comparison.METHODS | comparison.ABLATIONS
    )
    assert frame[frame.method == "irlg"].probability.isna().all()
    plain, same = (frame[frame.method == name].probability.to_numpy() for name in ("lattice, no search", "nothing"))
    np.testing.assert_array_equal(plain, same)
    changed = frame[frame.method == "spread within a class (ω = 0)"].probability.to_numpy()
    assert (changed != plain).any()


def test_hard_bounds_are_what_their_ablation_takes_away(digits):
    _, kinds = digits
    seen, true = kinds[2].observe(kinds[2].draw("random 8", 0, 0))
    without = comparison.ABLATIONS["hard bounds and sign test"](seen)
    assert not without.diagnostics["nonnegative"]
    assert int(without.lower_bounds.sum()) == 0 < int(restore(seen, search=False).lower_bounds.sum()) <= int(true.sum())


def probabilities(pairs):
    rows = [{"probability": p, "exact": exact} for p, exact, times in pairs for _ in range(times)]
    return pd.DataFrame(rows)


def test_reliability_and_calibration_error_by_hand():
    frame = probabilities([(0.05, False, 6), (0.05, True, 2), (1.0, True, 9), (0.9999, False, 1)])
    bins = lattice_report.reliability(frame)
    assert bins.N.tolist() == [8, 10]
    np.testing.assert_allclose(bins.exact, [0.25, 0.9])
    error = (8 * 0.20 + 10 * (0.99999 - 0.9)) / 18
    assert lattice_report.calibration_error(bins) == pytest.approx(error)
    assert lattice_report.certain(frame) == (10, 9)


def compared(ours, rival):
    """Per-trial rows of one setting: LnAcc of the lattice and of both rivals, LeAcc of 1."""
    rows = []
    for trial, (a, b) in enumerate(zip(ours, rival, strict=True)):
        place = {"network": "LeNet-5", "training": "3 epochs", "draw": "random 24", "initialisation": 0, "trial": trial}
        rows += [
            place | {"method": m, "le_acc": 1.0, "ln_acc": v} for m, v in (("lattice", a), ("irlg", b), ("uniform", b))
        ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("rival", "verdict"), [([0.5, 0.4, 0.6], "holds"), ([0.9, 0.95, 1.0], "fails")])
def test_a_rival_that_is_better_by_two_standard_errors_fails_the_claim(rival, verdict):
    differ = lattice_report.differences(compared([0.6, 0.5, 0.55], rival))
    assert differ.N.tolist() == [3, 3, 3, 3]
    of_presence, of_counts = differ[differ.score == "le_acc"], differ[differ.score == "ln_acc"]
    assert of_presence.difference.tolist() == of_presence.standard_error.tolist() == [0, 0]
    expected = np.array([0.6, 0.5, 0.55]) - rival
    np.testing.assert_allclose(of_counts.difference, expected.mean())
    np.testing.assert_allclose(of_counts.standard_error, expected.std(ddof=1) / 3**0.5)
    assert len(lattice_report.below(differ)) == (2 if expected.mean() < 0 else 0)
    claim = lattice_claims.never_worse(differ, "CIFAR-100")
    worse = len(differ[differ.difference < -2 * differ.standard_error])
    assert claim.verdict == verdict and ("against guess" in claim.ours or "against Algorithm 1" in claim.ours)
    assert claim.ours.startswith(f"{worse} of 4 comparisons; least difference {differ.difference.min():+.3f}, ")
    assert lattice_claims.never_worse(differ, "a stand-in").verdict == "stand-in"


def test_one_trial_says_nothing_of_rivals():
    differ = lattice_report.differences(compared([0.1], [0.6]))
    assert lattice_claims.never_worse(differ, "CIFAR-100").verdict == "too few trials"


def test_decoders_get_the_same_counts_and_the_beam_is_no_worse_than_one_path(digits):
    _, kinds = digits
    frame = comparison.decoders(kinds[:1], ["10 × 2", "10 × 6"], 4, 0)
    share = frame.groupby("decoder").exact.mean()
    assert share["beam of 64"] >= share["bootstrapping"] and share["beam of 64"] >= share["rounding"]
    assert set(frame.K) == {20, 60}


def test_parts_of_no_worth_are_named():
    table = pd.DataFrame(
        {"without": ["nothing", "a", "b"], "LnAcc, trained": [0.5, 0.51, 0.4], "N, trained": [1, 1, 1]}
    )
    assert lattice_report.worthless(table) == "- LnAcc, trained: no worse without a (+0.0100)."


def observed(network):
    return network.observe(network.draw("random 24", 0, 0))[0]


def test_costs_are_measured_in_a_process_of_their_own(digits):
    _, kinds = digits
    assert not comparison.easy_batches(kinds, 2, 0)  # none of 100 classes
    found = lattice_costs.costs({("FCN-3", "random 24"): [observed(kinds[0])] * 3}, 0, (50, 64, 16), (50, 64, 60))
    assert min(found.product, found.cholesky, found.easy, found.learnt) > 0
    assert list(found.medians) == [("FCN-3", "random 24")] and found.medians["FCN-3", "random 24"] > found.product
    assert math.isnan(found.memory) or found.memory >= 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_memory_is_that_of_the_work_alone():
    held = torch.ones(2**24)
    taken = lattice_costs._peak(lambda: [torch.ones(2**24).sum(), torch.ones(2**24).sum()])  # mapped, not kept
    assert taken == pytest.approx(4 * 2**24, rel=0.1)
    del held


@pytest.mark.parametrize(("factor", "verdict"), [(1, "holds"), (2, "more")])
def test_the_verdict_on_costs(factor, verdict):
    draws = ["100 × 1", "100 × 40", "random 4096"]  # the last is not easy
    keys = {"network": ["LeNet-5"] * 3, "training": ["untrained"] * 3, "draw": draws}
    keys |= {"method": ["lattice"] * 3, "probability": [1.0, 0.995, 0.9]}
    table = pd.DataFrame(keys | {"N": [48] * 3, "data": ["CIFAR-100"] * 3})
    medians = {("LeNet-5", "100 × 1"): 0.005, ("LeNet-5", "100 × 40"): 0.019 * factor, ("LeNet-5", draws[2]): 1}
    costs = lattice_costs.Costs(0.1, 0.01, 0.13 * 1.4 * factor, 2.9 * factor, medians, 4.0 * factor)
    found = lattice_claims._costs(costs, table)
    assert [claim.verdict for claim in found] == [verdict] * 4
    assert found[0].ours.startswith(f"{1.4 * factor:.2f} (") and found[3].ours.endswith("(LeNet-5, 100 × 40)")
    unknown = lattice_claims._costs(replace(costs, memory=math.nan), table)
    assert [claim.claim for claim in unknown] == [claim.claim for claim in found if "memory" not in claim.claim]


def test_claims_name_the_rows_below_the_design():
    rows = [("12 epochs", "random 24", 0.99, 0.985), ("12 epochs", "random 512", 0.98, 0.2)]
    table = pd.DataFrame(rows, columns=["training", "draw", "le_acc_high", "ln_acc_high"])
    table = table.assign(network="LeNet-5", method="lattice", le_acc=0.9, ln_acc=0.1, N=3)
    detected, told = lattice_claims._design(table, "CIFAR-100")
    assert detected.ours.startswith("0 of 2 rows; 12 epochs random 24: 0.900 / 0.100 for 1.000 / 0.993")
    assert detected.verdict == "fails in some" and detected.n == 6
    assert told.ours == "0 of 0 rows"


def test_the_picture_of_all_settings_names_each_line_as_it_is():
    """Neither trainings nor draws in alphabetical order; one network is in a column of its own."""
    rows = [
        {"network": network, "training": training, "draw": draw, "method": method, "ln_acc": number / 10}
        for network, count in (("b", 2), ("a", 1))
        for number, (training, draw) in enumerate([("untrained", "9 × 1"), ("3 epochs", "10 × 1")][:count])
        for method in ("irlg", "lattice")
    ]
    table = pd.DataFrame(rows)
    figure = lattice_plots.beyond(table.assign(ln_acc_low=table.ln_acc, ln_acc_high=table.ln_acc))
    assert [axis.get_title().split(":")[0] for axis in figure.axes] == ["b", "a"]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["untrained, 9 × 1", "3 epochs, 10 × 1"]
    of_lattice = figure.axes[0].containers[-1].lines[0]
    assert of_lattice.get_xdata().tolist() == [0.0, 0.1] and of_lattice.get_ydata().tolist() == [0, 1]
