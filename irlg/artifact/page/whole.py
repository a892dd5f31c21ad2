"""The page of a profile: what was found, a part a notebook, the notebooks as they ran, and what ran them."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from irlg.artifact import records
from irlg.artifact.page.ran import Picture, Piece, cells, picture, pieces, shown
from irlg.artifact.page.text import Text, linked, plain_table
from irlg.artifact.summary import Row, stand_ins

MADE_WITH = ("jinja2", "latex2mathml", "mistune", "nbconvert")
SENTENCE = r".+?[.?!](?=\s+[A-Z`$]|\s*$)"
OPEN = 9  # claims of a part, above which they are folded
SHOWN = 3  # pictures of a part, before the others are folded


@dataclass(frozen=True)
class Table:
    """A table of a part: its caption, itself, both as HTML, and how many rows it has."""

    caption: Markup
    body: Markup
    rows: int


@dataclass(frozen=True)
class Part:
    """What a notebook found, and itself. `failure` says why there is no record, which is then empty."""

    name: str
    title: str
    rows: Sequence[Row]
    record: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""
    opening: str = ""
    texts: Sequence[Markup] = ()
    printed: Sequence[Table] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    pieces: Sequence[Piece] = ()

    @property
    def data(self) -> str:
        """The data that the notebook saw."""
        return ", ".join(dict.fromkeys(self.record["data"])) or "none"

    @property
    def by_data(self) -> bool:
        """Whether its claims are of several data, so that each has to say of which."""
        return len({claim.data for claim in self.record["claims"]}) > 1

    @property
    def counts(self) -> str:
        """How many of its claims there are of each outcome."""
        return Row("", "", self.record["claims"]).counts

    @property
    def files(self) -> list[str]:
        """The tables that it left in full."""
        return [name for name in self.record["files"] if name.endswith(".csv")]


def whole(root: Path, profile: str, rows: Sequence[Row]) -> str:
    """The page, as HTML.

    **Arguments:** `root`: the checkout; `rows`: the summary, of every notebook, run or not. **Raises:** `ValueError`
    where README lacks a marked text.
    """
    folder, executed = root / "figures" / profile, root / "notebooks" / "executed" / profile
    names = list(dict.fromkeys(row.notebook for row in rows))
    from_readme = Text(linked(folder, names, root))
    readme = (root / "README.md").read_text(encoding="utf-8")
    index = cells(executed / "index.ipynb")
    printed = dict(printed_tables(index, Text(linked(folder, names, executed))))
    parts = [
        part(name, [row for row in rows if row.notebook == name], folder, executed, names, printed) for name in names
    ]
    claims = [claim for one in parts if one.record for claim in one.record["claims"]]
    made = [one.record for one in parts if one.record]
    if (folder / "index.json").exists():
        made.append(records.read_record(folder / "index.json"))
    frame = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    frame.globals["line"] = lambda source: Markup(from_readme.line(source))
    return (
        frame.get_template("report.html")
        .render(
            style=Markup(Path(__file__).with_name("report.css").read_text(encoding="utf-8")),
            profile=profile,
            lead=Markup(from_readme.block(lead(readme))),
            findings=Markup(from_readme.block(marked(readme, "findings"))) if profile == "paper" else "",
            reading=Markup(from_readme.block(marked(readme, "reading"))),
            stand_ins=stand_ins(rows),
            rows=rows,
            counts=Row("", "", claims).counts,
            number=len(claims),
            parts=parts,
            shown=SHOWN,
            open=OPEN,
            made=made,
            versions=list(dict.fromkeys(_versions(record) for record in made)),
            made_with=made_with(),
            to_root=linked(folder, (), root),
            threads=records.threads,
        )
        .rstrip()
        + "\n"
    )


def made_with() -> str:
    """The versions of what makes the page, as it says them."""
    return ", ".join(f"{name} {version(name)}" for name in MADE_WITH)


def part(
    name: str,
    rows: Sequence[Row],
    folder: Path,
    executed: Path,
    names: Sequence[str],
    printed: Mapping[str, Table],
) -> Part:
    """The part of a notebook, from its record in `folder` and its copy in `executed`.

    **Arguments:** `names`: all notebooks of the page; `printed`: the paper's tables by their names.
    """
    if not (folder / f"{name}.json").exists():
        partial, error = executed / f"{name}.partial.ipynb", executed / f"{name}.error"
        why = error.read_text(encoding="utf-8").strip() if error.exists() else "stopped before its end"
        failure = f"did not finish: {why}" if partial.exists() else "has not run"
        text = Text(linked(folder, names, executed), below=2)
        return Part(name, name, rows, failure=failure, pieces=list(pieces(cells(partial), text, {}, "")))
    record = records.read_record(folder / f"{name}.json")
    notebook = cells(executed / f"{name}.ipynb")
    pictures = [picture(folder / file) for file in record["files"] if file.endswith(".png")]
    text = Text(linked(folder, [*names, *(one.name for one in pictures)], executed), below=2)
    places = {hashlib.sha256((folder / one.name).read_bytes()).hexdigest(): one.name for one in pictures}
    own = Text(linked(folder, names, folder))
    written = [(folder / file).read_text(encoding="utf-8") for file in record["files"] if file.endswith(".md")]
    elements = {row.element.split(", ")[1] for row in rows if ", " in row.element}
    return Part(
        name,
        title(record["title"]),
        rows,
        record,
        opening=Markup(text.line(opening(notebook))),
        printed=[table for element, table in printed.items() if element in elements],
        texts=[Markup(own.block(each)) for each in written if "\n|" not in each],
        tables=[table(each, own) for each in written if "\n|" in each],
        pictures=pictures,
        pieces=list(pieces(notebook, text, places, record["commit"])),
    )


def title(given: str) -> str:
    """A notebook's title without the letter, which stands before it."""
    short = re.sub(r"^Appendix [A-Z]: ", "", given)
    return short[:1].upper() + short[1:]


