"""The command line: what each job takes, and what it refuses in a line."""

import re
import subprocess
import sys

import pytest

from irlg.__main__ import JOBS, main
from irlg.appendix import workflow
from irlg.data.datasets import POLICIES
from tests.conftest import ROOT

OPTIONS = {
    "data": ["--policy", "--data", "--out"],
    "summary": ["--profile", "--only"],
    "readme": [],
    "report": ["--profile"],
    "verify": ["--profile", "--quick"],
}


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_each_job_has_a_line_of_help_and_the_options_that_it_uses(capsys):
    whole = " ".join(help_of(capsys).split())
    assert all(f"{name} {what}" in whole for name, what in JOBS.items()) and {*OPTIONS, "audit"} == {*JOBS}
    for job, options in OPTIONS.items():
        text = help_of(capsys, job)
        assert re.findall(r"^  (--\w+)", text, re.MULTILINE) == options
        assert not re.search(r"^  --\w+( \S+)?$\n(?!   )", text, re.MULTILINE)  # an option that is not described
    assert all(policy in help_of(capsys, "data") for policy in POLICIES)


def refused(capsys, *arguments):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


@pytest.mark.parametrize("job", ["summary", "readme", "report", "verify"])
def test_where_there_is_no_checkout_a_job_says_so(capsys, monkeypatch, tmp_path, job):
    monkeypatch.chdir(tmp_path)
    expected = f"irlg {job}: expected to be called in a checkout, and there is no notebooks/profiles.yaml in {tmp_path}"
    assert refused(capsys, job) == expected + "\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("job", ["summary", "report", "verify"])
def test_a_profile_that_there_is_not_is_refused(capsys, monkeypatch, job):
    monkeypatch.chdir(ROOT)
    line = refused(capsys, job, "--profile", "papr")
    assert line == f"irlg {job}: profile: expected one of smoke, quick, paper, got 'papr'\n"
    assert not (ROOT / "figures/papr").exists()


def test_a_notebook_that_there_is_not_is_refused(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert refused(capsys, "summary", "--only", "AZ").endswith("only: expected letters of ABCDEFGHIJK, got 'AZ'\n")


def test_jobs_get_what_they_are_asked(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    asked = []
    for name in ("prepare_data", "summarise", "write_report", "verify_all", "write_documents"):
        monkeypatch.setattr(workflow, name, lambda *given, name=name: asked.append((name, *given)) or 0)
    out = tmp_path / "data.json"
    for line in (
        ["data", "--policy", "real", "--data", "there", "--out", str(out)],
        ["summary", "--profile", "smoke", "--only", "CF"],  # as run_all.sh has it, of a profile that may not have run
        ["summary", "--only", ""],
        ["report", "--profile", "smoke"],
        ["verify", "--quick"],
        ["readme"],
    ):
        assert main(line) == 0
    assert asked == [
        ("prepare_data", out, "real", "there"),
        ("summarise", "smoke", "CF"),
        ("summarise", "quick", ""),
        ("write_report", "smoke"),
        ("verify_all", "paper", True),
        ("write_documents",),
    ]


def test_what_is_missing_is_said_in_a_line(capsys, monkeypatch, tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "profiles.yaml").write_text("paper: {}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, "readme").startswith(
        "irlg readme: figures/paper: expected records of notebooks A, C, D and F"
    )


def test_a_reader_that_has_read_enough_ends_it_quietly():
    command = [sys.executable, "-m", "irlg", "summary", "--profile", "paper"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        job.stdout.close()
        assert job.stderr.read() == "" and job.wait() == 1
