import pandas as pd

from irlg import models
from irlg.appendix.b_architectures import SHAPES, claims, layers
from irlg.appendix.published import PAPER_TABLE_2


def test_layers_are_those_that_data_pass_through():
    table = layers(models.build(models.lenet5, 0), SHAPES["lenet5"])
    assert table.kind.tolist() == ["Conv2d"] * 2 + ["Linear"] * 3
    assert table.input[0] == (3, 32, 32) and table.output.iloc[-1] == (100,)
    assert table.parameters.tolist() == [456, 2416, 48120, 10164, 8500]


def test_the_verdict_on_table_2():
    table = pd.DataFrame({"Shape (In-Out)": PAPER_TABLE_2})
    assert claims(table)[0].verdict == "reproduced"
    assert claims(table.replace("300-10", "300-100"))[0].verdict == "differs"
