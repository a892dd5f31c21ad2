import ast
import json
import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXECUTED = sorted((ROOT / "notebooks/executed/paper").glob("*.ipynb"))


def code_cells(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_lock_meets_every_requirement_of_pyproject():
    locked = [Requirement(line) for line in LOCK.splitlines() if re.match(r"[a-z0-9]", line)]
    extras = PYPROJECT["project"]["optional-dependencies"]
    wanted = [*PYPROJECT["project"]["dependencies"], *(name for extra in extras.values() for name in extra)]
    for requirement in map(Requirement, wanted):
        versions = [str(lock.specifier)[2:] for lock in locked if lock.name == requirement.name]
        assert versions, requirement
        assert all(requirement.specifier.contains(Version(version)) for version in versions), requirement


def test_the_lock_says_how_it_was_made():
    command = LOCK.splitlines()[1]
    assert "uv pip compile --universal --python-version 3.11" in command and "pyproject.toml" in command
    assert "//" not in LOCK


def test_environment_yml_is_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert environment["name"] == PYPROJECT["project"]["name"]
    assert PYPROJECT["project"]["requires-python"] == ">=" + python.removeprefix("python=")
    assert (pip, packages) == ("pip", {"pip": ["-r requirements.lock", "-e ."]})


@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda path: path.stem)
def test_notebooks_have_the_shape_that_was_agreed(path):
    cells = code_cells(path)
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    first, parameters, check, *_, last = ["".join(cell["source"]) for cell in cells]
    assert f'run = Run("{path.stem}", ' in first
    assert cells[1]["metadata"] == {"tags": ["parameters"]}
    assert "run.finish(" in last
    assert len(cells) <= 14
    # Every parameter has a type, a default and a comment, and the check knows exactly these.
    lines = parameters.splitlines()
    assert all(re.fullmatch(r'\w+: (int|str) = ("[^"]*"|\d+)  # .{10,}', line) for line in lines), lines
    call = next(node for node in ast.walk(ast.parse(check)) if isinstance(node, ast.Call) and _is_check(node))
    checked = {ast.literal_eval(name) for name in call.args[1:]} | {keyword.arg for keyword in call.keywords}
    assert checked | {"out_dir"} == {line.split(":")[0] for line in lines}


def _is_check(node):
    return isinstance(node.func, ast.Attribute) and node.func.attr == "check"


def test_profiles_name_parameters_that_exist():
    profiles = yaml.safe_load((ROOT / "notebooks" / "profiles.yaml").read_text())
    assert list(profiles) == ["smoke", "quick", "paper"]
    declared = {path.stem: "".join(code_cells(path)[1]["source"]) for path in NOTEBOOKS}
    for chosen in profiles.values():
        for name, parameters in chosen.items():
            assert all(f"{parameter}: int = " in declared[name] for parameter in parameters)


@pytest.mark.parametrize("path", EXECUTED, ids=lambda path: path.stem)
def test_executed_notebooks_are_whole_and_clean(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.~])/(?:tmp|home|root|work)/", text)
    for cell in code_cells(path):
        assert cell["execution_count"]
        kinds = {output["output_type"] for output in cell["outputs"]}
        assert "error" not in kinds
        assert not any(output.get("name") == "stderr" for output in cell["outputs"])


@pytest.mark.parametrize("path", [*NOTEBOOKS, *EXECUTED], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_in_the_text_of_notebooks_lead_somewhere(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert all((path.parent / link).exists() for link in re.findall(r"\]\((\.\.[^)]+)\)", text))


def test_codemeta_and_citation_say_what_pyproject_says():
    meta, project = json.loads((ROOT / "codemeta.json").read_text()), PYPROJECT["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    paper = citation["preferred-citation"]
    assert meta["name"] == citation["title"] == project["name"]
    assert meta["version"] == citation["version"] == project["version"]
    assert meta["license"].rpartition("/")[2] == citation["license"] == project["license"]
    assert meta["description"] + "." == citation["abstract"] == project["description"] + "."
    assert meta["runtimePlatform"] == f"Python {project['requires-python']}"
    assert [author["name"] for author in meta["author"]] == [author["name"] for author in citation["authors"]]
    assert meta["referencePublication"]["name"] == paper["title"]
    assert meta["referencePublication"]["url"] == paper["url"]
    assert (ROOT / meta["softwareRequirements"]).exists() and (ROOT / meta["readme"]).exists()


def test_the_container_runs_what_a_reader_runs():
    steps = [
        line.split(" ", 1) for line in (ROOT / "Containerfile").read_text().splitlines() if line[:1] not in ("#", "")
    ]
    assert steps[0] == ["FROM", f"python:{PYPROJECT['project']['requires-python'].removeprefix('>=')}-slim"]
    words = [word for word, _ in steps]
    assert words.index("USER") < words.index("COPY") and steps[-1] == ["ENTRYPOINT", '["./run_all.sh"]']
    assert {word for word, _ in steps} == {"FROM", "RUN", "USER", "WORKDIR", "COPY", "ENTRYPOINT"}
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ".git" not in ignored and {".venv", ".run", "data"} <= {*ignored}


def test_modules_are_small():
    sizes = {str(path): len(path.read_text().splitlines()) for path in (ROOT / "irlg").rglob("*.py")}
    assert max(sizes.values()) <= 260, sizes
