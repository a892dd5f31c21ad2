"""The code that a notebook's results depend on, and whether it has changed since they were made."""

import ast
import hashlib
import json
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from irlg.artifact.records import git

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent
BY_NAME = "importlib" + ".import_module("  # in two parts, for this module imports none by name


def used_by(notebook: Path) -> list[Path]:
    """The files of the package that a notebook, or module, imports, and those that they import; itself too.

    Of a package's `__init__.py` only the names are followed that are taken from it. What imports modules by name is
    taken to use its whole room.
    """
    found, waiting = {notebook}, list(_imported(notebook))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path)
    return sorted(found)


def digest(module: Path) -> str:
    """A digest of a module and of all that it uses of the package, to be part of what a result is made of."""
    found = hashlib.blake2b(digest_size=8)
    for path in used_by(module):
        found.update(path.read_bytes())
    return found.hexdigest()


def changed(paths: list[Path], commit: str) -> list[str]:
    """Which of `paths` say something else than at `commit`, but for comments, docstrings and outputs.

    A file that has moved says the same, and so does what imports it from where it is now.

    **Raises:** `OSError` or `subprocess.CalledProcessError` where git cannot tell.
    """
    names = [str(path.relative_to(ROOT)) for path in paths]
    git(ROOT, "cat-file", "-e", commit)
    moved = _moved(commit)
    differ = set(git(ROOT, "diff", "--name-only", commit, "--", *names).splitlines())
    differ |= set(git(ROOT, "ls-files", "--others", "--", *names).splitlines())
    return [name for name in names if name in differ and _now(name, moved) != _then(commit, name, moved)]


def _moved(commit: str) -> dict[str, str]:
    """Where each file that has moved since `commit` was, by its name now."""
    lines = git(ROOT, "diff", "--name-status", "--find-renames", "--diff-filter=R", commit).splitlines()
    return {now: then for _, then, now in (line.split("\t") for line in lines)}


def _now(name: str, moved: dict[str, str]) -> tuple[list[tuple[str, str]], str]:
    modules = {_dotted(now): _dotted(then) for now, then in moved.items()}

    def before(what: str) -> str:  # a module, or a name in one
        module, dot, own = what.rpartition(".")
        return modules.get(what) or f"{modules.get(module, module)}{dot}{own}"

    imports, rest = _says((ROOT / name).read_text(encoding="utf-8"), name)
    return sorted((before(what), called) for what, called in imports), rest


def _then(commit: str, name: str, moved: dict[str, str]) -> tuple[list[tuple[str, str]], str]:
    try:
        imports, rest = _says(git(ROOT, "show", f"{commit}:{moved.get(name, name)}"), name)
    except subprocess.CalledProcessError:  # a file that is new
        return [], ""
    return sorted(imports), rest


def _dotted(name: str) -> str:
    return name.removesuffix(".py").replace("/", ".")


@cache
def _says(text: str, name: str) -> tuple[list[tuple[str, str]], str]:
    """What code imports of the package, each with the name it has there, and all else."""
    code = _code(text, name)
    tree = _WithoutImports().visit(ast.parse(code))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return [(".".join(filter(None, (module, own))), called) for module, own, called in _imports(code)], ast.dump(tree)


class _WithoutImports(ast.NodeTransformer):
    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        return None if (node.module or "").split(".")[0] == PACKAGE.name else node


def _code(text: str, name: str) -> str:
    if not name.endswith(".ipynb"):
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")


@cache
def _imported(path: Path) -> tuple[Path, ...]:
    text = _code(path.read_text(encoding="utf-8"), path.name)
    by_name = path.parent.rglob("*.py") if BY_NAME in text else ()
    return (*by_name, *(file for module, name, _ in _imports(text) for file in _file(module, name)))


def _imports(text: str) -> Iterator[tuple[str, str, str]]:
    """Module, name and what it is called here, of each import of the package's; of a whole module the name is empty."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            ours = (alias for alias in node.names if alias.name.split(".")[0] == PACKAGE.name)
            yield from ((alias.name, "", alias.asname or alias.name) for alias in ours)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
            yield from ((str(node.module), alias.name, alias.asname or alias.name) for alias in node.names)


def _file(module: str, name: str) -> Iterator[Path]:
    """The files in which a name of a module is found, or the module itself."""
    place = ROOT.joinpath(*module.split("."))
    inside = place / name if name else place
    if inside.with_suffix(".py").is_file():
        yield inside.with_suffix(".py")
    elif name and place.with_suffix(".py").is_file():
        yield place.with_suffix(".py")
    elif (inside / "__init__.py").is_file():
        yield inside / "__init__.py"
    else:
        init = place / "__init__.py"
        origins = [other for other, own, _ in _imports(init.read_text(encoding="utf-8")) if own == name]
        yield from (file for other in origins for file in _file(other, name)) if origins else (init,)
