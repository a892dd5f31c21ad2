import pytest
import torch

from irlg import models


@pytest.mark.parametrize(
    ("network", "shape", "width", "classes", "parameters"),
    [
        (models.fcn3, (1, 28, 28), 300, 10, 784 * 300 + 300 + 300 * 300 + 300 + 300 * 10 + 10),
        (models.lenet5, (3, 32, 32), 84, 100, 456 + 2416 + 48120 + 10164 + 8500),
        (models.resnet18, (3, 32, 32), 512, 100, 11_220_132),
        (models.vgg16, (3, 224, 224), 4096, 1000, 138_365_992),
    ],
)
def test_networks_have_the_papers_shapes(network, shape, width, classes, parameters):
    model = models.build(network, 0)
    assert (model.head.in_features, model.head.out_features) == (width, classes)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert not model.training
    with torch.inference_mode():
        assert model(torch.zeros(1, *shape)).shape == (1, classes)


def test_initialisation_repeats_and_follows_the_settings():
    one, two, other = (models.build(models.resnet18, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.head.weight, other.head.weight)
    for layer in one.modules():
        if isinstance(layer, torch.nn.Conv2d):
            fan_out = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1]
            assert float(layer.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
