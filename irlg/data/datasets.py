"""The datasets of the paper: real where they are there, a stand-in that says so otherwise."""

import contextlib
import io
import os
import re
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR100, MNIST, ImageFolder
from torchvision.transforms import functional as vision

from irlg.data import standins
from irlg.data.checksums import MNIST_SHA256, DamagedDataError, imagenet_compatible_crc32, verify
from irlg.data.sampling import Indices

NAMES = ("mnist", "cifar100", "imagenet")
POLICIES = ("auto", "real", "stand-in")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images.

    `source` is what a caption says of them; `labels` (N,) int64; `pixels` takes indices (K,) to
    images (K, channels, height, width) uint8; `mean` and `std` are those of the real dataset, one a
    channel, for pixels in [0, 1]; `note` says in a line why a stand-in stands in, if one does; `test`,
    the dataset's test split, where these images are the training split of one that is there.
    """

    source: str
    real: bool
    labels: Indices
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pixels: Callable[[Indices], Tensor]
    note: str = ""
    test: "ImageSet | None" = None

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.classes)

    def subset(self, indices: Indices) -> "ImageSet":
        """The images of `indices` (K,) alone, held in memory."""
        return replace(self, labels=self.labels[indices], pixels=self.pixels(indices).__getitem__, test=None)

    def load(self, indices: Indices, device: str = "cpu") -> Tensor:
        """Images (K, channels, height, width), float32, normalised by `mean` and `std`."""
        images = self.pixels(indices).to(device).float() / 255
        return vision.normalize(images, list(self.mean), list(self.std))


def data_dir(given: str = "") -> Path:
    """Where the datasets lie: `given`, else the environment variable IRLG_DATA, else `data/`.

    That is `data/` of the checkout that holds this package, or of the current folder for an
    installed copy.
    """
    checkout = Path(__file__).resolve().parents[2]
    default = checkout if (checkout / "run_all.sh").is_file() else Path()
    return Path(given or os.environ.get("IRLG_DATA") or default / "data")


def open_images(name: str, directory: str = "", policy: str = "auto") -> ImageSet:
    """Open the training images of `"mnist"`, `"cifar100"` or `"imagenet"`.

    **Arguments:** `directory`, as for `data_dir`; `policy`: `"auto"` takes the files that are there,
    else what torchvision can download (nothing with IRLG_DOWNLOAD=0), else a stand-in; `"real"`
    refuses the stand-in; `"stand-in"` looks for nothing.

    **Raises:** `DamagedDataError` naming a file that is there but damaged; `FileNotFoundError` under
    `"real"`, saying where to put the files; `ValueError` for an unknown name or policy.
    """
    if name not in NAMES:
        raise ValueError(f"name: expected one of {NAMES}, got {name!r}")
    if policy not in POLICIES:
        raise ValueError(f"policy: expected one of {POLICIES}, got {policy!r}")
    opener = {"mnist": _mnist, "cifar100": _cifar100, "imagenet": _imagenet}[name]
    found = "stand-ins were asked for" if policy == "stand-in" else opener(data_dir(directory))
    if isinstance(found, ImageSet):
        return found
    if policy == "real":
        raise FileNotFoundError(f"{name}: {found}")
    return _stand_in(name, found)


def _mnist(root: Path) -> ImageSet | str:
    found = any((root / file).exists() for file in MNIST_SHA256)
    if not found and (failure := _download(MNIST, root)):
        return f"not in {root}/MNIST/raw (the four idx files), and {failure}"
    verify(root, MNIST_SHA256, "sha256")

    def split(train: bool) -> ImageSet:
        dataset = MNIST(str(root), train)
        pixels = dataset.data[:, None]  # (N, 1, 28, 28)
        return ImageSet("MNIST", True, dataset.targets.numpy(), *_MNIST, pixels.__getitem__)

    return replace(split(train=True), test=split(train=False))


def _cifar100(root: Path) -> ImageSet | str:
    folder = root / CIFAR100.base_folder
    if not folder.exists() and (failure := _download(CIFAR100, root)):
        return f"not in {folder} (train, test, meta), and {failure}"
    meta = (CIFAR100.meta["filename"], CIFAR100.meta["md5"])
    verify(folder, dict([*CIFAR100.train_list, *CIFAR100.test_list, meta]), "md5")
    _, mean, std = _CIFAR100

    def split(train: bool) -> ImageSet:
        dataset = CIFAR100(str(root), train)
        pixels = torch.as_tensor(dataset.data).permute(0, 3, 1, 2)  # (N, 3, 32, 32)
        labels = np.asarray(dataset.targets)
        return ImageSet("CIFAR-100", True, labels, tuple(dataset.classes), mean, std, pixels.__getitem__)

    return replace(split(train=True), test=split(train=False))


def _imagenet(root: Path) -> ImageSet | str:
    train = root / "imagenet" / "train"
    if train.is_dir():
        folders = sum(path.is_dir() for path in train.iterdir())
        if folders != 1000:
            raise DamagedDataError(f"{train}: expected 1,000 class folders, got {folders}")
        dataset = ImageFolder(str(train))
        labels = np.asarray(dataset.targets)  # torchvision sorts the WordNet ids: the usual order
        return ImageSet("ImageNet (ILSVRC-2012)", True, labels, *_IMAGENET, _jpegs(dataset))
    val = root / "imagenet-compatible" / "val"
    if val.is_dir():
        verify(val, imagenet_compatible_crc32(), "crc32")
        dataset = ImageFolder(str(val))
        # The folder's name is the class index: 430 of the 1,000 classes have photographs.
        labels = np.asarray([int(dataset.classes[target]) for target in dataset.targets])
        source = "ImageNet-compatible (NIPS 2017)"
        return ImageSet(source, True, labels, *_IMAGENET, _jpegs(dataset))
    return f"not in {root}/imagenet/train (ILSVRC-2012) or {val}, and it cannot be downloaded freely"


def _jpegs(dataset: ImageFolder) -> Callable[[Indices], Tensor]:
    def one(index: int) -> Tensor:
        path, _ = dataset.samples[index]
        try:
            with Image.open(path) as image:
                rgb = image.convert("RGB")
        except OSError as error:
            raise DamagedDataError(f"{path}: damaged ({error})") from error
        return vision.pil_to_tensor(vision.center_crop(vision.resize(rgb, [256]), [224]))

    return lambda indices: torch.stack([one(int(i)) for i in indices])


def _stand_in(name: str, note: str) -> ImageSet:
    if name == "mnist":
        images, labels = standins.digits()
        source = "stand-in for MNIST: scikit-learn digits"
        return ImageSet(source, False, labels, *_MNIST, images.__getitem__, note)
    shape = {"cifar100": (100, 32), "imagenet": (1000, 224)}[name]
    pixels, labels = standins.synthetic(*shape)
    statistics = {"cifar100": _CIFAR100, "imagenet": _IMAGENET}[name]
    title = {"cifar100": "CIFAR-100", "imagenet": "ImageNet"}[name]
    return ImageSet(f"synthetic stand-in for {title}", False, labels, *statistics, pixels, note)


def _download(dataset: type[MNIST] | type[CIFAR100], root: Path) -> str:
    """Try torchvision's download, quietly. The reason for its failure, empty if it worked."""
    if os.environ.get("IRLG_DOWNLOAD") == "0":
        return "downloads are off"
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # urllib would wait for ever
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (
            # Beside its place until it is whole: what a broken download leaves is not taken for data.
            tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder,
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            dataset(folder, download=True)
            name = "MNIST" if dataset is MNIST else CIFAR100.base_folder
            Path(folder, name).replace(root / name)
    except (OSError, RuntimeError) as error:
        reason = re.findall(r"(?:<urlopen error )?([^<>\n]+)>?$", str(error).strip())
        return f"the download failed ({reason[0] if reason else type(error).__name__})"
    finally:
        socket.setdefaulttimeout(timeout)
    return ""


# Class names, mean and std of the pixels.
_MNIST = (tuple(map(str, range(10))), (0.1307,), (0.3081,))
_CIFAR100 = (tuple(map(str, range(100))), (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
_IMAGENET = (tuple(map(str, range(1000))), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
