"""What a notebook claims: lines of one table, each with a verdict that begins with known words."""

import re
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["holds", "below", "open", "measured", "stand-in"]
# What a verdict's first words mean; of several the longest. N is any number.
VERDICTS: dict[str, Outcome] = {
    "reproduced": "holds",
    "holds": "holds",
    "higher": "holds",
    "yes": "holds",
    "below": "below",
    "degrades": "below",
    "differs": "below",
    "fails": "below",
    "holds but for N": "below",
    "lower": "below",
    "more": "below",
    "no": "below",
    "not all": "below",
    "slower": "below",
    "N of N iterations": "open",
    "higher at N iterations": "open",
    "lower at N iterations": "open",
    "holds, at an accuracy below N": "open",  # so not at the one that the target is set for
    "measured": "measured",
    "no such batch": "open",
    "too few": "open",
    "undecided": "open",
    "stand-in": "stand-in",
}


@dataclass(frozen=True)
class Claim:
    """One line of the claims table: what is claimed, what the paper and this run say of it.

    `interval` is that of `ours`, 95 %, or says what else bounds it; `n` counts trials. **Raises:** `ValueError` for a
    verdict that `VERDICTS` does not know.
    """

    claim: str
    paper: str
    ours: str
    n: int
    interval: str
    data: str
    verdict: str

    def __post_init__(self) -> None:
        _ = self.outcome

    @property
    def outcome(self) -> Outcome:
        """Whether it holds, is below the paper or what was aimed at, is left open, was measured where nothing was aimed
        at, or ran on a stand-in."""
        text = re.sub(r"\d[\d,.]*", "N", self.verdict)
        known = [words for words in VERDICTS if re.match(re.escape(words) + r"(?!\w)", text)]
        if not known:
            raise ValueError(f"verdict: expected to begin with one of {', '.join(VERDICTS)}, got {self.verdict!r}")
        return VERDICTS[max(known, key=len)]


def on_real(data: str, verdict: str) -> str:
    """`verdict`, unless `data` names a stand-in, as its source always says: then `"stand-in"`."""
    return "stand-in" if "stand-in" in data else verdict
