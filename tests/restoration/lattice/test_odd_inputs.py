"""Odd inputs: counts that sum to K and are not called sure if wrong, or a refusal by name."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from irlg import Observation, presence_proofs, restore
from irlg.appendix.random_layers import random_layer
from tests.helpers import altered, client, counted, is_honest, without_bias

SHAPES = [(2, 1, 1), (2, 5, 7), (3, 1, 2), (10, 5, 40), (30, 40, 7), (30, 5, 1)]  # C, m, K
EXTREME = {
    "plain": lambda seen: seen,
    "no noise told": lambda seen: replace(seen, noise=0.0),
    "much noise told": lambda seen: replace(seen, noise=1e3),
    "nothing but noise told": lambda seen: replace(seen, noise=1e99),
    "subnormal noise told": lambda seen: replace(seen, noise=1e-320),
    "tiny divisor": lambda seen: replace(seen, divisor=1e-300),
    "subnormal divisor": lambda seen: replace(seen, divisor=5e-324),
    "all zero": lambda seen: altered(seen, lambda g: 0 * g),
    "weights of another loss": lambda seen: replace(seen, class_weight=torch.logspace(-6, 6, seen.num_classes)),
    "smoothing of another loss": lambda seen: replace(seen, label_smoothing=0.99),
    "soft labels": lambda seen: replace(seen, soft_labels=True),
    "float8": lambda seen: altered(seen, lambda g: g.to(torch.float8_e5m2)),
}


def layer(classes, width, size, dtype=torch.float32, labels=None):
    embeddings, drawn, head = random_layer(np.random.default_rng(0), classes, width, size)
    drawn = drawn if labels is None else torch.full_like(drawn, labels)
    return embeddings.to(dtype), drawn, head.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("label", [None, 1])
@pytest.mark.parametrize("change", EXTREME.values(), ids=EXTREME)
@pytest.mark.parametrize("shape", SHAPES)
def test_counts_sum_to_the_batch_size_whatever_is_told(shape, change, label, dtype):
    restored = restore(change(Observation.from_embeddings(*layer(*shape, dtype, label))), search=False)
    assert int(restored.counts.sum()) == shape[2] and (restored.counts >= 0).all()
    assert restored.log_probability <= 1e-9 and torch.isfinite(restored.raw_counts).all()


@pytest.mark.parametrize("smoothing", [0.99, 1 - 1e-6, 1 - 1e-12])
@pytest.mark.parametrize("shape", SHAPES)
def test_smoothing_that_leaves_hardly_a_label_is_not_called_sure_if_wrong(shape, smoothing):
    embeddings, labels, head = layer(*shape)
    seen = Observation.from_embeddings(embeddings, labels, head, label_smoothing=smoothing)
    assert is_honest(restore(seen), counted(labels, head))


@pytest.mark.parametrize("shape", SHAPES)
def test_extreme_class_weights_are_not_called_sure_if_wrong(shape):
    embeddings, labels, head = layer(*shape)
    seen = Observation.from_embeddings(embeddings, labels, head, class_weight=torch.logspace(-6, 6, shape[0]).double())
    assert is_honest(restore(seen, search=False), counted(labels, head))


def test_bounds_hold_where_the_divisor_is_not_known():
    for seed in range(6):
        embeddings, labels, head = random_layer(np.random.default_rng(seed), 2, 5, 7)
        seen = replace(Observation.from_embeddings(embeddings, labels, head), divisor="unknown")
        assert (restore(seen).lower_bounds <= counted(labels, head)).all()


@pytest.mark.parametrize("network", ["LeNet-5 ReLU", "FCN-3"])
def test_shares_that_sum_to_no_whole_counts_are_never_sure(network):
    for trial in range(3):
        embeddings, labels, head = client(network, trial)
        rng = np.random.default_rng(trial)
        share, other = torch.as_tensor(rng.uniform(size=(24, 1))), rng.permutation(24)  # one a pair, as of CutMix
        hard = torch.nn.functional.one_hot(labels, head.out_features).double()
        soft, mixed = (share * x + (1 - share) * x[other] for x in (hard, embeddings.double()))
        restored = restore(Observation.from_embeddings(mixed.float(), soft.float(), head))
        assert int(restored.counts.sum()) == 24 and restored.log_probability < np.log(0.999)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_small_head_without_a_bias_is_not_called_sure_if_wrong(shape):
    embeddings, labels, head = layer(*shape)
    seen = Observation.from_embeddings(embeddings, labels, without_bias(head))
    assert is_honest(restore(seen, search=False), counted(labels, head))


def test_a_divisor_that_is_not_known_proves_no_class_present_by_the_size_of_its_gradient():
    embeddings, labels, head = client("FCN-3", 0)
    few = labels < 5
    seen = Observation.from_embeddings(embeddings[few], labels[few], head)
    true = counted(labels[few], head)
    for one in (seen, replace(seen, divisor="unknown")):
        assert (presence_proofs(one).lower_bounds <= true).all()


def test_sizes_too_small_for_the_gradient_are_no_candidates():
    embeddings, labels, head = client("FCN-3", 0, 60)
    seen = Observation.from_embeddings(embeddings, labels, head, divisor=80.0)
    restored = restore(replace(seen, batch_size=None), largest_batch=64)
    assert is_honest(restored, counted(labels, head)) or restored.batch_sizes[0] != 60


def test_a_head_without_a_bias_and_a_size_that_is_not_known_is_refused_by_name():
    embeddings, labels, head = client("LeNet-5 ReLU", 0)
    seen = Observation.from_embeddings(embeddings, labels, without_bias(head))
    with pytest.raises(ValueError, match="batch_size: expected"):
        restore(replace(seen, batch_size=None))


@pytest.mark.parametrize("scale", [1e-3, 1e-6, 1e-9])
def test_a_scale_that_is_told_changes_nothing_however_small(scale):
    embeddings, labels, head = client("LeNet-5 ReLU", 0)
    seen = Observation.from_embeddings(embeddings, labels, head)
    restored = restore(altered(seen, lambda g: scale * g, divisor=24 / scale), search=False)
    assert torch.equal(restored.counts, counted(labels, head)) and restored.log_probability > -0.1
