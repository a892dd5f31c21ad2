import re
import subprocess
import sys
import xml.dom.minidom

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import irlg
from irlg.__main__ import main
from irlg.auditing.images import Folder, load_images
from irlg.auditing.saved import load_model
from tests.auditing.conftest import make
from tests.conftest import ROOT

MAKE, NORMED = "tests.auditing.conftest:make", "tests.auditing.conftest:normed"


@pytest.fixture(scope="module")
def files(tmp_path_factory, given):
    """A model saved in each way, and images saved in each."""
    folder = tmp_path_factory.mktemp("files")
    torch.save(make(), folder / "model.pt")
    torch.save({name: value + 1 for name, value in make().state_dict().items()}, folder / "weights.pt")
    torch.save(given, folder / "pair.pt")
    torch.save(dict(zip(("images", "labels"), given, strict=True)), folder / "dict.pt")
    torch.save((given[0], given[1] + 5), folder / "labels.pt")
    torch.save(((given[0] * 255).byte(), given[1]), folder / "bytes.pt")
    torch.save(given[0], folder / "images.pt")
    (folder / "words.pt").write_text("words")
    for name, shade in (("ant", 10), ("bee", 200), ("cat", 250)):
        (folder / "animals" / name).mkdir(parents=True)
        Image.new("RGB", (8, 6), (shade, 0, 0)).save(folder / "animals" / name / "0.png")
    for name in ("2", "10"):
        (folder / "numbers" / name).mkdir(parents=True)
        for each in range(3):
            Image.new("L", (6, 6), 20 * each).save(folder / "numbers" / name / f"{each}.png")
    (folder / "mixed" / "0").mkdir(parents=True)
    for side in (5, 6):
        Image.new("L", (side, side)).save(folder / "mixed" / "0" / f"{side}.png")
    (folder / "empty").mkdir()
    return folder


