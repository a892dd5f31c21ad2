from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from irlg.appendix import servers
from irlg.appendix.comparison import contenders
from irlg.appendix.j_comparison import advice, claims, initialisations, networks, pictures, settings, tables, trials
from irlg.appendix.j_comparison.networks import Lesson
from irlg.appendix.training import sgd
from irlg.models import build, fcn3, resnet18
from tests.helpers import PAPER

ALL = settings.settings(400)
# Made-up means of Algorithm 1 over five initialisations.
OVER = pd.DataFrame(
    {
        "setting": f"FCN-3, untrained, K = {size}",
        "initialisation": n,
        "N": 6,
        "ln_acc": mean + off,
        "data": "MNIST",
    }
    for size, mean in ((24, 1.0), (32, 0.9))
    for n, off in enumerate((-0.02, -0.01, 0.0, 0.01, 0.02))
)


@pytest.fixture(scope="module")
def server(digits):
    parts = servers.split(digits[0], 0)
    return servers.serve("J", "FCN-3", "untrained", build(fcn3, 1), digits[0], parts.unseen, parts.own, "cpu")


def made(make, server, size=24, seed=0):
    return make(server, size, np.random.default_rng(seed))


def test_settings_have_names_of_their_own_and_a_threat_model():
    assert len({setting.name for setting in ALL}) == len(ALL) > 45
    assert {setting.group for setting in ALL} == {"untrained", "trained", "batches", "clients"}
    assert all("K" in setting.knows for setting in ALL)
    assert any(setting.network == "ResNet-18, 40 steps" for setting in settings.settings(40))


def test_a_plain_batch_has_the_counts_that_its_images_have(server):
    case = made(settings.plain, server)
    assert int(case.counts.sum()) == 24 == case.observation.size and case.times == 1
    assert case.observation is case.plain
    again = made(settings.plain, server)
    assert torch.equal(case.observation.grad_weight, again.observation.grad_weight)
    assert not torch.equal(case.counts, made(settings.plain, server, seed=1).counts)


def test_few_classes_where_alpha_is_small(server):
    def classes(alpha):
        return np.mean([int((settings.dirichlet(alpha, server, 24, np.random.default_rng(s)).counts > 0).sum())
                        for s in range(8)])  # fmt: skip

    assert classes(0.05) < 3 < 8 < classes(100.0)
    assert int(settings.dirichlet(0.05, server, 200, np.random.default_rng(0)).counts.sum()) == 200


def test_one_class_has_a_third_and_the_others_one_each(server):
    counts = made(settings.singletons, server, 12).counts.sort(descending=True).values.tolist()
    assert counts == [4, 1, 1, 1, 1, 1, 1, 1, 1, 0]


def test_updates_know_the_network_after_them_and_count_every_step(server):
    one, five = (settings.local_steps(steps, server, 20, np.random.default_rng(0)) for steps in (1, 5))
    assert one.observation.size == five.observation.size == 20 == int(five.counts.sum())
    assert (one.auxiliary.local_steps, five.auxiliary.local_steps) == (1, 5) and five.auxiliary.after is not None
    torch.testing.assert_close(
        one.observation.grad_weight.float(),
        server.clients.observe(
            torch.as_tensor(np.random.default_rng(0).choice(len(server.clients.labels), 20, False))
        ).grad_weight,
        atol=1e-4,
        rtol=1e-3,
    )
    epochs = settings.local_epochs(server, 64, np.random.default_rng(0))
    assert epochs.times == settings.EPOCHS and epochs.observation.size == 64 * settings.EPOCHS
    assert int(epochs.counts.sum()) == 64


def test_a_lossy_client_is_known_to_those_that_can(server):
    for setting in ALL:
        if setting.group == "clients" and "update" not in setting.what:
            case = setting.make(server, setting.size, np.random.default_rng(0))
            told = case.observation
            assert torch.equal(told.grad_weight, case.plain.grad_weight) and int(case.counts.sum()) == setting.size
            assert case.plain.loss.plain and not case.plain.soft_labels
            assert (told.loss.plain and not told.soft_labels) == ("clients" in setting.what)


def test_train_mode_is_the_batchs_own_statistics(digits):
    images = digits[0].subset(np.arange(60))
    pixels = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    small = replace(
        images, pixels=lambda chosen: (pixels[chosen] * 255).to(torch.uint8), mean=(0.5,) * 3, std=(0.5,) * 3
    )
    both = servers.serve(
        "J", "ResNet-18", "untrained", build(resnet18, 1), small, np.arange(40), np.arange(40, 60), "cpu"
    )
    train, plain = made(settings.train_mode, both, 6), made(settings.plain, both, 6)
    assert torch.equal(train.counts[:10], plain.counts[:10])  # the same images
    assert not torch.allclose(train.observation.grad_weight, plain.observation.grad_weight, rtol=1e-2)
    assert not both.clients.model.training


