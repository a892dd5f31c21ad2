"""The workflow as users run it: `./run_all.sh` and papermill, in a copy of the checkout."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

NAMES = (
    "A_gradient_formula",
    "B_architectures",
    "C_batchnorm_dropout",
    "D_gradient_inversion",
    "E_algorithm",
    "F_data_distributions",
    "G_lattice_counts",
    "H_clients",
    "I_trained_networks",
    "J_comparison",
    "K_defences",
    "index",
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what git tracks or would track, as a clone would have it."""
    copy = tmp_path_factory.mktemp("copy") / "irlg"
    everywhere = shutil.ignore_patterns(".*", "executed", "figures", "*.egg-info", "__pycache__")

    def left_out(folder, names):
        return everywhere(folder, names) | ({"data"} if Path(folder) == ROOT else set())

    shutil.copytree(ROOT, copy, ignore=left_out)
    return copy


def environment(checkout):
    """An activated environment in which `irlg` is that copy's."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Over the network only where a person asks; and the interpreter's own warnings switch stays out.
    more = {"PATH": path, "VIRTUAL_ENV": sys.prefix, "PYTHONPATH": str(checkout), "IRLG_DOWNLOAD": "0"}
    return {**os.environ, **more}


def run_all(checkout, *options):
    command = ["./run_all.sh", "--profile", "smoke", *options]
    return subprocess.run(command, cwd=checkout, env=environment(checkout), capture_output=True, text=True)


def papermill(checkout, folder, *options):
    notebook = checkout / "notebooks" / "F_data_distributions.ipynb"
    command = [sys.executable, "-m", "papermill", str(notebook), "out.ipynb", "--no-progress-bar", *options]
    return subprocess.run(command, cwd=folder, env=environment(checkout), capture_output=True, text=True)


def break_cell(checkout, name, source):
    """Put a line at the head of a notebook's fourth code cell; returns how to mend it."""
    path = checkout / "notebooks" / f"{name}.ipynb"
    whole = path.read_text(encoding="utf-8")
    notebook = json.loads(whole)
    [cell for cell in notebook["cells"] if cell["cell_type"] == "code"][3]["source"].insert(0, source + "\n")
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return lambda: path.write_text(whole, encoding="utf-8")


