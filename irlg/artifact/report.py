"""The claims table, from the records that the notebooks wrote."""

import re
from pathlib import Path

import pandas as pd

from irlg.artifact import records
from irlg.artifact.tables import markdown

MARKS = ("<!-- claims: written by `python -m irlg readme` -->", "<!-- /claims -->")


def claims_table(folder: Path) -> str:
    """All claims of a folder of records as a Markdown table, in the appendix's order.

    `seconds` are those of the whole notebook that a claim comes from.
    """
    rows = []
    for path in sorted(folder.glob("[A-Z]_*.json")):
        record = records.read_record(path)
        rows += [{**vars(claim), "seconds": f"{record['seconds']:.0f}"} for claim in record["claims"]]
    if not rows:
        return "No claims: no notebook has finished."
    return markdown(pd.DataFrame(rows).rename(columns={"n": "N"}).astype(str))


def failures(profile: str) -> list[tuple[str, str, Path]]:
    """The notebooks that did not finish: name, first line of the error, and how far they came."""
    found = []
    for partial in sorted(Path("notebooks/executed", profile).glob("*.partial.ipynb")):
        name = partial.name.removesuffix(".partial.ipynb")
        error = partial.with_name(f"{name}.error")
        text = error.read_text(encoding="utf-8").strip() if error.exists() else "stopped before its end"
        found.append((name, text, partial))
    return found


def readme_with(table: str, readme: str) -> str:
    """`readme` with `table` between the marks."""
    start, end = MARKS
    pattern = re.escape(start) + ".*" + re.escape(end)
    return re.sub(pattern, lambda _: f"{start}\n{table}\n{end}", readme, flags=re.DOTALL)
