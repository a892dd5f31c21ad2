"""A view, which is Markdown, as LaTeX that a paper takes in with \\input: its tables with booktabs."""

import html
import math
import re
import textwrap
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mistune

from irlg.artifact import signs

Node = Mapping[str, Any]  # of mistune's syntax tree

_markdown = mistune.create_markdown(renderer="ast", plugins=["table", "math"])

# Points, on a page of article's and on one that is turned: a line, and what a table may take beside its caption.
LINE, HEIGHT = (345.0, 550.0), (480.0, 300.0)
NARROW = 6  # letters; no column is narrowed below
BREAKS = r"[ \n]|(?<=_)|(?<=-)(?!\d)"  # not in CIFAR-100


@dataclass(frozen=True)
class Size:
    """Letters of a table: the command, and points of a letter, of a line and of a gap on each side of a column."""

    command: str
    letter: float
    line: float
    gap: float


LARGEST, SMALL = Size("", 5.0, 12, 6), Size(r"\footnotesize", 4.3, 9.5, 3)
SMALLEST = Size(r"\scriptsize", 4.0, 8, 3)
# From best to worst: letters, whether the page is turned, and how many lines a row may take.
FITS: tuple[tuple[Size, bool, float], ...] = (
    *((size, False, 1) for size in (LARGEST, Size(r"\small", 4.7, 11, 4), SMALL)),
    *((size, turned, lines) for turned, lines in ((False, 2), (True, 1)) for size in (SMALL, SMALLEST)),
    (SMALL, False, 3),
    *((size, True, math.inf) for size in (SMALL, SMALLEST)),
)


def booktabs(view: str, caption: str) -> str:
    """A view with its caption as LaTeX, which compiles with the packages that its first line names.

    In a float the caption is its `\\caption`, elsewhere a paragraph. A table that is too wide gets smaller letters,
    then cells that wrap, then a turned page; one that is longer than a page is a `longtable`.
    """
    title, nodes = _inline(_parsed(caption)).strip(), _parsed(view)
    tables = [_Table(node) for node in nodes if node["type"] == "table"]
    own = len(tables) == 1 and nodes[0]["type"] == "table" and (tables[0].turned or tables[0].long)
    parts = [tables[0].latex(title)] if own else [_title(title)] * bool(title)
    rest, following = nodes[1:] if own else nodes, iter(tables)
    parts += [next(following).latex("") if node["type"] == "table" else _block(node) for node in rest]
    body = "\n\n".join(filter(None, parts)) + "\n"

    packages = {"amsmath": r"[$]|\\\[", "array": r"\\arraybackslash", "booktabs": r"\\toprule"}
    packages |= {"longtable": r"{longtable}", "pdflscape": r"{landscape}"}
    needed = ",".join(name for name, sign in packages.items() if re.search(rf"(?<!\\){sign}", body))
    head = rf"% Needs \usepackage{{{needed}}}. " if needed else "% "
    if "longtable" in needed or "pdflscape" in needed:
        head += "For one column, outside of floats.\n"
    else:
        head += "In a float the caption is its \\caption.\n"
    links = "\\providecommand{\\href}[2]{#2}% links where hyperref is\n" if r"\href{" in body else ""
    return head + links + body


def _parsed(source: str) -> list[Node]:
    tree = _markdown(source)
    assert not isinstance(tree, str)
    return [node for node in tree if node["type"] != "blank_line"]


def _title(title: str) -> str:
    return rf"\ifcsname @captype\endcsname\caption{{{title}}}\else\noindent {title}\par\nopagebreak\medskip\fi"


def _block(node: Node) -> str:
    if node["type"] == "list":
        kind = "enumerate" if node["attrs"]["ordered"] else "itemize"
        items = (rf"\item {_guarded(_inline([item]).strip())}" for item in node["children"])
        return "\n".join([rf"\begin{{{kind}}}", *items, rf"\end{{{kind}}}"])
    if node["type"] == "block_math":
        return rf"\[{_formula(node['raw'])}\]" if _sound(node["raw"]) else signs.escaped(node["raw"])
    return _inline([node])


