import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irlg.data.checksums import MNIST_SHA256, DamagedDataError, imagenet_compatible_crc32
from irlg.data.datasets import NAMES, data_dir, open_images

SHAPES = {"mnist": (1, 28, 28), "cifar100": (3, 32, 32), "imagenet": (3, 224, 224)}
CLASSES = {"mnist": 10, "cifar100": 100, "imagenet": 1000}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", ["here", "nowhere"])
def test_shapes_classes_and_scale(name, where, data, tmp_path):
    images = open_images(name, str(data if where == "here" else tmp_path))
    assert images.num_classes == CLASSES[name]
    assert images.labels.min() >= 0 and images.labels.max() < CLASSES[name]
    batch = images.load(np.array([0, 5, 0]))
    assert batch.shape == (3, *SHAPES[name]) and str(batch.dtype) == "torch.float32"
    assert (batch[0] == batch[2]).all() and (batch[0] != batch[1]).any()
    assert images.real or "stand-in" in images.source
    many = images.load(np.arange(0, len(images.labels), len(images.labels) // 40))
    assert abs(float(many.mean())) < 0.6 and 0.4 < float(many.std()) < 1.5


@pytest.mark.parametrize(("name", "training"), [("mnist", 60_000), ("cifar100", 50_000)])
def test_real_sets_have_a_test_split(name, training, data, tmp_path):
    assert open_images(name, str(tmp_path)).test is None  # a stand-in
    images = open_images(name, str(data))
    if not images.real:
        pytest.skip(f"{name} is not there")
    assert len(images.labels) == training and len(images.test.labels) == 10_000
    indices = np.arange(0, 10_000, 500)
    assert images.test.source == images.source and images.test.classes == images.classes
    assert (images.test.pixels(indices) != images.pixels(indices)).any()
    few = images.subset(indices)
    assert few.test is None and (few.labels == images.labels[indices]).all()
    assert (few.load(np.array([3])) == images.load(indices[3:4])).all()


@pytest.mark.parametrize("name", NAMES)
def test_real_refuses_stand_ins_and_says_where_to_put_the_files(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{name}: not in {tmp_path}"):
        open_images(name, str(tmp_path), "real")


def test_stand_in_looks_for_nothing_and_says_so(data):
    assert open_images("mnist", str(data), "stand-in").source == "stand-in for MNIST: scikit-learn digits"


@pytest.mark.parametrize(("name", "count"), [("cifar100", 128), ("imagenet", 128)])
def test_synthetic_stand_ins_have_class_structure(name, count, tmp_path):
    images = open_images(name, str(tmp_path))
    assert (np.bincount(images.labels) == count).all()
    batch = images.pixels(np.array([0, 1, count, count + 1])).double().flatten(1).numpy()
    near = np.corrcoef(batch)
    assert min(near[0, 1], near[2, 3]) > max(near[0, 2], near[0, 3], near[1, 2], near[1, 3])


def test_unknown_names_and_policies(tmp_path):
    with pytest.raises(ValueError, match=r"name: expected one of .*, got 'svhn'"):
        open_images("svhn", str(tmp_path))
    with pytest.raises(ValueError, match=r"policy: expected one of .*, got 'maybe'"):
        open_images("mnist", str(tmp_path), "maybe")


def test_a_download_that_fails_is_one_short_line(tmp_path, monkeypatch, capfd):
    def refuse(*_arguments, **_options):
        raise OSError("<urlopen error [Errno -2] Name or service not known>")

    monkeypatch.setenv("IRLG_DOWNLOAD", "1")
    monkeypatch.setattr("irlg.data.datasets.CIFAR100.__init__", refuse)
    images = open_images("cifar100", str(tmp_path))
    assert not images.real
    assert images.note.endswith("the download failed ([Errno -2] Name or service not known)")
    assert "\n" not in images.note
    assert capfd.readouterr() == ("", "")


def test_a_download_that_breaks_off_leaves_nothing_that_is_taken_for_data(tmp_path, monkeypatch):
    def half(_self, root, **_options):
        folder = Path(root) / "MNIST" / "raw"
        folder.mkdir(parents=True)
        (folder / "train-images-idx3-ubyte").write_bytes(b"half")
        raise OSError("connection reset")

    monkeypatch.setenv("IRLG_DOWNLOAD", "1")
    monkeypatch.setattr("irlg.data.datasets.MNIST.__init__", half)
    for _ in range(2):
        assert "download failed (connection reset)" in open_images("mnist", str(tmp_path)).note
    assert list(tmp_path.iterdir()) == []


def test_damaged_mnist_is_named(tmp_path):
    for name in MNIST_SHA256:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\0" * 100)
    with pytest.raises(DamagedDataError, match="t10k-images-idx3-ubyte: damaged"):
        open_images("mnist", str(tmp_path))
    (tmp_path / next(iter(MNIST_SHA256))).unlink()
    with pytest.raises(DamagedDataError, match="t10k-images-idx3-ubyte: missing"):
        open_images("mnist", str(tmp_path))


class Trap:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nothing_is_unpickled_before_its_checksum_matches(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test", "meta"):
        (folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(DamagedDataError, match="cifar-100-python/train: damaged"):
        open_images("cifar100", str(tmp_path))
    assert not (tmp_path / "sprung").exists()


def test_imagenet_in_torchvisions_layout(tmp_path):
    for number in range(1000):
        folder = tmp_path / "imagenet" / "train" / f"n{number:08d}"
        folder.mkdir(parents=True)
        Image.new("L" if number % 2 else "RGB", (300, 260), number % 256).save(folder / "a.jpg")
    images = open_images("imagenet", str(tmp_path))
    assert images.source == "ImageNet (ILSVRC-2012)" and images.real
    assert images.labels.tolist() == list(range(1000))
    assert images.load(np.array([0, 999])).shape == (2, 3, 224, 224)
    broken = tmp_path / "imagenet" / "train" / "n00000007" / "a.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(DamagedDataError, match=r"n00000007/a\.jpg: damaged"):
        images.load(np.array([7]))
    shutil.rmtree(broken.parent)
    with pytest.raises(DamagedDataError, match="expected 1,000 class folders, got 999"):
        open_images("imagenet", str(tmp_path))


def test_the_imagenet_compatible_set(data, tmp_path):
    real = data / "imagenet-compatible" / "val"
    if not real.is_dir():
        pytest.skip("the ImageNet-compatible set is not there")
    images = open_images("imagenet", str(data))
    assert images.source == "ImageNet-compatible (NIPS 2017)"
    assert len(images.labels) == 1000 and len(np.unique(images.labels)) == 430
    copy = tmp_path / "imagenet-compatible" / "val"
    shutil.copytree(real, copy)
    name = sorted(imagenet_compatible_crc32())[500]
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1  # it may well decode still
    (copy / name).write_bytes(content)
    with pytest.raises(DamagedDataError, match=f"{name}: damaged"):
        open_images("imagenet", str(tmp_path))


def test_data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("IRLG_DATA", str(tmp_path))
    assert data_dir() == tmp_path
    assert data_dir("elsewhere").name == "elsewhere"
    monkeypatch.delenv("IRLG_DATA")
    assert data_dir().name == "data" and (data_dir().parent / "run_all.sh").is_file()
