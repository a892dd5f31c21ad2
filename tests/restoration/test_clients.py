"""What clients do to a gradient before it is seen, row by row: `restore` is exact, or says that it is not sure."""

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn

from irlg import Observation, restore
from tests.helpers import (
    HUNDRED,
    NETWORKS,
    altered,
    client,
    counted,
    embedded,
    gaussian,
    is_honest,
    probability,
    without_bias,
)

K, TRIALS = 24, range(3)
FEW = range(2)  # where one takes half a second
networks = pytest.mark.parametrize("network", NETWORKS)
networks_of_100_classes = pytest.mark.parametrize("network", HUNDRED)


def batch(network, trial, size=K, **settings):
    embeddings, labels, head = client(network, trial, size)
    return Observation.from_embeddings(embeddings, labels, head, **settings), counted(labels, head)


def is_honest_untold(network, seen, true):
    """Whether the same gradients are not called sure if wrong, where the server takes it that nothing is special.

    Instances are looked for, which here takes a second, on one network alone.
    """
    plain = Observation(seen.grad_weight, seen.grad_bias, seen.weight, seen.bias, K)
    return is_honest(restore(plain, search=network == "LeNet-5 ReLU"), true)


@pytest.mark.parametrize("lr", [0.1, 0.01, 0.001])
@pytest.mark.parametrize(
    "settings", [{}, {"weight_decay": 5e-4}, {"momentum": 0.9, "nesterov": True}], ids=["plain", "decay", "nesterov"]
)
@networks
def test_an_update_by_sgd_is_exact(network, settings, lr):
    for trial in TRIALS:
        embeddings, labels, head = client(network, trial)
        after = copy.deepcopy(head)
        step = torch.optim.SGD(after.parameters(), lr=lr, **settings)
        nn.functional.cross_entropy(after(embeddings), labels).backward()
        step.step()
        seen = Observation.from_update(head, after, lr, K, **settings)
        assert torch.equal(restore(seen).counts, counted(labels, head))


@pytest.mark.parametrize("std", [1e-6, 1e-4, 1e-3])
@networks
def test_a_little_gaussian_noise_leaves_counts_exact(network, std):
    for trial in TRIALS:
        seen, true = batch(network, trial)
        assert torch.equal(restore(altered(seen, gaussian(std, trial))).counts, true)


@networks
def test_much_gaussian_noise_costs_few_counts_and_is_seen(network):
    for trial in TRIALS:
        seen, true = batch(network, trial)
        restored = restore(altered(seen, gaussian(1e-2, trial)))
        assert is_honest(restored, true)
        assert (restored.counts == true).double().mean() >= 0.95


def largest(share):
    def kept(gradient):
        sizes = gradient.abs()
        return torch.where(sizes >= torch.quantile(sizes.flatten().double(), 1 - share), gradient, 0.0)

    return kept


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
@networks
def test_dropped_entries_are_no_licence_to_be_sure(network, share):
    for trial in TRIALS:
        seen, true = batch(network, trial)
        assert is_honest(restore(altered(seen, largest(share))), true)


@networks
def test_signs_with_one_scale_are_no_licence_to_be_sure(network):
    for trial in TRIALS:
        seen, true = batch(network, trial)
        assert is_honest(restore(altered(seen, lambda gradient: gradient.sign() * gradient.abs().mean())), true)


@networks
def test_gradients_after_loss_scaling_are_refused_with_the_factor(network):
    seen, _ = batch(network, 0)
    with pytest.raises(ValueError, match=r"grad_bias: .* loss scaling, mostly a power of two") as refused:
        altered(seen, lambda gradient: 65_536 * gradient)
    named = int(re.search(r"\((\d+) or more\)", str(refused.value))[1])
    assert named == 65_536 if network in HUNDRED else named <= 65_536


@networks
def test_a_sum_over_the_batch_is_refused_with_the_factor(network):
    embeddings, labels, head = client(network, 0)
    nn.functional.cross_entropy(head(embeddings), labels, reduction="sum").backward()
    gradients = head.weight.grad, head.bias.grad
    head.zero_grad()
    with pytest.raises(ValueError, match=r"grad_bias: .* by K \(24\) after reduction='sum'"):
        Observation(*gradients, head.weight, head.bias, K)


@pytest.mark.parametrize("scale", [0.5, 0.37])
@networks
def test_clipped_gradients_are_exact_if_told_and_not_called_sure_if_not(network, scale):
    for trial in TRIALS:
        seen, true = batch(network, trial)
        told = restore(altered(seen, lambda gradient: scale * gradient, divisor=K / scale))
        assert torch.equal(told.counts, true)
    assert is_honest_untold(network, altered(seen, lambda gradient: scale * gradient), true)


@pytest.mark.parametrize("scale", [0.5, 0.37])
@networks_of_100_classes
def test_clipping_of_unknown_extent_is_found(network, scale):
    for trial in FEW:
        seen, true = batch(network, trial)
        restored = restore(altered(seen, lambda gradient: scale * gradient, divisor="unknown"))
        assert torch.equal(restored.counts, true) and probability(restored) > 0.9


