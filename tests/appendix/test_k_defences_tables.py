"""Notebook K's tables, advice, claims and pictures, of rows that are made up."""

import math

import numpy as np
import pandas as pd
import pytest

from irlg.appendix.k_defences import advice, claims, defences, pictures, prices, tables
from irlg.appendix.k_defences.defences import DEFENCES

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
    about, nothing, *lines = text.splitlines()
    assert about.startswith("*K = 24 unless said. A cell has 4 batches: where none is exact, the share is at most 49%")
    assert about.endswith("FCN-3's, over 2 seeds, ± half a 95 % interval (Student's t). Data: MNIST.*") and not nothing
    assert [line.split(".")[0] for line in lines] == [str(number + 1) for number in range(len(lines))]
    assert lines[0].endswith("The last layer withheld was not attacked here (line 8).")
    assert "one of these: noise 0.003 (2.0 ± 0.0), noise 0.03 (3.0 ± 0.0), " in lines[0] and "signs" not in lines[0]
    assert "with ε up to 10; with DP-SGD σ=0.03 (ε = 0.5) FCN-3 loses 8.0 ± 0.0 points of accuracy." in lines[0]
    assert "exact in 100% (FCN-3 untrained) of batches of 24; IRec is 1.00, and without looking 0.50" in lines[1]
    assert "is noise 0.03 (FCN-3 untrained). With noise 0.03 FCN-3 loses 3.0 ± 0.0 points" in lines[2]
    assert "names 0.75 of the instances (IRec), and not looking 0.50" in lines[2]
    assert "is DP-SGD σ=1 (FCN-3 untrained)" in lines[3] and "ε = 0.5" in lines[3]
    assert "**Signs**: exact in 1.00 (most by llg, FCN-3 untrained), IRec 1.00; FCN-3 loses" in text
    assert "on any network with 20% of them" in text and "furthest llg, by 1.00, at signs" in lines[-1]
    assert len(lines) == 9  # at one K alone
    gains, blind = costs.assign(lost=-0.01), defended.assign(i_rec=0.5)
    hidden = advice.advice(blind, prices.prices(blind), tables.differences(settings, rows), gains)
    assert "above not looking with noise 0.001 (-1.0 ± 0.0)" in hidden and "FCN-3 gains 1.0 ± 0.0 points" in hidden
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


def test_the_summary_names_the_least_defence_by_network(tmp_path):
    settings, rows, defended, _ = made_up()
    for name, frame in zip(("prices", "settings", "trials"), (prices.prices(defended), settings, rows), strict=True):
        frame.to_csv(tmp_path / f"K_{name}.csv", index=False)
    (row,) = claims.findings(tmp_path, [])
    assert row.paper == "logs of 2 defences"
    assert row.here.startswith("K = 24: under 5% exact from noise 0.03, DP-SGD 1")
    assert row.here.endswith("; IRec 0.75 to 0.75; DP-SGD: 2 of 2 sure right")


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
