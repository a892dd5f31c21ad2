"""What a notebook claims: lines of one table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """One line of the claims table: what is claimed, what the paper and this run say of it.

    `interval` is that of `ours`, 95 %, or says what else bounds it; `n` counts trials.
    """

    claim: str
    paper: str
    ours: str
    n: int
    interval: str
    data: str
    verdict: str


def on_real(data: str, verdict: str) -> str:
    """`verdict`, unless `data` names a stand-in, as its source always says: then `"stand-in"`."""
    return "stand-in" if "stand-in" in data else verdict
