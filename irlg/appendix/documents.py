"""What README.md and ARTIFACT.md say of the records: the text of each marked block."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from irlg.appendix.published import PAPER_FIGURE_6, PAPER_ITERATIONS_README, PAPER_UNMATCHED
from irlg.appendix.scores import worst
from irlg.appendix.summary import notebooks, summary
from irlg.artifact.claims import Claim
from irlg.artifact.records import read_record, threads
from irlg.artifact.summary import as_markdown
from irlg.artifact.tables import markdown

DOCUMENTS = ("README.md", "ARTIFACT.md")
Record = Mapping[str, Any]

# Why claims of a notebook fall short or stay open.
REASONS = {
    "C": "The published figures are of eval mode. Clients compute gradients in train mode, where some is lost.",
    "D": "On two cores an attack on ResNet-18 takes hours for the published iterations. What stands here is how far the"
    " attacks have come. On MNIST the protocol has run in full, and the difference is not explained.",
    "E": "That is rounding: the worse the condition of the equations, the fewer digits of a solution are left.",
    "F": "On an untrained network the bias gradient alone gives such counts away.",
    "G": "The longer a network has learnt, and the more instances there are of a class, the less a gradient tells of"
    " how often: those that have been learnt leave next to nothing of it. After 12 epochs, with several instances of"
    " every class, the constant guess is nearer.",
    "H": "What signs alone, and few large entries, leave out is no noise, as the estimator takes it. Simpler methods"
    " read more there: notebook K has those that do.",
    "I": "K = 48 is near C/2 of LeNet-5, where equations are hardly more than unknowns, and weak instances are hidden"
    " by the errors of others. Seconds are those of the run, with whatever ran beside it.",
    "J": "The published figures are of one initialisation each. Of untrained networks several were tried here, of"
    " trained ones one, which contradicts nothing.",
    "K": "DP-SGD clips each instance's gradient by itself, and the estimator takes all to weigh the same: its"
    " probability knows nothing of that. Noise hides how often a class is there long before it hides that it is.",
}


def blocks(folder: Path) -> dict[str, str]:
    """The blocks by name, of the records in `folder`."""
    made = [read_record(folder / f"{name}.json") for name in notebooks() if (folder / f"{name}.json").exists()]
    return {
        "summary": as_markdown(summary(folder), "notebooks/executed/paper/"),
        "machine": machine(made),
        "claims": "\n\n".join(claims(record, folder) for record in made),
        "not-reproduced": not_reproduced(made),
        "errata": "\n".join(f"{number}. {text}" for number, text in enumerate(errata(made, folder), 1)),
    }


def machine(made: Sequence[Record]) -> str:
    """What ran the notebooks, how long, and on which data."""
    kinds = dict.fromkeys(f"{r['device']}, {threads(r)}, {r['system']}, Python {r['python']}" for r in made)
    versions = dict.fromkeys(f"{name} {version}" for r in made for name, version in r["versions"].items())
    minutes, data = sum(r["seconds"] for r in made) / 60, dict.fromkeys(name for r in made for name in r["data"])
    return (
        f"- {len(made)} notebooks, {minutes:.0f} minutes in all but for what is kept of earlier runs, on:"
        f" {'; '.join(kinds)}.\n"
        f"- With {', '.join(versions)}.\n"
        f"- Of data: {', '.join(data)}."
    )


def claims(record: Record, folder: Path) -> str:
    """The claims of a notebook: the command, its time and disk, then a row a claim with figure and tolerance."""
    letter, size = record["notebook"][0], sum((folder / name).stat().st_size for name in record["files"])
    rows = [
        {
            "claim": claim.claim,
            "paper": claim.paper,
            "expected": claim.ours,
            "tolerance": claim.interval,
            "N": f"{claim.n:,}",
            "verdict": claim.verdict,
        }
        for claim in record["claims"]
    ]
    kept = sum(map(attack_seconds, sorted(folder.glob(f"{letter}_*.csv"))))
    more = f" Its attacks, kept from one run to the next, took {kept / 3600:.1f} hours." if kept else ""
    about = f"{record['seconds']:,.0f} s, {size / 1e6:.2f} MB of results, commit {record['commit']}.{more}"
    return (
        f"**[{record['notebook']}](notebooks/executed/paper/{record['notebook']}.ipynb)**"
        f" `./run_all.sh --profile paper --only {letter} --force`: {about}\n\n{markdown(pd.DataFrame(rows))}"
    )


def attack_seconds(path: Path) -> float:
    """How long the attacks of one of notebook D's tables took; 0 for any other table."""
    table = pd.read_csv(path)
    return float((table.seconds * table.seeds).sum()) if {"attack", "seeds", "seconds"} <= {*table} else 0.0


