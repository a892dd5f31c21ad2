"""The networks of the comparison, one after the other, each with a server's and its clients' images."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from irlg.appendix import trained, training
from irlg.appendix.networks import FCN_BATCH, FIRST, LENET_BATCH
from irlg.appendix.servers import Server, Split, serve, split
from irlg.artifact import code, jobs
from irlg.data.datasets import ImageSet
from irlg.data.sampling import Indices
from irlg.models import Classifier, build, fcn3, lenet5, resnet18, vgg16

UNTRAINED, SEEN = "untrained", "seen images"
STEPS = {100: "100 steps", 1000: "1,000 steps"}  # of FCN-3
EPOCHS = {
    1: "1 epoch",
    3: "3 epochs",
    12: "12 epochs",
}  # of LeNet-5; its rate falls towards the last asked for
ACTIVATIONS = {"LeNet-5 SiLU": nn.SiLU, "LeNet-5 LeakyReLU": nn.LeakyReLU}


@dataclass(frozen=True)
class Lesson:
    """A network and how it learns: `marks` names numbers of steps, or if `by_epochs` of epochs of mirrored images."""

    name: str
    make: Callable[[], Classifier]
    optimiser: training.Optimiser
    batch: int
    marks: Mapping[int, str]
    by_epochs: bool = False

    def steps(self, images: int) -> list[int]:
        """Those of each mark, on so many images."""
        return [mark * (images // self.batch if self.by_epochs else 1) for mark in self.marks]


def servers(data: Mapping[str, ImageSet], epochs: int, steps: int, seed: int, device: str) -> Iterator[Server]:
    """Each network that there are images for. The training of a name ends with `SEEN` where clients hold images that it
    has learnt from, else they hold others.

    **Arguments:** `data`: `"mnist"` and `"cifar100"` for small networks, `"resnet"`, of CIFAR-100 too, and `"imagenet"`
    for large ones, which take a while for each image; `epochs` of LeNet-5, at most, and `steps` of ResNet-18.
    """
    if "mnist" in data:
        fcn = Lesson("FCN-3", fcn3, training.sgd, FCN_BATCH, STEPS)
        yield from _taught(fcn, data["mnist"], seed, device)
    if "cifar100" in data:
        images = data["cifar100"]
        marks = {epoch: name for epoch, name in EPOCHS.items() if epoch <= epochs}
        lenet = Lesson("LeNet-5", lenet5, training.adamw, LENET_BATCH, marks, by_epochs=True)
        yield from _taught(lenet, images, seed, device)
        for name, activation in ACTIVATIONS.items():
            yield _untrained(name, build(lenet5, seed + FIRST, activation=activation), images, seed, device)
    if "resnet" in data:
        learnt = trained.resnet(data["resnet"], steps, seed, device)
        for training_of, model in ((UNTRAINED, build(resnet18, seed + FIRST)), (learnt.training, learnt.model)):
            yield _all_others(learnt.name, training_of, model, learnt.images, seed, device)
    if "imagenet" in data:
        shown = data["imagenet"]
        for name, make in (("VGG-16", vgg16), ("ResNet-50", resnet50_of_1000)):
            yield _all_others(name, UNTRAINED, build(make, seed + FIRST), shown, seed, device)
        if trained.installed():
            shown = replace(shown, mean=(trained.MEAN,) * 3, std=(trained.STD,) * 3)
            yield _all_others(trained.LITE0, "published weights", trained.pretrained(), shown, seed, device)


def resnet50_of_1000() -> Classifier:
    """ResNet-50 for (K, 3, 224, 224) images of 1,000 classes."""
    *trunk, head = resnet50().children()
    return Classifier(nn.Sequential(*trunk), nn.Identity(), head)


def _untrained(name: str, model: Classifier, images: ImageSet, seed: int, device: str) -> Server:
    return _served(name, UNTRAINED, model, images, split(images, seed), device)


def _all_others(name: str, learnt: str, model: Classifier, images: ImageSet, seed: int, device: str) -> Server:
    """Of few images, from none of which it has learnt, clients hold all but the server's."""
    parts = split(images, seed)
    return serve("J", name, learnt, model.to(device), images, parts.others, parts.own, device)


def _served(
    name: str, learnt: str, model: Classifier, images: ImageSet, parts: Split, device: str, held: Indices | None = None
) -> Server:
    held = parts.unseen if held is None else held
    return serve("J", name, learnt, model.to(device), images, held, parts.own, device)


def _taught(lesson: Lesson, images: ImageSet, seed: int, device: str) -> Iterator[Server]:
    """A network as initialised and after each of its marks; after the last, with clients that hold what it has seen."""
    parts, model = split(images, seed), build(lesson.make, seed + FIRST)
    yield _served(lesson.name, UNTRAINED, model, images, parts, device)
    steps = lesson.steps(len(parts.learnt))
    states = jobs.kept(
        f"{lesson.name} of J",
        lambda: _states(lesson, model, images, parts, seed, device),
        *(images.source, len(parts.learnt), steps, lesson.batch, seed + FIRST, device),
        code.digest(Path(training.__file__)),
    )
    for learnt, state in zip(lesson.marks.values(), states, strict=True):
        model = build(lesson.make, seed + FIRST)
        model.load_state_dict(state)
        yield _served(lesson.name, learnt, model, images, parts, device)
    yield _served(lesson.name, f"{learnt}, {SEEN}", model, images, parts, device, parts.seen)


def _states(
    lesson: Lesson, model: Classifier, images: ImageSet, parts: Split, seed: int, device: str
) -> list[dict[str, Tensor]]:
    pixels, labels = images.load(parts.learnt, device), torch.as_tensor(images.labels[parts.learnt], device=device)
    steps = lesson.steps(len(labels))
    models = training.train(
        model.to(device), pixels, labels, lesson.optimiser, steps, seed + FIRST, lesson.batch, mirror=lesson.by_epochs
    )
    return [{key: value.cpu() for key, value in model.state_dict().items()} for model in models]