class _Table:
    """A table: its cells, and how they fit on a page. `head` and `rows` as LaTeX."""

    def __init__(self, node: Node) -> None:
        lines = [part for part in node["children"] if part["type"] == "table_head"]
        lines += [row for part in node["children"] if part["type"] == "table_body" for row in part["children"]]
        cells = [[cell["children"] for cell in line["children"]] for line in lines]
        self.aligns = [cell["attrs"]["align"] or "left" for cell in lines[0]["children"]]
        texts = [[_tied(_plain(cell).strip(), "\u00a0") for cell in line] for line in cells]
        columns = list(zip(*texts, strict=True))
        full = list(map(_longest, columns))
        self.size, self.turned, widths = _fitted(columns, full)
        # None: as wide as what is in it
        self.fractions = [
            width * self.size.letter / LINE[self.turned] if width < natural or any("\n" in t for t in column) else None
            for width, natural, column in zip(widths, full, columns, strict=True)
        ]
        high = [max(_high([text], width) for text, width in zip(row, widths, strict=True)) for row in texts]
        self.wraps = max(high[1:], default=1) > 1
        self.long = (sum(high) + self.wraps * len(high) / 2) * self.size.line > HEIGHT[self.turned]
        self.head, *self.rows = (self._row(line) for line in cells)

    def _row(self, cells: Sequence[Sequence[Node]]) -> str:
        made = zip(map(_guarded, map(_inline, cells)), self.fractions, strict=True)
        return " & ".join(_wrapping(cell) if fraction else cell for cell, fraction in made) + r" \\"

    def latex(self, title: str) -> str:
        """The table, and above it the caption if there is one."""
        columns = "".join(map(_column, self.aligns, self.fractions))
        head = ["\\toprule", self.head, "\\midrule"]
        rows = [row + r"\addlinespace" for row in self.rows[:-1]] + self.rows[-1:] if self.wraps else self.rows
        style = self.size.command + rf"\setlength{{\tabcolsep}}{{{self.size.gap:g}pt}}" * (self.size is not LARGEST)
        if self.long:
            caption = [rf"\caption{{{title}}}\\"] * bool(title)
            first = [*caption, *head, r"\endfirsthead"]
            rows = [*first, *head, r"\endhead", r"\bottomrule", r"\endfoot", *rows]
            begin = [rf"{{{style}\setlength{{\LTcapwidth}}{{\linewidth}}", rf"\begin{{longtable}}{{{columns}}}"]
            lines = [*begin, *rows, r"\end{longtable}}"]
        else:
            begin = [_title(title)] * bool(title) + [rf"{{\centering{style}", rf"\begin{{tabular}}{{{columns}}}"]
            lines = [*begin, *head, *rows, r"\bottomrule", r"\end{tabular}\par}"]
        return "\n".join([r"\begin{landscape}", *lines, r"\end{landscape}"] if self.turned else lines)


def _longest(texts: Sequence[str]) -> int:
    return max((len(line) for text in texts for line in text.split("\n")), default=0)


def _fitted(columns: Sequence[Sequence[str]], full: Sequence[int]) -> tuple[Size, bool, list[int]]:
    """The best of `FITS` in which columns of such texts have room, and letters of each; the last if none."""
    words = [max(len(word) for text in column for word in re.split(BREAKS, text)) for column in columns]
    for size, turned, height in FITS:
        room = (LINE[turned] - 2 * size.gap * len(full)) / size.letter
        narrow = [max(word, min(natural, NARROW)) for word, natural in zip(words, full, strict=True)]
        least = [_least(*column, height) for column in zip(columns, narrow, full, strict=True)]
        if sum(least) <= room:
            return size, turned, _widths(full, least, room)
    return size, turned, least


def _least(texts: Sequence[str], narrow: int, natural: int, height: float) -> int:
    """The least width in which no cell below the head takes more lines than `height`."""
    return narrow + bisect_left(range(narrow, natural), True, key=lambda width: _high(texts[1:], width) <= height)


