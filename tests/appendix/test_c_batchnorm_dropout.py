import pandas as pd

from irlg.appendix.c_batchnorm_dropout import claims, table_3
from irlg.appendix.published import PAPER_TABLE_3
from tests.helpers import PAPER, needs_paper, scored


def test_claims():
    frame = pd.concat(
        [
            scored("LeNet-5", ln, mode=mode, variant=name)
            for name in PAPER_TABLE_3
            for mode, ln in (("eval", (1.0, 1.0)), ("train", (1.0, 0.9)))
        ]
    )
    table = table_3(frame)
    made = claims(table)
    assert [(c.paper, c.verdict) for c in made] == [("1.000 / 1.000", "reproduced"), ("not measured", "degrades")] * 4
    assert table.paper_ln_acc.isna().sum() == 4
    table.loc[table.variant.str.startswith("VGG"), "data"] = "synthetic stand-in for ImageNet"
    verdicts = [c.verdict for c in claims(table)]  # real rows keep theirs
    assert verdicts == ["reproduced", "degrades"] * 2 + ["stand-in"] * 4


@needs_paper
def test_the_committed_table_is_on_real_data_at_the_papers_trials():
    table = pd.read_csv(PAPER / "table_3.csv")
    assert (table.N == 50).all() and len(table) == 16
    assert {*table.data} == {"CIFAR-100", "ImageNet-compatible (NIPS 2017)"}
