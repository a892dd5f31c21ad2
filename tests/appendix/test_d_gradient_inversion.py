import itertools
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import rc_params_from_file

from irlg.appendix.d_gradient_inversion import attacks, claims, pictures, running, steps, tables
from irlg.appendix.d_gradient_inversion.running import Outcome
from irlg.appendix.d_gradient_inversion.timing import inversion_seconds
from irlg.artifact import style
from irlg.data.datasets import open_images
from irlg.data.sampling import stream

AT = " at 80 iterations"


@pytest.fixture(scope="module")
def step():
    return steps.mnist_step(open_images("mnist", policy="stand-in"), 6, 0, "cpu")


def outcome(psnr, exact=True, steps_taken=8000):
    scores = pd.DataFrame({"psnr": psnr, "ssim": [0.5] * len(psnr), "lpips": np.nan})
    return Outcome(torch.zeros(len(psnr), 1, 2, 2), scores, exact, 1.0, [{"iteration": steps_taken, "psnr": 1.0}])


@pytest.fixture
def outcomes():
    by_attack = {
        "joint-shared": outcome([9.0, 11.0]),
        "joint": outcome([15.0, 17.0]),
        "restored": outcome([19.0, 20.0]),
        "true": outcome([19.0, 20.0]),
        "tuned": outcome([24.0, 26.0]),
        "tuned, lattice labels": outcome([24.0, 26.0]),
    }
    return {0: by_attack, 1: by_attack}


def test_a_batch_of_figure_6_has_its_images_and_classes():
    labels = np.repeat(np.arange(20), 30)
    splits = set()
    for trial in range(30):
        indices = steps.figure_6_batch(stream(0, trial), labels, 16, 10)
        classes, counts = np.unique(labels[indices], return_counts=True)
        assert len(set(indices)) == counts.sum() == 16 and len(classes) == 10
        assert (np.diff(labels[indices]) >= 0).all()
        splits.add(tuple(counts))
    assert len(splits) > 20
    with pytest.raises(ValueError, match="classes: expected at most the 2 images of a batch, got 3"):
        steps.figure_6_batch(stream(0), labels, 2, 3)


def test_restored_labels_are_sorted_and_as_many_as_images(step):
    for method in ("irlg", "lattice"):
        restored = step.restored("eval", method)
        assert restored.shape == (6,) and (restored.diff() >= 0).all()


@pytest.mark.parametrize("dataset", ["MNIST", "CIFAR-100"])
def test_attacks_differ_in_what_they_say_they_do(dataset):
    rows = attacks.attacks(dataset, 100)
    paper = attacks.published(dataset, 100)
    assert [row.config for row in rows[:4]] == [paper] * 4
    assert {row.labels for row in rows[:4]} == {"joint-shared", "joint", "restored", "true"}
    assert rows[4].config != paper and rows[4].config.steps <= 100


def test_an_outcome_is_in_the_originals_order(step):
    attack = attacks.attacks("MNIST", 8)[3]
    result = running.attack_step(replace(attack, config=replace(attack.config, interval=2)), step)
    assert result.exact and result.images.shape == step.originals.shape and len(result.scores) == 6
    assert [row["iteration"] for row in result.trace] == [0, 2, 4, 6, 8]
    assert list(result.snapshots) == [0, 2, 8] and torch.equal(result.snapshots[8], result.images)


def test_attacks_side_by_side_give_what_they_give_one_by_one(step, monkeypatch):
    pools = []

    def pool(workers, *arguments):
        pools.append(workers)
        return ProcessPoolExecutor(workers, *arguments)

    monkeypatch.setattr(running, "ProcessPoolExecutor", pool)
    other = steps.mnist_step(open_images("mnist", policy="stand-in"), 6, 1, "cpu")
    rows = attacks.attacks("MNIST", running.FEW)[:2]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)  # a worker for each, with a thread each
        together = running.run([step, other], rows)
        torch.set_num_threads(1)
        alone = running.run([step, other], rows)
    finally:
        torch.set_num_threads(threads)
    assert pools == [2] and list(together) == [0, 1]
    for seed, name in itertools.product([0, 1], ["joint-shared", "joint"]):
        one, two = together[seed][name], alone[seed][name]
        assert torch.equal(one.images, two.images) and one.exact == two.exact
        assert [row["objective"] for row in one.trace] == [row["objective"] for row in two.trace]
        pd.testing.assert_frame_equal(one.scores, two.scores)
        assert list(one.snapshots) == list(two.snapshots)
    assert not torch.equal(alone[0]["joint"].images, alone[1]["joint"].images)


