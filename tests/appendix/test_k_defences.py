import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from irlg.appendix import servers
from irlg.appendix.k_defences import defences, networks, tables, training, trials
from irlg.appendix.k_defences.defences import DEFENCES, NORM
from irlg.models import build, fcn3
from irlg.observation import Observation


@pytest.fixture(scope="module")
def parts(digits):
    return servers.split(digits[0], 0)


@pytest.fixture(scope="module")
def lesson(digits, parts):
    return training.Lesson.of(digits[0], parts.learnt, parts.unseen, "cpu")


@pytest.fixture(scope="module")
def target(digits, parts):
    server = servers.serve("K", "FCN-3", "untrained", build(fcn3, 1), digits[0], parts.unseen, parts.own, "cpu")
    return trials.Target(server, (trials.SIZE, 128), tuple(DEFENCES))


def by_autograd(model, images, labels):
    """The gradients of each instance, flat, (K, number of parameters)."""
    rows = []
    for image, label in zip(images, labels, strict=True):
        loss = nn.functional.cross_entropy(model(image[None]), label[None])
        rows.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))]))
    return torch.stack(rows)


def test_norms_and_clipped_means_are_those_of_autograd(lesson):
    model, images, labels = build(fcn3, 2), lesson.pixels[:5], lesson.labels[:5]
    each = by_autograd(model, images, labels)
    norms = defences.norms(model, images, labels)
    torch.testing.assert_close(norms, each.norm(dim=1), rtol=1e-4, atol=0)  # sums of 300,000 squares
    factors = defences.shrunk(norms)
    assert float((factors * norms).max()) <= NORM * (1 + 1e-6) and bool((factors < 1).any())
    for clip, wanted in ((False, each.mean(dim=0)), (True, (factors[:, None] * each).mean(dim=0))):
        found = [part.flatten() for _, layer in training.gradients(model, images, labels, clip) for part in layer]
        torch.testing.assert_close(torch.cat(found), wanted, rtol=1e-4, atol=1e-6)
    assert defences.shrunk(torch.tensor([0.0, NORM / 2, 4 * NORM])).tolist() == [1.0, 1.0, 0.25]


def test_what_the_server_sees_of_dp_sgd_is_the_last_layer_of_clipped_instances(target):
    clients, chosen = target.server.clients, torch.arange(6)
    clipped = DEFENCES["clipped"]
    seen = defences.observed(target.server, clipped, chosen, np.random.default_rng(0), target.factors(chosen), 1.0)
    each = by_autograd(clients.model, clients.images.load(np.arange(6)), clients.labels[:6])
    wanted = (each / each.norm(dim=1, keepdim=True).clamp_min(NORM)).mean(dim=0)[-10:]  # of the head's bias
    torch.testing.assert_close(seen.grad_bias, wanted)
    noisy = DEFENCES["DP-SGD σ=1"]
    assert noisy.noise(20) == NORM / 20 and clipped.noise(20) == 0 == DEFENCES["none"].noise(20)
    half = defences.observed(target.server, noisy, chosen, np.random.default_rng(0), target.factors(chosen), 0.5)
    assert half.noise == pytest.approx(2 * NORM / 6)
    assert 0 < target.typical <= 1 and target.typical == pytest.approx(
        float(target.factors(torch.arange(100)).mean()), rel=0.2
    )


def test_every_defence_leaves_something_to_attack_but_one_and_batches_are_the_same(target):
    settings, rows = trials.attacked([target], 1, 1, 0)
    at_24 = settings[settings.K.eq(trials.SIZE)]
    assert [*at_24.defence] == [name for name in DEFENCES if name != "withheld"]
    assert {*settings[settings.K.eq(128)].defence} == {*defences.NOISY}
    full = tables.full(settings, rows)
    none = full[full.defence.eq("none") & full.K.eq(trials.SIZE)].set_index("method")
    assert none.exact["lattice"] == 1 and {*trials.TRIVIAL} <= {*none.index} and none.i_rec["zeros"] == 0
    assert full[full.defence != "none"].method.isin(trials.TRIVIAL).sum() == 0
    clipped = full[full.defence == "clipped"]
    assert {trials.AS_SENT, trials.UNKNOWN} < {*clipped.method}
    assert "irlg" not in {*full[full.defence == "no bias"].method} and full.le_acc.between(0, 1).all()
    again = trials.attacked([target], 1, 1, 0)[1]
    pd.testing.assert_frame_equal(rows.drop(columns="ms"), again.drop(columns="ms"))


