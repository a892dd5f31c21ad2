import math
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from irlg import restore
from irlg.appendix import scores
from irlg.appendix.g_lattice_counts import ablation, claims, costs, pictures, tables, trials
from irlg.restoration.lattice import decoding, least_squares, logits


def test_trials_score_every_method_and_ablations_leave_no_trace(digits):
    _, kinds = digits
    constants = decoding.WIDTH, least_squares.OMEGA, logits.NU_0
    frame = pd.DataFrame(trials.trials(kinds[1], ["random 24"], 3, 0, trials.METHODS | ablation.ABLATIONS))
    assert constants == (decoding.WIDTH, least_squares.OMEGA, logits.NU_0)
    assert frame.groupby("method").size().eq(3).all() and frame.method.nunique() == len(
        trials.METHODS | ablation.ABLATIONS
    )
    assert frame[frame.method == "irlg"].probability.isna().all()
    plain, same = (frame[frame.method == name].probability.to_numpy() for name in ("lattice, no search", "nothing"))
    np.testing.assert_array_equal(plain, same)
    changed = frame[frame.method == "spread within a class (ω = 0)"].probability.to_numpy()
    assert (changed != plain).any()


def test_hard_bounds_are_what_their_ablation_takes_away(digits):
    _, kinds = digits
    seen, true = kinds[2].observe(kinds[2].draw("random 8", 0, 0))
    without = ablation.ABLATIONS["hard bounds and sign test"](seen)
    assert not without.diagnostics["nonnegative"]
    assert int(without.lower_bounds.sum()) == 0 < int(restore(seen, search=False).lower_bounds.sum()) <= int(true.sum())


def probabilities(pairs):
    rows = [{"probability": p, "exact": exact} for p, exact, times in pairs for _ in range(times)]
    return pd.DataFrame(rows)


def test_reliability_and_calibration_error_by_hand():
    frame = probabilities([(0.05, False, 6), (0.05, True, 2), (1.0, True, 9), (0.9999, False, 1)])
    bins = tables.reliability(frame)
    assert bins.N.tolist() == [8, 10]
    np.testing.assert_allclose(bins.exact, [0.25, 0.9])
    error = (8 * 0.20 + 10 * (0.99999 - 0.9)) / 18
    assert tables.calibration_error(bins) == pytest.approx(error)
    assert scores.certain(frame) == (10, 9)


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
    differ = tables.differences(compared([0.6, 0.5, 0.55], rival))
    assert differ.N.tolist() == [3, 3, 3, 3]
    of_presence, of_counts = differ[differ.score == "le_acc"], differ[differ.score == "ln_acc"]
    assert of_presence.difference.tolist() == of_presence.standard_error.tolist() == [0, 0]
    expected = np.array([0.6, 0.5, 0.55]) - rival
    np.testing.assert_allclose(of_counts.difference, expected.mean())
    np.testing.assert_allclose(of_counts.standard_error, expected.std(ddof=1) / 3**0.5)
    assert len(tables.below(differ)) == (2 if expected.mean() < 0 else 0)
    claim = claims.never_worse(differ, "CIFAR-100")
    worse = len(differ[differ.difference < -2 * differ.standard_error])
    assert claim.verdict == verdict and ("against guess" in claim.ours or "against Algorithm 1" in claim.ours)
    assert claim.ours.startswith(f"{worse} of 4 comparisons; least difference {differ.difference.min():+.3f}, ")
    assert claims.never_worse(differ, "a stand-in").verdict == "stand-in"


def test_one_trial_says_nothing_of_rivals():
    differ = tables.differences(compared([0.1], [0.6]))
    assert claims.never_worse(differ, "CIFAR-100").verdict == "too few trials"


def test_decoders_get_the_same_counts_and_the_beam_is_no_worse_than_one_path(digits):
    _, kinds = digits
    frame = trials.decoders(kinds[:1], ["10 × 2", "10 × 6"], 4, 0)
    share = frame.groupby("decoder").exact.mean()
    assert share["beam of 64"] >= share["bootstrapping"] and share["beam of 64"] >= share["rounding"]
    assert set(frame.K) == {20, 60}


def test_in_short_means_are_over_all_settings_of_a_kind():
    rows = [("irlg", 0.2, False), ("irlg", 0.4, False), ("lattice", 0.5, True), ("lattice", 0.9, False)]
    frame = pd.DataFrame(rows, columns=["method", "ln_acc", "exact"]).assign(trained="trained", data="CIFAR-100")
    header, _, line = tables.in_short(frame).splitlines()
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "trained",
        "CIFAR-100",
        "0.300",
        "0.700",
        "0.500",
        "2",
    ]
    assert "LnAcc, Algorithm 1" in header and "guess" not in header


def test_the_picture_of_the_ablation_has_a_line_a_part():
    table = pd.DataFrame({"without": ["nothing", "a"], "LnAcc, trained": [0.5, 0.4], "exact, trained": [0.2, 0.1]})
    (axis,) = pictures.ablation(table.assign(**{"N, trained": 9})).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["nothing", "a"]
    assert axis.get_title() == "trained networks, N = 9"


