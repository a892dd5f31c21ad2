import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from irlg.appendix import servers
from irlg.appendix.k_defences import advice, claims, defences, networks, pictures, prices, tables, training, trials
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
MADE_UP = {
    "none": (4, 4),
    "noise 0.001": (4, 3),
    "noise 0.003": (0, 0),
    "noise 0.01": (1, 0),
    "noise 0.03": (0, 0),
    "noise 0.1": (0, 0),
    "largest 20%": (0, 0),
    "int8": (4, 4),
    "signs": (0, 4),
    "clipped": (2, 4),
    "DP-SGD σ=1": (0, 0),
    "no bias": (4, 0),
}


def frames(network="FCN-3", classes=10, data="MNIST", training="untrained"):
    settings, rows = [], []
    for number, (name, shares) in enumerate(MADE_UP.items()):
        place = {"setting": number, "defence": name, "kind": DEFENCES[name].kind, "strength": DEFENCES[name].strength}
        about = {"K": 24, "trials": 4, "network": network, "training": training, "C": classes, "data": data}
        settings.append(place | about)
        for trial in range(4):
            for method, share in zip(("lattice", "llg"), shares, strict=True):
                right = int(trial < share)
                ln, recalled = (classes, 24) if right else (classes - 2, 18)
                scored = {"le": classes, "ln": ln, "recalled": recalled, "exact": right, "off": 2 * (1 - right)}
                sure = (0.9999 if right else 0.2) if method == "lattice" else np.nan
                rows.append({"setting": number, "trial": trial, "method": method, **scored, "p": sure, "ms": 1.0})
            if name == "none":
                for method, recalled in (("zeros", 0), ("spread", 12)):
                    scored = {"le": classes - 3, "ln": 0, "recalled": recalled, "exact": 0, "off": 24}
                    rows.append({"setting": number, "trial": trial, "method": method, **scored, "ms": 1.0})
    return pd.DataFrame(settings), pd.DataFrame(rows)


def accuracies():
    rows = []
    for number, (name, defence) in enumerate(DEFENCES.items()):
        for size in (24, 128) if name in defences.NOISY else (24,):
            for one in range(2):
                accuracy = 0.9 + 0.01 * one - 0.005 * number - (0.1 if size > 24 else 0)
                epsilon = 0.5 if defence.multiplier else np.inf if defence.multiplier == 0 else np.nan
                about = {"defence": name, "K": size, "number": one, "steps": 500, "rate": 0.1, "epsilon": epsilon}
                rows.append(about | {"accuracy": accuracy, "data": "MNIST"})
    return pd.DataFrame(rows)


def made_up(*options):
    settings, rows = frames(*options)
    costs = tables.costs(accuracies())
    defended = tables.defended(tables.best(tables.summary(settings, rows)), costs)
    return settings, rows, defended, costs


def test_summaries_are_of_what_is_tried_and_the_best_method_is_none_that_does_not_look():
    settings, rows, defended, _ = made_up()
    rows = rows.drop(rows[(rows.setting == 1) & (rows.method == "llg")].index[:1])
    summary = tables.summary(settings, rows).set_index(["defence", "method"])
    assert summary.exact["noise 0.001", "llg"] == 2 / 4 and summary.answered["noise 0.001", "llg"] == 3
    assert summary.exact_low["none", "lattice"] < 1 == summary.exact_high["none", "lattice"]
    defended = defended.set_index("defence")
    assert defended.method["signs"] == "llg" and defended.method["none"] == "lattice"
    assert (defended.trivial == "spread").all() and (defended.trivial_i_rec == 0.5).all()
    assert defended.lost["noise 0.03"] == pytest.approx(0.005 * [*DEFENCES].index("noise 0.03"))
    assert tables.defended_view(defended.reset_index()).count("\n") == len(MADE_UP) + 1


def test_the_price_is_the_least_noise_from_which_on_no_batch_is_exact():
    """A gap at 0.003 is none: 0.01 lets one of four through."""
    _, _, defended, _ = made_up()
    noise, private = _priced(defended)
    assert (noise["strength"], noise["before"], noise["exact"]) == (0.03, 0.25, 0.0)
    assert noise["i_rec"] == 0.75 and prices.strength(noise) == "noise 0.03"
    assert (private["strength"], private["epsilon"]) == (1.0, 0.5) and prices.strength(private) == "DP-SGD σ=1"
    leaky = defended.assign(exact=defended.exact.where(defended.defence != "noise 0.1", 1.0))
    assert math.isnan(_priced(leaky)[0]["strength"]) and prices.strength(_priced(leaky)[0]) == "none that was tried"
    shut = defended.assign(exact=0.0)
    assert _priced(shut)[0]["strength"] == 0 and prices.strength(_priced(shut)[0]) == "not needed"


