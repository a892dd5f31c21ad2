"""Who may import whom: what computes knows nothing of what reports, and no notebook's part of another's."""

import ast

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "irlg"
# What each room may import beside itself; "" is the top level: observation, gradients, metrics, models.
MAY = {
    "": set(),
    "data": {""},
    "restoration": {"", "data"},
    "inversion": {"", "data"},
    "artifact": {"", "data", "restoration", "inversion"},
    "auditing": {"", "data", "restoration", "artifact"},
    "appendix": {"", "data", "restoration", "inversion", "artifact"},
}
LETTERS = sorted(path.stem.lower() for path in (ROOT / "notebooks").glob("[A-Z]_*.ipynb"))
PUBLIC = {"", "restoration", "inversion", "auditing"}  # where the names of `irlg` itself come from


def imported(source):
    """The modules of irlg that a source imports, each as its parts below irlg; relative imports are refused."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, ast.unparse(node)
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            root, *parts = name.split(".")
            if root == "irlg":
                yield tuple(parts)


def place(parts):
    """The room and, within the appendix, the letter that parts below irlg belong to; `""` where to none."""
    room = parts[0] if parts and parts[0] in MAY else ""
    letter = parts[1].removesuffix(".py") if room == "appendix" and len(parts) > 1 else ""
    return room, letter if letter in LETTERS else ""


def trespasses(path, source):
    """What a module at `path`, its parts below irlg, imports and may not."""
    room, letter = place(path)
    may = PUBLIC if path == ("__init__.py",) else MAY[room] | {room}
    found = []
    for parts in imported(source):
        target, other = place(parts)
        top = target != "" or (parts and (PACKAGE / f"{parts[0]}.py").is_file())
        if (
            not top or target not in may or (other and other != letter)
        ):  # a public name of irlg itself, which may be of any room
            found.append(parts)
    return found


# All but the command line, which may import from everywhere.
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_modules_keep_to_their_room(module):
    assert not trespasses(module.parts, (PACKAGE / module).read_text(encoding="utf-8"))


def test_every_room_and_every_notebooks_part_is_known():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == {*MAY} - {""}
    assert {place(module.parts)[1] for module in MODULES} == {*LETTERS, ""}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("__init__.py", "from irlg.artifact import records"),
        ("metrics.py", "from irlg.data import sampling"),
        ("observation.py", "from irlg import restoration"),
        ("models.py", "import irlg.artifact.tables"),
        ("gradients.py", "from irlg import restore"),
        ("data/standins.py", "from irlg.restoration import restore"),
        ("restoration/lattice/shrinkage.py", "def f():\n    from irlg.appendix import trials"),
        ("inversion/matching.py", "from irlg.restoration.registry import restore"),
        ("artifact/claims.py", "from irlg.appendix.published import PAPER_TABLE_4"),
        ("artifact/report.py", "from irlg.auditing import audit"),
        ("auditing/report.py", "from irlg.appendix import scores"),
        ("appendix/trials.py", "from irlg.auditing import audit"),
        ("appendix/f_data_distributions.py", "from irlg.appendix import c_batchnorm_dropout"),
        ("appendix/g_lattice_counts/tables.py", "from irlg.appendix.d_gradient_inversion.tables import view"),
        ("appendix/trials.py", "from irlg.appendix.e_algorithm.solver import speed"),
    ],
)
def test_what_trespasses_is_found(module, source):
    assert trespasses(tuple(module.split("/")), source)


def test_what_is_allowed_is_not():
    shared = "from irlg import models\nfrom irlg.appendix import scores\nfrom irlg.artifact.claims import Claim"
    assert not trespasses(("appendix", "c_batchnorm_dropout.py"), shared)
    own = "from irlg.appendix.d_gradient_inversion import tables"
    assert not trespasses(("appendix", "d_gradient_inversion", "claims.py"), own)
