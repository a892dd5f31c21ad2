import re

import pandas as pd
import pytest

from irlg.appendix import b_architectures, c_batchnorm_dropout, documents, f_data_distributions, summary
from irlg.appendix.published import DISTRIBUTIONS, ELEMENTS
from irlg.artifact.claims import Claim
from irlg.artifact.records import write_record
from irlg.artifact.report import claims_table
from irlg.artifact.summary import plain
from tests.conftest import ROOT
from tests.helpers import PAPER, needs_paper


def test_every_notebook_has_a_row_though_nothing_has_run(tmp_path):
    names = sorted(path.stem for path in (ROOT / "notebooks").glob("[A-Z]_*.ipynb"))
    rows = summary.summary(tmp_path)
    assert [row.notebook for row in rows] == names == summary.notebooks()
    assert {row.here for row in rows} == {"not run"}
    assert [row.element for row in rows][:6] == [f"{letter}, {element}" for letter, element in ELEMENTS.items()]


def test_a_notebook_that_says_nothing_more_has_the_row_of_its_first_claim(tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "notebooks", lambda: ["Z_scores"])
    monkeypatch.setattr(summary.importlib, "import_module", lambda name: pd)
    claims = [Claim(f"claim {n}", "said", "found", 1, "exact", "none", "holds") for n in range(2)]
    write_record(tmp_path / "Z_scores.json", {}, claims)
    (row,) = summary.summary(tmp_path)
    assert (row.element, row.paper, row.here) == ("Z, beyond", "said", "claim 0: found")
    assert row.counts == "2 hold"


@needs_paper
def test_the_committed_summary_fits_a_screen_and_counts_every_claim_once():
    rows = summary.summary(PAPER)
    assert len(rows) <= 12 and len(plain(rows).splitlines()) <= 40
    assert sum(len(row.claims) for row in rows) == len(claims_table(PAPER))


@needs_paper
def test_the_blocks_of_the_artifact_name_every_claim_with_its_command():
    made = documents.blocks(PAPER)
    assert made["claims"].count("./run_all.sh --profile paper --only ") == len([*PAPER.glob("[A-Z]_*.json")])
    assert all(f"| {claim} " in made["claims"] for claim in claims_table(PAPER).claim)
    assert len(made["errata"].splitlines()) == 7


def committed(stem):
    return pd.read_csv(PAPER / f"{stem}.csv")


@needs_paper
def test_table_2_as_printed():
    table = b_architectures.as_printed(committed("table_2"))
    assert list(table.index) == ["Input", "Hidden", "Output"]
    assert list(table["Shape (In-Out)"]) == ["784-300 (784-300)", "300-300 (300-300)", "300-10 (300-10)"]


@needs_paper
def test_table_3_as_printed():
    raw = committed("table_3")
    raw.loc[(raw.variant == "VGG-16 WI DO") & (raw["mode"] == "eval") & (raw.method == "irlg"), "ln_acc"] = 0.25
    table = c_batchnorm_dropout.as_printed(raw)
    scores = ("LeAcc", "LnAcc")
    assert list(table) == [(network, s) for network in ("LeNet-5 on CIFAR100", "VGG-16 on ImageNet") for s in scores]
    assert list(table.index) == ["WO BN/DO", "WI BN/DO"]
    assert table.loc["WI BN/DO", ("VGG-16 on ImageNet", "LnAcc")] == "0.250 (1.000)"
    assert (table == "1.000 (1.000)").to_numpy().sum() == 7  # and not the figures of train mode or of the guess


@needs_paper
def test_table_4_as_printed():
    table = f_data_distributions.as_printed(committed("table_4"), committed("F_unique"))
    groups = [(group, f"NoC={noc}, MRoC={mroc}") for group, pairs in DISTRIBUTIONS.items() for noc, mroc in pairs]
    assert list(table.index) == groups and list(table) == ["LeAcc", "LnAcc"]
    mean = committed("F_unique").ln_acc.mean()
    assert table.iloc[-1].LnAcc == f"{mean:.3f} (0.911)"
    assert committed("table_4").paper_ln_acc.dropna().iloc[-1] == 0.911


@needs_paper
@pytest.mark.parametrize("letter", [*ELEMENTS])
def test_every_letter_of_the_appendix_has_findings_of_its_own(letter):
    (name,) = (name for name in summary.notebooks() if name[0] == letter)
    assert hasattr(summary._teller(name), "findings")


@needs_paper
def test_what_is_not_reproduced_has_a_reason_by_notebook():
    made = documents.blocks(PAPER)["not-reproduced"]
    heads = [line for line in made.splitlines() if line.startswith("**Notebook ")]
    assert heads and all(re.fullmatch(r"\*\*Notebook [A-Z]\.\*\* [A-Z].+\.", head) for head in heads)
    assert {head[11] for head in heads} <= {*documents.REASONS}
