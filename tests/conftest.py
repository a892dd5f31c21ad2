import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# Threads of torch that wait, here and in the notebooks that tests run, leave the core to who has work: on a machine
# that does other things too, the small tensors of most tests take several times as long without. Read when torch is
# imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Nothing in the suite fails on time.
settings.register_profile("irlg", deadline=None, max_examples=50)
settings.load_profile("irlg")


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRLG_DOWNLOAD", "0")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the datasets, whether or not anything is in it."""
    return Path(os.environ.get("IRLG_DATA", ROOT / "data")).resolve()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what git tracks or would track, as a clone would have it."""
    copy = tmp_path_factory.mktemp("copy") / "irlg"
    everywhere = shutil.ignore_patterns(".*", "executed", "figures", "*.egg-info", "__pycache__")

    def left_out(folder, names):
        return everywhere(folder, names) | ({"data"} if Path(folder) == ROOT else set())

    shutil.copytree(ROOT, copy, ignore=left_out)
    return copy