def _widths(full: Sequence[int], least: Sequence[int], room: float) -> list[int]:
    """Letters of each column, in all as many as there is room for: by one factor, but none below its least."""
    factors = (1 + tenths / 10 for tenths in range(10 * max(full)))
    tries = ([max(low, math.ceil(f / by)) for f, low in zip(full, least, strict=True)] for by in factors)
    return next((widths for widths in tries if sum(widths) <= room), list(least))


def _high(texts: Sequence[str], width: int) -> int:
    """How many lines the longest of some texts takes; a tenth is for wide letters."""
    return max((sum(_broken(line, width) for line in text.split("\n")) for text in texts), default=1)


def _broken(line: str, width: int) -> int:
    return 1 if len(line) <= width else len(textwrap.wrap(line, math.ceil(0.9 * width)))


def _wrapping(cell: str) -> str:
    """A cell that breaks where `BREAKS` does; as it is where a link or a formula has its own hyphens."""
    if r"\href{" in cell or "$" in cell:
        return cell
    return re.sub(r"-(?=\d)", r"\\mbox{-}", _tied(cell, "~")).replace(r"\_", r"\_\allowbreak ")


def _tied(text: str, space: str) -> str:
    return re.sub(r"\[[^][ ]+, [^][ ]+\]", lambda interval: interval[0].replace(" ", space), text)


def _column(align: str, fraction: float | None) -> str:
    if fraction is None:
        return align[0]
    ragged = {"left": r"\raggedright", "right": r"\raggedleft", "center": r"\centering"}[align]
    return rf">{{{ragged}\arraybackslash}}p{{{fraction:.3f}\linewidth}}"


def _guarded(text: str) -> str:
    """A cell or item whose first sign is not taken for an argument of the command before it."""
    return "{}" + text if text.startswith(("[", "*")) else text


def _plain(nodes: Sequence[Node]) -> str:
    """What is to be read in a cell, to measure it."""
    return "".join("\n" if _breaks(node) else node.get("raw") or _plain(node.get("children", ())) for node in nodes)


def _breaks(node: Node) -> bool:
    tag = node["type"] == "inline_html" and re.fullmatch(r"<br\s*/?>", node["raw"], re.IGNORECASE)
    return node["type"] == "linebreak" or bool(tag)


def _inline(nodes: Sequence[Node]) -> str:
    return "".join(map(_piece, nodes))


def _piece(node: Node) -> str:
    inner, raw = _inline(node.get("children", ())), node.get("raw", "")
    match node["type"]:
        case "text":
            minus = re.sub(r"(?<![\w)\]}.-])-(?=\.?\d)", "−", html.unescape(raw))
            return signs.escaped(minus)
        case "codespan":
            code = signs.escaped(raw.replace(r"\|", "|"))
            return rf"\texttt{{{code}}}"
        case "strong" | "heading":
            return rf"\textbf{{{inner}}}"
        case "emphasis":
            return rf"\emph{{{inner}}}"
        case "inline_math":
            return f"${_formula(raw)}$" if _sound(raw) else signs.escaped(f"${raw}$")
        case "link" if re.match(r"https?://", url := node["attrs"]["url"]):
            address = re.sub(r"([%#&_])", r"\\\1", url)
            return rf"\href{{{address}}}{{{inner}}}"
        case "softbreak":
            return " "
        case "inline_html":
            return r"\newline " if _breaks(node) else ""
        case "linebreak":
            return r"\newline "
    return inner or signs.escaped(raw)


def _sound(formula: str) -> bool:
    """Whether what stands between dollars can be a formula, rather than prices."""
    rest = re.sub(r"\\.", "", formula).strip("\n")
    return rest.count("{") == rest.count("}") and not re.search(r"[%#&$]|\s$", rest)


def _formula(latex: str) -> str:
    def known(found: re.Match[str]) -> str:
        made = signs.escaped(found[0])
        return made if not made or made.startswith(r"\ensuremath") else rf"\text{{{made}}}"

    return re.sub(r"\w[\u0300-\u036f]+|[^\x00-\x7f]", known, latex.strip())
