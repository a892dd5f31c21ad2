import json

import pandas as pd
import pytest

from irlg.artifact import again

RECORD = {
    "notebook": "Z_made_up",
    "files": ["Z_errors.csv", "Z_errors.md"],
    "seconds": 3.0,
    "system": "Linux x86_64",
    "device": "CPU",
    "threads": 2,
    "versions": {"torch": "2.15.0"},
}


def compared(tmp_path, ours, **other):
    """The verdict on a table of errors that was 1e-9 at C = 2, and is `ours` on a machine that is `other`."""
    place = tmp_path / "again"
    place.mkdir()
    for where, rows in ((tmp_path, {"C": [2], "error": [1e-9]}), (place, ours)):
        pd.DataFrame(rows).to_csv(where / "Z_errors.csv", index=False)
    item = again.compare(RECORD, tmp_path, RECORD | other, place)
    return item.verdict, item.reason


@pytest.mark.parametrize(
    ("ours", "other", "verdict", "words"),
    [
        ({"C": [2], "error": [1e-9]}, {}, "fine", "bit for bit, 3.0 s"),
        ({"C": [2], "error": [5e-9]}, {}, "stale", "not bit for bit, on a like machine"),
        ({"C": [2], "error": [5e-9]}, {"threads": 1}, "fine", "not bit for bit: other threads"),
        ({"C": [2], "error": [5e-9]}, {"versions": {"torch": "3"}}, "fine", "not bit for bit: other torch"),
        ({"C": [2], "error": [2e-8]}, {"threads": 1}, "wrong", "differs in error by a factor of 20"),
        ({"C": [3], "error": [1e-9]}, {"threads": 1}, "wrong", "differs in C"),
        ({"C": [2, 3], "error": [1e-9, 1e-9]}, {"threads": 1}, "wrong", "other rows or columns"),
    ],
)
def test_bit_for_bit_on_a_like_machine_and_else_within_a_factor(tmp_path, ours, other, verdict, words):
    found, reason = compared(tmp_path, ours, **other)
    assert found == verdict and words in reason


def test_a_notebook_is_run_again_with_the_parameters_of_its_record(tmp_path, monkeypatch):
    pd.DataFrame({"C": [2], "error": [1e-9]}).to_csv(tmp_path / "Z_errors.csv", index=False)
    record = json.dumps(RECORD | {"parameters": {"largest": 7}, "claims": []})
    (tmp_path / "Z_made_up.json").write_text(record)

    def run(name, parameters, place):
        assert parameters == {"largest": 7}
        for file in ("Z_errors.csv", "Z_made_up.json"):
            (place / file).write_bytes((tmp_path / file).read_bytes())
        return ""

    monkeypatch.setattr(again, "_run", run)
    assert again.run_again(tmp_path, "Z_made_up").verdict == "fine"
    monkeypatch.setattr(again, "_run", lambda name, parameters, place: "ValueError: no")
    assert str(again.run_again(tmp_path, "Z_made_up")) == "wrong  Z_made_up, run again: fails: ValueError: no"