def test_networks_learn_once_and_are_shown_both_seen_and_unseen(digits):
    lesson = Lesson("FCN-3", fcn3, sgd, 32, {2: "2 steps", 4: "4 steps"})
    found = list(networks._taught(lesson, digits[0], 0, "cpu"))
    assert [each.name for each in found] == [
        "FCN-3, untrained", "FCN-3, 2 steps", "FCN-3, 4 steps", f"FCN-3, 4 steps, {networks.SEEN}"
    ]  # fmt: skip
    weights = [each.clients.model.head.weight for each in found]
    assert not torch.equal(weights[0], weights[1]) and torch.equal(weights[2], weights[3])
    assert Lesson("L", fcn3, sgd, 32, {3: "3 epochs"}, by_epochs=True).steps(100) == [9]
    assert not torch.equal(found[2].clients.labels, found[3].clients.labels)


def test_resnet50_has_the_head_of_1000_classes():
    with torch.device("meta"):
        model = networks.resnet50_of_1000()
    assert tuple(model.head.weight.shape) == (1000, 2048)
    assert model.features(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 2048)


@pytest.fixture(scope="module")
def ran(server):
    """Settings of FCN-3 alone, two batches each."""
    wanted = [setting for setting in ALL if setting.network == server.name and setting.size <= 128]
    found = list(trials.of_server(server, wanted[::-1], 2, 0))
    return trials.frames(found, wanted)


def test_rows_are_the_same_again_and_in_the_order_that_is_wanted(server, ran):
    places, rows = ran
    assert list(places.setting) == [f"FCN-3, untrained, K = {size}" for size in (8, 24, 32, 64, 128)]
    assert rows.groupby(["setting", "method"]).size().eq(2).all() and (places.accuracy < 0.5).all()
    again = trials.frames(list(trials.of_server(server, [s for s in ALL if s.size == 8], 2, 0)), ALL)[1]
    mine = rows[rows.setting == again.setting.iloc[0]].drop(columns="seconds").reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, again.drop(columns="seconds"), check_dtype=False)
    too_large = [s for s in ALL if s.network == server.name and s.size == 1024]
    assert not list(trials.of_server(server, too_large, 1, 0))


def test_tables_and_claims_follow_from_the_rows(ran, tmp_path):
    places, rows = ran
    places.to_csv(tmp_path / "J_settings.csv", index=False)
    rows.to_csv(tmp_path / "J_trials.csv", index=False)
    OVER.to_csv(tmp_path / "J_initialisation_trials.csv", index=False)
    again = pd.read_csv(tmp_path / "J_settings.csv"), pd.read_csv(tmp_path / "J_trials.csv"), OVER
    assert claims.claims(*again) == claims.claims(places, rows, OVER) == claims.claims_again(tmp_path, [])
    table = tables.summary(rows)
    assert table[table.method == "dimitrov*"].N.eq(0).all() and table[table.method == "lattice"].N.eq(2).all()
    for view in (tables.settings_view(places), tables.beside_view(tables.beside(places, table))):
        assert view.count("\n") == len(places) + 1
    for score in ("exact", "i_rec", "le_acc"):
        figure = pictures.heat_map(places, table, score, score)
        assert len(figure.axes[0].get_yticklabels()) == len(places)
    assert len(pictures.over_size(places, table).axes) == 4
    text = advice.advice(
        places, table, tables.differences(rows), tables.sureness(places, rows), tables.seconds(places, rows)
    )
    assert [line.split(".")[0] for line in text.splitlines()] == [str(number) for number in range(1, 11)]
    assert "nan" not in text
    places, rows = by_hand()
    ahead = advice._winners(tables.behind(tables.differences(rows), marked=True), tables.summary(rows))
    assert ahead == "ahead are posterior* at three (exact 1.000 against the lattice's 0.000)"


def by_hand():
    """Two settings of four batches: in one the lattice is right, in the other a marked and an unmarked rival."""
    rows = []
    for setting, good in (("one", "lattice"), ("two", "uniform"), ("three", "posterior*")):
        for trial in range(4):
            for method in ("lattice", "uniform", "posterior*", "idlg"):
                right = method == good
                row = {
                    "setting": setting,
                    "trial": trial,
                    "method": method,
                    "le_acc": 0.5,
                    "refused": np.nan,
                    "seconds": 1.0,
                }
                if method != "idlg":
                    row |= {"exact": right, "ln_acc": 0.5 + 0.5 * right, "i_rec": 0.4 + 0.6 * right, "count_error": 1.0}
                    row["probability"] = 0.9995 if method == "lattice" else np.nan
                rows.append(row)
    about = {"network": "N", "training": "t", "C": 10, "m": 3, "K": 4, "what": "", "knows": "K", "data": "MNIST"}
    places = [
        {"setting": name, "group": "g", **about, "accuracy": 0.1, "auxiliary": 5} for name in ("one", "two", "three")
    ]
    return pd.DataFrame(places), pd.DataFrame(rows)


