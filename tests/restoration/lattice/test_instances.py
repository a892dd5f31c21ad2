import math

import numpy as np
import pytest
import torch
from torch import nn

from irlg import Observation, models, restore
from irlg.data.datasets import open_images
from irlg.restoration.lattice.batch_size import posterior, rank
from irlg.restoration.lattice.instances import explain
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
def test_every_instance_is_found_with_its_label_and_embedding(seed):
    labels = [0, 3, 3, 3, 7, 11, 20]
    seen, embeddings = confident(seed, labels)
    restored = restore(seen)
    found = explain(seen, restored.embeddings, torch.arange(24))
    assert found is not None and sorted(found.labels.tolist()) == labels
    order, mine = in_order(np.array(labels), embeddings), in_order(found.labels, found.embeddings)
    torch.testing.assert_close(found.embeddings[mine], embeddings[order], rtol=0.01, atol=0.01)
    assert found.residual < 0.01
    assert torch.equal(restored.counts, torch.bincount(found.labels, minlength=24))


def test_an_instance_that_is_there_twice_counts_twice():
    seen, embeddings = confident(0, [0, 3, 7, 11])
    labels = torch.tensor([0, 3, 7, 11, 11])
    head = linear(seen.weight.double(), seen.bias.double())
    twice = Observation.from_embeddings(embeddings[[0, 1, 2, 3, 3]], labels, head)
    found = explain(twice, restore(twice).embeddings, torch.arange(24))
    assert found is not None and sorted(found.labels.tolist()) == labels.tolist()


def test_gradients_that_no_batch_explains_are_not_explained():
    seen, _ = confident(0, [0, 3, 3, 7, 11, 20])
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(seen.grad_weight.shape, generator=generator) * seen.grad_weight.std()
    start = restore(seen).embeddings
    for other in (
        rebuilt(seen, grad_weight=seen.grad_weight + noise - noise.mean(dim=0)),
        rebuilt(seen, grad_weight=seen.grad_weight.bfloat16(), grad_bias=seen.grad_bias.bfloat16()),
        rebuilt(seen, batch_size=5),
        rebuilt(seen, batch_size=7),
        rebuilt(seen, batch_size=12),  # 2K ≥ C
    ):
        assert explain(other, start, torch.arange(24)) is None


def test_numbers_that_overflow_are_not_explained_and_do_not_escape():
    seen, _ = confident(0, [0, 3, 3, 7, 11, 20])
    start = restore(seen).embeddings
    assert explain(seen, start * float("inf"), torch.arange(24)) is None
    assert explain(rebuilt(seen, weight=seen.weight * 1e30), start, torch.arange(24)) is None
    nothing = rebuilt(seen, grad_weight=0 * seen.grad_weight, grad_bias=0 * seen.grad_bias)
    assert explain(nothing, start, torch.arange(24)) is None


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