def _priced(defended):
    return prices.prices(defended).to_dict("records")


def test_costs_are_paired_by_seed():
    costs = tables.costs(accuracies()).set_index(["defence", "K"])
    assert costs.lost["noise 0.001", 24] == pytest.approx(0.015) and costs.lost_error["noise 0.001", 24] < 1e-9
    apart = accuracies().assign(accuracy=lambda rows: rows.accuracy - 0.01 * rows.number * rows.defence.eq("signs"))
    half = tables.costs(apart).set_index(["defence", "K"]).lost_error["signs", 24]
    assert half == pytest.approx(12.706 * 0.01 / 2, rel=1e-4)  # Student's t of one degree of freedom
    assert costs.lost["none", 128] == 0 and costs.lost_in_all["none", 128] == pytest.approx(0.1)
    text = tables.costs_view(costs.reset_index())
    assert "| ∞ " in text and "+0.015 ± 0.000" in text
    assert [tables.epsilon(value) for value in (np.nan, np.inf, 0.123, 12345.6)] == ["", "∞", "0.12", "12,346"]


def test_rivals_that_win_are_listed():
    settings, rows, *_ = made_up()
    gaps = tables.differences(settings, rows)
    assert [*tables.beaten(gaps).defence] == ["signs"]  # clipped: 2 of 4, within two standard errors
    assert "llg" in tables.beaten_view(gaps) and tables.beaten_view(gaps[gaps.defence == "none"]) == "Nowhere."
    claim = claims.ahead(gaps)
    assert claim.verdict == "no" and claim.ours.startswith("1 of 12 comparisons, 1 of 12 settings (signs: llg)")
    none = gaps[gaps.defence == "none"]
    assert claims.ahead(none).verdict == "too few" and claims.ahead(none.assign(N=30)).verdict == "yes"


def test_advice_is_made_of_the_rows():
    settings, rows, defended, costs = made_up()
    text = advice.advice(defended, prices.prices(defended), tables.differences(settings, rows), costs)
    lines = text.splitlines()
    assert [line.split(".")[0] for line in lines] == [str(number + 1) for number in range(len(lines))]
    assert "withhold the last layer" in lines[0]
    assert "one of these: noise 0.003 (2.0), noise 0.03 (3.0), " in lines[0] and "signs" not in lines[0]
    assert "with ε up to 10; with DP-SGD σ=0.03 (ε = 0.5) FCN-3 loses 8.0 points of accuracy." in lines[0]
    assert "exact in 100% (FCN-3 untrained) of batches of 24; IRec is 1.00, and without looking 0.50" in lines[1]
    assert "is noise 0.03 (FCN-3 untrained). With noise 0.03 FCN-3 loses 3.0 points" in lines[2]
    assert "names 0.75 of the instances (IRec), and not looking 0.50" in lines[2]
    assert "is DP-SGD σ=1 (FCN-3 untrained)" in lines[3] and "ε = 0.5" in lines[3]
    assert "**Signs**: exact in 1.00 (most by llg, FCN-3 untrained), IRec 1.00; FCN-3 loses" in text
    assert "on any network with 20% of them" in text and "furthest llg, by 1.00, at signs" in lines[-1]
    assert len(lines) == 9  # at one K alone
    gains, blind = costs.assign(lost=-0.01), defended.assign(i_rec=0.5)
    hidden = advice.advice(blind, prices.prices(blind), tables.differences(settings, rows), gains)
    assert "above not looking with noise 0.001 (-1.0)" in hidden and "FCN-3 gains 1.0 points" in hidden
    unclear = advice.advice(
        blind, prices.prices(blind), tables.differences(settings, rows), gains.assign(lost_error=0.02)
    )
    assert "FCN-3 loses no accuracy that these seeds can show (-1.0 ± 2.0 points)" in unclear


