#!/usr/bin/env bash
# Regenerates the appendix: prepares an environment, then lets Snakemake run the notebooks.
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  cat <<'USAGE'
usage: ./run_all.sh [options]     run the notebooks, rebuild figures/ and its report, print a summary
       ./run_all.sh test          lint, types and tests

  --profile smoke|quick|paper    how much to run (quick: minutes on two cores; paper: all trials)
  --data DIR                     where the datasets lie or go (IRLG_DATA, else data/)
  --device auto|cpu|cuda         auto takes a GPU where there is one
  --policy auto|real|stand-in    auto lets a stand-in replace data that are missing; real refuses
  --jobs N                       notebooks at a time, sharing the cores (2; on one core 1)
  --only LETTERS                 these notebooks and the index: --only CF
  --force                        run again what is up to date
  --help                         this text
USAGE
}

fail() { printf 'run_all.sh: %s\n' "$*" >&2; exit 2; }

choice() { # name value words...
  local name=$1 value=$2 word; shift 2
  for word in "$@"; do [[ $value == "$word" ]] && return; done
  fail "$name: expected one of $*, got '$value'"
}

action=run profile=quick data=${IRLG_DATA:-} device=auto policy=auto jobs= only= force=
while (($#)); do
  case $1 in
    test) action=test ;;
    --help | -h) usage; exit ;;
    --force) force=yes ;;
    --profile | --data | --device | --policy | --jobs | --only)
      (($# > 1)) || fail "$1 needs a value; see --help"
      declare "${1#--}=$2"; shift ;;
    *) fail "unknown option '$1'; see --help" ;;
  esac
  shift
done
choice --profile "$profile" smoke quick paper
choice --device "$device" auto cpu cuda
choice --policy "$policy" auto real stand-in
[[ -z $jobs || $jobs =~ ^[1-9][0-9]*$ ]] || fail "--jobs: expected a whole number of at least 1, got '$jobs'"
[[ -z $data || $data == /* ]] || data=$caller/$data
[[ $only =~ ^[A-Z]*$ ]] || fail "--only: expected capital letters such as CF, got '$only'"

# The environment: the active one if it has this checkout's irlg and what runs it, else .venv.
complete() {
  "$1" - "$PWD" <<'PYTHON' 2>/dev/null
import sys
from importlib.util import find_spec
from pathlib import Path
sys.path = [entry for entry in sys.path if entry]  # not the current folder, where irlg always is
spec = find_spec("irlg")
ours = spec is not None and Path(spec.origin).parents[1] == Path(sys.argv[1]).resolve()
sys.exit(not (ours and all(map(find_spec, ("torch", "papermill", "snakemake")))))
PYTHON
}

install() {
  local base
  for base in python3.11 python3 python; do
    "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
    base=
  done
  [[ $base ]] || fail "Python 3.11 or newer is needed, and none was found"
  echo "Preparing .venv: about 6 GB and some minutes, once"
  rm -f .venv/complete
  "$base" -m venv .venv
  .venv/bin/python -m pip install -r requirements.lock >.venv/install.log 2>&1 &
  local pip=$! seconds=0
  while kill -0 "$pip" 2>/dev/null; do
    sleep 1
    ((++seconds % 20)) || echo "  installing, $seconds s, $(du -sm .venv | cut -f1) MB"
  done
  wait "$pip" && .venv/bin/python -m pip install --no-deps --editable . >>.venv/install.log 2>&1 ||
    { tail -n 5 .venv/install.log >&2; fail "the installation failed; .venv/install.log has all of it"; }
  cat requirements.lock pyproject.toml >.venv/complete
}

if [[ ${VIRTUAL_ENV:-${CONDA_PREFIX:-}} ]] && complete python; then
  python=$(command -v python)
else
  cat requirements.lock pyproject.toml | cmp -s - .venv/complete && complete .venv/bin/python || install
  python=$PWD/.venv/bin/python
fi
export PYTHONDONTWRITEBYTECODE=1

if [[ $action == test ]]; then
  "$python" -m ruff check .
  "$python" -m ruff format --check .
  # Side by side, as neither keeps two cores busy: the tests that run whole workflows, and all else.
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  "$python" -m pytest tests/test_workflow.py >"$log" 2>&1 &
  workflow=$! status=0
  "$python" -m mypy || status=$?
  "$python" -m pytest --ignore=tests/test_workflow.py || status=$?
  wait "$workflow" || status=$?
  cat "$log"
  exit "$status"
fi

# The lock is Snakemake's process's own: it goes with it, however that ends, and the locks that a killed Snakemake
# leaves behind can be removed under it.
mkdir -p .run
snakemake() {
  "$python" -c '
import fcntl, shutil, sys
lock = open(".run/lock", "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    print("run_all.sh: another run is going on here", file=sys.stderr)
    sys.exit(3)
shutil.rmtree(".snakemake/locks", ignore_errors=True)
from snakemake.cli import main
main(sys.argv[1:])' "$@"
}

cores=$("$python" -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')
: "${jobs:=$((cores > 1 ? 2 : 1))}" # two notebooks with a core each are done sooner than one with both
threads=$((cores > jobs ? cores / jobs : 1))
status=0
snakemake --cores "$((threads * jobs))" --quiet all --keep-going --rerun-incomplete ${force:+--forceall} \
  --config profile="$profile" device="$device" policy="$policy" data="$data" only="$only" threads="$threads" ||
  status=$?
((status != 3)) || exit 2
if compgen -G "notebooks/executed/$profile/*.partial.ipynb" >/dev/null; then
  "$python" notebooks/batch.py index --profile "$profile" || status=1 # of what did finish
  "$python" -m irlg report --profile "$profile" || status=1
fi
echo
"$python" -m irlg summary --profile "$profile" --only "$only" || status=1
exit "$status"
