import ast
import itertools
import json
from dataclasses import asdict, fields

import pytest

from irlg.artifact.claims import VERDICTS, Claim, on_real
from tests.conftest import ROOT

SOURCES = sorted((ROOT / "irlg" / "appendix").rglob("*.py"))
RECORDS = sorted((ROOT / "figures" / "paper").glob("[A-Z]_*.json"))


def claim(verdict, data="CIFAR-100"):
    return Claim("Table 9", "1.000", "0.999", 50, "exact", data, verdict)


class Verdicts(ast.NodeVisitor):
    """Every verdict that a module's claims can have, with 7 for each number."""

    def __init__(self, tree):
        self.assigned, self.returned, self.found, self.asked = {}, {}, set(), []
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.assigned.setdefault(node.targets[0].id, []).append(node.value)
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):  # words put behind a verdict
                before = self.assigned.get(node.target.id, [])
                self.assigned[node.target.id] = before + [ast.BinOp(old, ast.Add(), node.value) for old in before]
            if isinstance(node, ast.FunctionDef):
                self.returned[node.name] = [n.value for n in ast.walk(node) if isinstance(n, ast.Return)]
        self.visit(tree)

    def visit_Call(self, node):
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "Claim":
            given = dict(zip((field.name for field in fields(Claim)), node.args, strict=False))
            given |= {keyword.arg: keyword.value for keyword in node.keywords}
            self.found |= self.values(given["verdict"])
        elif isinstance(node.func, ast.Name) and node.func.id == "on_real":
            self.found |= self.values(node)

    def values(self, node):
        """What an expression may be."""
        if isinstance(node, ast.Constant):
            return {node.value}
        if isinstance(node, ast.IfExp):
            return self.values(node.body) | self.values(node.orelse)
        if isinstance(node, ast.JoinedStr):
            return {"".join(parts) for parts in itertools.product(*map(self.values, node.values))}
        if isinstance(node, ast.FormattedValue):
            return self.values(node.value) if getattr(node.value, "id", "") in ("word", "verdict") else {"7"}
        if isinstance(node, ast.BinOp):
            return {a + b for a in self.values(node.left) for b in self.values(node.right)}
        if isinstance(node, ast.Call) and node.func.id == "on_real":
            return {"stand-in"} | self.values(node.args[1])
        if isinstance(node, ast.Call):
            return set().union(*map(self.values, self.returned[node.func.id]))
        if node.id in self.asked:  # functions may give values of theirs the same name
            return set()
        self.asked.append(node.id)
        found = set().union(*map(self.values, self.assigned.get(node.id, [])))  # or a parameter, given elsewhere
        self.asked.pop()
        return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "irlg" / "appendix")))
def test_every_verdict_that_the_code_can_give_is_known(path):
    for verdict in Verdicts(ast.parse(path.read_text(encoding="utf-8"))).found:
        assert claim(verdict).outcome in ("holds", "below", "open", "measured", "stand-in")


def test_verdicts_are_found_in_the_code():
    def found(source):
        return Verdicts(ast.parse(source)).found

    assert found("Claim('', '', '', 1, '', '', 'a' if x == 'b' else 'c')") == {"a", "c"}
    assert found("verdict = 'a'\nverdict += f', at {x}'\nClaim(verdict=on_real(d, verdict))") == {
        "a",
        "a, at 7",
        "stand-in",
    }
    assert found("def f():\n    word = 'a'\n    return on_real(d, f'{word} at {n:,}')\nf()") == {"a at 7", "stand-in"}
    everything = set().union(*(found(path.read_text(encoding="utf-8")) for path in SOURCES))
    assert {"reproduced", "7 of 7 iterations", "undecided at 7 iterations", "holds but for 7", "slower"} <= everything


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        ("reproduced", "holds"),
        ("higher", "holds"),
        ("higher at 400 iterations", "open"),
        ("400 of 24,000 iterations", "open"),
        ("undecided", "open"),
        ("measured", "measured"),
        ("no", "below"),
        ("no: the guess scores 1.000", "below"),
        ("no such batch", "open"),
        ("holds but for 12", "below"),
        ("below 0.95, at an accuracy below 33%", "below"),
        ("holds, at an accuracy below 33%", "open"),
        (on_real("synthetic stand-in for CIFAR-100", "reproduced"), "stand-in"),
    ],
)
def test_outcomes(verdict, outcome):
    assert claim(verdict).outcome == outcome


@pytest.mark.parametrize("verdict", ["", "perhaps", "nothing", "holdsome", "Reproduced"])
def test_a_verdict_in_other_words_is_refused(verdict):
    with pytest.raises(ValueError, match=r"expected to begin with one of reproduced, .* got"):
        claim(verdict)


def test_a_record_keeps_the_verdict_and_not_what_follows_from_it():
    assert [*asdict(claim("holds"))] == ["claim", "paper", "ours", "n", "interval", "data", "verdict"]


def test_every_known_verdict_is_one_of_its_own():
    assert all(claim(words.replace("N", "7")).outcome == outcome for words, outcome in VERDICTS.items())


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_committed_claims_have_an_outcome(path):
    assert all(Claim(**made).outcome for made in json.loads(path.read_text(encoding="utf-8"))["claims"])
