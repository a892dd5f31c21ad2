"""The report: whole whatever has run, the same each time, and nothing in it that asks for anything."""

import base64
import io
import json
import re
from pathlib import Path

import PIL.Image
import pytest
from PIL.PngImagePlugin import PngInfo

from irlg.artifact import page, verify
from irlg.artifact.claims import Claim
from irlg.artifact.page import whole
from irlg.artifact.page.text import Text, linked, mathml
from irlg.artifact.records import write_record
from irlg.artifact.summary import Row

README = """# irlg

Lead with a [link](docs/data.md).

## What is found
<!-- reading -->
How to read it.
<!-- /reading -->
<!-- findings -->
- Found.
<!-- /findings -->
"""
ABOUT = {"python": "3.11", "versions": {"irlg": "0.1"}, "system": "Linux", "device": "CPU", "threads": 2}


def png(shade):
    drawn, about = io.BytesIO(), PngInfo()
    about.add_text("Description", "What `it` shows")
    PIL.Image.new("L", (150, 300), shade).save(drawn, "png", pnginfo=about)
    return drawn.getvalue()


def output(**data):
    return {"output_type": "display_data", "metadata": {}, "data": data}


def notebook(path, *cells):
    """Write a notebook of (kind, source, outputs)."""
    made = [{"cell_type": kind, "source": [source], "metadata": {}, "outputs": outs} for kind, source, outs in cells]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": made}), encoding="utf-8")


def checkout(root, commit="abc", seconds=1.0):
    """A checkout in which a notebook is done, one failed and one has not run; and the rows of its summary."""
    folder, executed = root / "figures" / "quick", root / "notebooks" / "executed" / "quick"
    folder.mkdir(parents=True, exist_ok=True)
    (root / "README.md").write_text(README)
    (folder / "Y_seen.png").write_bytes(png(1))
    (folder / "Y_table.md").write_text("Caption.\n\n| a | b |\n|:--|:--|\n| 1 | <2> |\n")
    claim = Claim("better than 1 < 2", "1", "2", 1234, "exact", "MNIST", "below the paper")
    (folder / "Y_advice.md").write_text("1. **Do** this.\n2. And that.\n")
    files = ["Y_seen.png", "Y_advice.md", "Y_table.md", "Y_trials.csv"]
    record = {
        "notebook": "Y_done",
        "title": "Appendix Y: the title",
        "what": "What it did.",
        "n": 1234,
        "data": ["MNIST"],
    }
    write_record(folder / "Y_trials.csv", {}, [])
    write_record(
        folder / "Y_done.json", {**record, **ABOUT, "commit": commit, "seconds": seconds, "files": files}, [claim]
    )
    image = output(**{"image/png": base64.b64encode(png(1)).decode()})
    image["metadata"] = {"image/png": {"alt": "What `it` shows"}}
    other = output(**{"image/png": base64.b64encode(png(2)).decode()})
    notebook(
        executed / "Y_done.ipynb",
        ("code", "first()", [output(**{"text/markdown": f"# T\n\n{seconds} s on CPU; commit {commit}."})]),
        ("code", "second(1 < 2)", []),
        ("markdown", "## Story\n\nOne $p_i$. Two, see [Z](Z_failed.ipynb).\nThree: then\n\n$$x$$", []),
        ("code", "third()", [output(**{"text/latex": r"$\displaystyle \mathcal L$"}), image, other]),
    )
    notebook(
        executed / "Z_failed.partial.ipynb",
        ("code", "boom()", [{"output_type": "error", "ename": "E", "evalue": "<no>"}]),
    )
    (executed / "Z_failed.error").write_text("E: <no>\n")
    row = '<tr style="x"><th colspan="2" halign="left">ours (paper)</th></tr>'
    html = f'<table class="dataframe">{row}</table><script>1</script>'
    notebook(
        executed / "index.ipynb",
        ("code", "", [output(**{"text/markdown": "**Table 9: x.**"}), output(**{"text/html": html})]),
    )
    rows = [Row("the paper's", "ours", [claim], element="Y, Table 9", notebook="Y_done")]
    return rows + [
        Row("", "not run", (), element=f"{name[0]}, beyond", notebook=name) for name in ("Z_failed", "X_left")
    ]


