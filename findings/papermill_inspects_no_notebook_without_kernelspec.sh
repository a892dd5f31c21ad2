#!/usr/bin/env bash
# Finding: papermill runs a notebook that names no kernel where it is told one, but does not say what parameters that
# notebook has: inspect_notebook takes neither kernel nor language, and --help-notebook looks past -k and -l, with the
# message that no override was provided. Editors leave such notebooks, and they are valid.
# It needs no part of irlg, only papermill and a kernel, which it installs from PyPI in a temporary folder (a minute).
# Exits with 0 while that is so, and not with 0 once it is not, or could not be tried.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-cache-dir papermill==2.7.0 ipykernel==7.4.0
cd "$folder"

cat >bare.ipynb <<'NOTEBOOK'
{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [
  {"cell_type": "code", "id": "a", "execution_count": null, "outputs": [],
   "metadata": {"tags": ["parameters"]}, "source": "trials: int = 5  # how many"},
  {"cell_type": "code", "id": "b", "execution_count": null, "outputs": [], "metadata": {}, "source": "print(trials)"}
]}
NOTEBOOK

echo "papermill $(venv/bin/papermill --version | cut -d " " -f 1)"
venv/bin/papermill bare.ipynb ran.ipynb -k python3 -l python -p trials 7 --no-progress-bar --log-level ERROR
grep -q '"7\\n"' ran.ipynb
echo "run with -k python3 -l python: prints 7, the parameter it was given"

venv/bin/python - <<'PYTHON'
import papermill

try:
    print("inspect_notebook:", papermill.inspect_notebook("bare.ipynb"))
except ValueError as error:
    print("inspect_notebook: ValueError:", error)
else:
    raise SystemExit("The finding no longer holds: the notebook is inspected.")
PYTHON

if venv/bin/papermill --help-notebook -k python3 -l python bare.ipynb >help.txt 2>&1; then
  echo "The finding no longer holds: the notebook's parameters are shown." && exit 1
fi
echo "--help-notebook -k python3 -l python: $(tail -n 1 help.txt)"
echo "expected: the parameters, as the kernel and the language were given"