def test_cells_are_kept_for_an_interrupted_run(target, monkeypatch, tmp_path):
    monkeypatch.setenv("IRLG_JOBS", str(tmp_path))
    one = trials.Target(target.server, (trials.SIZE,), ("none",))
    first = trials.attacked([one], 1, 1, 0)[1]
    monkeypatch.setattr(trials, "_cell", None)
    pd.testing.assert_frame_equal(first, trials.attacked([one], 1, 1, 0)[1])


def test_spread_is_even(target):
    spread = trials._spread(torch.zeros(10, dtype=torch.int64), 24)
    assert spread.counts.tolist() == [3, 3, 3, 3, 2, 2, 2, 2, 2, 2]


def test_training_goes_by_what_is_sent(lesson):
    start = build(fcn3, 3)

    def course(name):
        return training.taught(start, lesson, name, 24, 30, 0, 0.1)

    frozen, bare, none = course("withheld"), course("no bias"), course("none")
    assert torch.equal(frozen.head.weight, start.head.weight) and bare.head.bias is None
    assert not torch.equal(none.head.weight, start.head.weight)
    assert not torch.equal(frozen.hidden[0].weight, start.hidden[0].weight)
    # A step by hand.
    plain = training.taught(start, lesson, "none", 24, 1, 0, 0.1)
    order = training.stream(0, "K batches", 24).choice(len(lesson.labels), 24, replace=False)
    seen = Observation.from_batch(start, lesson.pixels[order], lesson.labels[order])
    torch.testing.assert_close(plain.head.weight, start.head.weight - 0.1 * seen.grad_weight)


def test_the_study_trains_each_defence_and_larger_batches_take_fewer_steps(lesson, monkeypatch):
    chosen = {name: DEFENCES[name] for name in ("none", "noise 0.1", "no bias", "DP-SGD σ=1", "clipped", "withheld")}
    monkeypatch.setattr(training, "DEFENCES", chosen)
    monkeypatch.setattr(training, "NOISY", ("none", "noise 0.1"))
    accuracy, models = training.study(lesson, (24, 128, 10**6), 400, 2, 0, "cpu")
    assert set(models) == {*chosen} and len(accuracy) == 2 * (6 + 2) and models["no bias"].head.bias is None
    assert {(r.K, r.steps) for r in accuracy.itertuples()} == {(24, 16), (128, 3)}
    costs = tables.costs(accuracy).set_index(["defence", "K"])
    assert costs.lost["none", 24] == 0 == costs.lost["none", 128]
    assert costs.accuracy["none", 24] > 0.3


def test_epsilon_is_that_of_one_gaussian_step_and_falls_with_noise():
    pytest.importorskip("opacus")
    sigma = 2.0
    found = training.epsilon_of(defences.Defence("DP-SGD", sigma, multiplier=sigma), 10, 1, 10)
    # Balle et al., Hypothesis Testing Interpretations and Rényi Differential Privacy (2020), theorem 21.
    by_hand = min(
        a / (2 * sigma**2) + math.log((a - 1) / a) - (math.log(training.DELTA) + math.log(a)) / (a - 1)
        for a in training.ORDERS
    )
    assert found == pytest.approx(by_hand, rel=1e-9)
    falling = [training.epsilon_of(DEFENCES[defences.dp_name(s)], 24, 500, 50_000) for s in defences.MULTIPLIERS]
    assert math.isinf(falling[0]) and falling == sorted(falling, reverse=True)
    assert training.epsilon_of(DEFENCES["DP-SGD σ=1"], 24, 500, 50_000) < training.epsilon_of(
        DEFENCES["DP-SGD σ=1"], 24, 1000, 50_000
    )


def test_without_an_accountant_there_is_no_epsilon(monkeypatch):
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    assert math.isnan(training.epsilon_of(DEFENCES["DP-SGD σ=1"], 24, 500, 50_000))
    assert math.isnan(training.epsilon_of(DEFENCES["none"], 24, 500, 50_000))
    assert "[defences]" in training.NO_ACCOUNTANT


# Made-up rows: exact batches of the lattice and of a rival by defence, of 4.


def test_networks_are_attacked_before_and_after_and_under_their_own_defence(digits, parts, lesson):
    taught = {name: build(fcn3, number) for number, name in enumerate(["none", *networks.TAUGHT])}
    targets = list(networks.fcns(digits[0], parts, taught, 7, 0, "cpu"))
    names = [each.server.clients.training for each in targets]
    assert names[:2] == ["untrained", "7 steps"] and {*names[2:]} == {"7 steps under it"}
    assert [each.defences for each in targets[2:]] == [(name,) for name in networks.TAUGHT]
