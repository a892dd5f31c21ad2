"""Results that are kept, and found again for the same."""

import pytest

from irlg.artifact import jobs


def test_without_a_folder_nothing_is_kept(monkeypatch):
    monkeypatch.delenv("IRLG_JOBS", raising=False)
    calls = []
    assert [jobs.kept("a", lambda: calls.append(1) or 7, "x") for _ in range(2)] == [7, 7]
    assert len(calls) == 2 and jobs.job("a").path is None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("IRLG_JOBS", str(tmp_path / "jobs"))
    return tmp_path / "jobs"


def test_a_result_is_found_again_for_the_same_and_for_nothing_else(folder):
    calls = []

    def make():
        calls.append(1)
        return len(calls)

    assert [jobs.kept("Row 1", make, *made_of) for made_of in (("x", 1), ("x", 1), ("x", 2), ())] == [1, 1, 2, 3]
    assert all(path.name.startswith("row-1-") for path in folder.iterdir())


def test_what_was_kept_on_the_way_goes_when_a_result_is_there(folder):
    one, other = jobs.job("a", 1), jobs.job("a", 2)
    for job in (one, other):
        jobs.Job.write(job.part("trace"), [1])
    one.finish("done")
    assert one.read() == "done" and not one.part("trace").exists() and other.part("trace").exists()
    assert other.read() is None
