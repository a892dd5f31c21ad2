"""Notebooks one by one, as users run them: by papermill, after other editors, with what they may get wrong."""

import json
import os
import subprocess
import sys

import pytest

from tests.checkout import environment, run_all
from tests.conftest import ROOT


def papermill(checkout, folder, *options):
    notebook = checkout / "notebooks" / "F_data_distributions.ipynb"
    command = [sys.executable, "-m", "papermill", str(notebook), "out.ipynb", "--no-progress-bar", *options]
    return subprocess.run(command, cwd=folder, env=environment(checkout), capture_output=True, text=True)


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


def test_a_notebook_that_another_editor_has_saved_runs_where_the_user_has_another_python3(checkout, tmp_path):
    kernel = {"name": "other", "display_name": "Other", "language": "julia"}
    home, notebook = tmp_path / "jupyter" / "kernels" / "python3", checkout / "notebooks" / "B_architectures.ipynb"
    home.mkdir(parents=True)
    elsewhere = {"argv": ["/nowhere/python", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (home / "kernel.json").write_text(json.dumps(elsewhere))
    whole = notebook.read_text(encoding="utf-8")
    notebook.write_text(json.dumps(json.loads(whole) | {"metadata": {"kernelspec": kernel}}))
    command = [sys.executable, "notebooks/batch.py", "B_architectures", "--profile", "smoke"]
    about = environment(checkout) | {"JUPYTER_DATA_DIR": str(tmp_path / "jupyter")}
    try:
        result = subprocess.run(command, cwd=checkout, env=about, capture_output=True, text=True)
    finally:
        notebook.write_text(whole, encoding="utf-8")
    # No word of another kernel or language. What asyncio or zmq say now and then as they shut down is none of this.
    assert result.returncode == 0 and "Warning" not in result.stderr, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-p", "trails", "5"), "unknown parameter 'trails' (= 5); this notebook takes trials, initialisations"),
        (("-p", "trials", "1e1"), "parameter trials: expected a whole number from 1 to 1000, got 10.0"),
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


def test_a_profile_with_an_unknown_parameter_is_refused(checkout):
    profiles = checkout / "notebooks" / "profiles.yaml"
    whole = profiles.read_text()
    profiles.write_text(whole.replace("largest: 32", "largets: 32"))
    command = [sys.executable, "notebooks/batch.py", "A_gradient_formula", "--profile", "smoke"]
    try:
        result = subprocess.run(command, cwd=checkout, env=environment(checkout), capture_output=True, text=True)
    finally:
        profiles.write_text(whole)
    assert "profiles.yaml, smoke: unknown parameter ['largets']" in result.stdout
    assert result.returncode != 0
