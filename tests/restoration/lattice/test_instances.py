import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from irlg import Observation, models, restore
from irlg.data.datasets import open_images
from irlg.restoration.lattice import deflation
from irlg.restoration.lattice.angles import Solutions
from irlg.restoration.lattice.batch_size import posterior, rank
from irlg.restoration.lattice.instances import span
from irlg.restoration.lattice.joint import refined
from tests.helpers import from_cifar, linear, observe, rebuilt


def confident(seed, labels, classes=24, width=16):
    """A batch on a head that has learnt its labels, as of a trained network: embeddings lean to their row."""
    rng = np.random.default_rng(seed)
    weight = torch.as_tensor(rng.normal(size=(classes, width)))
    noise = torch.as_tensor(rng.normal(size=(len(labels), width)))
    embeddings = (0.3 + 0.4 * weight[labels] + 0.5 * noise).clamp(min=0)
    seen = Observation.from_embeddings(
        embeddings.float(), torch.tensor(labels), linear(weight, torch.zeros(classes)).float()
    )
    return seen, embeddings


def in_order(labels, embeddings):
    return torch.as_tensor(np.lexsort((embeddings.sum(dim=1), labels)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bias", [True, False])
def test_every_instance_is_found_with_its_label_and_embedding(seed, bias):
    labels = [0, 3, 3, 3, 7, 11, 20]
    seen, embeddings = confident(seed, labels)
    if not bias:
        seen = rebuilt(seen, grad_bias=None, bias=None)
    restored = restore(seen, search="always")
    found = restored.instances
    assert found is not None and sorted(found.labels.tolist()) == labels
    order, mine = in_order(np.array(labels), embeddings), in_order(found.labels, found.embeddings)
    torch.testing.assert_close(found.embeddings[mine], embeddings[order], rtol=1e-3, atol=1e-3)
    assert found.residual < 1e-3
    assert torch.equal(restored.counts, torch.bincount(found.labels, minlength=24))


def test_an_instance_that_is_there_twice_counts_twice():
    seen, embeddings = confident(0, [0, 3, 7, 11])
    labels = torch.tensor([0, 3, 7, 11, 11])
    head = linear(seen.weight.double(), seen.bias.double())
    twice = Observation.from_embeddings(embeddings[[0, 1, 2, 3, 3]], labels, head)
    found = restore(twice, search="always").instances
    assert found is not None and sorted(found.labels.tolist()) == labels.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_instances_are_found_up_to_half_as_many_as_there_are_classes(seed):
    """Each alone has 13 equations of 10 unknowns; all together certify them."""
    labels = [0, 1, 3, 5, 5, 9, 12, 14, 17, 20, 23]
    seen, embeddings = confident(seed, labels)
    found = restore(seen, search="always").instances
    assert found is not None and sorted(found.labels.tolist()) == labels and found.residual < 1e-3
    order, mine = in_order(np.array(labels), embeddings), in_order(found.labels, found.embeddings)
    torch.testing.assert_close(found.embeddings[mine], embeddings[order], rtol=0.01, atol=0.01)


def started(labels, error):
    """An observation of seven, their extended embeddings (7, m + 1), T (C, m + 1), and solutions off by `error`."""
    seen, embeddings = confident(0, labels)
    extended = torch.cat([embeddings, torch.ones(7, 1, dtype=torch.float64)], dim=1)
    target = torch.cat([seen.grad_weight, seen.grad_bias[:, None]], dim=1).double() * 7
    near = extended + error * torch.as_tensor(np.random.default_rng(0).normal(size=extended.shape))
    near[:, -1] = 1
    return seen, extended, target, Solutions(torch.tensor(labels), near, torch.zeros(7, 24), torch.zeros(7))


def test_all_at_once_correct_the_errors_of_each():
    seen, extended, target, start = started([0, 3, 3, 3, 7, 11, 20], 0.02)
    rows = span(seen, target).rows
    found = refined(seen, target, rows, start, torch.ones(7))
    torch.testing.assert_close(found.embeddings, extended, rtol=1e-3, atol=1e-3)
    left = target - found.gradients.T @ found.embeddings
    assert left.norm() < 1e-5 * target.norm()


def test_errors_are_corrected_while_some_are_missing():
    """The best matrix of their rank stands for those missing; as if there were none, the rest would move to make up."""
    seen, extended, target, start = started([0, 3, 7, 11, 14, 18, 20], 0.005)
    start, rows = start[torch.arange(5)], span(seen, target).rows

    def off(left):
        return float((refined(seen, target, rows, start, torch.ones(5), left).embeddings - extended[:5]).abs().max())

    assert off(2) < 1e-3 < float((start.embeddings - extended[:5]).abs().max()) < off(0)


def test_what_is_found_in_time_is_counted_and_the_lattice_restores_the_rest(monkeypatch):
    """The clock stands still until the first look, and is past the limit after it."""
    labels = [0, 1, 3, 5, 5, 5, 9, 12, 17, 20]
    seen, _ = confident(0, labels)
    true = torch.bincount(torch.tensor(labels), minlength=24)
    looks = []
    look = deflation._Batch.look
    monkeypatch.setattr(deflation._Batch, "look", lambda *given: len(looks) < 1 and (looks.append(0) or look(*given)))
    monkeypatch.setattr(deflation, "monotonic", lambda: 1e9 * len(looks))
    restored = restore(seen, search="always")
    found = restored.diagnostics["instances"]
    assert 0 < found < 10 and restored.instances is None
    assert int(restored.counts.sum()) == 10 and bool((restored.lower_bounds <= true).all())
    assert int(restored.lower_bounds.sum()) >= found
    assert restored.log_probability <= math.log(0.98)
    assert restored.diagnostics["stopped"].startswith(f"{found} instances were found; of the others, ")
    assert bool((restored.candidates.sum(dim=1) == 10).all())


def test_no_time_is_no_search():
    seen, _ = confident(0, [0, 3, 3, 7, 11, 20])
    none, off = restore(seen, search_seconds=0), restore(seen, search=False)
    assert none.instances is None and torch.equal(none.counts, off.counts)
    assert none.log_probability == off.log_probability
    for wrong in (-1, "soon", True, float("nan")):
        with pytest.raises(ValueError, match="search_seconds: expected a number of at least 0, or inf, got"):
            restore(seen, search_seconds=wrong)
    with pytest.raises(ValueError, match='search: expected True, False or "always", got'):
        restore(seen, search="sometimes")
    with pytest.raises(ValueError, match='search: expected True, False or "always", got'):
        restore(seen, search=torch.tensor(True))
    assert torch.equal(restore(seen, search_seconds=10**400).counts, restore(seen, search_seconds=math.inf).counts)
    assert restore(seen, search_seconds=np.float32(5)).instances is not None


def drawn(seed, classes, size, lean, smoothing):
    """A batch on a head that is as sure of its labels as embeddings `lean` to their weights."""
    generator = torch.Generator().manual_seed(seed)
    weight = 0.3 * torch.randn(classes, 64, generator=generator)
    labels = torch.randint(classes, (size,), generator=generator)
    embeddings = (lean * weight[labels] + 0.4 * torch.randn(size, 64, generator=generator)).clamp(min=0)
    head = linear(weight, torch.zeros(classes))
    seen = Observation.from_embeddings(embeddings, labels, head, label_smoothing=smoothing)
    return seen, torch.bincount(labels, minlength=classes)


@pytest.mark.parametrize(
    ("seed", "classes", "size", "lean", "smoothing"),
    [(3, 16, 2, 1.5, 0.1), (3, 16, 2, 2.0, 0.02), (8, 100, 6, 2.0, 0.0), (9, 100, 6, 1.5, 0.0)],
)
def test_counts_that_fit_but_are_wrong_are_looked_into(seed, classes, size, lean, smoothing):
    """Smoothing hides a class that the network is sure of; elsewhere a misfit tells. The lattice alone was sure."""
    seen, true = drawn(seed, classes, size, lean, smoothing)
    restored = restore(seen)
    assert restored.instances is not None and torch.equal(restored.counts, true)


def test_smoothing_on_a_sure_head_is_not_called_sure_without_its_instances():
    for seed, (size, smoothing) in itertools.product(range(10), [(6, 0.1), (2, 0.02)]):
        seen, true = drawn(seed, 16, size, 2.0, smoothing)
        restored = restore(seen, search=False)
        assert torch.equal(restored.counts, true) or restored.log_probability <= math.log(0.999)


def test_gradients_that_no_batch_explains_are_not_explained():
    seen, _ = confident(0, [0, 3, 3, 7, 11, 20])
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(seen.grad_weight.shape, generator=generator) * seen.grad_weight.std()
    for other in (
        rebuilt(seen, grad_weight=seen.grad_weight + noise - noise.mean(dim=0)),
        rebuilt(seen, grad_weight=seen.grad_weight.bfloat16(), grad_bias=seen.grad_bias.bfloat16()),
        rebuilt(seen, batch_size=5),
        rebuilt(seen, batch_size=7),
        rebuilt(seen, batch_size=12),  # 2K ≥ C
    ):
        assert restore(other, search="always").instances is None


def test_numbers_that_overflow_are_not_explained_and_do_not_escape():
    seen, _ = confident(0, [0, 3, 3, 7, 11, 20])
    nothing = rebuilt(seen, grad_weight=0 * seen.grad_weight, grad_bias=0 * seen.grad_bias)
    for other in (rebuilt(seen, weight=seen.weight * 1e30), nothing):
        assert restore(other, search="always").instances is None


@pytest.mark.parametrize("labels", [[3], [3, 3, 7]])
def test_a_dead_layer_is_no_proof(labels):
    head = nn.Linear(6, 10)
    seen = Observation.from_embeddings(torch.zeros(len(labels), 6), torch.tensor(labels), head)
    restored = restore(rebuilt(seen, batch_size=None), largest_batch=8)
    assert restored.instances is None and restored.log_probability < 0


def test_restore_looks_for_instances_only_where_it_is_not_sure_and_may():
    seen, _ = confident(1, [0, 3, 3, 7, 7, 7, 11, 20])
    sure, unsure = restore(from_cifar(8, 2, 0)[0]), restore(seen, search=False)
    assert sure.instances is None and sure.log_probability > math.log(0.999)
    assert unsure.instances is None and unsure.log_probability < math.log(0.999)
    found = restore(seen)
    assert found.instances is not None
    assert found.log_probability == pytest.approx(math.log(1 - found.instances.residual))
    assert found.diagnostics["stopped"] == "every instance was found"
    assert found.counts.tolist() == torch.bincount(found.instances.labels, minlength=24).tolist()
    assert found.candidates.tolist() == [found.counts.tolist()]


@pytest.mark.parametrize(("noc", "mroc"), [(5, 1), (20, 1), (9, 3), (100, 1)])
def test_unknown_batch_size_is_inferred_with_its_probability(noc, mroc):
    seen, true = from_cifar(noc, mroc, 0)
    labels = torch.arange(100).repeat_interleave(true)
    if mroc > 1:  # counts without a common divisor
        seen, true = from_cifar_with(torch.cat([labels, labels[:1]]))
    restored = restore(rebuilt(seen, batch_size=None), largest_batch=128)
    assert restored.batch_sizes[0] == int(true.sum()) and restored.batch_size_weights[0] > 0.9
    assert torch.equal(restored.counts, true)


def from_cifar_with(labels):
    images, model = open_images("cifar100", policy="stand-in"), models.build(models.lenet5, 0)
    indices = np.concatenate([np.flatnonzero(images.labels == c)[: int((labels == c).sum())] for c in labels.unique()])
    with torch.no_grad():
        embeddings = model.hidden(model.features(images.load(indices)))
    drawn = torch.as_tensor(images.labels[indices])
    return Observation.from_embeddings(embeddings, drawn, model.head), torch.bincount(drawn, minlength=100)


def test_an_unknown_batch_size_of_a_learnt_head_is_the_rank_where_instances_explain_it():
    seen, _ = confident(1, [0, 3, 3, 7, 7, 7, 11, 20])
    assert rank(seen) == 8
    restored = restore(rebuilt(seen, batch_size=None))
    assert restored.batch_sizes == [8] and restored.batch_size_weights == [1.0]
    assert int(restored.counts.sum()) == 8


def test_where_the_batch_size_cannot_be_told_the_weights_say_so():
    seen = rebuilt(observe(3, 40, 60, 0), batch_size=None)  # wide embeddings, few classes, many instances
    restored = restore(seen, largest_batch=80)
    assert max(restored.batch_size_weights) < 0.9
    assert restored.log_probability <= math.log(restored.batch_size_weights[0]) + 1e-9
    sizes, weights = posterior(seen, None, 80)
    assert sizes == restored.batch_sizes and weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_of_lower_precision(dtype):
    """Bounds hold in all; counts are exact in float32, and in the others wherever the probability says so."""
    seen, true = from_cifar(32, 4, 0)
    low = rebuilt(seen, grad_weight=seen.grad_weight.to(dtype), grad_bias=seen.grad_bias.to(dtype))
    restored = restore(low, nonnegative=False)
    assert int(restored.counts.sum()) == 128 and (restored.lower_bounds <= true).all()
    if dtype == torch.float32 or restored.log_probability > math.log(0.999):
        assert torch.equal(restored.counts, true)


def test_what_rejects_the_model_is_left_to_the_guess_with_a_low_probability():
    """Gradients of the weights that belong to another batch: ∇b alone still says something."""
    one, two = observe(10, 40, 64, 0), observe(10, 40, 64, 1)
    mixed = rebuilt(one, grad_weight=two.grad_weight * 50 * nn.functional.normalize(one.grad_weight))
    restored = restore(mixed)
    assert int(restored.counts.sum()) == 64 and restored.log_probability < math.log(0.5)
