import pytest

from irlg.artifact.report import MARKS, claims_table, readme_with
from tests.conftest import ROOT

PAPER = ROOT / "figures" / "paper"


def test_readme_keeps_what_is_outside_the_marks():
    readme = f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter"
    assert readme_with("new \\1", readme) == f"before\n{MARKS[0]}\nnew \\1\n{MARKS[1]}\nafter"


@pytest.mark.skipif(not PAPER.is_dir(), reason="no committed paper run")
def test_readme_shows_the_committed_claims():
    assert claims_table(PAPER) in (ROOT / "README.md").read_text(encoding="utf-8")