def test_a_few_iterations_start_no_process(step, monkeypatch):
    monkeypatch.setattr(running, "ProcessPoolExecutor", None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert len(running.run([step], attacks.attacks("MNIST", running.FEW - 1)[:2])[0]) == 2


def test_feature_maps_of_a_step_are_looked_for_once(step, monkeypatch):
    asked = []
    monkeypatch.setattr(running, "feature_maps", lambda *given: asked.append(given[2].tolist()))
    running._maps.cache_clear()
    for same in (step, pickle.loads(pickle.dumps(step))):
        for attack in attacks.ablation(2, 2)[:2]:
            assert np.isnan(running.attack_step(attack, same).residual)
    other = steps.mnist_step(open_images("mnist", policy="stand-in"), 6, 1, "cpu")
    running.attack_step(attacks.ablation(2, 2)[0], other)
    assert asked == [step.restored("eval", "irlg").tolist(), other.restored("eval", "irlg").tolist()]
    running._maps.cache_clear()


def test_the_same_labels_are_one_attack(step, monkeypatch):
    tasks = []
    monkeypatch.setattr(running, "side_by_side", lambda given: tasks.extend(given) or [outcome([1.0])] * len(given))
    monkeypatch.setattr(steps.Step, "restored", lambda self, mode, method: self.labels)
    found = running.run([step], attacks.attacks("MNIST", 4)[:4])
    assert [attack.name for attack, _ in tasks] == ["joint-shared", "joint", "restored"]
    assert list(found[0]) == ["joint-shared", "joint", "restored", "true"] and found[0]["true"] is found[0]["restored"]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("IRLG_JOBS", str(tmp_path))
    return tmp_path


def test_a_killed_attack_goes_on_and_a_finished_one_is_read(step, kept, monkeypatch):
    attack = attacks.attacks("MNIST", 8)[0]
    whole = running.attack_step(replace(attack, config=replace(attack.config, interval=2)), step)
    (finished,) = kept.iterdir()
    finished.unlink()
    attack = replace(attack, config=replace(attack.config, interval=2))
    write = running.jobs.Job.write

    def killed(path, content):
        write(path, content)
        if path.suffix == ".trace" and max(content[0]) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(running.jobs.Job, "write", staticmethod(killed))
        running.attack_step(attack, step)
    assert {path.suffix for path in kept.iterdir()} == {".trace", ".checkpoint"}
    resumed = running.attack_step(attack, step)
    assert torch.equal(resumed.images, whole.images) and resumed.iterations == 8
    assert [row["iteration"] for row in resumed.trace] == [0, 2, 4, 6, 8] and list(resumed.snapshots) == [0, 2, 8]
    assert {path.suffix for path in kept.iterdir()} == {".result"}
    monkeypatch.setattr(running, "invert", None)
    assert torch.equal(running.attack_step(attack, step).images, whole.images)


def test_an_attack_is_left_after_its_minutes_and_taken_up_again(step, kept, monkeypatch):
    config = replace(attacks.published("MNIST", 6), interval=2)
    attack = attacks.Attack("joint, in full", "joint", config, minutes=1)
    clock = itertools.count(step=50.0)
    monkeypatch.setattr(running.time, "perf_counter", lambda: next(clock))
    first = running.attack_step(attack, step)
    assert 0 < first.iterations < 6
    while (last := running.attack_step(attack, step)).iterations < 6:
        pass
    whole = running.attack_step(replace(attack, minutes=0), step)
    assert torch.equal(last.images, whole.images)
    seconds = [row["seconds"] for row in last.trace]
    assert seconds == sorted(seconds)


def test_what_a_gradient_does_not_tell_is_said(step):
    attack = attacks.Attack("feature maps", "restored", attacks.published("MNIST", 2), known="feature maps")
    found = running.attack_step(attack, step)  # FCN-3 has no convolution
    assert np.isnan(found.residual) and found.iterations == 0 and found.scores.psnr.isna().all()
    table = tables.table({0: {"feature maps": found}}, [attack])
    assert "feature maps, 0 of 1" in tables.view(table)


def test_batches_that_do_not_tell_are_left_out_of_the_mean(outcomes):
    attack = attacks.Attack("embeddings", "restored", attacks.published("MNIST", 8000), known="embeddings")
    nothing = running._nothing(torch.zeros(2, 1, 2, 2))
    told = replace(outcome([20.0, 22.0]), residual=1e-5)
    by_seed = {0: {"embeddings": nothing, "tuned": told}, 1: {"embeddings": told, "tuned": outcome([19.0, 20.0])}}
    (row,) = tables.table(by_seed, [attack]).to_dict("records")
    assert (row["psnr"], row["N"], row["found"], row["seeds"], row["iterations"]) == (21.0, 2, 1, 2, 8000)
    assert tables.gain(tables.image_scores(by_seed), "embeddings", "tuned")[::2] == (1.5, 2)


def test_the_table_and_the_gain_over_images(outcomes):
    table = tables.table(outcomes, attacks.attacks("MNIST", 8000)).set_index("attack")
    assert table.psnr["joint"] == 16 and table.N["joint"] == 4 and table.psnr_by_seed["joint"] == "16.00 16.00"
    assert table.iterations["tuned"] == 8000
    mean, (low, high), n = tables.gain(tables.image_scores(outcomes), "restored", "joint")
    assert (mean, n) == (3.5, 4) and 3 <= low <= mean <= high <= 4


@pytest.mark.parametrize(
    ("taken", "data", "verdicts"),
    [
        (8000, "MNIST", ["reproduced", "reproduced", "higher", "higher", "undecided"]),
        (80, "MNIST", ["80 of 8,000 iterations"] * 2 + [f"higher{AT}", f"higher{AT}", f"undecided{AT}"]),
        (8000, "stand-in for MNIST", ["stand-in"] * 5),
    ],
)
def test_claims(outcomes, taken, data, verdicts):
    table = tables.table(outcomes, attacks.attacks("MNIST", taken)).assign(iterations=taken)
    found = claims.claims("MNIST", data, outcomes, table)
    assert [claim.verdict for claim in found] == verdicts
    assert found[0].paper == "18.81 dB" and found[0].ours == "19.50 dB" and found[0].n == 4
    assert found[1].paper == "+6.92 dB" and found[1].ours == "+9.50 dB"


@pytest.mark.parametrize(("taken", "verdict"), [(24_000, "reproduced"), (1_500, "1,500 of 24,000 iterations")])
def test_the_published_protocol_says_how_far_it_is(taken, verdict):
    rows = attacks.in_full(24_000, 5)
    by_attack = {row.name: outcome([12.0, 18.0] if "joint" in row.name else [17.5, 18.0], True, taken) for row in rows}
    shared, restored = claims.full_claims("CIFAR-100", tables.table({0: by_attack}, rows))
    assert (shared.verdict, restored.verdict) == (verdict, verdict)
    assert shared.paper == "11.33 dB" and restored.paper == "17.12 dB"


def test_the_attack_and_the_plain_loop_are_timed_on_the_same(step):
    speed = inversion_seconds(step.model("eval"), step.originals, step.labels, attacks.published("MNIST", 3))
    assert speed["irlg"] > 0 and speed["plain"] > 0 and abs(speed["difference"]) < 0.1
    assert abs(speed["in_float64"]) < 1e-6


@pytest.mark.parametrize(
    ("plain", "device", "difference", "verdict"),
    [
        (0.10, "cpu", 0.0, "holds"),
        (0.09, "cpu", 0.0, "slower"),
        (0.29, "cuda", 0.0, "slower"),
        (0.30, "cuda", -0.1, "holds"),
        (0.30, "cuda", 0.2, "differs"),
    ],
)
def test_the_verdict_on_speed(plain, device, difference, verdict):
    speed = {"irlg": 0.1, "plain": plain, "difference": 0.5, "in_float64": difference}
    assert claims.speed_claim("FCN-3", speed, device, "MNIST").verdict == verdict


def test_every_attack_has_a_colour_of_its_own():
    colours = rc_params_from_file(style.SHEET, use_default_template=False)["axes.prop_cycle"].by_key()["color"]
    assert len(set(colours)) == len(colours)
    for dataset in ("MNIST", "CIFAR-100"):
        assert len({attack.name for attack in attacks.attacks(dataset, 100)}) <= len(colours)


def test_a_curve_has_the_papers_psnr_beside_it_in_its_colour():
    traces = pd.DataFrame({"attack": ["a", "a", "b"], "seed": 0, "iteration": [0, 9, 9], "seconds": 1.0, "psnr": 9.0})
    for axis in pictures.curves(traces, {"b": 17.12}).axes:
        _, other, dotted = axis.lines
        assert list(dotted.get_ydata()) == [17.12, 17.12] and dotted.get_color() == other.get_color()
        assert dotted.get_linestyle() == ":" and axis.get_xlim()[0] == 0
