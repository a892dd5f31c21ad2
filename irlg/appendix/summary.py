"""What the notebooks found, a row an element of the appendix.

A letter's `findings(folder, claims)`, in its module or its package's `claims`, says what its tables in `folder` show.
One without gets a row of its first claim. Beside it stands what can be made again of the rows in `folder`: tables, in
`DERIVED`, and `claims_again(folder, claims)`.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import irlg.appendix
from irlg.appendix.published import ELEMENTS
from irlg.artifact.claims import Claim
from irlg.artifact.derived import Follows
from irlg.artifact.records import read_record
from irlg.artifact.summary import Row

Findings = Callable[[Path, Sequence[Claim]], list[Row]]


def notebooks() -> list[str]:
    """The notebooks' names, in the appendix's order: those of the modules beside this one that begin with a letter."""
    names = [module.name for module in pkgutil.iter_modules(irlg.appendix.__path__)]
    return sorted(name[0].upper() + name[1:] for name in names if re.match("[a-z]_", name))


def summary(folder: Path) -> list[Row]:
    """The rows of a folder of records, of every notebook, run or not."""
    rows = []
    for name in notebooks():
        record = folder / f"{name}.json"
        if record.exists():
            claims = read_record(record)["claims"]
            findings: Findings = getattr(_teller(name), "findings", first_claim)
            found = findings(folder, claims)
        else:
            found = [Row("", "not run", ())]
        for row in found:
            parts = (name[0], ELEMENTS.get(name[0], "beyond"), row.part)
            rows.append(replace(row, element=", ".join(filter(None, parts)), notebook=name))
    return rows


def follows(name: str) -> Follows:
    """What of a notebook can be made again of its rows."""
    teller = _teller(name)
    return Follows(getattr(teller, "DERIVED", ()), getattr(teller, "claims_again", lambda folder, claims: []))


def _teller(name: str) -> ModuleType:
    letter = importlib.import_module(f"irlg.appendix.{name.lower()}")
    if hasattr(letter, "__path__") and any(module.name == "claims" for module in pkgutil.iter_modules(letter.__path__)):
        letter = importlib.import_module(f"{letter.__name__}.claims")
    return letter


def first_claim(folder: Path, claims: Sequence[Claim]) -> list[Row]:
    """The row of a notebook that says nothing more: its first claim, and how many there are."""
    return [Row(claims[0].paper, f"{claims[0].claim}: {claims[0].ours}", claims)] if claims else [Row("", "", ())]
