import math

import numpy as np
import pandas as pd
import pytest
import torch

from irlg import defences
from irlg.appendix import clients, corruptions, scores
from irlg.appendix import losses as sent_losses
from irlg.appendix.h_clients import claims, losses, networks, pictures, tables, trials
from irlg.appendix.recurring import interval
from irlg.artifact.claims import Claim
from tests.helpers import PAPER

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def everyone(digits):
    """FCN-3 and the digits of its clients."""
    return list(networks.untrained({"mnist": digits[0]}, 300, 1, 0, "cpu"))


def gradients(classes=20, width=30):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(classes, width, generator=generator), torch.randn(classes, generator=generator)


def sent(name):
    return corruptions.CORRUPTIONS[name].send(gradients(), np.random.default_rng(1))


def test_noise_has_the_deviation_that_its_name_says():
    for std in (1e-3, 1e-2):
        for clean, noisy in zip(gradients(200, 50), defences.gaussian(std, gradients(200, 50), RNG), strict=True):
            assert float((noisy - clean).std()) == pytest.approx(std, rel=0.15)


@pytest.mark.parametrize("share", corruptions.SHARES)
def test_the_largest_entries_are_left_as_they_are(share):
    for clean, sparse in zip(gradients(), sent(f"largest {share:.0%}"), strict=True):
        kept = sparse != 0
        assert int(kept.sum()) == int(share * clean.numel()) and torch.equal(sparse[kept], clean[kept])
        assert clean[kept].abs().min() >= clean[~kept].abs().max()


def test_of_both_tensors_together_one_threshold_holds():
    weight, bias = gradients()
    kept, dropped = [], []
    for clean, sparse in zip((weight, bias), sent("largest 10% of all"), strict=True):
        kept.append(clean[sparse != 0].abs())
        dropped.append(clean[sparse == 0].abs())
    assert sum(map(len, kept)) == (weight.numel() + bias.numel()) // 10
    assert torch.cat(kept).min() >= torch.cat(dropped).max()


def test_coarse_numbers_are_as_coarse_as_they_should():
    for clean, signs, whole, rounded, eight in zip(
        gradients(), *(sent(name) for name in ("signs", "int8", "bfloat16", "float8")), strict=True
    ):
        assert torch.equal(signs.sign(), clean.sign()) and len(signs.abs().unique()) == 1
        assert float(signs.abs().mean()) == pytest.approx(float(clean.abs().mean()))
        step = clean.abs().max() / 127
        assert float((whole - clean).abs().max()) <= 0.501 * step < 0.501 * step * len(whole.unique())
        assert torch.equal(rounded, rounded.bfloat16().float()) and not torch.equal(rounded, clean)
        large = clean.abs() > clean.abs().max() / 100
        assert float(((eight - clean).abs() / clean.abs())[large].max()) <= 1 / 16 + 1e-6


def test_the_same_batches_are_sent_in_every_way_and_noise_is_measured(everyone):
    frame = trials.corrupted(everyone, 2, 0)
    assert frame.groupby(["setting", "K"]).size().eq(2).all() and set(frame.setting) == {*corruptions.CORRUPTIONS}
    assert (
        not frame.refused.any() and frame[frame.kind == "noisy"].true.div(frame["std"]).dropna().between(0.9, 1.1).all()
    )
    small = frame[(frame.setting == "noise 1e-05") & (frame.K.eq(trials.SIZES[0]))]
    assert small.exact.all() and small.ln_uniform.le(1).all()
    pd.testing.assert_frame_equal(frame, trials.corrupted(everyone, 2, 0))
    found = tables.noise(frame)
    assert found.N.eq(2 * len(trials.SIZES)).all() and found["mean"].between(0.8, 1.2).all()
    np.testing.assert_allclose(found.theory, 1 / math.sqrt(2 * 301))
    for figure, axes in ((pictures.over_noise(frame), 4), (pictures.compressed(frame), 2)):
        assert len(figure.axes) == axes


def test_a_step_of_sgd_is_an_observation_of_its_batch(everyone):
    frame = trials.single_steps(everyone, 2, 0)
    assert frame.exact.all() and frame.rate.nunique() == len(trials.RATES)