def test_where_a_rival_is_better_it_says_so():
    places, rows = by_hand()
    apart = tables.differences(rows)
    assert set(apart.rival) == {"uniform", "posterior*"}  # not what tells existence alone
    for marked, setting in ((False, "two"), (True, "three")):
        worse = tables.behind(apart, marked)
        assert set(worse.setting) == {setting} and len(worse) == 3
        assert sum(tables.standing(apart, marked, "exact")) == 3 and tables.standing(apart, marked, "exact")[2] == 1
        assert tables.behind_view(worse).splitlines()[2].startswith(f"| {setting}")
    assert tables.behind_view(apart[:0]) == "Nowhere."
    told = tables.alike(places.assign(knows=["K", "K", f"K, {settings.LOSS}"]), apart)
    assert set(told.setting) == {"one", "two"}
    shares = pd.DataFrame({"setting": ["a", "b"], "method": "lattice", "exact": [1.0, 0.04]})
    shares = pd.concat([shares, shares.assign(method="uniform"), shares.assign(method="zlg*", exact=0.5)])
    assert tables.ends(shares, marked=False) == (1, 1) and tables.ends(shares, marked=True) == (0, 0)
    found = {claim.claim: claim for claim in claims.claims(places, rows, OVER)}
    assert {claim.verdict for name, claim in found.items() if "beats the lattice" in name} == {"too few"}
    many = pd.concat([rows.assign(trial=rows.trial + 4 * n) for n in range(8)])
    judged = [claim.verdict for claim in claims.claims(places, many, OVER) if "same knowledge" in claim.claim]
    assert judged == ["fails"] * 3
    (sure,) = (claim for name, claim in found.items() if "answers at p" in name)
    assert sure.verdict == "fails" and sure.ours == "4 of 12, of 12 batches"
    beside = tables.beside(places, tables.summary(rows)).set_index("setting")
    assert (
        beside.other_method["two"] == "uniform"
        and beside.marked_exact["three"] == 1
        and beside.lattice_exact["one"] == 1
    )


def test_published_figures_are_judged_by_where_one_more_initialisation_would_lie(ran):
    places, rows = ran
    found = {claim.claim: claim for claim in claims.claims(places, rows, OVER)}
    # Student's t of four degrees of freedom, 2.776, times 0.0158 √(1 + 1/5): 0.952 to 1.048, and 0.782 to 0.878.
    first, second = (
        found[f"Algorithm 1, FCN-3, untrained, K = {size}, over initialisations: LnAcc"] for size in (24, 32)
    )
    assert (first.verdict, first.interval) == ("reproduced", "[0.952, 1.000] for one more initialisation")
    assert second.verdict == "differs" and second.ours.startswith("0.900, from 0.880 to 0.920 over 5")
    of_one = found["Algorithm 1, FCN-3, untrained, K = 64: LnAcc"]  # where no more were tried
    assert of_one.interval.endswith("over batches of one training")
    real = claims.claims(places.assign(data="MNIST"), pd.concat([rows] * 15), OVER)
    assert next(c.verdict for c in real if c.claim == of_one.claim) in ("reproduced", "too few trainings")
    assert initialisations.view(initialisations.table(OVER)).count("\n") == 3


def test_algorithm_1_over_initialisations(digits):
    over = initialisations.algorithm1({"mnist": digits[0]}, 2, 2, 0, "cpu")
    assert set(over.initialisation) == {0, 1} and over.ln_acc.between(0, 1).all() and over.N.eq(2).all()
    assert {"FCN-3, untrained, K = 24", "FCN-3, untrained, K = 128"} <= set(over.setting)


def test_slow_methods_get_few_batches_of_many_classes(server, monkeypatch):
    monkeypatch.setattr(trials, "SLOW", {"irlg": (10, 1)})
    wanted = [setting for setting in ALL if setting.network == server.name and setting.size == 8]
    _, rows = trials.frames(list(trials.of_server(server, wanted, 3, 0)), wanted)
    assert rows.groupby("method").size()["irlg"] == 1 and rows.groupby("method").size()["lattice"] == 3


@pytest.mark.skipif(not (PAPER / "J_comparison.json").exists(), reason="no committed paper run")
def test_the_committed_run_has_all_methods_and_settings():
    places, rows = (pd.read_csv(PAPER / f"J_{name}.csv") for name in ("settings", "trials"))
    assert {setting.name for setting in ALL} >= set(places.setting)
    assert set(rows.method) == {*contenders()}
