import json
import re
from pathlib import Path

import pytest
from IPython.display import Image, Markdown

from irlg.artifact.claims import Claim
from irlg.artifact.records import from_index, write_record
from irlg.artifact.report import EMBEDDED, WRITTEN, claims_table, claims_view, filled, part
from tests.helpers import PAPER, needs_paper


def marked(**blocks):
    return "before\n" + "".join(
        f"<!-- {name}: {WRITTEN} -->\n{text}<!-- /{name} -->\nafter\n" for name, text in blocks.items()
    )


def test_a_document_keeps_what_is_outside_its_marks():
    blocks = {"one": "new \\1", "two": "", "unused": "x"}
    assert filled(marked(one="old\n", two=""), blocks) == marked(one="new \\1\n", two="\n")
    with pytest.raises(ValueError, match="three: expected one of the blocks one, two, unused"):
        filled(marked(three="old\n"), blocks)


def test_claims_of_all_records_in_order(tmp_path):
    for letter, verdict in (("B", "differs"), ("A", "holds")):
        about = {"notebook": f"{letter}_x", "seconds": 1.4}
        claim = Claim(f"claim {letter}", "1", "2", 3, "exact", "none", verdict)
        write_record(tmp_path / f"{letter}_x.json", about, [claim])
    table = claims_table(tmp_path)
    assert list(table.claim) == ["claim A", "claim B"] and list(table.outcome) == ["holds", "below"]
    view = claims_view(table)
    assert re.search(r"claim +\| paper +\| ours +\| N +\| interval +\| data +\| verdict +\| seconds", view)
    assert claims_view(claims_table(tmp_path / "nowhere")).startswith("No claims")


@needs_paper
def test_every_committed_claim_is_in_the_table():
    made = [json.loads(path.read_text(encoding="utf-8"))["claims"] for path in sorted(PAPER.glob("[A-Z]_*.json"))]
    assert list(claims_table(PAPER).claim) == [claim["claim"] for claims in made for claim in claims]


@pytest.mark.parametrize(
    ("out_dir", "way"), [("figures/quick", "../../../figures/quick/"), ("irlg-results", "irlg-results/")]
)
def test_the_way_from_the_index_to_its_files(out_dir, way):
    assert from_index(Path(out_dir)) == way


@pytest.mark.parametrize("beyond", [False, True])
def test_a_part_shows_its_first_small_picture_and_links_the_others(tmp_path, beyond):
    sizes = {"large.png": EMBEDDED + 1, "small.png": EMBEDDED, "other.png": 10}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(b"\x89PNG".ljust(size, b"."))
    (tmp_path / "table.md").write_text("a table")
    about = {"notebook": "C_x", "title": "Title", "what": "What.", "n": 3, "seconds": 2, "device": "CPU", "commit": "c"}
    record = {**about, "data": ["MNIST", "MNIST"], "files": ["trials.csv", "table.md", *sizes]}
    shown = list(part(record, tmp_path, "../", beyond))
    images = [one for one in shown if isinstance(one, Image)]
    texts = [one.data for one in shown if isinstance(one, Markdown)]
    assert [len(image.data) for image in images] == [EMBEDDED]
    assert texts[:2] == ["## [Title](C_x.ipynb)", "What. N = 3; 2 s on CPU; data: MNIST. Commit c."]
    assert ("a table" in texts) is not beyond
    linked = re.findall(r"\]\(../(\S+)\)", texts[-1])
    assert linked == ["table.md"] * beyond + ["large.png", "other.png"]
