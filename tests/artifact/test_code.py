import json
import subprocess

import pytest

from irlg.artifact import code
from tests.conftest import ROOT


def used(name):
    return {str(path.relative_to(ROOT)) for path in code.used_by(ROOT / "notebooks" / f"{name}.ipynb")}


def test_a_notebook_uses_what_it_imports_and_what_that_imports():
    derivation, lattice = used("A_gradient_formula"), used("G_lattice_counts")
    assert {"notebooks/A_gradient_formula.ipynb", "irlg/gradients.py", "irlg/artifact/run.py"} <= derivation
    assert not any(name.startswith(("irlg/restoration/lattice", "irlg/inversion")) for name in derivation)
    # By `from irlg import restore`, through two packages and a registry.
    assert {"irlg/restoration/registry.py", "irlg/restoration/lattice/shrinkage.py", "irlg/heads.py"} <= lattice
    assert not any(name.startswith(("irlg/inversion", "irlg/appendix/h_")) for name in lattice)
    assert "irlg/appendix/g_lattice_counts/claims.py" in used("index")  # which imports by name


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of a notebook and two modules, with one commit."""
    package, notebook = tmp_path / "irlg", tmp_path / "N.ipynb"
    package.mkdir()
    (package / "__init__.py").write_text("from irlg.one import f\n")
    (package / "one.py").write_text(
        '"""One."""\nfrom irlg import two\n\n\ndef f():\n    """Two."""\n    return two.x\n'
    )
    (package / "two.py").write_text("x = 2\n")
    cells = [{"cell_type": "code", "source": ["from irlg import f\n", "f()"], "outputs": []}]
    notebook.write_text(json.dumps({"cells": cells}))
    monkeypatch.setattr(code, "ROOT", tmp_path)
    monkeypatch.setattr(code, "PACKAGE", package)
    monkeypatch.setattr(code, "_imported", code._imported.__wrapped__)
    name = ("-c", "user.name=n", "-c", "user.email=e")
    for command in (("init", "-q"), ("add", "."), (*name, "commit", "-qm", "one")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def changed(checkout, commit="HEAD"):
    return code.changed(code.used_by(checkout / "N.ipynb"), commit)


def test_what_has_changed_since_a_commit(checkout):
    assert changed(checkout) == []
    (checkout / "irlg/one.py").write_text("# A comment.\nfrom irlg import two\n\n\ndef f():\n    return two.x\n")
    assert changed(checkout) == []  # says the same
    (checkout / "irlg/two.py").write_text("from irlg.three import x\n")
    (checkout / "irlg/three.py").write_text("x = 2\n")
    assert changed(checkout) == ["irlg/three.py", "irlg/two.py"]  # one that is new, too
    (checkout / "irlg/four.py").write_text("x = 4\n")
    assert "irlg/four.py" not in changed(checkout)
    (checkout / "N.ipynb").write_text((checkout / "N.ipynb").read_text().replace("f()", "f() + 1"))
    assert "N.ipynb" in changed(checkout)


def test_a_file_that_has_moved_says_the_same_and_so_does_what_imports_it(checkout):
    (checkout / "irlg/room").mkdir()
    (checkout / "irlg/two.py").rename(checkout / "irlg/room/three.py")
    one = (checkout / "irlg/one.py").read_text()
    (checkout / "irlg/one.py").write_text(one.replace("from irlg import two", "from irlg.room import three as two"))
    subprocess.run(["git", "add", "-A"], cwd=checkout, check=True)
    assert changed(checkout) == []
    (checkout / "irlg/one.py").write_text(one.replace("from irlg import two", "from irlg.room import three"))
    assert changed(checkout) == ["irlg/one.py"]  # by another name it may be another thing
    (checkout / "irlg/one.py").write_text(one.replace("from irlg import two", "from irlg.room import four as two"))
    (checkout / "irlg/room/four.py").write_text("x = 2\n")
    assert changed(checkout) == ["irlg/one.py", "irlg/room/four.py"]


def test_a_digest_is_of_a_module_and_of_what_it_uses(checkout):
    one = checkout / "irlg/one.py"
    before = code.digest(one)
    (checkout / "irlg/four.py").write_text("x = 4\n")
    assert code.digest(one) == before
    (checkout / "irlg/two.py").write_text("x = 3\n")
    assert code.digest(one) != before


def test_a_commit_that_git_does_not_know_is_not_told(checkout):
    with pytest.raises(subprocess.CalledProcessError):
        changed(checkout, "0123456789ab")
