"""The workflow as users run it: `./run_all.sh` in a copy of the checkout."""

import json
import re
import subprocess
import sys

import pytest

from tests.checkout import environment, report, run_all, started

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
def smoke(checkout, data):
    result = run_all(checkout, "--data", str(data))
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_every_notebook_executes_and_leaves_a_record(checkout, smoke):
    assert sorted(started(smoke.stdout)) == sorted(NAMES)
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
    # An element may take a second line, of words.
    assert re.findall(r"^([A-Z]), ", summary, re.MULTILINE) == list("ABCDDEFGHIJK")
    assert all(f"\n  {name} " in summary or f"\n  {name}\n" in summary for name in NAMES if name != "index")
    assert end.rstrip().endswith("figures/smoke/claims.md")
    claims = (checkout / "figures" / "smoke" / "claims.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^\| Table 4, .* NoC=", claims, re.MULTILINE)) == 8
    assert len(re.findall(r"^\| Table 3, ", claims, re.MULTILINE)) == 8


def test_a_second_call_finds_everything_up_to_date(checkout, smoke, data):
    again = run_all(checkout, "--data", str(data))
    assert again.returncode == 0 and started(again.stdout) == []
    assert "\nF, Table 4 " in again.stdout


def test_what_runs_again_is_what_has_changed_or_has_not_run_here(checkout, smoke, data):
    for part in ("appendix/b_architectures.py", "artifact/report.py", "appendix/summary.py"):
        with (checkout / "irlg" / part).open("a") as own:
            own.write("# changed\n")
    # A clone or an archive brings results, perhaps with the same times as everything else: no reason not to run.
    (checkout / ".run" / "smoke" / "E_algorithm").unlink()
    again = run_all(checkout, "--data", str(data))
    assert again.returncode == 0 and sorted(started(again.stdout)) == ["B_architectures", "E_algorithm", "index"]


def test_same_seed_same_bytes(checkout, smoke, data):
    folder = checkout / "figures" / "smoke"
    names = ("F_trials.csv", "table_4.md", "F_unique_failure.png")
    before, page = [(folder / name).read_bytes() for name in names], report(checkout)
    again = run_all(checkout, "--data", str(data), "--only", "F", "--force")
    assert sorted(started(again.stdout)) == ["F_data_distributions", "index"]
    assert [(folder / name).read_bytes() for name in names] == before
    assert page != report(checkout) and outside_provenance(page) == outside_provenance(report(checkout))