def test_what_a_notebook_wrote_without_a_table_is_text(tmp_path):
    text = whole.whole(tmp_path, "quick", checkout(tmp_path))
    assert re.search(r'<div class="text"><ol>\s*<li><strong>Do</strong> this.</li>', text)
    assert re.findall(r"<summary>Table, (.*?)</summary>", text) == ["1 row: Caption."]


def test_a_page_has_a_part_a_notebook_whatever_has_run(tmp_path):
    text = whole.whole(tmp_path, "quick", checkout(tmp_path))
    parts = re.findall(r'<section id="(\w_\w+)" class="part">(.*?)</section>', text, re.DOTALL)
    assert [name for name, _ in parts] == ["Y_done", "Z_failed", "X_left"]
    done, failed, left = (re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", body)) for _, body in parts)
    order = (
        "Y. The title",
        "What it did.",
        "The paper: the paper's. Here: ours.",
        "Table 9: x.",
        "ours (paper)",
        "Claims: 1 below",
        "What it shows",
        "Caption.",
    )
    assert sorted(order, key=done.index) == list(order)
    assert "better than 1 &lt; 2 1 2 exact 1,234 below the paper What it shows" in done
    assert "Table, 1 row: Caption. a b 1 &lt;2&gt; N = 1,234. Data: MNIST." in done
    assert "This notebook did not finish: E: &lt;no&gt;." in failed and "This notebook has not run." in left
    assert "1 claim: 1 below." in text and "- Found" not in text and "<li>Found" not in text
    assert "<script" not in text and "halign" not in text
    assert whole.whole(tmp_path, "quick", checkout(tmp_path)) == text


def test_a_notebook_is_there_piece_by_piece_and_its_pictures_once(tmp_path):
    text = whole.whole(tmp_path, "quick", checkout(tmp_path))
    ran = re.search(r'id="notebook-Y_done">(.*?)\n</details>\n<details class="notebook"', text, re.DOTALL)[1]
    assert ran.index("first()\n\n\nsecond(1 &lt; 2)") < ran.index("<h4>Story</h4>") < ran.index("third()")
    assert '<a href="#Z_failed">Z</a>' in ran and '<a href="#Y_seen.png">' in ran
    assert [encode(1), encode(2)] == re.findall(r"data:image/png;base64,([^\"]+)", text)
    assert encode(1) not in ran and encode(2) in ran
    (first, *_), *_ = (re.findall(r'<img [^>]*alt="([^"]*)" width="(\d+)" height="(\d+)"', text),)
    assert first == ("What it shows", "96", "192")
    assert "E: &lt;no&gt;" in text.partition('id="notebook-Z_failed"')[2]


def encode(shade):
    return base64.b64encode(png(shade)).decode()


def test_only_provenance_says_what_ran_it(tmp_path):
    pages = [whole.whole(tmp_path, "quick", checkout(tmp_path, *run)) for run in (("abc", 1.0), ("def", 2.0))]
    assert pages[0] != pages[1]
    assert outside_provenance(pages[0]) == outside_provenance(pages[1])
    assert "abc" in pages[0] and "abc" not in outside_provenance(pages[0])


def outside_provenance(text):
    rest = re.sub(r'<section id="provenance">.*?</section>', "", text, flags=re.DOTALL)
    assert rest != text
    return rest


def test_findings_in_words_are_those_of_the_paper_profile_and_must_be_marked(tmp_path):
    rows = checkout(tmp_path)
    assert "<li>Found.</li>" in whole.whole(tmp_path, "paper", rows)
    (tmp_path / "README.md").write_text(README.replace("findings", "finds"))
    with pytest.raises(ValueError, match="expected <!-- findings -->"):
        whole.whole(tmp_path, "paper", rows)


@pytest.mark.parametrize(
    ("story", "sentences"),
    [
        ("One $x$. Two? Three.", "One $x$. Two?"),
        ("One, i.e. this.\nTwo leads to\n\n$$x$$", "One, i.e. this."),
        ("Leads to", ""),
    ],
)
def test_the_opening_is_whole_sentences(story, sentences):
    cells = [{"cell_type": "code", "source": "x"}, {"cell_type": "markdown", "source": f"## Title\n\n{story}"}]
    assert whole.opening(cells) == sentences


def test_links_lead_from_the_page():
    link = linked(Path("figures/paper"), ["F_x", "F_x.png"], Path("notebooks/executed/paper"))
    assert link("../../../figures/paper/F_x.png") == "#F_x.png"
    assert link("../../../figures/paper/F_y.png") == "F_y.png" and link("F_x.png") != "#F_x.png"
    assert link("../../../irlg/models.py") == "../../irlg/models.py"
    assert link("../../../figures/paper/claims.md") == "claims.md"
    assert link("F_x.ipynb") == "#F_x" and link("index.ipynb") == "../../notebooks/executed/paper/index.ipynb"
    assert link("https://x.org/F_x.ipynb") == "https://x.org/F_x.ipynb" and link("#here") == "#here"


def test_formulas_are_mathml():
    text = Text(lambda url: url)
    html = text.block(
        "With $\\mathcal L$, $\\mathcal C$ and $a/b$.\n\n$$\\log p < \\mathbf W$$\n\n| $x$ | CIFAR-100 |\n|--|--|\n"
    )
    assert "$" not in re.sub(r"<[^>]*>", "", html) and html.count("<math ") == 5
    assert "<mi>ℒ</mi>" in html and "<mi>𝒞</mi>" in html and '<mo lspace="0" rspace="0">/</mo>' in html
    assert '<mi>log</mi><mspace width="0.167em"/>' in html and '<div class="formula"' in html
    assert 'alttext="\\log p &lt; \\mathbf W"' in html and "<p><div" not in html
    assert re.search(r'<span class="whole"><math.{1,300}</math>\.</span>', html)
    assert '<span class="whole">CIFAR-100</span>' in html
    assert mathml("\\displaystyle x", block=True) == mathml("x", block=True)


def test_raw_html_of_a_notebook_is_text():
    assert Text(str).block("a <img src='http://x'> ![b](http://x)").strip() == (
        "<p>a &lt;img src='http://x'&gt; <a href=\"http://x\">b</a></p>"
    )


def contrast(one, other):
    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def test_all_text_stands_out_in_both_schemes():
    assert contrast("#ffffff", "#767676") == pytest.approx(4.54, abs=0.005)  # the known limit
    css = Path(whole.__file__).with_name("report.css").read_text()
    schemes = [
        dict(re.findall(r"--(\w+): (#\w{6});", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    assert len(schemes) == 2 and schemes[0].keys() == schemes[1].keys()
    grounds, no_text = {"ground", "raised"}, {"line"}
    used = set(re.findall(r"[^-]color: var\(--(\w+)\)", css))
    assert used == schemes[0].keys() - grounds - no_text
    for scheme in schemes:
        assert min(contrast(scheme[text], scheme[ground]) for text in used for ground in grounds) >= 4.5
    assert not re.findall(r"[^-]color: (?!var|inherit)[^;]+", css)


def test_what_verify_says_of_a_page(tmp_path):
    path = tmp_path / page.NAME
    versions = whole.made_with()

    def item():
        return str(verify.whole_page(path, lambda: f"<p>one</p> {versions}", versions))

    assert item() == "stale  report.html: not there: `python -m irlg report` makes it"
    path.write_text(f"<p>one</p> {versions}")
    assert item() == "fine   report.html: what records and notebooks say"
    path.write_text(f"<p>two</p> {versions}")
    assert item().startswith("wrong  report.html: line 1 says “<p>two</p>")
    path.write_text("<p>one</p> jinja2 1.0")
    assert item() == f"stale  report.html: made with other versions than {versions}"
