import numpy as np
import pandas as pd
import pytest

from irlg import tables
from tests.conftest import ROOT

PAPER = ROOT / "figures" / "paper"


def trials(row="Unique NoC=100, MRoC=1", ln=(0.9, 0.92, 0.93), initialisation=0, method="irlg", **more):
    frame = pd.DataFrame({"row": row, "method": method, "trial": range(len(ln)), "ln_acc": ln})
    frame = frame.assign(le_acc=1.0, i_rec=1.0, K=100, total=100, exact=np.array(ln) == 1, data="CIFAR-100")
    return frame.assign(initialisation=initialisation, **more)


def all_rows(ln=(1.0, 1.0, 1.0), starts=((0.9, 0.92), (0.88, 0.9))):
    frames = [trials(row, ln) for row in list(tables.PAPER_TABLE_4)[:-1]]
    frames += [trials(ln=values, initialisation=number) for number, values in enumerate(starts)]
    frames += [trials(row, (1.0, 1.0), method="uniform") for row in tables.PAPER_TABLE_4]
    return pd.concat(frames, ignore_index=True)


def claims(frame):
    return tables.claims_4(tables.table_4(frame), tables.unique_by_initialisation(frame))


def test_aggregate_by_hand():
    row = tables.aggregate(trials(ln=(0.5, 1.0, 1.0, 1.0)), ["row", "method"]).iloc[0]
    assert (row.N, row.K, row.ln_acc, row.exact, row.le_acc) == (4, 100, 0.875, 0.75, 1.0)
    assert 0.5 <= row.ln_acc_low < 0.875 < row.ln_acc_high <= 1
    assert (row.le_acc_low, row.le_acc_high) == (1, 1)
    assert row.exact_low == pytest.approx(0.3006, abs=1e-4)


def test_verdicts_can_go_either_way():
    assert [c.verdict for c in claims(all_rows())] == ["reproduced"] * 8 + ["no: the guess scores 1.000"]
    failing = claims(all_rows(ln=(1.0, 0.99, 1.0), starts=((0.5, 0.51), (0.52, 0.53))))
    assert [c.verdict for c in failing[:8]] == ["differs"] * 8
    assert {c.verdict for c in claims(all_rows().assign(data="synthetic stand-in for CIFAR-100"))} == {"stand-in"}


def test_claims_of_table_3():
    frame = pd.concat(
        [
            trials("LeNet-5", ln, mode=mode, variant=name)
            for name in tables.PAPER_TABLE_3
            for mode, ln in (("eval", (1.0, 1.0)), ("train", (1.0, 0.9)))
        ]
    )
    table = tables.table_3(frame)
    made = tables.claims_3(table)
    assert [(c.paper, c.verdict) for c in made] == [("1.000 / 1.000", "reproduced"), ("not measured", "degrades")] * 4
    assert table.paper_ln_acc.isna().sum() == 4
    table.loc[table.variant.str.startswith("VGG"), "data"] = "synthetic stand-in for ImageNet"
    verdicts = [c.verdict for c in tables.claims_3(table)]  # real rows keep theirs
    assert verdicts == ["reproduced", "degrades"] * 2 + ["stand-in"] * 4


needs_paper = pytest.mark.skipif(not PAPER.is_dir(), reason="no committed paper run")


@needs_paper
@pytest.mark.parametrize(
    ("stem", "source", "make"),
    [
        ("table_3", "C_trials", tables.table_3),
        ("table_4", "F_trials", tables.table_4),
        ("F_unique", "F_trials", tables.unique_by_initialisation),
    ],
)
def test_committed_tables_follow_from_committed_trials(stem, source, make):
    made = make(pd.read_csv(PAPER / f"{source}.csv"))
    committed = pd.read_csv(PAPER / f"{stem}.csv")
    pd.testing.assert_frame_equal(made, committed, check_dtype=False, rtol=1e-12)
    keys = {
        "table_3": {"variant": "network", "mode": "mode", "method": "method"},
        "table_4": {"row": "configuration", "method": "method"},
        "F_unique": {"initialisation": "initialisation"},
    }[stem]
    assert tables.view(made, keys) in (PAPER / f"{stem}.md").read_text(encoding="utf-8")


@needs_paper
def test_the_committed_run_is_on_real_data_at_the_papers_trials():
    table_4 = pd.read_csv(PAPER / "table_4.csv")
    assert (table_4.N == 50).all() and len(table_4) == 16
    table_3 = pd.read_csv(PAPER / "table_3.csv")
    assert (table_3.N == 50).all() and len(table_3) == 16
    assert {*table_3.data, *table_4.data} == {"CIFAR-100", "ImageNet-compatible (NIPS 2017)"}
