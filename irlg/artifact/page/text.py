"""Markdown as HTML that needs nothing else: formulas as MathML, tables in boxes of their own, links from the page."""

import os
import re
import unicodedata
from collections.abc import Callable, Collection
from html import escape
from pathlib import Path
from typing import Any

import bleach
from latex2mathml import converter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

FORMULA_AND_STOP = r"<math [^>]*inline(?:(?!</math>).)*</math>[.,;:?!)’]+"
WHOLE = r"(?=[\w.-]*\d)[\w.]+(?:-[\w.]*\w)+|\d[\d.]* / \d[\d.]*"  # CIFAR-100, 1.9e-16, 1.000 / 1.000
TABLE = {"table", "thead", "tbody", "tr", "th", "td"}


def mathml(latex: str, block: bool = False) -> str:
    """A formula as MathML, with its LaTeX as `alttext`.

    Script letters become letters of their own, as browsers no longer make them; those that are bold are left to the
    style sheet. A slash gets no space around it, and a function's name, such as log, some behind it.
    """
    latex = " ".join(latex.replace(r"\displaystyle", "").split())
    made: str = converter.convert(latex, display="block" if block else "inline")
    made = re.sub(r'<mi mathvariant="script">([A-Z])</mi>', lambda found: f"<mi>{_script(found[1])}</mi>", made)
    made = re.sub(r"<mo>(/|&#x0002F;)</mo>", '<mo lspace="0" rspace="0">/</mo>', made)
    made = re.sub(r"(<mi>[a-z]{2,}</mi>)(?=<m(?:i|n|sub|sup)\b)", r'\1<mspace width="0.167em"/>', made)
    return made.replace("<math ", f'<math alttext="{escape(latex)}" ', 1)


def _script(letter: str) -> str:
    try:
        return unicodedata.lookup(f"SCRIPT CAPITAL {letter}")
    except KeyError:  # all but those eleven lie together
        return unicodedata.lookup(f"MATHEMATICAL SCRIPT CAPITAL {letter}")


def linked(here: Path, sections: Collection[str], base: Path) -> Callable[[str], str]:
    """What makes links of a text that lies in `base` those of a page that lies in `here`.

    **Arguments:** `sections`: names of notebooks, and of pictures' files in `here`, that are in the page; a link to one
    leads there.
    """

    def link(url: str) -> str:
        if re.match(r"[a-z]+:|#", url):
            return url
        target = Path(os.path.normpath(base / url))
        if target.suffix == ".ipynb" and target.stem in sections:
            return f"#{target.stem}"
        if target.parent == here and target.name in sections:
            return f"#{target.name}"
        return Path(os.path.relpath(target, here)).as_posix()

    return link


class Text:
    """Markdown as HTML. **Arguments:** `link`: what makes a link one of the page, see `linked`; `below`: how many
    levels headings go down."""

    def __init__(self, link: Callable[[str], str], below: int = 0) -> None:
        self._markdown = MarkdownWithMath(renderer=_Renderer(link, below))

    def block(self, source: str) -> str:
        """Paragraphs, lists and tables. A formula and its stop, and a word or a pair of digits, are not broken."""
        html = re.sub(FORMULA_AND_STOP, r'<span class="whole">\g<0></span>', self._markdown.render(source))
        return re.sub(rf"(?<![-\w&#./])(?:{WHOLE})(?![-\w])(?![^<]*>)", r'<span class="whole">\g<0></span>', html)

    def line(self, source: str) -> str:
        """What stands in a paragraph or a cell."""
        return self.block(source).strip().removeprefix("<p>").removesuffix("</p>")


class _Renderer(IPythonRenderer):
    def __init__(self, link: Callable[[str], str], below: int) -> None:
        super().__init__(escape=True)
        self._link, self._below = link, below

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        level = min(level + self._below, 6)
        return f"<h{level}>{text}</h{level}>\n"

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return f'<a href="{escape(self._link(url))}">{text}</a>'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return self.link(text or url, url)  # no picture from elsewhere

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def block_math(self, body: str) -> str:
        return formula(body)

    def paragraph(self, text: str) -> str:
        # A formula of its own is a paragraph to the parser, and none to HTML.
        return f"{text}\n" if text.startswith('<div class="formula"') else f"<p>{text}</p>\n"

    def table(self, text: str) -> str:
        return scroll(f"<table>{text}</table>")

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        return f'<th scope="col">{text}</th>' if head else f"<td>{text}</td>"


def formula(latex: str) -> str:
    """A formula on a line of its own."""
    return f'<div class="formula" tabindex="0">{mathml(latex, block=True)}</div>'


def scroll(html: str) -> str:
    """A box that scrolls where what it holds is wider than the page."""
    return f'<div class="scroll" tabindex="0">{html}</div>\n'


def plain_table(html: str) -> str:
    """A table that pandas wrote, of its HTML only what is a table."""
    spans = {"th": ["colspan", "rowspan"], "td": ["colspan", "rowspan"]}
    return scroll(bleach.clean(html, tags=TABLE, attributes=spans, strip=True))
