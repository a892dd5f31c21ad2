import unicodedata

from irlg.artifact.claims import Claim
from irlg.artifact.summary import WIDTH, Row, as_markdown, failed, plain, stand_ins


def claim(verdict="holds", data="CIFAR-100", text="a claim"):
    return Claim(text, "1.000", "0.999", 50, "exact", data, verdict)


def row(*verdicts, **more):
    return Row("said", "found", [claim(verdict) for verdict in verdicts], element="C, Table 3", notebook="C_x", **more)


def test_claims_are_counted_by_outcome():
    verdicts = ("stand-in", "differs", "holds", "reproduced", "measured", "slower")
    assert row(*verdicts).counts == "2 hold, 2 below, 1 measured, 1 stand-in"
    assert row().counts == ""


def test_the_terminal_shows_each_cell_whole_in_100_columns():
    words = "Σ n̂ is a long sentence that is wrapped at its blanks until the whole of it can be read there"
    long = Row(words, words, [claim("400 of 24,000 iterations")] * 12, element="D, Figure 6, CIFAR-100", notebook="D_y")
    text = plain([row("holds"), long])
    columns = [sum(not unicodedata.combining(letter) for letter in line) for line in text.splitlines()]
    assert max(columns) <= WIDTH and "|" not in text
    # Below each other: where every cell of a column begins.
    heading = text.splitlines()[0]
    starts = [heading.index(name) for name in ("the paper", "here", "claims")]
    cells = ["", "", ""]
    for line in unicodedata.normalize("NFC", text).replace("n̂", "n").splitlines()[4:]:
        for place, (start, end) in enumerate(zip(starts, [*starts[1:], None], strict=True)):
            cells[place] += " " + line[start:end].strip()
    assert [cell.split() for cell in cells] == [words.replace("n̂", "n").split()] * 2 + [["12", "open"]]
    assert "\n  D_y " in text


def test_markdown_links_the_notebooks_that_have_run():
    table = as_markdown([row("holds"), Row("", "not run", (), element="D", notebook="D_y")], "executed/")
    _, _, first, second = table.splitlines()
    assert [cell.strip() for cell in first.split("|")[1:-1]] == [
        "C, Table 3",
        "said",
        "found",
        "1 hold",
        "[C_x](executed/C_x.ipynb)",
    ]
    assert "(executed" not in second and "D_y" in second


def test_only_claims_that_are_below_are_named():
    rows = [row("holds", "400 of 24,000 iterations", "stand-in"), Row("", "", [claim("differs", text="this one")])]
    assert failed(rows).splitlines()[1:] == ["  this one: 0.999; paper: 1.000 (differs)"]
    assert failed(rows[:1]) == ""


def test_stand_ins_are_named_once_in_one_line_with_the_command():
    sources = ("synthetic stand-in for CIFAR-100", "synthetic stand-in for ImageNet", "none")
    sources += ("stand-in for MNIST: scikit-learn digits, synthetic stand-in for CIFAR-100",)
    line = stand_ins([Row("", "", [claim("stand-in", data)]) for data in sources])
    assert "CIFAR-100, ImageNet, MNIST:" in line and line.endswith("./run_all.sh --policy real")
    assert len(line) <= WIDTH
    assert stand_ins([row("holds")]) == ""


def test_what_is_found_on_a_stand_in_says_so():
    rows = [Row("said", "found", [claim("stand-in", "stand-in for MNIST"), claim()]), row("holds")]
    assert [each.found for each in rows] == ["on a stand-in: found", "found"]
    assert "on a stand-in: found" in plain(rows) and "on a stand-in: found" in as_markdown(rows, "")
