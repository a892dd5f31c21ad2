"""Runs that fail, are killed or are refused, and what the next one makes of it."""

import fcntl
import json
import os
import re
import signal
import subprocess

from tests.checkout import environment, report, run_all, started


def break_cell(checkout, name, source):
    """Put a line at the head of a notebook's fourth code cell; returns how to mend it."""
    path = checkout / "notebooks" / f"{name}.ipynb"
    whole = path.read_text(encoding="utf-8")
    notebook = json.loads(whole)
    [cell for cell in notebook["cells"] if cell["cell_type"] == "code"][3]["source"].insert(0, source + "\n")
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return lambda: path.write_text(whole, encoding="utf-8")


def test_a_cell_that_fails_and_a_kernel_that_is_killed_stop_their_notebooks_and_no_other(checkout, data):
    mend = [
        break_cell(checkout, "A_gradient_formula", "import os; os.kill(os.getpid(), 9)"),
        break_cell(checkout, "B_architectures", "raise ValueError('first line\\nsecond line')"),
    ]
    figures, executed = (checkout / folder / "smoke" for folder in ("figures", "notebooks/executed"))
    options = "--only", "ABE", "--data", str(data)
    failed = run_all(checkout, *options)
    assert failed.returncode != 0
    names = ["A_gradient_formula", "B_architectures", "E_algorithm", "index"]  # the index of what did finish
    assert sorted(started(failed.stdout)) == names
    assert re.search(r"A_gradient_formula FAILED: DeadKernelError.*: it had taken up to \d+\.\d GiB", failed.stdout)
    assert "B_architectures FAILED: ValueError: first line\n" in failed.stdout
    assert "This notebook did not finish: ValueError: first line." in report(checkout)
    partial = json.loads((executed / "B_architectures.partial.ipynb").read_text(encoding="utf-8"))
    assert "ValueError" in json.dumps(partial) and not (executed / "B_architectures.ipynb").exists()
    assert [(figures / f"{name}.json").exists() for name in names] == [False, False, True, True]
    for one in mend:
        one()
    mended = run_all(checkout, *options)
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert sorted(started(mended.stdout)) == ["A_gradient_formula", "B_architectures", "index"]
    assert all((figures / f"{name}.json").exists() for name in names)
    assert not list(executed.glob("*.partial.ipynb")) and not list(executed.glob("*.error"))


def test_a_killed_run_goes_on_where_it_stopped(checkout, data):
    for name in ("A_gradient_formula", "B_architectures"):
        (checkout / "figures" / "smoke" / f"{name}.json").unlink(missing_ok=True)
    command = ["./run_all.sh", "--profile", "smoke", "--only", "AB", "--jobs", "1", "--data", str(data)]
    run = subprocess.Popen(
        command, cwd=checkout, env=environment(checkout), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    lines = []
    while sum("started" in line for line in lines) < 2:  # one is done, the other has begun
        lines.append(run.stdout.readline())
        assert lines[-1], lines
    os.killpg(run.pid, signal.SIGKILL)
    run.stdout.close()
    run.wait()
    rest = run_all(checkout, "--only", "AB", "--data", str(data))
    assert rest.returncode == 0, rest.stdout + rest.stderr
    assert started(rest.stdout) == [started("".join(lines))[1], "index"]


def test_two_runs_at_once_are_refused(checkout):
    (checkout / ".run").mkdir(exist_ok=True)
    with (checkout / ".run" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = run_all(checkout)
    assert refused.returncode == 2 and "another run is going on here" in refused.stderr
    assert "claims" not in refused.stdout


def test_paths_with_blanks_and_relative_to_the_caller(checkout, tmp_path):
    (tmp_path / "my data").mkdir()
    command = [str(checkout / "run_all.sh"), "--profile", "smoke", "--only", "E", "--data", "my data"]
    result = subprocess.run(command, cwd=tmp_path, env=environment(checkout), capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"not in {tmp_path}/my data/MNIST/raw" in result.stdout
