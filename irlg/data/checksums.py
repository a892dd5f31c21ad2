"""Checksums of the datasets' files, looked at before any of them is opened."""

import hashlib
import zlib
from importlib import resources
from pathlib import Path

# The four idx files of MNIST. CIFAR-100's checksums come from torchvision.
MNIST_SHA256 = {
    "MNIST/raw/t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "MNIST/raw/t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    "MNIST/raw/train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "MNIST/raw/train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
}


class DamagedDataError(ValueError):
    """A dataset is there but not whole; the message names the file."""


def imagenet_compatible_crc32() -> dict[str, str]:
    """CRC-32 of each photograph of the ImageNet-compatible set, by its path below `val/`."""
    text = resources.files("irlg.data").joinpath("imagenet_compatible.crc32").read_text()
    return {name: crc for crc, name in (line.split() for line in text.splitlines())}


def verify(root: Path, expected: dict[str, str], algorithm: str) -> None:
    """Compare every file with its checksum.

    **Arguments:** `expected`, checksums in hexadecimal by path below `root`; `algorithm`, `"crc32"`
    or a name that `hashlib` knows.
    **Raises:** `DamagedDataError` naming the first file that is missing or differs.
    """
    for name, checksum in expected.items():
        path = root / name
        if not path.is_file():
            raise DamagedDataError(f"{path}: missing, though other files of its dataset are there")
        content = path.read_bytes()
        if algorithm == "crc32":
            found = f"{zlib.crc32(content):08x}"
        else:
            found = hashlib.new(algorithm, content).hexdigest()
        if found != checksum:
            raise DamagedDataError(
                f"{path}: damaged ({algorithm} {found[:12]}, expected {checksum[:12]}); remove it and"
                " fetch or unpack it again"
            )
