import numpy as np
import pandas as pd

from irlg.appendix import f_data_distributions as distributions
from irlg.appendix.published import PAPER_TABLE_4
from tests.helpers import PAPER, needs_paper, scored


def all_rows(ln=(1.0, 1.0, 1.0), starts=((0.9, 0.92), (0.88, 0.9))):
    frames = [scored(row, ln) for row in list(PAPER_TABLE_4)[:-1]]
    frames += [scored(ln=v, initialisation=n).assign(le_acc=1 - 0.004 * n) for n, v in enumerate(starts)]
    frames += [scored(row, (1.0, 1.0), method="uniform") for row in PAPER_TABLE_4]
    return pd.concat(frames, ignore_index=True)


def made(frame):
    return distributions.claims(distributions.table_4(frame), distributions.unique_by_initialisation(frame))


def test_verdicts_can_go_either_way():
    assert [c.verdict for c in made(all_rows())] == ["reproduced"] * 8 + ["no: the guess scores 1.000"]
    failing = made(all_rows(ln=(1.0, 0.99, 1.0), starts=((0.5, 0.51), (0.52, 0.53))))
    assert [c.verdict for c in failing[:8]] == ["differs"] * 8
    weak = made(all_rows().assign(le_acc=1.0))[7]  # of the eight the last, whose LeAcc never moves
    assert weak.verdict == "differs" and weak.ours == "1.000 / 0.900"
    collapsed = all_rows(starts=((0.9, 0.4), (0.8, 0.9)))
    assert made(collapsed)[7].ours.endswith("LnAcc 0.850 to 0.900 but for 1 of 4 that went into one class or nearly")
    assert {c.verdict for c in made(all_rows().assign(data="synthetic stand-in for CIFAR-100"))} == {"stand-in"}


@needs_paper
def test_the_committed_table_is_on_real_data_at_the_papers_trials():
    table = pd.read_csv(PAPER / "table_4.csv")
    assert (table.N == 50).all() and len(table) == 16 and {*table.data} == {"CIFAR-100"}


def test_who_gives_most_to_a_wrong_count():
    probabilities = np.array([[0.9, 0.05, 0.05], [0.2, 0.2, 0.6], [0.5, 0.2, 0.3]])
    assert list(distributions.givers(probabilities, np.array([1.0, 1.0, 2.0]), np.array([True, False, True]))) == [2, 1]
