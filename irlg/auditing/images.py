"""Images as people keep them: a folder with a folder a class, or tensors in a file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional as vision

from irlg.auditing.audit import Images
from irlg.auditing.saved import read


class Folder:
    """Images of a folder with a folder a class, read when they are asked for.

    As in torchvision's `ImageFolder` classes are in the order of their folders' names; but where all names are whole
    numbers, these are the classes. Pixels of 16 bits are divided by 257, which takes their range to that of 8 bits.

    **Arguments:** `size`: the shorter side is resized to it, and a square cut out of the middle; `None` takes images
    as they are, all of one shape; `mean` and `std` of pixels in [0, 1], one a channel: of grey images or colour.
    """

    def __init__(self, root: Path, size: int | None, mean: Sequence[float], std: Sequence[float]) -> None:
        if size is not None and size < 1:
            raise ValueError(f"size: expected a whole number of at least 1, got {size}")
        if len(mean) not in (1, 3) or len(std) != len(mean) or min(std) <= 0:
            raise ValueError(f"mean and std: expected 1 or 3 numbers each, std above 0, got {mean} and {std}")
        try:
            found = ImageFolder(str(root))
        except FileNotFoundError as error:  # of no class, or a class without an image
            reason = str(error).partition(" Supported")[0]
            raise ValueError(f"images: expected a folder with a folder a class ({reason})") from error
        numbered = all(name.isdecimal() for name in found.classes)
        self.paths = [path for path, _ in found.samples]
        self.labels = torch.tensor([int(found.classes[c]) if numbered else c for c in found.targets])
        self.size, self.mean, self.std = size, list(mean), list(std)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        images = [self._one(self.paths[index]) for index in indices.tolist()]
        shapes = {tuple(image.shape[1:]) for image in images}
        if len(shapes) > 1:
            raise ValueError(f"size: expected a number, as images have different shapes, such as {sorted(shapes)[:3]}")
        return vision.normalize(torch.stack(images).float() / 255, self.mean, self.std)

    def _one(self, path: str) -> Tensor:
        pixels = _opened(path).convert("L" if len(self.mean) == 1 else "RGB")
        if self.size is not None:
            pixels = vision.center_crop(vision.resize(pixels, [self.size]), [self.size])
        return vision.pil_to_tensor(pixels)


def _opened(path: str) -> Image.Image:
    """The image of a file, of 8 bits a channel. **Raises:** `ValueError` that names what cannot be read."""
    try:
        with Image.open(path) as image:
            image.load()
    except (Image.DecompressionBombError, MemoryError) as error:
        raise ValueError(f"images: {path} is too large ({error})") from error
    except Exception as error:  # of any kind: PIL's decoders raise what they come upon
        raise ValueError(f"images: {path} is damaged ({error})") from error
    if not image.mode.startswith(("I", "F")):
        return image
    # PIL takes each such number above 255 for 255.
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        values = (values / 257).round()
    elif not np.isin(values, range(256)).all():
        raise ValueError(f"images: expected 8 or 16 bits a channel in {path}, got mode {image.mode!r} of unknown range")
    return Image.fromarray(values.astype(np.uint8))


def load_images(
    path: Path, size: int | None, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Images, Tensor]:
    """Images and labels (N,) of a folder, see `Folder`, or of a file with both as tensors.

    **Raises:** `ValueError` that says what does not fit.
    """
    if path.is_dir():
        if (mean is None) != (std is None):
            raise ValueError("mean and std: expected both or none of them")
        folder = Folder(path, size, mean or (0.0, 0.0, 0.0), std or (1.0, 1.0, 1.0))
        return folder, folder.labels
    if not path.exists():
        raise ValueError(f"images: expected a folder or a file, and there is none at {path}")
    if size is not None or mean is not None or std is not None:
        raise ValueError(f"size, mean and std: expected with a folder of images alone, got them with {path}")
    given = read("images", path)
    if isinstance(given, dict) and {"images", "labels"} <= set(given):
        given = (given["images"], given["labels"])
    wanted = f"images: expected (images, labels), two tensors, in {path}"
    if not isinstance(given, tuple | list) or len(given) != 2 or not all(isinstance(each, Tensor) for each in given):
        raise ValueError(f"{wanted}, got {type(given).__name__}")
    images, labels = given
    if not images.is_floating_point():
        raise ValueError(f"{wanted}, the images as the model takes them, of floats, got {images.dtype}")
    return images, labels
