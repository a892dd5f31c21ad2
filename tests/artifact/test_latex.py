import itertools
import re
import shutil
import subprocess

import pandas as pd
import pytest

from irlg.artifact.latex import booktabs
from irlg.artifact.run import Run
from irlg.artifact.tables import markdown
from tests.conftest import ROOT

PAPER = sorted((ROOT / "figures" / "paper").glob("*.md"))

VIEW = r"""| method   | **LnAcc** [95 %] | `x_1` \| K |
|:---------|-----------------:|:----------:|
| irlg & Σ n̂ | -0.05 ± 0.02 | $\sigma^2 ≤ 1$ |
| [a](https://b.org/c_d#e) *b* | [0.1, 1] | 5 → 784-300 |"""

LATEX = r"""% Needs \usepackage{amsmath,booktabs}. In a float the caption is its \caption.
\providecommand{\href}[2]{#2}% links where hyperref is
\ifcsname @captype\endcsname\caption{All of \#1.}\else\noindent All of \#1.\par\nopagebreak\medskip\fi

{\centering
\begin{tabular}{lrc}
\toprule
method & \textbf{LnAcc} [95 \%] & \texttt{x\_1} \ensuremath{|} K \\
\midrule
irlg \& \ensuremath{\Sigma} \^{n} & \ensuremath{-}0.05 \ensuremath{\pm} 0.02 & $\sigma^2 \ensuremath{\leq} 1$ \\
\href{https://b.org/c\_d\#e}{a} \emph{b} & {}[0.1, 1] & 5 \ensuremath{\to} 784-300 \\
\bottomrule
\end{tabular}\par}
"""


def table(rows, *cells):
    return markdown(pd.DataFrame([cells] * rows, columns=[f"c{number}" for number in range(len(cells))]))


def test_a_table_line_by_line():
    assert booktabs(VIEW, "All of #1.") == LATEX


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("50% & a_b #1 {x}", r"50\% \& a\_b \#1 \{x\}"),
        ("a ~ b ^ c < d", r"a \textasciitilde{} b \textasciicircum{} c \ensuremath{<} d"),
        (r"back\slash", r"back\textbackslash{}slash"),
        ("“so” – it’s…", r"``so'' \textendash{} it's\dots{}"),
        ("−1, 1 − p and -1, CIFAR-100", r"\ensuremath{-}1, 1 \ensuremath{-} p and \ensuremath{-}1, CIFAR-100"),
        ("é W(K∇W)ᵀ m²", r"\'{e} W(K\ensuremath{\nabla}W)\ensuremath{{}^{\mathrm{T}}} m\ensuremath{{}^{\mathrm{2}}}"),
        ("--force", "-{}-force"),
        ("$5 & {more$ 1", r"\$5 \& \{more\$ 1"),
        ("llg*, zlg*; rlu*", "llg*, zlg*; rlu*"),
        ("R&amp;D", r"R\&D"),
        ("½ Łódź x′", r"1/2 \L{}\'{o}d\'{z} x\ensuremath{{}^{\prime}}"),
        ("中 ☃", r"\texttt{U+4E2D} \texttt{U+2603}"),
        ("1 of \x07two\u200b", "1 of two"),
    ],
)
def test_signs(text, written):
    assert booktabs(text, "").partition("\n")[2] == written + "\n"


def test_text_beside_tables():
    made = booktabs("One.\n\n- **a**\n- [b]\n\n" + table(1, "x"), "")
    assert "One.\n\n\\begin{itemize}\n\\item \\textbf{a}\n\\item {}[b]\n\\end{itemize}\n\n{\\centering\n" in made


def test_a_line_break_takes_a_paragraphs_column():
    made = booktabs("| a | b |\n|--:|---|\n| 1<br>2 | 3 |", "")
    assert r"{>{\raggedleft\arraybackslash}p{0.014\linewidth}l}" in made and r"1\newline 2 & 3 \\" in made


def test_what_is_too_wide_gets_smaller_letters_then_wraps_then_turns():
    sizes = [booktabs(table(3, *[cell] * 4), "") for cell in ("a" * 12, "a" * 16, "aa aaa " * 5, "a" * 21, "a a " * 99)]
    assert r"{\centering" + "\n" in sizes[0]
    assert r"\small" in sizes[1] and "p{" not in sizes[1]
    assert r"\footnotesize" in sizes[2] and r"\raggedright\arraybackslash}p{0.2" in sizes[2]
    assert [r"\begin{landscape}" in made for made in sizes] == [False] * 3 + [True] * 2
    assert r"\addlinespace" in sizes[2] and r"\addlinespace" not in sizes[3]


def test_nothing_in_an_interval_or_a_name_breaks():
    made = booktabs(table(2, *["CIFAR-100 a_b 0.50 [0.25, 0.75]"] * 6), "")
    assert r"CIFAR\mbox{-}100 a\_\allowbreak b 0.50 [0.25,~0.75]" in made
    assert "$x^{-1}$ and more" in booktabs(table(2, *["$x^{-1}$ and more words than fit"] * 6), "")


def test_what_is_longer_than_a_page_repeats_its_head():
    made = booktabs(table(60, "x", "y"), "Many.")
    first, rest = made.split(r"\endfirsthead")
    head = "\\toprule\nc0 & c1 \\\\\n\\midrule\n"
    assert first.endswith("\\caption{Many.}\\\\\n" + head) and rest.startswith("\n" + head + r"\endhead")
    assert made.startswith(r"% Needs \usepackage{booktabs,longtable}. For one column, outside of floats.")


def test_a_run_writes_it(tmp_path):
    run = Run("Z_made_up", "Z")
    run.out_dir = tmp_path
    run.table(pd.DataFrame({"a": ["1"]}), table(1, "1"), "Z_table", "One.")
    assert run._files == ["Z_table.csv", "Z_table.md", "Z_table.tex"]
    assert (tmp_path / "Z_table.tex").read_text(encoding="utf-8") == booktabs(table(1, "1"), "One.")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex: Debian's texlive-latex-recommended")
def test_all_of_the_paper_profile_compiles(tmp_path):
    sources = [path.read_text(encoding="utf-8").partition("\n\n") for path in PAPER]
    odd = list(map(chr, itertools.chain(range(0x80, 0x250), range(0x300, 0x400), range(0x2000, 0x2C00))))
    views = [(view, caption) for caption, _, view in sources]
    views += [
        (VIEW, "Of each kind."),
        (" ".join(map(chr, range(33, 127))), ""),
        (f"{' '.join(odd)} $x {''.join(odd)}$", ""),
    ]
    parts = [booktabs(*view) for view in views]
    floats = [part for part in parts if "outside of floats" not in part.partition("\n")[0]]
    parts += [f"\\begin{{table}}\n{part}\\end{{table}}\\clearpage\n" for part in floats[:2]]
    packages = sorted({name for part in parts for name in re.findall(r"(?<=usepackage{)[^}]+", part)})
    lines = [r"\documentclass{article}", rf"\usepackage{{{','.join(packages)}}}", r"\begin{document}"]
    for number, part in enumerate(parts):
        (tmp_path / f"t{number}.tex").write_text(part, encoding="utf-8")
        lines.append(rf"\input{{t{number}}}")
    (tmp_path / "all.tex").write_text("\n".join([*lines, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert found.returncode == 0, found.stdout[-2000:]
    of_paper = found.stdout.partition(f"(./t{len(sources)}.tex")[0]
    assert max(map(float, re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", of_paper))) < 10
