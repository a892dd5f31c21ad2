"""What a notebook's run writes beside its story."""

import re

import PIL.Image
import pytest
from matplotlib.figure import Figure

from irlg.artifact import run as module
from irlg.artifact.progress import progress
from irlg.artifact.run import Run

CAPTION = "Counts $n$ of `fcn3`, N = 1,000."


def drawn(folder, **options):
    made = Run("Z_made_up", "Z")
    made.out_dir = folder
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [1, 0], label="a")
    made.figure(figure, "Z_line", CAPTION, **options)
    return {path.suffix: path.read_bytes() for path in sorted(folder.iterdir())}, made._files


def test_a_picture_is_the_same_bytes_in_each_run_and_says_what_it_shows(tmp_path):
    (first, files), (second, _) = drawn(tmp_path / "a"), drawn(tmp_path / "b")
    assert first == second and sorted(files) == [f"Z_line{ending}" for ending in (".pdf", ".png", ".svg")]
    assert set(first) == {".pdf", ".png", ".svg"} and first[".pdf"].startswith(b"%PDF-")
    with PIL.Image.open(tmp_path / "a" / "Z_line.png") as image:
        assert image.info["Description"] == CAPTION
    assert CAPTION.encode() in first[".svg"] and f"/Subject ({CAPTION})".encode() in first[".pdf"]
    # Of another day, and of another version of matplotlib, they would be the same too.
    made_with = re.compile(rb"Matplotlib v?\d|CreationDate|Producer|<dc:(date|creator)>|tIME")
    assert not [ending for ending, content in first.items() if made_with.search(content)]


@pytest.mark.parametrize("shown", (True, False))
def test_a_picture_that_is_not_shown_is_linked(tmp_path, monkeypatch, shown):
    said = []
    monkeypatch.setattr(module, "display", lambda *things, **options: said.extend(things))
    drawn(tmp_path, shown=shown)
    pictures = [thing for thing in said if isinstance(thing, module.Image)]
    text = "".join(thing.data for thing in said if isinstance(thing, module.Markdown))
    assert len(pictures) == shown and CAPTION in text and ("Z_line.png" in text) != shown


TAKEN = {"trials": 5, "device": "cpu", "data_dir": "", "data_policy": "auto"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trials": 0}, "parameter trials: expected a whole number from 1 to 1000, got 0"),
        ({"trials": "five"}, "parameter trials: expected a whole number from 1 to 1000, got 'five'"),
        ({"trials": True}, "parameter trials: expected a whole number from 1 to 1000, got True"),
        ({"data_dir": 2024}, "parameter data_dir: expected text, got 2024"),  # papermill's -r leaves it text
        ({"device": "gpu"}, r"parameter device: expected one of 'auto', 'cpu', 'cuda', got 'gpu'"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_and_leave_no_record(tmp_path, given, message):
    namespace = TAKEN | {"out_dir": str(tmp_path)}
    made = Run("Z_made_up", "Z")
    made.check(namespace, "device", "data_dir", "data_policy", trials=range(1, 1001))
    with pytest.raises(ValueError, match=f"^{message}$"):
        made.check(namespace | given, "device", "data_dir", "data_policy", trials=range(1, 1001))
    assert not list(tmp_path.iterdir())


def test_a_bar_is_there_for_who_watches_and_in_no_batch(monkeypatch, capsys):
    monkeypatch.delenv("IRLG_JOBS", raising=False)
    assert list(progress(range(3), "networks")) == [0, 1, 2] and "networks" in capsys.readouterr().err
    monkeypatch.setenv("IRLG_JOBS", "somewhere")
    assert list(progress(range(3), "networks")) == [0, 1, 2] and capsys.readouterr().err == ""