def printed(capsys, *arguments):
    assert main(["audit", *map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def refused(capsys, *arguments):
    assert main(["audit", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("irlg audit: ") and "Traceback" not in err
    return err.removeprefix("irlg audit: ").rstrip()


def test_the_command_prints_what_the_call_returns(capsys, files, given):
    out = printed(capsys, MAKE, "--images", files / "pair.pt", "-k", 5, "--trials", 2, "--defence", "noise:1e-4")
    found = irlg.audit(make().train(), *given, batch_size=5, trials=2, defence="noise:1e-4")
    assert out == f"{found}\n"
    other = printed(capsys, MAKE, "--images", files / "dict.pt", "-k", 5, "--trials", 2, "--seed", 1, "--mode", "eval")
    found = irlg.audit(make().eval(), *given, batch_size=5, trials=2, seed=1)
    assert other == f"{found}\n"


def test_a_picture_is_made(capsys, files, tmp_path):
    common = (MAKE, "--images", files / "pair.pt", "-k", 5, "--trials", 1, "--figure")
    for name in ("audit.svg", "audit.png"):
        assert f"Picture of the first batch: {tmp_path / name}" in printed(capsys, *common, tmp_path / name)
    assert xml.dom.minidom.parse(str(tmp_path / "audit.svg")).documentElement.tagName == "svg"
    with Image.open(tmp_path / "audit.png") as image:
        assert image.size[0] > 500


def test_a_model_comes_from_code_from_code_with_weights_or_from_a_file(files):
    weight = make()[3].weight
    assert torch.equal(load_model(MAKE)[3].weight, weight)
    assert torch.equal(load_model(MAKE, files / "weights.pt")[3].weight, weight + 1)
    assert torch.equal(load_model(str(files / "model.pt"), trust=True)[3].weight, weight)
    assert load_model(f"{MAKE}(7, bias=False)")[3].weight.shape == (7, 32)
    assert load_model(f"{MAKE}(classes=7)")[3].bias.shape == (7,)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_weights_of_a_wrapped_model_fit_it_without_and_within_a_wrapper(files, tmp_path, prefix):
    plain = torch.load(files / "weights.pt")
    torch.save({prefix + name: value for name, value in plain.items()}, tmp_path / "wrapped.pt")
    assert torch.equal(load_model(MAKE, tmp_path / "wrapped.pt")[3].weight, make()[3].weight + 1)
    model = load_model("tests.auditing.conftest:wrapped", tmp_path / "wrapped.pt")
    assert torch.equal(model.module[3].weight, make()[3].weight + 1)


def test_code_comes_from_the_current_folder_too(tmp_path, monkeypatch):
    (tmp_path / "my_own_net.py").write_text("from torch import nn\nnet = nn.Linear(3, 4)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert isinstance(load_model("my_own_net:net"), nn.Linear)


def test_a_folders_classes_are_in_the_order_of_their_names_or_are_their_numbers(files):
    assert Folder(files / "animals", None, (0, 0, 0), (1, 1, 1)).labels.tolist() == [0, 1, 2]
    assert Folder(files / "numbers", None, (0,), (1,)).labels.tolist() == [10, 10, 10, 2, 2, 2]


def test_a_folders_images_are_resized_and_normalised(files):
    folder, labels = load_images(files / "animals", 4, (0.5, 0.5, 0.5), (0.5, 0.25, 0.5))
    images = folder[torch.tensor([2, 0])]
    assert images.shape == (2, 3, 4, 4) and len(folder) == len(labels) == 3
    expected = torch.tensor([[250 / 255, 0, 0], [10 / 255, 0, 0]]).sub(0.5) / torch.tensor([0.5, 0.25, 0.5])
    torch.testing.assert_close(images, expected[:, :, None, None].expand(2, 3, 4, 4))
    as_they_are, _ = load_images(files / "animals", None, None, None)
    assert as_they_are[torch.tensor([1])].shape == (1, 3, 6, 8)


def test_a_folder_of_grey_images_is_audited(capsys, files):
    out = printed(capsys, MAKE, "--images", files / "numbers", "--mean", 0, "--std", 1, "-k", 6, "--trials", 1)
    assert "Audit of one batch of 6 images, 20 classes" in out
    assert [line.split() for line in out.splitlines() if line.startswith("  true")] == [["true", "3", "3"]]


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        ("no.pt", (), "model: expected a file or module:name, got 'no.pt', and there is no such file"),
        ("{}/model.pt", (), "model: .*model.pt may run any code as it is read; say --trust"),
        ("{}/weights.pt", ("--trust",), "model: expected a torch.nn.Module from .*a dict with '1.weight'.* --weights"),
        ("{}/words.pt", ("--trust",), "model: expected what torch.save wrote in .*words.pt"),
        ("nowhere_at_all:net", (), "model: 'nowhere_at_all:net' cannot be imported"),
        ("torch.nn:Missing", (), "model: 'torch.nn:Missing' cannot be imported"),
        ("torch:float32", (), "model: expected a torch.nn.Module from torch:float32, got a dtype"),
        (f"{MAKE}(", (), "model: expected module:name, or module:name.arguments. with plain .*, got 'make.'"),
        (f"{MAKE}(len)", (), "model: expected module:name, or"),
        (f"{MAKE}(1, 2, 3)", (), r"model: .* failed \(TypeError: make"),
        ("torch.nn:Flatten", (), "model: expected at least one nn.Linear layer"),
        (f"{MAKE}(9)", (), "labels: expected indices from 0 to 8"),
        (MAKE, ("--weights", "{}/none.pt"), "weights: expected a file, and there is none at"),
        (MAKE, ("--weights", "{}/model.pt"), "weights: expected tensors that torch.save wrote, and nothing else in"),
        (MAKE, ("--weights", "{}/pair.pt"), "weights: expected a state dict in .*, got a tuple"),
        (f"{MAKE}(9)", ("--weights", "{}/weights.pt"), "weights: .* does not fit the model: .*size mismatch"),
        (MAKE, ("--images", "{}/none"), "images: expected a folder or a file, and there is none at"),
        (MAKE, ("--images", "{}/words.pt"), "images: expected tensors that torch.save wrote, and nothing else in"),
        (MAKE, ("--images", "{}/images.pt"), "images: expected .images, labels., two tensors, in .*, got Tensor"),
        (MAKE, ("--images", "{}/bytes.pt"), "images: .* as the model takes them, of floats, got torch.uint8"),
        (MAKE, ("--images", "{}/labels.pt"), "labels: expected indices from 0 to 19"),
        (MAKE, ("--images", "{}/empty"), "images: expected a folder with a folder a class"),
        (MAKE, ("--images", "{}/animals", "-k", "2"), r"model: failed on images of shape \(3, 6, 8\) in train mode"),
        (
            NORMED,
            ("-k", "1"),
            r"model: failed on images of shape \(1, 6, 6\) in train mode \(ValueError: Expected more",
        ),
        (NORMED, ("-k", "61"), "batch_size: expected at most"),
        (MAKE, ("--seed", "-1"), "seed: expected a whole number of at least 0, got -1"),
        (MAKE, ("--images", "{}/mixed", "-k", "2"), "size: expected a number, as images have different shapes"),
        (MAKE, ("--images", "{}/mixed", "--size", "0"), "size: expected a whole number of at least 1, got 0"),
        (MAKE, ("--images", "{}/mixed", "--mean", "0"), "mean and std: expected both or none of them"),
        (MAKE, ("--images", "{}/mixed", "--mean", "0", "--std", "0"), "mean and std: expected 1 or 3 numbers each"),
        (MAKE, ("--size", "8"), "size, mean and std: expected with a folder of images alone"),
        (MAKE, ("-k", "61"), "batch_size: expected at most the 60 images there, got 61"),
        (MAKE, ("--defence", "smog"), "defence: expected a function or one of"),
        (MAKE, ("--figure", "{}/none/a.png"), "figure: expected a path in a folder that is there"),
        (MAKE, ("--figure", "{}/a.doc"), "figure: expected a path that ends in .png, .svg or .pdf"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(capsys, files, model, more, message):
    given = [each.format(files) for each in (model, "--images", "{}/pair.pt", "-k", "4", "--trials", "1", *more)]
    line = refused(capsys, *given)
    assert re.match(message, line) and "\n" not in line, line


@pytest.mark.parametrize("damage", ["no picture", "cut off", "a chunk", "another format's header"])
def test_a_damaged_image_is_named(capsys, tmp_path, damage):
    path = tmp_path / "0" / "broken.png"
    path.parent.mkdir()
    Image.effect_noise((300, 300), 100).save(path)  # of two chunks of pixels
    whole = path.read_bytes()
    place = whole.rindex(b"IDAT")
    flipped = whole[:place] + b"I\x00AT" + whole[place + 4 :]
    headers = {"no picture": b"no picture", "another format's header": b"P6 x 40 255 "}
    path.write_bytes({"cut off": whole[:50], "a chunk": flipped, **headers}[damage])
    assert re.match("images: .*broken.png is damaged", refused(capsys, MAKE, "--images", tmp_path))


def test_an_image_that_is_too_large_is_named(capsys, files, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert re.match("images: .*0.png is too large", refused(capsys, MAKE, "--images", files / "numbers"))


def in_a_folder(tmp_path, values, name):
    """What is read of an image of these values, by a network that takes grey ones."""
    (tmp_path / "0").mkdir(exist_ok=True)
    Image.fromarray(np.array(values)).save(tmp_path / "0" / name)
    images, _ = load_images(tmp_path, None, (0,), (1,))
    return (images[torch.tensor([0])][0, 0] * 255).tolist()


def test_16_bits_are_scaled_to_8(tmp_path):
    assert in_a_folder(tmp_path, np.uint16([[0, 257, 2570, 65535]]), "deep.png") == [[0, 1, 10, 255]]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_numbers_of_unknown_range_are_taken_only_where_they_are_those_of_8_bits(tmp_path, dtype):
    assert in_a_folder(tmp_path, dtype([[0, 7, 255]]), "deep.tif") == [[0, 7, 255]]
    for wrong in (256, -1, *((0.5, np.nan) if dtype is np.float32 else ())):
        with pytest.raises(ValueError, match=r"images: expected 8 or 16 bits a channel in .*deep.tif, got mode '[IF]'"):
            in_a_folder(tmp_path, dtype([[0, 7, wrong]]), "deep.tif")


def test_the_command_at_a_prompt_needs_nothing_but_the_library(files):
    """Not what notebooks are run with, which `pip install irlg` leaves out."""
    absent = dict.fromkeys(("IPython", "papermill", "sklearn", "snakemake", "yaml"))
    code = f"import sys; sys.modules |= {absent}; import runpy; runpy.run_module('irlg', run_name='__main__')"
    command = [sys.executable, "-c", code, "audit", MAKE, "--images", str(files / "pair.pt"), "-k"]
    result = subprocess.run([*command, "61"], capture_output=True, text=True, cwd=ROOT)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "irlg audit: batch_size: expected at most the 60 images there, got 61\n"
    right = subprocess.run([*command, "6", "--trials", "1"], capture_output=True, text=True, cwd=ROOT)
    assert (right.returncode, right.stderr) == (0, "") and right.stdout.startswith("Audit of one batch of 6 images")
