"""What records make together: all claims, a notebook's part of the index, README's summary, what failed."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Image, Markdown

from irlg.artifact import records
from irlg.artifact.tables import markdown

WRITTEN = "written by `python -m irlg readme`"
EMBEDDED = 128 * 1024  # bytes of a picture that the index shows, at most


def claims_table(folder: Path) -> pd.DataFrame:
    """All claims of a folder of records, in the appendix's order.

    `seconds` are those of the whole notebook that a claim comes from.
    """
    rows = []
    for path in sorted(folder.glob("[A-Z]_*.json")):
        record = records.read_record(path)
        about = {"notebook": record["notebook"], "seconds": record["seconds"]}
        rows += [{**vars(claim), "outcome": claim.outcome, **about} for claim in record["claims"]]
    return pd.DataFrame(rows)


def claims_view(table: pd.DataFrame) -> str:
    """`claims_table` as Markdown."""
    if table.empty:
        return "No claims: no notebook has finished."
    shown = table.drop(columns=["notebook", "outcome"]).assign(seconds=table.seconds.map("{:.0f}".format))
    return markdown(shown.rename(columns={"n": "N"}).astype(str))


def part(record: Mapping[str, Any], out_dir: Path, link: str, beyond: bool) -> Iterator[Markdown | Image]:
    """A notebook's part of the index: what it did, its tables, its first small picture, and links to all else.

    **Arguments:** `link`, the way from the index to `out_dir`; `beyond` the appendix tables too are linked, not shown.
    """
    data = ", ".join(dict.fromkeys(record["data"])) or "none"
    yield Markdown(f"## [{record['title']}]({record['notebook']}.ipynb)")
    yield Markdown(
        f"{record['what']} N = {record['n']:,}; {record['seconds']:.0f} s on {record['device']}; data: {data}."
        f" Commit {record['commit']}."
    )
    tables = [name for name in record["files"] if name.endswith(".md")]
    pictures = [name for name in record["files"] if name.endswith(".png")]
    shown = [] if beyond else tables
    for name in shown:
        yield Markdown((out_dir / name).read_text(encoding="utf-8"))
    small = [name for name in pictures if (out_dir / name).stat().st_size <= EMBEDDED][:1]
    for name in small:
        yield Image(data=(out_dir / name).read_bytes(), width=800)
    if linked := [name for name in (*tables, *pictures) if name not in (*shown, *small)]:
        yield Markdown("More: " + ", ".join(f"[{name}]({link}{name})" for name in linked) + ".")


def failures(profile: str) -> list[tuple[str, str, Path]]:
    """The notebooks that did not finish: name, first line of the error, and how far they came."""
    found = []
    for partial in sorted(Path("notebooks/executed", profile).glob("*.partial.ipynb")):
        name = partial.name.removesuffix(".partial.ipynb")
        error = partial.with_name(f"{name}.error")
        text = error.read_text(encoding="utf-8").strip() if error.exists() else "stopped before its end"
        found.append((name, text, partial))
    return found


def filled(document: str, blocks: Mapping[str, str]) -> str:
    """`document` with each block between its marks, `<!-- NAME: WRITTEN -->` and `<!-- /NAME -->`.

    **Raises:** `ValueError` for a mark whose block there is not.
    """

    def block(found: re.Match[str]) -> str:
        if (name := found[1]) not in blocks:
            raise ValueError(f"{name}: expected one of the blocks {', '.join(blocks)}")
        return f"<!-- {name}: {WRITTEN} -->\n{blocks[name]}\n<!-- /{name} -->"

    return re.sub(rf"<!-- ([\w-]+): {re.escape(WRITTEN)} -->\n.*?<!-- /\1 -->", block, document, flags=re.DOTALL)
