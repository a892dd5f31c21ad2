"""Where a network that has learnt hides an instance, no answer is sure that is wrong."""

import math

import pytest
import torch
from torch import nn

import irlg


def learnt(seed, classes=20):
    """A small network after 40 steps on clusters, a batch of four of them, and its counts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, classes))
        centres = 2 * torch.randn(classes, 20)
        optimiser = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(40):
            chosen = torch.randint(classes, (32,))
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(centres[chosen] + torch.randn(32, 20)), chosen).backward()
            optimiser.step()
        labels = torch.randint(classes, (4,))
        return net, centres[labels] + torch.randn(4, 20), labels


def noisy(observation, deviation, seed):
    generator = torch.Generator().manual_seed(seed)
    parts = observation.grad_weight, observation.grad_bias
    sent = (part + deviation * torch.randn(part.shape, generator=generator) for part in parts)
    return irlg.Observation(*sent, observation.weight, observation.bias, observation.batch_size)


def seen(what, seed):
    net, images, labels = learnt(seed)
    if what == "bfloat16":
        net, images = net.bfloat16(), images.bfloat16()
    observation = irlg.Observation.from_batch(net, images, labels)
    true = torch.bincount(labels, minlength=observation.num_classes)
    return (observation if isinstance(what, str) else noisy(observation, what, seed)), true


@pytest.mark.parametrize("what", [1e-6, 1e-4, 2e-3, "bfloat16"])
def test_noise_and_coarse_numbers_hide_instances_and_no_wrong_answer_is_sure(what):
    wrong = 0
    for seed in range(24, 48):
        observation, true = seen(what, seed)
        restored = irlg.restore(observation, search_seconds=5)
        exact = torch.equal(restored.counts, true)
        wrong += not exact
        for answer in (restored, irlg.restore(observation, search=False)):
            assert torch.equal(answer.counts, true) or answer.log_probability < math.log(0.981)
    assert wrong  # or there was nothing to be hidden
