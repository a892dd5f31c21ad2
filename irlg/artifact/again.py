"""One cheap notebook run again, and what it writes compared with what was committed."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from irlg.artifact import code, records
from irlg.artifact.verify import Item

CHEAP = "A_gradient_formula"  # seconds, and it needs no data
# Its figures are errors of rounding. Another processor, or another number of threads, adds in another order.
FACTOR = 10.0
ALIKE = ("system", "device", "threads")


def run_again(folder: Path, name: str = CHEAP) -> Item:
    """Run a notebook with the parameters of its record in `folder`, into a temporary one, and compare tables.

    Bit for bit where versions, system, device and threads are those of the record, else within `FACTOR`. A difference
    within it on a like machine is stale: what is committed is not what would be written today.
    """
    committed = records.read_record(folder / f"{name}.json")
    with tempfile.TemporaryDirectory() as place:
        if error := _run(name, committed["parameters"], Path(place)):
            return Item(f"{name}, run again", "wrong", f"fails: {error}")
        return compare(committed, folder, records.read_record(Path(place, f"{name}.json")), Path(place))


def compare(committed: dict[str, Any], folder: Path, again: dict[str, Any], place: Path) -> Item:
    """Two records of a notebook and the tables beside them."""
    name = f"{committed['notebook']}, run again"
    tables = [file for file in committed["files"] if file.endswith(".csv")]
    wrong = [f"{file} {why}" for file in tables if (why := difference(folder / file, place / file))]
    if wrong:
        return Item(name, "wrong", "; ".join(wrong))
    if all((folder / file).read_bytes() == (place / file).read_bytes() for file in tables):
        return Item(name, "fine", f"{', '.join(tables)} bit for bit, {again['seconds']} s")
    within = f"{', '.join(tables)} within a factor of {FACTOR:g}, not bit for bit"
    other = [key for key in ALIKE if committed[key] != again[key]]
    other += [key for key, version in committed["versions"].items() if again["versions"].get(key) != version]
    if other:
        return Item(name, "fine", f"{within}: other {', '.join(other)}")
    return Item(name, "stale", f"{within}, on a like machine (its processor is not recorded)")


def difference(committed: Path, again: Path) -> str:
    """How a table differs in anything but numbers, or in these by more than `FACTOR`; empty where it does not."""
    one, other = pd.read_csv(committed), pd.read_csv(again)
    if list(one) != list(other) or len(one) != len(other):
        return "has other rows or columns"
    for column in one:
        if one[column].dtype.kind != "f":
            if not one[column].equals(other[column]):
                return f"differs in {column}"
            continue
        ratios = one[column].clip(lower=1e-17) / other[column].clip(lower=1e-17)
        if not ratios.between(1 / FACTOR, FACTOR).all():
            return f"differs in {column} by a factor of {max(ratios.max(), 1 / ratios.min()):.3g}"
    return ""


def _run(name: str, parameters: dict[str, Any], place: Path) -> str:
    """Run it in a process of its own. **Returns:** the last line of its error, or nothing."""
    given = place / "parameters.json"
    given.write_text(json.dumps({**parameters, "out_dir": str(place)}), encoding="utf-8")
    notebook = code.ROOT / "notebooks" / f"{name}.ipynb"
    command = [sys.executable, "-m", "papermill", str(notebook), str(place / "ran.ipynb"), "-f", str(given)]
    command += ["-k", "python3", "--language", "python", "--no-progress-bar", "--execution-timeout", "600"]
    result = subprocess.run(command, cwd=code.ROOT, capture_output=True, text=True)
    if not result.returncode:
        return ""
    return (result.stderr.strip() or f"exit status {result.returncode}").splitlines()[-1]