def test_local_steps_move_the_network_and_leave_the_clients_as_it_was(everyone, digits):
    before = [parameter.clone() for parameter in everyone[0].model.parameters()]
    trained = networks.trained(everyone[0], digits[0], 30, 0, "cpu")
    assert clients.accuracy(trained) > 0.3 > clients.accuracy(everyone[0])
    frame = trials.local_steps([everyone[0], trained], 1, 0)
    assert all(map(torch.equal, before, everyone[0].model.parameters()))
    assert (frame.K == trials.SIZE * frame.E).all() and set(frame.training) == {"untrained", "30 steps"}
    far = frame.pivot_table(index=["training", "rate"], columns="E", values="error")
    assert (far[1] < far[10]).all()
    assert len(pictures.local_steps(frame).axes) == 2


def test_trained_networks_learn_from_images_that_clients_do_not_hold(digits):
    images = digits[0]
    held = networks._held("mnist", images, 300, 0)
    assert len(np.unique(held)) == 300 and (held == networks._held("mnist", images, 300, 0)).all()


def test_a_server_that_is_told_is_right_and_one_that_is_not_is_not_sure(everyone):
    frame = losses.told_or_not(everyone, 3, 1, 0)
    told, others = frame[frame.server == "told"], frame[frame.server != "told"]
    assert (
        told.exact.all()
        and told.groupby("setting").size().eq(3).all()
        and set(told.setting) == {*sent_losses.SETTINGS} - {"no bias"}
    )
    assert others.groupby(["setting", "server"]).size().eq(1).all()
    assert set(others.server) == {"untold", "unknown", "inferred", "without"}
    assert others[others.setting == f"{len(sent_losses.CLIENTS)} clients aggregated"].refused.all()
    assert others[others.probability > scores.SURE].exact.all()


def row(**more):
    place = {
        "initialisation": 0,
        "trial": 0,
        "setting": "noise 0.001",
        "kind": "noisy",
        "K": 24,
        "network": "LeNet-5",
        "m": 84,
        "std": 1e-3,
    }
    scored = {"ln_acc": 1.0, "ln_irlg": 1.0, "ln_uniform": 0.9, "le_acc": 1.0, "measured": 1e-3, "true": 1e-3}
    return place | scored | {"data": "CIFAR-100", "exact": True, "probability": 1.0, "refused": False} | more


def rows(*kinds):
    return pd.DataFrame([row(**more) for times, more in kinds for _ in range(times)])


def test_tables_count_sure_answers_and_say_when_to_believe():
    frame = rows((6, {}), (1, {"exact": False, "ln_acc": 0.5}), (3, {"K": 128, "exact": False, "probability": 0.1}))
    assert scores.certain(frame) == (7, 6)
    few, many = tables.table(frame, ["setting", "K"]).itertuples()
    assert (few.N, few.sure, few.sure_right, many.sure, many.exact) == (7, 7, 6, 0, 0)
    assert few.exact == pytest.approx(6 / 7) and few.ln_acc == pytest.approx(6.5 / 7)
    text = tables.belief(frame)
    assert (
        "**6 of these 7 were right** (85.7%" in text and "No answer was that sure at K = 128 with noise 0.001." in text
    )
    assert "| 6 of 7" in tables.view(tables.table(frame, ["K"]), {"K": "K"})


def test_rivals_that_are_better_by_two_standard_errors_are_named():
    better = [(1, {"ln_acc": 0.5 + shift, "ln_irlg": 0.9}) for shift in (0, 0.01, 0.02)]
    differences = tables.rivals(rows(*better))
    assert differences.N.tolist() == [3, 3]
    assert differences.difference.tolist() == pytest.approx([-0.39, -0.39])
    assert len(tables.below(differences)) == 2 and "-0.390 ± 0.012" in tables.below_view(differences)
    assert claims.never_worse(rows(*better)).verdict == "fails"
    assert (
        claims.never_worse(rows((3, {}))).verdict == "holds"
        and tables.below_view(tables.rivals(rows((3, {})))) == "Nowhere."
    )