def not_reproduced(made: Sequence[Record]) -> str:
    """By notebook, the claims that fall short, or are open though something was aimed at, and why; and which notebooks
    have not run."""
    left = [name for name in notebooks() if name not in {r["notebook"] for r in made}]
    parts = ["\n".join(f"- {name}: not run." for name in left)]
    for record in made:
        short = [claim for claim in record["claims"] if claim.outcome not in ("holds", "measured")]
        lines = [f"- {claim.claim}: {claim.ours}; paper: {claim.paper} ({claim.verdict})." for claim in short]
        if lines:
            letter = record["notebook"][0]
            parts.append("\n".join([f"**Notebook {letter}.** {REASONS.get(letter, '')}".rstrip(), "", *lines]))
    return "\n\n".join(filter(None, parts))


def errata(made: Sequence[Record], folder: Path) -> Iterator[str]:
    """What of the paper had to be set right or read with care, a sentence or two each.

    **Raises:** `ValueError` where a notebook that says so has not run.
    """
    by_letter = {record["notebook"][0]: record for record in made}
    if missing := sorted(set("ACDF") - set(by_letter)):
        raise ValueError(f"{folder}: expected records of notebooks A, C, D and F, got none of {', '.join(missing)}")
    slips = by_letter["A"]["claims"][0].ours.split("; ")[-1]
    yield f"Equation (7) has slips in its middle terms: {slips}. Its ends, and equation (8), are right (notebook A)."
    shared, restored, steps = PAPER_FIGURE_6["CIFAR-100"]
    yield (
        f"The README of the paper's code speaks of {PAPER_ITERATIONS_README:,} iterations for Figure 6. Its log has"
        f" {steps:,}, and so has the published protocol here (notebook D)."
    )
    table_3 = pd.read_csv(folder / "table_3.csv")
    train = table_3[(table_3["mode"] == "train") & (table_3.method == "irlg")]
    yield (
        "Table 3 was measured in eval mode alone, where Dropout does nothing and BatchNorm nearly nothing. In train"
        f" mode, in which clients compute gradients, the worst row is {worst(train)} (notebook C)."
    )
    guess, apart = table_3[table_3.method == "uniform"], _claim(by_letter["F"], "tells methods apart")
    yield (
        f"A constant guess, Σp = K/C, scores {worst(guess)} in the worst row of Table 3 and {apart.ours} in that of"
        " Table 4. These tables cannot tell a good method from that guess (notebooks C, F and G)."
    )
    unique = pd.read_csv(folder / "F_unique.csv")
    yield (
        f"The Unique row of Table 4 is of one initialisation. Over {len(unique)} its mean LnAcc runs from"
        f" {unique.ln_acc.min():.3f} to {unique.ln_acc.max():.3f}, mostly by {unique.collapsed.sum()} of"
        f" {unique.N.sum()} batches whose solution goes into one class or nearly: of the others it runs from"
        f" {unique.others.min():.3f} to {unique.others.max():.3f} (notebook F)."
    )
    yield (
        "Appendix F expects similarity within a class to reach 100% where each has one instance. That is the Unique"
        " row, the one that fails: there the weights of a class's embeddings cancel (notebooks E and F)."
    )
    images, table = (pd.read_csv(folder / f"D_{name}.csv") for name in ("images_cifar100", "cifar100"))
    taken = table[table.attack == "restored"].iterations.iloc[0]
    by_batch = images[images.attack == "restored"].groupby("seed").psnr.mean()
    yield (
        "Figure 6 rests on one batch, with pictures picked by eye. Measured on them, PSNR of one soft label and of"
        f" restored labels is {shared:.2f} and {restored:.2f} dB where each picture is matched to its original, and"
        f" {PAPER_UNMATCHED[0]:.2f} and {PAPER_UNMATCHED[1]:.2f} dB where not. With restored labels ours, of"
        f" {taken:,} iterations, runs from {by_batch.min():.2f} to {by_batch.max():.2f} dB over {len(by_batch)} batches"
        " (notebook D)."
    )


def _claim(record: Record, words: str) -> Claim:
    found: Claim = next(claim for claim in record["claims"] if words in claim.claim)
    return found
