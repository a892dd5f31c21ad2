"""Whether committed results are what their rows, their records and today's code say: a line an item."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from irlg.artifact import code, page, records, report
from irlg.artifact.derived import Derived, Follows

Verdict = Literal["fine", "stale", "wrong"]
# What a verdict says; the worst of all is the exit status.
STATUS: dict[Verdict, int] = {"fine": 0, "stale": 1, "wrong": 2}
NOTEBOOKS = code.ROOT / "notebooks"


@dataclass(frozen=True)
class Item:
    """One thing that was looked at: fine; stale, since code has changed since; or wrong, and why."""

    name: str
    verdict: Verdict
    reason: str

    def __str__(self) -> str:
        return f"{self.verdict:<5}  {self.name}: {self.reason}"


def verify(folder: Path, follows: Callable[[str], Follows]) -> Iterator[Item]:
    """Every record of `folder` and what it names, in order: files, tables, claims and code; then what nobody names.

    **Arguments:** `follows`: what of a notebook, by its name, can be made again of its rows.
    """
    named = set()
    for path in sorted(folder.glob("*.json")):
        try:
            record = records.read_record(path)
            named |= {path.name, *record["files"]}
        except (ValueError, KeyError, TypeError) as error:
            yield Item(path.name, "wrong", f"no record: {error}")
            continue
        yield files(folder, record)
        if path.stem == "index":
            yield index(folder)
        else:
            again = follows(path.stem)
            yield from (derived(folder, table) for table in again.tables)
            yield claims(folder, record, again)
        yield unchanged(record)
    if not named:
        yield Item(str(folder), "wrong", "no record there")
    elif nobodys := sorted({path.name for path in folder.iterdir()} - named - {page.NAME}):
        yield Item(str(folder), "stale", f"in no record: {', '.join(nobodys)}")


def summary(items: list[Item]) -> str:
    """How many items have each verdict."""
    counts = [f"{sum(item.verdict == verdict for item in items)} {verdict}" for verdict in STATUS]
    return f"{len(items)} items: {', '.join(counts)}."


def files(folder: Path, record: Mapping[str, Any]) -> Item:
    """Whether the files that a record names are there, and have its digests."""
    name, digests = f"{record['notebook']}, files", record.get("digests", {})
    missing = [file for file in record["files"] if not (folder / file).is_file()]
    others = [file for file in digests if file not in missing and records.digest(folder / file) != digests[file]]
    wrong = [f"{file} is missing" for file in missing] + [f"{file} is not the record's" for file in others]
    if wrong:
        return Item(name, "wrong", "; ".join(wrong))
    without = len(record["files"]) - len(digests)
    return Item(name, "fine", f"{len(record['files'])} there, {without or 'none'} without digest")


def derived(folder: Path, table: Derived) -> Item:
    """Whether a table follows from its rows."""
    return _compared(f"{table.stem}.csv", lambda: table.difference(folder), f"follows from {', '.join(table.sources)}")


def claims(folder: Path, record: Mapping[str, Any], again: Follows) -> Item:
    """Whether those claims of a record that follow from the rows are in it, each word and figure."""
    known = record["claims"]

    def difference() -> str:
        made = again.claims(folder, known)
        return "; ".join(f"{one.claim}: now {one.ours} ({one.verdict})" for one in made if one not in known)

    return _compared(f"{record['notebook']}, claims", difference, "those that follow from its tables are the same")


def index(folder: Path) -> Item:
    """Whether the table of all claims is that of the records."""

    def difference() -> str:
        table = report.claims_table(folder)
        same = table.to_csv(index=False, lineterminator="\n") == (folder / "claims.csv").read_text(encoding="utf-8")
        shown = report.claims_view(table) in (folder / "claims.md").read_text(encoding="utf-8")
        return "" if same and shown else "not those of the records: run the index"

    return _compared("claims.csv, claims.md", difference, "those of the records")


def unchanged(record: Mapping[str, Any]) -> Item:
    """Whether the code that a notebook uses, and its own, is that of the commit that made its record."""
    name, commit = f"{record['notebook']}, code", record["commit"]
    notebook = NOTEBOOKS / f"{record['notebook']}.ipynb"
    if commit.endswith("+changes"):
        return Item(name, "stale", f"made with changes to {commit.removesuffix('+changes')} that no commit has")
    try:
        found = code.changed(code.used_by(notebook), commit)
    except (OSError, subprocess.CalledProcessError):
        return Item(name, "fine", f"not told: git here does not know commit {commit}")
    if found:
        few = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        return Item(name, "stale", f"changed since {commit}: {few}")
    return Item(name, "fine", f"as at {commit}")


def document(path: Path, blocks: Callable[[], Mapping[str, str]]) -> Item:
    """Whether the marked blocks of a document are what the records say."""

    def difference() -> str:
        text = path.read_text(encoding="utf-8")
        if report.WRITTEN not in text:
            return "has no marked block"
        return _parted(text, report.filled(text, blocks()))

    return _compared(path.name, difference, "its marked blocks are what the records say")


def whole_page(path: Path, made: Callable[[], str], made_with: str) -> Item:
    """Whether the report is what would be made now.

    **Arguments:** `made`: the report, made again; `made_with`: the versions of what would make it, as it says them.
    """
    if not path.exists():
        return Item(path.name, "stale", "not there: `python -m irlg report` makes it")
    text = path.read_text(encoding="utf-8")
    if made_with not in text:
        return Item(path.name, "stale", f"made with other versions than {made_with}")
    return _compared(path.name, lambda: _parted(text, made()), "what records and notebooks say")


def _parted(text: str, right: str) -> str:
    """Where two texts part, and what they say there; empty where they do not."""
    if text == right:
        return ""
    pairs = enumerate(zip(text, right, strict=False))
    place = next((at for at, (one, other) in pairs if one != other), min(len(text), len(right)))
    line, start = text.count("\n", 0, place) + 1, max(text.rfind("\n", 0, place) + 1, place - 40)
    here, there = (one[start : place + 40].partition("\n")[0] for one in (text, right))
    return f"line {line} says “{here}”, the records “{there}”"


def _compared(name: str, difference: Callable[[], str], good: str) -> Item:
    try:
        found = difference()
    except Exception as error:  # of any kind: files that were tampered with can be anything
        return Item(name, "wrong", f"cannot be made again: {type(error).__name__}: {error}")
    return Item(name, "wrong", found) if found else Item(name, "fine", good)
