"""The networks of the paper, randomly initialised as its released settings say."""

from collections.abc import Callable

import torch
import torchvision
from torch import Tensor, nn


class Classifier(nn.Module):
    """A network in three parts: `head(hidden(flatten(trunk(images))))`.

    `trunk` is all that may look at the batch as a whole (BatchNorm), `hidden` the fully connected
    layers behind it (Dropout), `head` the last linear layer, whose input is the embedding.
    """

    def __init__(self, trunk: nn.Module, hidden: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.trunk = trunk
        self.hidden = hidden
        self.head = head

    def features(self, images: Tensor) -> Tensor:
        """Flattened output of the trunk, (K, f)."""
        return self.trunk(images).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.hidden(self.features(images)))


def fcn3(*, activation: type[nn.Module] = nn.ReLU) -> Classifier:
    """FCN-3 of Table 2 (appendix B), for (K, 1, 28, 28) images of 10 classes."""
    hidden = nn.Sequential(nn.Linear(784, 300), activation(), nn.Linear(300, 300), activation())
    return Classifier(nn.Identity(), hidden, nn.Linear(300, 10))


def lenet5(*, batchnorm: bool = False, activation: type[nn.Module] = nn.ReLU) -> Classifier:
    """LeNet-5 for (K, 3, 32, 32) images of 100 classes, with or without BatchNorm (appendix C)."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(outputs)] if batchnorm else []
        return [nn.Conv2d(inputs, outputs, 5), *norm, activation(), nn.MaxPool2d(2)]

    trunk = nn.Sequential(*block(3, 6), *block(6, 16))
    hidden = nn.Sequential(nn.Linear(400, 120), activation(), nn.Linear(120, 84), activation())
    return Classifier(trunk, hidden, nn.Linear(84, 100))


def vgg16(*, dropout: bool = True) -> Classifier:
    """VGG-16 with BatchNorm for (K, 3, 224, 224) images of 1,000 classes.

    Dropout(0.5) follows both 4096 layers, or neither (appendix C).
    """
    net = torchvision.models.vgg16_bn(init_weights=False, dropout=0.5 if dropout else 0.0)
    *hidden, head = net.classifier
    return Classifier(nn.Sequential(net.features, net.avgpool), nn.Sequential(*hidden), head)


def resnet18() -> Classifier:
    """ResNet-18 for (K, 3, 32, 32) images of 100 classes: 3×3 stem of stride 1, no max-pool."""
    net = torchvision.models.resnet18(num_classes=100)
    net.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    del net.maxpool
    *trunk, head = net.children()
    return Classifier(nn.Sequential(*trunk), nn.Identity(), head)


def build(network: Callable[..., Classifier], seed: int, **options: object) -> Classifier:
    """A randomly initialised network in eval mode, the same for the same seed.

    Convolutions are Kaiming-normal (fan-out, ReLU); all else is PyTorch's default. The global
    random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network(**options)
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return model.eval()
