"""The scale of ∇b where it is not told: after clipping, or for a head without a bias."""

from dataclasses import replace

import pytest
import torch

from irlg import Observation, presence_proofs, restore
from irlg.restoration.lattice import scale
from irlg.restoration.lattice.denoising import denoised
from tests.helpers import HUNDRED, NETWORKS, altered, client, counted, gaussian, is_honest, probability, without_bias

K = 24
networks = pytest.mark.parametrize("network", NETWORKS)


def batch(network, trial, size=K, **settings):
    embeddings, labels, head = client(network, trial, size)
    return Observation.from_embeddings(embeddings, labels, head, **settings), counted(labels, head)


def bare(network, trial, size=K, **settings):
    embeddings, labels, head = client(network, trial, size)
    return Observation.from_embeddings(embeddings, labels, without_bias(head), **settings), counted(labels, head)


@pytest.mark.parametrize("network", HUNDRED)
def test_the_likeliest_scale_is_the_one_that_was_hidden(network):
    seen, _ = batch(network, 0)
    seen = altered(seen, lambda g: 0.2 * g, divisor="unknown")
    problems, weights = scale.posterior(seen, presence_proofs(seen))
    assert weights.sum() == pytest.approx(1) and (weights[:-1] >= weights[1:]).all()
    assert problems[0].divisor == pytest.approx(K / 0.2, rel=0.02)


@pytest.mark.parametrize("network", ["LeNet-5 ReLU", "FCN-3"])
def test_gradients_of_any_size_give_the_same_counts_where_the_scale_is_sought(network):
    seen, _ = batch(network, 1)
    sizes = [restore(altered(seen, lambda g, s=s: s * g, divisor="unknown"), search=False) for s in (1, 2**-9, 2**9)]
    assert all(torch.equal(one.counts, sizes[0].counts) for one in sizes)
    assert all(probability(one) == pytest.approx(probability(sizes[0])) for one in sizes)


def test_a_sought_scale_is_not_called_sure_if_it_is_wrong():
    for trial in range(3):
        seen, true = batch("FCN-3", trial)  # with ten classes it is often wrong
        assert is_honest(restore(altered(seen, lambda g: 0.37 * g, divisor="unknown")), true)


def test_a_head_without_a_bias_is_not_called_sure_if_it_is_wrong():
    for trial in range(3):
        seen, true = bare("FCN-3", trial)
        assert is_honest(restore(seen), true)


@pytest.mark.parametrize(
    "settings",
    [{"label_smoothing": 0.1}, {"divisor": 30.0}, {"divisor": 1.0}, {"divisor": 1000.0}],
    ids=["smoothing", "divisor", "sum", "far"],
)
@pytest.mark.parametrize("network", ["LeNet-5 ReLU", "ResNet-18"])
def test_settings_of_the_loss_go_with_a_head_without_a_bias(network, settings):
    seen, true = bare(network, 0, **settings)
    assert torch.equal(restore(seen).counts, true)


@networks
def test_the_first_singular_vector_of_the_weights_gradient_is_nearly_that_of_the_bias(network):
    seen, _ = batch(network, 0)
    direction = scale._direction(bare(network, 0)[0])
    assert direction.norm() == pytest.approx(1)
    assert torch.nn.functional.cosine_similarity(direction, seen.grad_bias.double(), dim=0) > 0.9


def test_gradients_that_are_all_zero_have_no_scale():
    seen, _ = batch("FCN-3", 0)
    with pytest.raises(ValueError, match="divisor: expected to be told, as gradients of 0 say nothing of it"):
        restore(altered(seen, lambda g: 0 * g, divisor="unknown"))
    with pytest.raises(ValueError, match="grad_bias: expected to be told, as gradients of 0 say nothing of it"):
        restore(Observation(0 * seen.grad_weight, None, seen.weight, None, K))


def test_a_head_without_a_bias_has_its_divisor_told():
    seen, _ = bare("FCN-3", 0)
    with pytest.raises(ValueError, match=r"divisor: expected to be told for a head without a bias, got 'unknown'"):
        restore(altered(seen, lambda g: g, divisor="unknown"))


@pytest.mark.parametrize("network", ["LeNet-5 ReLU", "ResNet-18"])
def test_noise_hides_no_scale_of_a_head_without_a_bias(network):
    seen, _ = bare(network, 0)
    noisy = replace(seen, grad_weight=gaussian(0.003, 0)(seen.grad_weight), noise=None)
    problems, _ = scale.posterior(noisy, presence_proofs(noisy))
    M, D = torch.eye(100, dtype=torch.float64), torch.ones(100, dtype=torch.float64)
    for one in (problems[0], replace(problems[0], grad_bias=problems[0].grad_bias / 30)):
        better = denoised(one, M, D).grad_bias
        assert float(torch.nn.functional.cosine_similarity(better, one.grad_bias, dim=0)) > 0.5


def test_size_and_scale_are_not_both_sought():
    seen, _ = batch("FCN-3", 0)
    with pytest.raises(ValueError, match="divisor: expected a number or None where batch_size is not known"):
        altered(seen, lambda g: g, divisor="unknown", batch_size=None)