@networks
def test_poisson_sampling_is_exact_with_the_expected_size_for_a_divisor(network):
    for trial in TRIALS:
        seen, true = batch(network, trial, 6, divisor=8.0)
        assert torch.equal(restore(seen).counts, true)
        inferred = restore(altered(seen, lambda gradient: gradient, divisor=8.0, batch_size=None), largest_batch=32)
        assert inferred.batch_sizes[0] == 6 and torch.equal(inferred.counts, true)


def weights(network, trial):
    head = embedded(network)[0].head
    return torch.as_tensor(np.random.default_rng(trial).uniform(0.2, 5, head.out_features))


@pytest.mark.parametrize(("smoothed", "weighted"), [(True, False), (False, True), (True, True)])
@networks
def test_settings_of_the_loss_are_exact_if_told_and_not_called_sure_if_not(network, smoothed, weighted):
    for trial in TRIALS:
        settings = {"label_smoothing": 0.1} if smoothed else {}
        settings |= {"class_weight": weights(network, trial)} if weighted else {}
        seen, true = batch(network, trial, **settings)
        assert torch.equal(restore(seen).counts, true)
    assert is_honest_untold(network, seen, true)


@pytest.mark.parametrize("weight", [0.3, 3.0, 1e-6, 1e6])
@pytest.mark.parametrize("network", ["LeNet-5 ReLU", "FCN-3"])
def test_class_weights_that_are_all_alike_are_as_none(network, weight):
    embeddings, labels, head = client(network, 0)
    alike = torch.full((head.out_features,), weight)
    for seen in (
        Observation.from_embeddings(embeddings, labels, head, class_weight=alike),
        Observation.from_batch(head, embeddings, labels, class_weight=alike),
        Observation.from_batch(head, embeddings, labels, class_weight=alike, divisor=K * weight),
    ):
        assert torch.equal(restore(seen, search=False).counts, counted(labels, head))


@networks
def test_ignored_labels_are_not_in_the_batch(network):
    for trial in TRIALS:
        embeddings, labels, head = client(network, trial)
        true, labels = counted(labels[6:], head), torch.cat([torch.full((6,), -100), labels[6:]])
        seen = Observation.from_embeddings(embeddings, labels, head)
        assert seen.batch_size == 18 and torch.equal(restore(seen).counts, true)
    # With those that are ignored counted to the batch, nothing is right.
    assert is_honest_untold(network, seen, counted(labels.clamp(min=0), head))


@networks
def test_mixed_images_of_a_batch_count_whole(network):
    for trial in TRIALS:
        model, images, _, labels = embedded(network)
        drawn = np.random.default_rng(trial)
        one = drawn.choice(len(labels), K, replace=False)
        other, share = drawn.permutation(one), drawn.beta(0.4, 0.4)
        targets = nn.functional.one_hot(labels, model.head.out_features).float()
        with torch.no_grad():
            mixed = model.hidden(model.features(share * images[one] + (1 - share) * images[other]))
        soft = share * targets[one] + (1 - share) * targets[other]
        seen, true = Observation.from_embeddings(mixed, soft, model.head), counted(labels[one], model.head)
        assert torch.equal(restore(seen).counts, true)
    assert is_honest_untold(network, seen, true)


@networks_of_100_classes
def test_a_head_without_a_bias_is_exact(network):
    for trial in FEW:
        embeddings, labels, head = client(network, trial)
        seen = Observation.from_embeddings(embeddings, labels, without_bias(head))
        assert torch.equal(restore(seen).counts, counted(labels, head))


@pytest.mark.parametrize("method", ["irlg", "uniform"])
def test_other_methods_refuse_a_head_without_a_bias_by_name(method):
    embeddings, labels, head = client("LeNet-5 ReLU", 0)
    with pytest.raises(ValueError, match="grad_bias: expected a head with a bias, got None; 'lattice'"):
        restore(Observation.from_embeddings(embeddings, labels, without_bias(head)), method)


@networks
def test_bfloat16_is_exact(network):
    for trial in TRIALS:
        seen, true = batch(network, trial)
        restored = restore(altered(seen, lambda gradient: gradient.bfloat16()))
        assert torch.equal(restored.counts, true) and probability(restored) > 0.9


def in_float8(gradient):
    return (gradient * 448 / gradient.abs().max()).to(torch.float8_e4m3fn)


@networks
def test_float8_is_accepted_and_not_called_sure_if_wrong(network):
    for trial in TRIALS:
        seen, true = batch(network, trial)
        assert is_honest(restore(altered(seen, lambda g: in_float8(g).float() * g.abs().max() / 448)), true)
        # As it is, with one scale for both.
        both = torch.cat([seen.grad_weight, seen.grad_bias[:, None]], dim=1)
        coarse, divisor = in_float8(both), float(K * both.abs().max() / 448)
        scaled = Observation(coarse[:, :-1], coarse[:, -1], seen.weight, seen.bias, K, divisor=divisor)
        assert is_honest(restore(scaled), true)


@networks
def test_the_mean_of_three_clients_by_their_sizes_is_one_batch(network):
    for trial in TRIALS:
        sizes, fields = (5, 8, 11), ("grad_weight", "grad_bias")
        clients = [batch(network, trial, size) for size in sizes]
        mean = [
            sum(n / K * getattr(seen, name) for n, (seen, _) in zip(sizes, clients, strict=True)) for name in fields
        ]
        seen = Observation(*mean, clients[0][0].weight, clients[0][0].bias, K)
        assert torch.equal(restore(seen).counts, sum(true for _, true in clients))
