"""Text as LaTeX, a character at a time, for any engine: what LaTeX lacks breaks nothing."""

import re
import unicodedata

# How a formula names them, in the order of the letters.
_GREEK = """alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi pi rho varsigma sigma tau
upsilon varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"""
_MATH = dict(zip("αβγδεζηθικλμνξπρςστυφχψωΓΔΘΛΞΠΣΥΦΨΩ", _GREEK.split(), strict=True))
_MATH |= {"→": "to", "←": "gets", "↔": "leftrightarrow", "⇒": "Rightarrow", "↑": "uparrow", "↓": "downarrow"}
_MATH |= {"≤": "leq", "≥": "geq", "≠": "neq", "≈": "approx", "≡": "equiv", "∼": "sim", "≪": "ll", "≫": "gg"}
_MATH |= {"×": "times", "·": "cdot", "±": "pm", "∓": "mp", "÷": "div", "∇": "nabla", "∂": "partial", "∞": "infty"}
_MATH |= {"∑": "sum", "∏": "prod", "∫": "int", "√": "surd", "∈": "in", "∉": "notin", "⊂": "subset", "∪": "cup"}
_MATH |= {"∩": "cap", "∅": "emptyset", "∀": "forall", "∃": "exists", "‖": "|", "⊙": "odot", "⊗": "otimes"}
_MATH |= {"⊤": "top", "ℓ": "ell", "∝": "propto", "∘": "circ", "⌊": "lfloor", "⌋": "rfloor", "⌈": "lceil", "⌉": "rceil"}
_ACCENTS = dict(zip("\u0300\u0301\u0302\u0303\u0304\u0307\u0308\u030a\u030c\u0327", "`'^~=.\"rvc", strict=True))
_SIGNS = {sign: rf"\ensuremath{{\{name}}}" for sign, name in _MATH.items()}
_SIGNS |= {sign: f"\\{sign}" for sign in "&%#_${}"} | {sign: rf"\ensuremath{{{sign}}}" for sign in "<>|"}
_SIGNS |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": r"\ensuremath{-}"}
_SIGNS |= {"“": "``", "”": "''", "‘": "`", "’": "'", "–": r"\textendash{}", "—": r"\textemdash{}", "…": r"\dots{}"}
_SIGNS |= {"°": r"\ensuremath{{}^{\circ}}", "§": r"\S{}", "ß": r"\ss{}", "æ": r"\ae{}", "ø": r"\o{}", "ł": r"\l{}"}
_SIGNS |= {"Æ": r"\AE{}", "Ø": r"\O{}", "Ł": r"\L{}", "\u2044": "/"}  # the last is what Unicode makes fractions of
_SIGNS |= {"′": r"\ensuremath{{}^{\prime}}", "″": r"\ensuremath{{}^{\prime\prime}}"}
_SIGNS |= {"\u00a0": "~", "\u2009": r"\,", "\u202f": r"\,", "\u2011": r"\mbox{-}"}


def escaped(text: str) -> str:
    """A text as LaTeX that prints it; an accent goes on the letter before it."""
    made: list[str] = []
    for sign in text:
        if unicodedata.combining(sign):
            if made and sign in _ACCENTS:
                made[-1] = rf"\{_ACCENTS[sign]}{{{made[-1]}}}"
        else:
            made.append(_sign(sign))
    return re.sub(r"-(?=-)", "-{}", "".join(made))  # two hyphens are no dash


def _sign(sign: str) -> str:
    """A character; where LaTeX has none, what Unicode makes it of, else its number."""
    if sign in _SIGNS:
        return _SIGNS[sign]
    if sign.isascii():
        return sign if sign.isprintable() else " " * sign.isspace()
    kind, *codes = ["", *unicodedata.decomposition(sign).split()]
    if codes and codes[0].startswith("<"):
        kind, *codes = codes
    if not codes:
        return rf"\texttt{{U+{ord(sign):04X}}}" if sign.isprintable() and not unicodedata.combining(sign) else ""
    parts = escaped("".join(chr(int(code, 16)) for code in codes))
    raised = {"<super>": "^", "<sub>": "_"}.get(kind)
    return rf"\ensuremath{{{{}}{raised}{{\mathrm{{{parts}}}}}}}" if raised else parts