@pytest.mark.parametrize(
    ("right", "wrong", "verdict"), [(2000, 0, "holds"), (1999, 0, "too few"), (2000, 10, "holds"), (2000, 11, "fails")]
)
def test_the_verdict_on_sure_answers(right, wrong, verdict):
    frame = rows((right, {}), (wrong, {"exact": False}), (5, {"probability": 0.5, "exact": False}))
    claim = claims.sure(frame)
    assert (claim.verdict, claim.n) == (verdict, right + wrong) and claim.ours.startswith(f"{right:,} of ")
    assert claims.sure(frame.assign(data="a stand-in")).verdict == "stand-in"


def test_the_verdict_on_measured_noise():
    for ratio, spread, verdict in ((1.04, 0.0, "holds"), (0.94, 0.0, "fails"), (0.94, 0.05, "too few")):
        off = [(1, {"std": 0.01, "measured": 0.01 * (ratio + shift)}) for shift in (-spread, spread)]
        claim = claims.measured(tables.noise(rows((2, {}), *off)))
        assert claim.verdict == verdict and claim.ours.startswith(f"{ratio:.3f} times the true one (LeNet-5, 0.01)")


def test_a_server_that_is_sure_and_wrong_fails_its_claim():
    others = (2, {"server": "untold", "probability": 0.5}), (1, {"server": "told", "exact": False})
    claim = claims.unaware(rows((30, {"server": "untold"}), *others))
    assert claim.verdict == "holds" and claim.ours == "30 of 30; of all 32, 2 were less sure and 0 refused"
    assert claims.unaware(rows((29, {"server": "untold"}), *others)).verdict == "too few"
    wrong = rows((3, {"server": "untold"}), (1, {"server": "untold", "exact": False, "setting": "mixup"}))
    claim = claims.unaware(wrong)
    assert claim.verdict == "fails" and claim.ours.startswith("3 of 4 (wrong: mixup)")


def test_the_interval_of_sure_answers_is_over_different_batches():
    recurring = pd.concat([rows((1, {"setting": name})) for name in ("none", "noise")])
    assert interval(recurring, tables.BATCH) == "[0.2065, 1.0000] over 1 different batches"
    one = recurring.assign(exact=recurring.setting == "none")  # wrong in one setting is wrong
    assert interval(one, tables.BATCH).startswith("[0.0000, 0.7935]")
    assert interval(one.assign(probability=0.5), tables.BATCH) == "[0.0000, 1.0000]"


@pytest.mark.parametrize(
    ("ours", "rival", "verdict"), [(0.97, 0.9, "holds"), (0.95, 0.9, "below"), (0.97, 1.0, "below")]
)
def test_an_aim_is_missed_below_it_and_below_a_rival(ours, rival, verdict):
    frame = rows((3, {"ln_acc": ours, "ln_irlg": rival}))
    assert claims._claim("a", "b", frame, "c", "d", 0.96, "ln_acc").verdict == verdict


@pytest.mark.skipif(not (PAPER / "H_clients.json").exists(), reason="no committed paper run")
def test_the_committed_tables_follow_from_their_batches_on_real_data():
    frame = pd.read_csv(PAPER / "H_sent_trials.csv")
    made = tables.table(frame, ["setting", "K", "network", "data"])
    pd.testing.assert_frame_equal(made, pd.read_csv(PAPER / "H_sent_by_network.csv"), check_dtype=False, rtol=1e-12)
    assert {*frame.data} == {"CIFAR-100", "MNIST"} and scores.certain(frame)[0] >= claims.ENOUGH
    asked = pd.read_csv(PAPER / "H_losses_trials.csv")
    committed = pd.read_csv(PAPER / "H_losses.csv")
    pd.testing.assert_frame_equal(tables.table(asked, ["setting", "server"]), committed, check_dtype=False, rtol=1e-12)
    (found,) = claims.findings(PAPER, [Claim("a", "b", "c", 1, "d", "e", "holds")])
    assert found.here.endswith(f"right in {scores.certain(frame)[1]:,} of {scores.certain(frame)[0]:,}")
