import re
from pathlib import Path

import pandas as pd
import pytest

from irlg.appendix import documents, workflow
from irlg.artifact import verify
from irlg.artifact.claims import Claim
from irlg.artifact.derived import Derived, Follows
from irlg.artifact.records import write_record
from irlg.artifact.report import WRITTEN
from tests.conftest import ROOT
from tests.helpers import PAPER, needs_paper


def means(trials):
    return trials.groupby("row", sort=False, as_index=False).score.mean()


def claims(folder, found=()):
    best = means(pd.read_csv(folder / "Z_trials.csv")).score.max()
    return [Claim("best row", "1.00", f"{best:.2f}", 4, "exact", "none", "holds")]


FOLLOWS = Follows([Derived("Z_table", ("Z_trials",), means, lambda table: f"best {table.score.max():.2f}")], claims)


@pytest.fixture
def folder(tmp_path):
    """A notebook's rows, table, picture and record, and a document that quotes it."""
    made = tmp_path / "figures"
    made.mkdir()
    trials = pd.DataFrame({"row": ["a", "a", "b", "b"], "score": [0.5, 0.7, 0.1, 0.3]})
    trials.to_csv(made / "Z_trials.csv", index=False)
    means(trials).to_csv(made / "Z_table.csv", index=False)
    (made / "Z_table.md").write_text("best 0.60\n", encoding="utf-8")
    (made / "Z_picture.png").write_bytes(b"\x89PNG")
    names = ["Z_trials.csv", "Z_table.csv", "Z_table.md", "Z_picture.png"]
    record = {"notebook": "Z_made_up", "commit": "unknown", "files": names, "parameters": {}}
    write_record(made / "Z_made_up.json", record, claims(made))
    (tmp_path / "PAGE.md").write_text(f"<!-- best: {WRITTEN} -->\n0.60\n<!-- /best -->\n", encoding="utf-8")
    return made


def looked_at(folder):
    page = verify.document(folder.with_name("PAGE.md"), lambda: {"best": claims(folder)[0].ours})
    return [*verify.verify(folder, lambda name: FOLLOWS), page]


def only(folder, verdict="wrong"):
    """The names and reasons of the items of a verdict, all others being fine."""
    items = looked_at(folder)
    assert {item.verdict for item in items} <= {"fine", verdict}
    return {item.name: item.reason for item in items if item.verdict == verdict}


def test_all_is_fine(folder, monkeypatch):
    monkeypatch.setattr(verify.code, "used_by", lambda notebook: [])
    items = looked_at(folder)
    assert [str(item) for item in items] == [
        "fine   Z_made_up, files: 4 there, none without digest",
        "fine   Z_table.csv: follows from Z_trials",
        "fine   Z_made_up, claims: those that follow from its tables are the same",
        "fine   Z_made_up, code: not told: git here does not know commit unknown",
        "fine   PAGE.md: its marked blocks are what the records say",
    ]
    assert verify.summary(items) == "5 items: 5 fine, 0 stale, 0 wrong."


def edit(path, old, new):
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def test_code_that_has_changed_is_stale(folder, monkeypatch):
    monkeypatch.setattr(verify.code, "used_by", lambda notebook: [])
    monkeypatch.setattr(verify.code, "changed", lambda paths, commit: ["a.py", "b.py", "c.py", "d.py"])
    assert only(folder, "stale") == {"Z_made_up, code": "changed since unknown: a.py, b.py, c.py and 1 more"}
    edit(folder / "Z_made_up.json", '"unknown"', '"abc+changes"')
    assert only(folder, "stale") == {"Z_made_up, code": "made with changes to abc that no commit has"}


def test_a_file_that_no_record_names_is_stale(folder):
    (folder / "old.csv").write_text("x\n")
    assert only(folder, "stale") == {str(folder): "in no record: old.csv"}


def test_a_changed_number_in_a_document_is_wrong(folder):
    edit(folder.with_name("PAGE.md"), "0.60", "0.61")
    assert only(folder) == {"PAGE.md": "line 2 says “0.61”, the records “0.60”"}
    edit(folder.with_name("PAGE.md"), "0.61\n", "")
    assert only(folder) == {"PAGE.md": "line 2 says “<!-- /best -->”, the records “0.60”"}
    folder.with_name("PAGE.md").write_text("0.60\n")
    assert only(folder) == {"PAGE.md": "has no marked block"}


def test_a_changed_row_is_wrong_with_all_that_follows(folder):
    edit(folder / "Z_trials.csv", "0.7", "0.9")
    found = only(folder)
    assert found["Z_made_up, files"] == "Z_trials.csv is not the record's"
    assert "values are different" in found["Z_table.csv"]
    assert found["Z_made_up, claims"] == "best row: now 0.70 (holds)"
    assert list(found)[3:] == ["PAGE.md"]


def test_a_changed_table_is_wrong_even_without_digests(folder):
    edit(folder / "Z_made_up.json", '"digests"', '"others"')
    edit(folder / "Z_table.csv", "b,0.2", "b,0.3")
    assert list(only(folder)) == ["Z_table.csv"]
    edit(folder / "Z_table.csv", "b,0.3", "b,0.2")
    edit(folder / "Z_table.md", "0.60", "0.70")
    assert only(folder) == {"Z_table.csv": "Z_table.md does not show it"}
    edit(folder / "Z_table.csv", "score", "points")
    assert only(folder) == {"Z_table.csv": "has no column score"}


def test_a_missing_picture_is_wrong(folder):
    (folder / "Z_picture.png").unlink()
    assert only(folder) == {"Z_made_up, files": "Z_picture.png is missing"}


def test_files_that_are_damaged_are_wrong(folder):
    (folder / "Z_trials.csv").unlink()
    assert only(folder)["Z_table.csv"].startswith("cannot be made again: FileNotFoundError")
    (folder / "Z_made_up.json").write_text("{")
    assert "no record" in only(folder)["Z_made_up.json"]
    (folder / "Z_made_up.json").unlink()
    assert only(folder)[str(folder)] == "no record there"


def test_old_records_are_said_to_be_without_digests(folder):
    edit(folder / "Z_made_up.json", '"digests"', '"others"')
    assert str(looked_at(folder)[0]) == "fine   Z_made_up, files: 4 there, 4 without digest"


@needs_paper
def test_nothing_that_is_committed_is_wrong(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    status = workflow.verify_all("paper", quick=False)
    lines = capsys.readouterr().out.splitlines()
    assert status < verify.STATUS["wrong"], [line for line in lines if line.startswith("wrong")]
    assert re.fullmatch(r"\d+ items: \d+ fine, \d+ stale, 0 wrong\.", lines[-1])
    names = [line[7:].split(":")[0] for line in lines[:-2]]
    records = [path.stem for path in PAPER.glob("*.json")]
    assert all(f"{name}, {part}" in names for name in records for part in ("files", "code"))
    assert {*documents.DOCUMENTS, "table_3.csv", "table_4.csv", "G_beyond.csv", "claims.csv, claims.md"} <= {*names}


def test_a_profile_that_has_not_run_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert workflow.verify_all("smoke", quick=False) == 2
    assert capsys.readouterr().out.splitlines()[0] == f"wrong  {Path('figures/smoke')}: no record there"
