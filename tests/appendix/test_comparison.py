import math

import numpy as np
import pytest
import torch

from irlg.appendix import comparison, servers
from irlg.appendix.clients import embedded
from irlg.appendix.comparison import Case
from irlg.models import build, fcn3
from irlg.observation import Observation
from irlg.restoration import Restoration, registry

SIZE = 12


@pytest.fixture(scope="module")
def server(digits):
    images = digits[0]
    parts = servers.split(images, 0)
    return servers.serve("T", "FCN-3", "untrained", build(fcn3, 1), images, parts.unseen, parts.own, "cpu")


@pytest.fixture
def case(server):
    chosen = torch.arange(SIZE)
    seen = server.clients.observe(chosen)
    return Case(seen, seen, server.clients.counts(chosen), server.nonnegative, server.auxiliary)


def test_no_image_is_both_a_clients_and_the_servers(digits):
    images = digits[0]
    parts = servers.split(images, 0)
    everything = np.concatenate([parts.own, parts.unseen, parts.learnt])
    assert np.array_equal(np.sort(everything), np.arange(len(images.labels)))
    assert (np.bincount(images.labels[parts.own]) == servers.AUXILIARY).all()
    assert set(parts.seen) <= set(parts.learnt) and len(parts.seen) == len(parts.unseen)
    assert np.array_equal(parts.own, servers.split(images, 0).own) and not np.array_equal(
        parts.own, servers.split(images, 1).own
    )


def test_all_methods_see_the_very_same_gradients(case, monkeypatch):
    """Whatever a method is given, and after whatever another did to it."""
    seen = {}
    before = [part.clone() for part in (case.observation.grad_weight, case.observation.biases[0])]

    def watched(observation, method, **options):
        seen[method] = [part.clone() for part in (observation.grad_weight, observation.biases[0])]
        return registry.restore(observation, method, **options)

    monkeypatch.setattr(comparison, "restore", watched)
    rows = list(comparison.compare(case))
    assert set(seen) == {*registry.METHODS}
    assert all(torch.equal(one, other) for parts in seen.values() for one, other in zip(parts, before, strict=True))
    assert [row["method"] for row in rows] == [*comparison.contenders()]


def test_every_method_of_the_registry_has_its_row(case):
    names = comparison.contenders()
    assert {method for method, _ in names.values()} == {*registry.METHODS}
    marked = {name for name, (_, auxiliary) in names.items() if auxiliary}
    assert marked == {"llg-star*", "llbg*", "zlg*", "dimitrov*", "rlu*", "posterior*"} and "llbg" in names
    rows = {row["method"]: row for row in comparison.compare(case, left_out=["rlg"])}
    assert "rlg" not in rows and rows["lattice"]["exact"] and rows["lattice"]["probability"] > 0.999
    assert rows["zeros"]["i_rec"] == 0 and rows["zeros"]["count_error"] == pytest.approx(SIZE / 10)
    assert math.isnan(rows["irlg"]["probability"])
    # One step's observation has no network after it: asked all the same, it says so.
    assert "exact" not in rows["dimitrov*"] and "after" in rows["dimitrov*"]["refused"]


def test_of_existence_alone_only_existence_is_scored(case):
    rows = {row["method"]: row for row in comparison.compare(case)}
    for name in ("idlg", "gradinversion"):
        assert set(rows[name]) == {"method", "le_acc", "seconds", "refused"} and 0 <= rows[name]["le_acc"] <= 1


def test_a_loss_that_a_method_does_not_know_is_plain_to_it(server):
    chosen = torch.arange(SIZE)
    seen = server.clients.observe(chosen, label_smoothing=0.1)
    plain = Observation(seen.grad_weight, seen.grad_bias, seen.weight, seen.bias, SIZE)
    case = Case(seen, plain, server.clients.counts(chosen), server.nonnegative, server.auxiliary)
    rows = {row["method"]: row for row in comparison.compare(case)}
    assert rows["lattice"]["exact"] and rows["irlg"]["refused"] == "" and rows["irlg"]["total"] >= 0


def test_signs_are_not_taken_for_granted_where_embeddings_have_any(case):
    signed = Case(case.observation, case.plain, case.counts, False, case.auxiliary)
    rows = {row["method"]: row for row in comparison.compare(signed)}
    for name in ("idlg", "gradinversion", "llg", "llg-star*"):
        assert "nonnegative" in rows[name]["refused"] and "le_acc" not in rows[name]
    assert rows["irlg"]["refused"] == ""


@pytest.mark.parametrize(("restored", "found"), [([30, 14, 0], 1), ([26, 15, 4], 2), ([34, 20, 6], 3)])
def test_counts_of_several_epochs_are_scored_as_those_of_one(case, restored, found):
    counts = torch.tensor(restored)
    answer = Restoration(counts, counts.double(), torch.empty(0, 3), "by hand", None)
    three = Case(case.observation, case.plain, torch.tensor([3, 2, 0]), True, case.auxiliary, times=10)
    assert comparison.score(answer, three)["ln_acc"] == pytest.approx({1: 2 / 3, 2: 1.0, 3: 2 / 3}[found])


def test_auxiliary_images_are_embedded_by_the_network_that_is_asked(server):
    other = build(fcn3, 2)
    both = server.auxiliary_after(other, 5)
    assert both.local_steps == 5 and torch.equal(both.logits, server.auxiliary.logits)
    pixels = embedded("T", "", "", 0, other, server.own, "cpu").embeddings
    torch.testing.assert_close(both.after.embeddings, pixels.double())
