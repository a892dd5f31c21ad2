"""README and docs: short, linked to what is there, and their first example runs."""

import json
import re

import pytest

from irlg.appendix.comparison import contenders
from irlg.restoration.registry import METHODS
from tests.conftest import ROOT

README = ROOT / "README.md"
PAGES = [README, ROOT / "ARTIFACT.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^):]+)\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not [link for link in missing if not re.match(r"(\.\./)?(figures|notebooks/executed)/", link)]  # by a run
    assert not missing or not (ROOT / "figures/paper/claims.md").exists()


def test_readme_is_short_and_begins_with_the_summary():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert lines.index("<!-- summary: written by `python -m irlg readme` -->") <= 12


def test_readmes_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(example.splitlines()) <= 11
    exec(example, {})
    counts, *_, score = capsys.readouterr().out.splitlines()
    assert counts.startswith("tensor([") and 0 <= float(score) <= 1


def test_the_library_pages_blocks_run_in_order_after_readmes_example(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # where a picture and a checkpoint go
    names: dict = {}
    for page in (README, ROOT / "docs/library.md"):
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            exec(re.sub(r"\bsteps=\d+", "steps=1", block), names)  # minutes take seconds
    assert names["found"].images.shape == (8, 3, 64, 64) and names["maps"].residual < 0.001
    assert {path.name for path in tmp_path.iterdir()} == {"audit.png", "state.pt"}


def test_the_notebook_to_try_it_in_runs(capsys):
    cells = json.loads((ROOT / "notebooks/0_try_it.ipynb").read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert len([line for line in code.splitlines() if line]) <= 20
    exec(code.replace("%matplotlib inline\n", ""), {})
    true, restored, instances, *report = capsys.readouterr().out.splitlines()
    assert true.split(" [")[1] == restored.split(" [")[1].split("] ")[0] + "]" and "None" not in instances
    assert sum(line.startswith("Audit of 5 random batches") for line in report) == 2


def test_the_method_that_is_added_has_its_row(monkeypatch):
    page = (ROOT / "docs/add-a-method.md").read_text(encoding="utf-8")
    module, test = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict = {}
    exec(module, names)
    monkeypatch.setitem(METHODS, "mean-softmax", names["MEAN_SOFTMAX"])
    exec(test, names)
    names["test_mean_softmax_by_hand"]()
    assert contenders()["mean-softmax*"] == ("mean-softmax", True)


def test_each_page_is_reached_from_readme():
    assert all(f"({page.relative_to(ROOT)})" in README.read_text(encoding="utf-8") for page in PAGES[1:])
