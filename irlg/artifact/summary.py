"""The summary: a row an element of the appendix, for a terminal and as Markdown."""

import re
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from irlg.artifact.claims import Claim, Outcome
from irlg.artifact.tables import markdown

WIDTH = 100  # columns of a terminal
REAL_DATA = "./run_all.sh --policy real"  # downloads what can be, and says what cannot


@dataclass(frozen=True)
class Row:
    """What the paper says of an element, what is found here, and the claims that bear on it.

    `part`, of the element, where it has several rows; `element` and `notebook` are set where rows are collected.
    """

    paper: str
    here: str
    claims: Sequence[Claim]
    part: str = ""
    element: str = ""
    notebook: str = ""

    @property
    def counts(self) -> str:
        """How many claims of each outcome there are."""
        found = Counter(claim.outcome for claim in self.claims)
        order: tuple[Outcome, ...] = ("holds", "below", "open", "measured", "stand-in")
        return ", ".join(f"{found[name]} {'hold' if name == 'holds' else name}" for name in order if found[name])

    @property
    def found(self) -> str:
        """`here`, with a warning where some of it is of a stand-in."""
        return f"on a stand-in: {self.here}" if any("stand-in" in claim.data for claim in self.claims) else self.here


def stand_ins(rows: Sequence[Row]) -> str:
    """A line that names the data that were not there, and the command that gets them; empty if all were."""
    sources = " ".join(claim.data for row in rows for claim in row.claims)
    names = sorted(set(re.findall(r"stand-in for ([\w-]+)", sources)))
    return f"Stand-ins for {', '.join(names)}: methods not judged. Real data: {REAL_DATA}" if names else ""


def plain(rows: Sequence[Row]) -> str:
    """The summary for a terminal: cells wrapped, the notebook's name below the element's."""
    lines = [("appendix", "the paper", "here", "claims")]
    for row in rows:
        cells = (row.element, row.paper, row.found, row.counts)
        wrapped = [textwrap.wrap(cell, width) for cell, width in zip(cells, _WIDTHS, strict=True)]
        wrapped[0].append(f"  {row.notebook}")
        wrapped[3] = row.counts.split(", ")
        height = max(map(len, wrapped))
        lines += zip(*(cell + [""] * (height - len(cell)) for cell in wrapped), strict=True)
    texts = ["  ".join(map(_padded, line, _WIDTHS)).rstrip() for line in lines]
    return "\n".join([texts[0], "─" * WIDTH, *texts[1:]])


_WIDTHS = (22, 24, 37, 11)  # with two blanks between, WIDTH


def _padded(text: str, width: int) -> str:
    return text.ljust(width + sum(map(bool, map(unicodedata.combining, text))))  # n̂ takes one column


def as_markdown(rows: Sequence[Row], notebooks: str) -> str:
    """The summary as a Markdown table. **Arguments:** `notebooks`: where those lie that were run, for links."""
    cells = [
        {
            "appendix": row.element,
            "the paper": row.paper,
            "here": row.found,
            "claims": row.counts,
            "read on": f"[{row.notebook}]({notebooks}{row.notebook}.ipynb)" if row.claims else row.notebook,
        }
        for row in rows
    ]
    return markdown(pd.DataFrame(cells))


def failed(rows: Sequence[Row]) -> str:
    """The claims that are below the paper or what was aimed at, a line or two each; empty if there are none."""
    lines = []
    for claim in (claim for row in rows for claim in row.claims if claim.outcome == "below"):
        text = f"{claim.claim}: {claim.ours}; paper: {claim.paper} ({claim.verdict})"
        lines.append(textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="      "))
    return "\n".join(["Below the paper, or what was aimed at:", *lines]) if lines else ""
