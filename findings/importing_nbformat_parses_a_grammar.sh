#!/usr/bin/env bash
# Finding: `import nbformat`, and with it papermill, nbconvert and whatever reads a notebook, takes several times as long
# where rfc3987-syntax is installed. jsonschema looks whether it is there by importing it, for formats that notebooks do
# not have, and its import builds a parser of a grammar (by Lark) each time. JupyterLab's server brings it, by
# jupyter_events and jsonschema[format-nongpl], so with `jupyter` installed everybody pays, in every process.
# It needs no part of irlg, only these packages, which it installs from PyPI in a temporary folder (half a minute).
# Exits with 0 while that is so, and not with 0 once it is not, or could not be tried. Times are CPU seconds of whole
# processes, the least of three of each in turns.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for venv in without with; do
  python3 -m venv "$folder/$venv"
  "$folder/$venv/bin/python" -m pip install --quiet --no-cache-dir nbformat==5.11.1 jsonschema==4.26.0
done
"$folder/with/bin/python" -m pip install --quiet --no-cache-dir rfc3987-syntax==1.1.0 lark==1.3.1
cd "$folder"

"$folder/with/bin/python" - "$folder" <<'PYTHON'
import os
import subprocess
import sys


def seconds(venv: str, code: str) -> float:
    before = os.times()
    subprocess.run([f"{sys.argv[1]}/{venv}/bin/python", "-c", code], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


least = {"without": float("inf"), "with": float("inf")}
for _ in range(3):
    for venv in least:
        least[venv] = min(least[venv], seconds(venv, "import nbformat"))
loaded = "import sys, nbformat; print(*sorted({'lark', 'rfc3987_syntax'} & {*sys.modules}) or ['none of them'])"
for venv, taken in least.items():
    versions = f"nbformat 5.11.1, jsonschema 4.26.0, {venv} rfc3987-syntax 1.1.0"
    print(f"{versions}: import takes {taken:.2f} s; loaded: ", end="", flush=True)
    subprocess.run([f"{sys.argv[1]}/{venv}/bin/python", "-c", loaded], check=True)
print(f"{least['with'] / least['without']:.1f} times as long; expected: about as long, as no notebook has such a format")
if least["with"] < 2 * least["without"]:
    raise SystemExit("The finding no longer holds: the import is not twice as long.")
PYTHON
