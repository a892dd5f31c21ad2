"""The report that is committed: whole, and nothing in it that asks for anything."""

import json
import re
import shutil
import subprocess
from itertools import pairwise

import pytest

from irlg.appendix import workflow
from irlg.artifact import page
from tests.artifact.elements import Elements
from tests.conftest import ROOT
from tests.helpers import PAPER, needs_paper

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def committed():
    """The committed page, once read."""
    text = (PAPER / page.NAME).read_text(encoding="utf-8")
    return text, Elements(text)


@needs_paper
def test_the_committed_page_has_every_notebook(committed):
    text, elements = committed
    names = [path.stem for path in sorted(PAPER.glob("[A-Z]_*.json"))]
    assert re.findall(r'<section id="(\w+)" class="part">', text) == names
    assert re.findall(r'id="notebook-(\w+)"', text) == names
    pictures = [file for name in names for file in json.loads((PAPER / f"{name}.json").read_text())["files"]]
    figures = [attributes["id"] for attributes in elements.named("figure")]
    assert figures == [file for file in pictures if file.endswith(".png")]
    assert (PAPER / page.NAME).stat().st_size < 10e6


@needs_paper
def test_the_committed_page_asks_for_nothing(committed):
    text, elements = committed
    assert """content="default-src 'none'; img-src data:; style-src 'unsafe-inline'\"""" in text
    forbidden = {"script", "link", "iframe", "object", "embed", "video", "audio", "source", "form", "base"}
    assert not forbidden & {tag for tag, _ in elements.all}
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in elements.named("img"))
    assert not [one for _, one in elements.all if {"srcset", "background", "poster", "ping", "onload"} & one.keys()]
    assert not [tag for tag, one in elements.all if "src" in one and tag != "img"]
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert "url(" not in style and "@import" not in style
    assert not [tag for tag, attributes in elements.all if "style" in attributes]


@needs_paper
def test_links_of_the_committed_page_lead_somewhere(committed):
    _, elements = committed
    names = [attributes["id"] for _, attributes in elements.all if "id" in attributes]
    assert len(names) == len({*names})
    links = {anchor["href"] for anchor in elements.named("a")}
    assert len(links) > 50
    assert not [link for link in links if link.startswith("#") and link[1:] not in names]
    assert not [link for link in links if not re.match("#|https:", link) and not (PAPER / link).exists()]


@needs_paper
def test_the_committed_page_reads_well(committed):
    _, elements = committed
    assert not re.findall(r"\$|\\\w+|\*\*|\{\{|<!--", elements.prose)  # neither LaTeX nor Markdown nor a mark is left
    levels = [int(tag[1]) for tag, _ in elements.all if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))
    assert all(attributes["alttext"] for attributes in elements.named("math"))


LEAK = '<h1><img src="http://leak.example/x.png" alt="x">'


@needs_paper
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
@pytest.mark.parametrize(
    ("policy", "title", "asked"),
    [
        ("\\g<0>", "<h1>", set()),
        ("\\g<0>", LEAK, set()),  # the policy forbids it
        ("", LEAK, {"http://leak.example/x.png"}),
    ],
    ids=["as it is", "with a leak", "without a policy"],
)
def test_a_browser_without_a_network_asks_for_nothing(committed, tmp_path, policy, title, asked):
    text = re.sub("<meta http-equiv[^>]*>", policy, committed[0]).replace("<h1>", title)
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    log = tmp_path / "net.json"
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--log-net-log={log}", "--dump-dom"]
    command = [CHROMIUM, *options, (tmp_path / "page.html").as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "</html>" in result.stdout
    started = r'"initiator":"(?!not an origin).*"url":"([^"]+)"'  # by the page; the browser has requests of its own
    assert set(re.findall(started, log.read_text())) == asked


@needs_paper
def test_the_command_writes_what_is_committed(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert workflow.made_report("paper") == (PAPER / page.NAME).read_text(encoding="utf-8")