def started(result):
    return re.findall(r"^[\d:]+ (\w+): started", result.stdout, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def smoke(checkout, data):
    result = run_all(checkout, "--data", str(data))
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_every_notebook_executes_and_leaves_a_record(checkout, smoke):
    assert sorted(started(smoke)) == sorted(NAMES)
    for name in NAMES:
        record = json.loads((checkout / "figures" / "smoke" / f"{name}.json").read_text(encoding="utf-8"))
        assert record["notebook"] == name and record["seconds"] > 0 and record["device"]
        assert all((checkout / "figures" / "smoke" / file).is_file() for file in record["files"])
        text = (checkout / "notebooks" / "executed" / "smoke" / f"{name}.ipynb").read_text(encoding="utf-8")
        outputs = [o for c in json.loads(text)["cells"] if c["cell_type"] == "code" for o in c["outputs"]]
        assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
        assert str(checkout) not in text and sys.prefix not in text
        claim = next(o for o in outputs if "data" in o)["data"]["text/markdown"]
        assert "".join(claim).startswith("# ") and "Running" not in "".join(claim)


def test_the_report_has_every_part(checkout, smoke):
    text = report(checkout)
    assert re.findall(r'<section id="(\w+)" class="part">', text) == list(NAMES[:-1])
    assert re.findall(r'<details class="notebook" id="notebook-(\w+)">', text) == list(NAMES[:-1])
    pictures = list((checkout / "figures" / "smoke").glob("*.png"))
    assert text.count("<figure ") == text.count('src="data:image/png;base64,') == len(pictures) > 0
    claims = (checkout / "figures" / "smoke" / "claims.md").read_text(encoding="utf-8")
    assert ("Stand-ins for" in text) == ("stand-in for" in claims) and "has not run" not in text


def report(checkout):
    return (checkout / "figures" / "smoke" / "report.html").read_text(encoding="utf-8")


def outside_provenance(text):
    return re.sub(r'<section id="provenance">.*?</section>', "", text, flags=re.DOTALL)


def test_what_a_run_leaves_is_fine(checkout, smoke):
    command = [sys.executable, "-m", "irlg", "verify", "--profile", "smoke"]
    result = subprocess.run(command, cwd=checkout, env=environment(checkout), capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("none without digest") == len(NAMES)


def test_the_terminal_ends_with_a_summary(checkout, smoke):
    _, end = smoke.stdout.split("\n\n", 1)
    assert max(map(len, end.splitlines())) <= 101  # a combining character takes no column
    summary = re.search(r"^appendix .*?\n\n", end, re.MULTILINE | re.DOTALL)[0]
    assert [re.match(r"\S", line)[0] for line in summary.splitlines()[2:] if line[:1].strip()] == list("ABCDDEFGHIJK")
    assert all(f"\n  {name} " in summary or f"\n  {name}\n" in summary for name in NAMES if name != "index")
    assert end.rstrip().endswith("figures/smoke/claims.md")
    claims = (checkout / "figures" / "smoke" / "claims.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^\| Table 4, .* NoC=", claims, re.MULTILINE)) == 8
    assert len(re.findall(r"^\| Table 3, ", claims, re.MULTILINE)) == 8


def test_a_second_call_finds_everything_up_to_date(checkout, smoke, data):
    again = run_all(checkout, "--data", str(data))
    assert again.returncode == 0 and started(again) == []
    assert "\nF, Table 4 " in again.stdout


def test_a_notebooks_own_part_of_the_package_is_no_other_notebooks_reason_to_run(checkout, smoke, data):
    for part in ("appendix/b_architectures.py", "artifact/report.py", "appendix/summary.py"):
        with (checkout / "irlg" / part).open("a") as own:
            own.write("# changed\n")
    again = run_all(checkout, "--data", str(data))
    assert again.returncode == 0 and sorted(started(again)) == ["B_architectures", "index"]


def test_same_seed_same_bytes(checkout, smoke, data):
    folder = checkout / "figures" / "smoke"
    names = ("F_trials.csv", "table_4.md", "F_unique_failure.png")
    before, page = [(folder / name).read_bytes() for name in names], report(checkout)
    again = run_all(checkout, "--data", str(data), "--only", "F", "--force")
    assert sorted(started(again)) == ["F_data_distributions", "index"]
    assert [(folder / name).read_bytes() for name in names] == before
    assert page != report(checkout) and outside_provenance(page) == outside_provenance(report(checkout))


def test_data_that_come_later_are_looked_at(checkout, tmp_path):
    def data_job():
        command = [sys.executable, "-m", "snakemake", "--cores", "1", ".run/quick/data.json"]
        options = ["--config", "profile=quick", f"data={tmp_path}"]
        subprocess.run([*command, *options], cwd=checkout, env=environment(checkout), check=True, capture_output=True)
        return (checkout / ".run/quick/data.json").stat().st_mtime_ns

    first = data_job()
    assert data_job() == first
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    os.utime(tmp_path / "MNIST" / "raw", (0, 0))  # as an archive would set it
    assert data_job() > first


def test_a_failing_cell_stops_one_notebook_and_no_other(checkout, smoke, data):
    mend = break_cell(checkout, "B_architectures", "raise ValueError('first line\\nsecond line')")
    (checkout / "figures/smoke/A_gradient_formula.json").unlink()
    failed = run_all(checkout, "--data", str(data))
    assert failed.returncode != 0
    assert sorted(started(failed)) == ["A_gradient_formula", "B_architectures", "index"]  # of what did finish
    assert "B_architectures FAILED: ValueError: first line\n" in failed.stdout
    assert "This notebook did not finish: ValueError: first line." in report(checkout)
    executed = checkout / "notebooks" / "executed" / "smoke"
    partial = json.loads((executed / "B_architectures.partial.ipynb").read_text(encoding="utf-8"))
    assert "ValueError" in json.dumps(partial) and not (executed / "B_architectures.ipynb").exists()
    assert not (checkout / "figures/smoke/B_architectures.json").exists()
    assert (checkout / "figures/smoke/A_gradient_formula.json").exists()
    mend()
    mended = run_all(checkout, "--data", str(data))
    assert mended.returncode == 0 and sorted(started(mended)) == ["B_architectures", "index"]
    assert not list(executed.glob("*.partial.ipynb")) and not list(executed.glob("*.error"))


def test_a_killed_kernel_is_reported_and_a_rerun_completes(checkout, smoke, data):
    mend = break_cell(checkout, "B_architectures", "import os; os.kill(os.getpid(), 9)")
    killed = run_all(checkout, "--data", str(data), "--only", "B")
    assert killed.returncode != 0
    assert re.search(r"B_architectures FAILED: DeadKernelError.*memory: it had taken up to \d+\.\d GiB", killed.stdout)
    assert not (checkout / "figures/smoke/B_architectures.json").exists()
    mend()
    assert run_all(checkout, "--data", str(data), "--only", "B").returncode == 0
    assert (checkout / "figures/smoke/B_architectures.json").exists()


def test_a_killed_run_goes_on_where_it_stopped(checkout, smoke, data):
    for name in ("A_gradient_formula", "B_architectures"):
        (checkout / "figures" / "smoke" / f"{name}.json").unlink()
    command = ["./run_all.sh", "--profile", "smoke", "--only", "AB", "--data", str(data)]
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
    begun = started(subprocess.CompletedProcess(command, 0, "".join(lines)))
    assert started(rest) == [begun[1], "index"]


@pytest.mark.parametrize("kernel", (None, {"name": "other", "display_name": "Other", "language": "julia"}))
def test_a_notebook_that_another_editor_has_saved_runs_where_the_user_has_another_python3(checkout, tmp_path, kernel):
    home, notebook = tmp_path / "jupyter" / "kernels" / "python3", checkout / "notebooks" / "B_architectures.ipynb"
    home.mkdir(parents=True)
    elsewhere = {"argv": ["/nowhere/python", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (home / "kernel.json").write_text(json.dumps(elsewhere))
    whole = notebook.read_text(encoding="utf-8")
    notebook.write_text(json.dumps(json.loads(whole) | {"metadata": {"kernelspec": kernel} if kernel else {}}))
    command = [sys.executable, "notebooks/batch.py", "B_architectures", "--profile", "smoke"]
    about = environment(checkout) | {"JUPYTER_DATA_DIR": str(tmp_path / "jupyter")}
    try:
        result = subprocess.run(command, cwd=checkout, env=about, capture_output=True, text=True)
    finally:
        notebook.write_text(whole, encoding="utf-8")
    assert result.returncode == 0 and not result.stderr, result.stdout + result.stderr


def test_two_runs_at_once_are_refused(checkout, smoke):
    with (checkout / ".run" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = run_all(checkout)
    assert refused.returncode == 2 and "another run is going on here" in refused.stderr
    assert "claims" not in refused.stdout


def test_committed_results_are_no_reason_not_to_run(checkout, smoke, data):
    """A clone or an archive brings results, perhaps with the same times as everything else."""
    stamps = checkout / ".run" / "smoke"
    (stamps / "B_architectures").unlink()
    again = run_all(checkout, "--data", str(data), "--only", "B")
    assert "B_architectures" in started(again)


def test_paths_with_blanks_and_relative_to_the_caller(checkout, smoke, tmp_path):
    (tmp_path / "my data").mkdir()
    command = [str(checkout / "run_all.sh"), "--profile", "smoke", "--only", "E", "--data", "my data"]
    result = subprocess.run(command, cwd=tmp_path, env=environment(checkout), capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"not in {tmp_path}/my data/MNIST/raw" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-p", "trails", "5"), "unknown parameter 'trails' (= 5); this notebook takes trials, initialisations"),
        (("-p", "trials", "0"), "parameter trials: expected a whole number from 1 to 1000, got 0"),
        (("-p", "trials", "five"), "parameter trials: expected a whole number from 1 to 1000, got 'five'"),
        (("-p", "trials", "1e1"), "parameter trials: expected a whole number from 1 to 1000, got 10.0"),
        (("-p", "data_dir", "2024"), "parameter data_dir: expected text, got 2024"),  # papermill's -r leaves it text
        (("-p", "device", "gpu"), "parameter device: expected one of 'auto', 'cpu', 'cuda', got 'gpu'"),
        (("-p", "data_policy", "real"), "cifar100: not in "),
    ],
)
def test_bad_parameters_stop_the_notebook_with_a_sentence(checkout, tmp_path, options, message):
    result = papermill(checkout, tmp_path, "-p", "data_dir", str(tmp_path / "nothing"), *options)
    assert result.returncode == 1
    assert message in result.stderr
    assert not list(tmp_path.glob("irlg-results/*.json"))


def test_papermill_by_hand_from_any_folder(checkout, tmp_path):
    options = (
        "-p",
        "trials",
        "2",
        "-p",
        "initialisations",
        "1",
        "-p",
        "device",
        "cpu",
        "-p",
        "data_policy",
        "stand-in",
    )
    assert papermill(checkout, tmp_path, *options).returncode == 0
    record = json.loads((tmp_path / "irlg-results" / "F_data_distributions.json").read_text(encoding="utf-8"))
    assert record["parameters"]["trials"] == 2 and record["data"] == ["synthetic stand-in for CIFAR-100"]
    assert {claim["verdict"] for claim in record["claims"]} == {"stand-in"}


def test_help_notebook_explains_every_parameter(checkout):
    command = [sys.executable, "-m", "papermill", "--help-notebook", "notebooks/F_data_distributions.ipynb"]
    text = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout
    for line in ("trials: int (default 50)", 'device: str (default "auto")', "auto, cpu or cuda"):
        assert line in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--profile", "slow"), "--profile: expected one of smoke quick paper, got 'slow'"),
        (("--jobs", "0"), "--jobs: expected a whole number of at least 1, got '0'"),
        (("--only", "x"), "--only: expected capital letters such as CF, got 'x'"),
        (("--frobnicate",), "unknown option '--frobnicate'"),
        (("--data",), "--data needs a value"),
        (("--only", "Z"), "--only Z: no notebook Z; there are A B C D E F G H"),
    ],
)
def test_run_all_refuses_what_it_does_not_know(checkout, options, message):
    result = run_all(checkout, *options)
    assert result.returncode != 0 and message in result.stderr


def test_run_all_help():
    text = subprocess.run([str(ROOT / "run_all.sh"), "--help"], capture_output=True, text=True, check=True).stdout
    for option in ("--profile", "--data", "--device", "--jobs", "--only", "--force", "--policy", "test"):
        assert option in text


def test_a_profile_with_an_unknown_parameter_is_refused(checkout, data):
    profiles = checkout / "notebooks" / "profiles.yaml"
    whole = profiles.read_text()
    profiles.write_text(whole.replace("largest: 32", "largets: 32"))
    try:
        result = run_all(checkout, "--only", "A", "--data", str(data))
    finally:
        profiles.write_text(whole)
    assert "profiles.yaml, smoke: unknown parameter ['largets']" in result.stdout
    assert result.returncode != 0