def test_published_rows_hold_where_they_lie_in_our_interval():
    settings, rows = frames("ResNet-18", 100, "CIFAR-100")
    rows = pd.concat([rows[rows.method == "llg"].assign(trial=rows.trial + 4 * n) for n in range(10)])
    settings = settings.assign(trials=40)
    ours = tables.full(settings, rows.assign(method="irlg"))
    ours.loc[ours.defence == "noise 0.03", "ln_acc"] = 0.9
    noise, sparse = claims.published(ours)
    assert (noise.verdict, sparse.verdict, noise.n) == ("too few initialisations",) * 2 + (40,)
    assert (noise.paper, noise.ours) == ("0.980 / 0.973", "1.000 / 0.980; LnAcc at noise 0.03 0.900")
    rng = np.random.default_rng(0)
    near = ours.assign(le_acc=0.98 + 0.01 * rng.standard_normal(len(ours)))
    near = near.assign(ln_acc=0.973 + 0.01 * rng.standard_normal(len(ours)))
    assert claims.published(near)[0].verdict == "reproduced"
    assert claims.published(near.assign(data="stand-in"))[0].verdict == "stand-in"
    assert claims.published(ours[ours.network == "FCN-3"]) == []


def test_claims_say_what_is_sure_and_what_leaks():
    settings, rows, *_ = made_up()
    found = claims.claims(settings, rows, accuracies())
    verdicts = {claim.claim.split(":")[0]: claim.verdict for claim in found}
    assert verdicts["Noise that brings exact batches under 5% leaves nothing to recall"] == "no"
    assert verdicts["FCN-3, untrained, K = 24"] == "measured" and verdicts["All defences but DP-SGD"] == "too few"
    full = tables.full(settings, rows)
    assert claims.sure(full.assign(probability=0.9999), "x").verdict == "fails"
    trained = tables.full(*frames("LeNet-5", 100, "CIFAR-100", "9 steps"))
    (claim,) = claims.trained(trained.assign(method=trained.method.replace("llg", "irlg")))
    assert claim.ours == "1.000, and 0.970" and claim.verdict == "measured"
    assert claims.trained(full) == []


def test_pictures_draw_what_they_are_given():
    settings, rows, defended, _ = made_up()
    both = pd.concat([defended, defended.assign(K=128), defended.assign(training="9 steps")], ignore_index=True)
    assert len(pictures.heat(tables.summary(settings, rows)).axes) == 1
    assert len(pictures.over_strength(both, "noise", "x").axes) == 2
    assert len(pictures.over_epsilon(defended).axes) == 1 == len(pictures.over_size(both).axes)
    assert pictures.finite(defended) and not pictures.finite(defended.assign(epsilon=np.inf))


def test_networks_are_attacked_before_and_after_and_under_their_own_defence(digits, parts, lesson):
    taught = {name: build(fcn3, number) for number, name in enumerate(["none", *networks.TAUGHT])}
    targets = list(networks.fcns(digits[0], parts, taught, 7, 0, "cpu"))
    names = [each.server.clients.training for each in targets]
    assert names[:2] == ["untrained", "7 steps"] and {*names[2:]} == {"7 steps under it"}
    assert [each.defences for each in targets[2:]] == [(name,) for name in networks.TAUGHT]


def test_the_summary_names_the_least_defence_by_network(tmp_path):
    settings, rows, defended, _ = made_up()
    for name, frame in zip(("prices", "settings", "trials"), (prices.prices(defended), settings, rows), strict=True):
        frame.to_csv(tmp_path / f"K_{name}.csv", index=False)
    (row,) = claims.findings(tmp_path, [])
    assert row.paper == "LnAcc 0.973 at noise 0.01 (logs)"
    assert row.here.startswith("under 5% exact from noise 0.03, DP-SGD 1")
    assert row.here.endswith("; IRec 0.75 to 0.75; p > 0.999 right in 2 of 2 (DP-SGD)")


def test_tables_and_claims_are_made_again_of_the_committed_rows(tmp_path):
    settings, rows = frames()
    for name, frame in zip(claims.ALL, (settings, rows, accuracies()), strict=True):
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    again = [pd.read_csv(tmp_path / f"{name}.csv") for name in claims.ALL]
    assert claims.claims_again(tmp_path, []) == claims.claims(settings, rows, accuracies())
    for derived in claims.DERIVED:
        sources = [again[claims.ALL.index(name)] for name in derived.sources]
        derived.make(*sources).to_csv(tmp_path / f"{derived.stem}.csv", index=False)
        text = derived.view(derived.make(*sources)) if derived.view else ""
        (tmp_path / f"{derived.stem}.md").write_text(text, encoding="utf-8")
        assert derived.difference(tmp_path) == ""