def opening(notebook: Sequence[Mapping[str, Any]]) -> str:
    """The first two sentences of a notebook's story, in Markdown; one where the second leads on to something else."""
    texts = [text for cell in notebook if cell["cell_type"] == "markdown" for text in cell["source"].split("\n\n")]
    story = next((text for text in texts if text.strip() and not text.startswith("#")), "")
    return " ".join(map(str.strip, re.findall(SENTENCE, story, re.DOTALL)[:2]))


def printed_tables(index: Sequence[Mapping[str, Any]], text: Text) -> Iterator[tuple[str, Table]]:
    """The paper's tables with our figures in them, which the index shows as HTML, each below its caption."""
    for cell in index:
        caption = ""
        for output in shown(cell):
            html, above = output["data"].get("text/html"), output["data"].get("text/markdown")
            if html and (found := re.match(r"\**([^:*]+):", caption)):
                yield found[1], Table(Markup(text.line(caption)), Markup(plain_table(html)), html.count("<tr"))
            caption = above or ""


def table(written: str, text: Text) -> Table:
    """A table that a notebook wrote as Markdown: its caption, a blank line, itself."""
    caption, _, view = written.partition("\n\n")
    return Table(Markup(text.line(caption)), Markup(text.block(view)), view.count("\n|") - 1)


def lead(readme: str) -> str:
    """What stands between README's title and its first section."""
    return readme.partition("\n\n")[2].partition("\n## ")[0]


def marked(readme: str, name: str) -> str:
    """What stands between README's marks `<!-- NAME -->` and `<!-- /NAME -->`. **Raises:** `ValueError` without."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", readme, re.DOTALL)
    if not found:
        raise ValueError(f"README.md: expected <!-- {name} --> and <!-- /{name} -->, which the report quotes")
    return found[1]


def _versions(record: Mapping[str, Any]) -> str:
    found = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    return f"Python {record['python']}, {found}"
