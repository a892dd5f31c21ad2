"""Run one notebook at a profile with papermill: one job of the Snakefile.

    python notebooks/batch.py NAME --profile quick      (from the checkout's folder)

This script alone stands outside the package: without torch to import it starts in a third of the time.
"""

import argparse
import json
import os
import resource
import sys
import threading
import time
from pathlib import Path

import papermill
import yaml
from nbclient.exceptions import DeadKernelError

HEARTBEAT = 30  # seconds between lines of progress
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
CELL_LIMIT = 3 * 3600  # seconds a cell may take: papermill's default is for ever


def run(name: str, profile: str, common: dict[str, str]) -> str:
    """Run `notebooks/NAME.ipynb`, with `common` parameters where it declares them.

    The executed copy grows as `notebooks/executed/PROFILE/NAME.partial.ipynb` and loses `.partial`
    at the end; on failure it stays, beside `NAME.error`. **Returns:** the error's first line, or "".
    """
    folder = Path("notebooks/executed", profile)
    executed, partial, error = (folder / f"{name}{end}" for end in (".ipynb", ".partial.ipynb", ".error"))
    folder.mkdir(parents=True, exist_ok=True)
    for old in (executed, partial, error):
        old.unlink(missing_ok=True)
    start, done = time.monotonic(), threading.Event()
    say(f"{name}: started")
    threading.Thread(target=_report, args=(name, partial, start, done), daemon=True).start()
    failure = ""
    try:
        _in_python(Path("notebooks", f"{name}.ipynb"), partial)
        papermill.execute_notebook(
            str(partial),
            str(partial),
            parameters=_parameters(partial, name, profile, common),
            kernel_name="python3",
            language="python",
            progress_bar=False,
            execution_timeout=CELL_LIMIT,
            # Else it warns, each time, of local TCP, and now and then of the interrupt with which it is shut down.
            extra_arguments=["--IPKernelApp.log_level=50"],
        )
        _tidy(partial)
        partial.replace(executed)
    except Exception as problem:  # whatever it is, it is this notebook's failure and not the others'
        failure = _first_line(problem)
        error.write_text(failure + "\n", encoding="utf-8")
    done.set()
    outcome = f"FAILED, {failure}" if failure else "done"
    say(f"{name}: {outcome} ({time.monotonic() - start:.0f} s)")
    return failure


def say(line: str) -> None:
    """Print a line of progress at once, in one piece: another notebook's may come at the same moment."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


def _in_python(source: Path, copy: Path) -> None:
    """Copy a notebook, which says that it is Python's whatever an editor has made of it: papermill asks."""
    content = json.loads(source.read_text(encoding="utf-8"))
    content["metadata"] |= {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    copy.write_text(json.dumps(content), encoding="utf-8")


def _parameters(copy: Path, name: str, profile: str, common: dict[str, str]) -> dict[str, object]:
    """The profile's parameters for a notebook; papermill itself would pass unknown ones on."""
    profiles = yaml.safe_load(Path("notebooks/profiles.yaml").read_text(encoding="utf-8"))
    declared = papermill.inspect_notebook(str(copy))
    chosen = profiles[profile].get(name, {})
    if unknown := sorted(set(chosen) - set(declared)):
        raise ValueError(f"profiles.yaml, {profile}: unknown parameter {unknown}; there are {list(declared)}")
    return {**chosen, **{key: value for key, value in common.items() if key in declared}}


def _first_line(problem: Exception) -> str:
    name = getattr(problem, "ename", type(problem).__name__)
    lines = str(getattr(problem, "evalue", problem)).strip().splitlines()
    said = lines[0] if lines else "no message"
    if isinstance(problem, DeadKernelError):
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # of KiB, and of kernels that have ended
        said += f" (perhaps for want of memory: it had taken up to {peak:.1f} GiB)"
    return f"{name}: {said}"


def _report(name: str, partial: Path, start: float, done: threading.Event) -> None:
    while not done.wait(HEARTBEAT):
        try:  # papermill saves the copy after each cell, perhaps just now
            cells = json.loads(partial.read_text(encoding="utf-8"))["cells"]
            status = [c["metadata"]["papermill"]["status"] for c in cells if c["cell_type"] == "code"]
            where = f"code cell {status.count('completed') + 1} of {len(status)}"
        except (OSError, ValueError, KeyError):
            where = "starting"
        say(f"{name}: {where}, {time.monotonic() - start:.0f} s")


def _tidy(path: Path) -> None:
    """Remove the paths and clock times that papermill and its kernel leave in the copy, and mend its links."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for part in (content, *content["cells"]):
        for key in ("papermill", "execution"):
            part["metadata"].pop(key, None)
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":  # it lies two folders further down than the notebook that it is of
            cell["source"] = [line.replace("](../", "](../../../") for line in cell["source"]]
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a notebook of notebooks/, without .ipynb")
    parser.add_argument("--profile", choices=("smoke", "quick", "paper"), default="quick")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--policy", choices=("auto", "real", "stand-in"), default="auto", help="of missing data")
    parser.add_argument("--data", default="data", help="folder of the datasets")
    given = parser.parse_args()
    # By environment, so that no path enters the executed notebook. The job `data` has downloaded.
    os.environ |= {"IRLG_DATA": str(Path(given.data).resolve()), "IRLG_DOWNLOAD": "0", "IRLG_PREFIX": sys.prefix}
    os.environ["IRLG_JOBS"] = str(Path(".run/jobs").resolve())  # what takes long is kept there, and found again
    common = {"device": given.device, "data_policy": given.policy, "out_dir": f"figures/{given.profile}"}
    return 1 if run(given.name, given.profile, common) else 0


if __name__ == "__main__":
    sys.exit(main())