def observed(network):
    return network.observe(network.draw("random 24", 0, 0))[0]


def test_costs_are_measured_in_a_process_of_their_own(digits):
    _, kinds = digits
    assert not trials.easy_batches(kinds, 2, 0, 9)  # none of 100 classes
    found = costs.costs({("FCN-3", "random 24"): [observed(kinds[0])] * 3}, 0, (50, 64, 16), (50, 64, 60))
    assert min(found.product, found.cholesky, found.easy, found.learnt) > 0
    assert list(found.medians) == [("FCN-3", "random 24")] and found.medians["FCN-3", "random 24"] > found.product
    assert math.isnan(found.memory) or found.memory >= 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_memory_is_that_of_the_work_alone():
    held = torch.ones(2**24)
    taken = costs._peak(lambda: [torch.ones(2**24).sum(), torch.ones(2**24).sum()])  # mapped, not kept
    assert taken == pytest.approx(4 * 2**24, rel=0.1)
    del held


@pytest.mark.parametrize(("factor", "verdict"), [(1, "holds"), (2, "more")])
def test_the_verdict_on_costs(factor, verdict):
    draws = ["100 × 1", "100 × 40", "random 4096"]  # the last is not easy
    keys = {"network": ["LeNet-5"] * 3, "training": ["untrained"] * 3, "draw": draws}
    keys |= {"method": ["lattice"] * 3, "probability": [1.0, 0.995, 0.9]}
    table = pd.DataFrame(keys | {"N": [48] * 3, "data": ["CIFAR-100"] * 3})
    medians = {("LeNet-5", "100 × 1"): 0.005, ("LeNet-5", "100 × 40"): 0.019 * factor, ("LeNet-5", draws[2]): 1}
    measured = costs.Costs(0.1, 0.01, 0.13 * 1.4 * factor, 2.9 * factor, medians, 4.0 * factor)
    found = costs.cost_claims(measured, table)
    assert [claim.verdict for claim in found] == [verdict] * 4
    assert found[0].ours.startswith(f"{1.4 * factor:.2f} (") and found[3].ours.endswith("(LeNet-5, 100 × 40)")
    unknown = costs.cost_claims(replace(measured, memory=math.nan), table)
    assert [claim.claim for claim in unknown] == [claim.claim for claim in found if "memory" not in claim.claim]


def test_every_activation_is_judged():
    columns = {"training": "untrained", "method": "lattice", "N": 3, "ln_acc_low": 0.9, "ln_acc_high": 1.0, "data": "d"}
    rows = [("LeNet-5", "100 × 1", 1.0), ("LeNet-5", "100 × 40", 0.99), ("LeNet-5 Tanh", "100 × 40", 0.5)]
    found = claims._untrained(pd.DataFrame(rows, columns=["network", "draw", "ln_acc"]).assign(**columns))
    assert [claim.verdict for claim in found] == ["holds", "below", "below"]
    assert [claim.claim.split(", 100")[0].removeprefix("LeNet-5 untrained, ") for claim in found] == [
        "ReLU, SiLU, LeakyReLU", "ReLU, SiLU, LeakyReLU", "Tanh"
    ]  # fmt: skip


def test_the_calibration_error_has_an_interval_over_batches():
    rng = np.random.default_rng(0)
    stated = rng.uniform(size=400)
    batches = pd.DataFrame({"probability": stated, "exact": rng.uniform(size=400) < stated})
    error, (low, high) = tables.calibration_error(tables.reliability(batches)), tables.calibration_interval(batches)
    assert low < error < high < 0.15
    never = batches.assign(exact=False)
    low, high = tables.calibration_interval(never)
    error = tables.calibration_error(tables.reliability(never))
    assert low < error < high and error == pytest.approx(stated.mean())


def test_the_picture_of_all_settings_names_each_line_as_it_is():
    """Neither trainings nor draws in alphabetical order; one network is in a column of its own."""
    rows = [
        {"network": network, "training": training, "draw": draw, "method": method, "ln_acc": number / 10}
        for network, count in (("b", 2), ("a", 1))
        for number, (training, draw) in enumerate([("untrained", "9 × 1"), ("3 epochs", "10 × 1")][:count])
        for method in ("irlg", "lattice")
    ]
    table = pd.DataFrame(rows)
    figure = pictures.beyond(table.assign(ln_acc_low=table.ln_acc, ln_acc_high=table.ln_acc))
    assert [axis.get_title().split(":")[0] for axis in figure.axes] == ["b", "a"]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["untrained, 9 × 1", "3 epochs, 10 × 1"]
    of_lattice = figure.axes[0].containers[-1].lines[0]
    assert of_lattice.get_xdata().tolist() == [0.0, 0.1] and of_lattice.get_ydata().tolist() == [0, 1]
