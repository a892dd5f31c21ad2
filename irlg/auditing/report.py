"""An audit in words."""

import math
import statistics
import textwrap

import torch

from irlg.artifact.statistics import wilson
from irlg.auditing.result import Audit, Batch
from irlg.restoration.lattice.method import SURE

WIDTH, INDENT = 96, 13
GLUE = "\u00a0"  # a blank at which no line ends


def report(audit: Audit) -> str:
    """What a server learns, in lines of at most `WIDTH` characters."""
    count, size, first = len(audit.batches), audit.batch_size, audit.batches[0]
    batches = f"{count} random batches" if count > 1 else "one batch"
    images = f"{size:,} images" if size > 1 else "one image"
    lines = [f"Audit of {batches} of {images}, {len(first.true)} classes, network in {audit.mode} mode."]
    lines += textwrap.wrap(_defence(audit), WIDTH)
    lines += ["", "A server that sees the last layer's gradient of such a batch learns"]
    learnt = {
        "counts": _counts(audit),
        "labels": f"the right label for {_percent(audit.recall)} of the images; a guess without the gradient has"
        f" {_percent(audit.guessed_recall)}.",
        "certainty": _certainty(audit),
        "instances": _instances(audit),
    }
    for name, words in learnt.items():
        lines += textwrap.wrap(words, WIDTH, initial_indent=f"  {name:<{INDENT - 2}}", subsequent_indent=" " * INDENT)
    right = "right" if first.exact else "wrong"
    lines += ["", f"The first batch, for which it has a probability of {first.probability:.3f}, and is {right}:"]
    lines += [*_table(first), ""]
    lines.append("This is what one method finds in one layer. Other attacks, and other layers, may tell more.")
    return "\n".join(lines).replace(GLUE, " ")


def _defence(audit: Audit) -> str:
    changes = [batch.changed for batch in audit.batches if batch.changed > 0]
    if not changes:
        return f"Defence: {audit.defence}."
    share = statistics.median(changes)
    size = f"{_percent(share)} of" if share < 1 else f"{share:.3g} times"
    return f"Defence: {audit.defence}. It changes the gradient by {size} its norm."


def _counts(audit: Audit) -> str:
    count, exact = len(audit.batches), audit.exact
    if count == 1:
        words = f"{'exactly' if exact else 'not exactly'} how many images of each class there are."
    else:
        low, high = wilson(exact, count)
        share = f"(95{GLUE}% interval: {100 * low:.0f} to {100 * high:.0f}{GLUE}%)"
        words = f"how many images of each class there are: exactly in {exact} of {count} batches {share}."
    if audit.rescaled:
        words += f" For {audit.rescaled} of {count} it takes the gradient's scale to be unknown, and infers it."
    if audit.refused:
        why = next(batch.refused for batch in audit.batches if batch.refused)
        words += f" What {audit.refused} of {count} sent it cannot read, and is left to guess ({why})."
    return words


def _certainty(audit: Audit) -> str:
    count, sure, probabilities = len(audit.batches), audit.sure, [batch.probability for batch in audit.batches]
    if count == 1:
        return f"how sure to be: it gives its counts a probability of {probabilities[0]:.3f}."
    if not sure:
        median = f"{statistics.median(probabilities):.3f}"
        return f"nothing for sure: its counts never have a probability above {SURE}, and {median} in the median."
    right = f"and is right in {audit.sure_and_exact} of these {sure}"
    return f"when to be sure: in {sure} of {count} batches it gives its counts a probability above {SURE}, {right}."


def _instances(audit: Audit) -> str:
    size, classes, count = audit.batch_size, len(audit.batches[0].true), len(audit.batches)
    if not audit.searched and 2 * size < classes:
        return "no image by itself: that takes less label smoothing."
    if not audit.searched:
        return f"no image by itself: that takes fewer images than half the classes, not {size:,} with {classes:,}."
    limit = "in as long as it takes"
    if audit.search_seconds < math.inf:
        limit = f"in at most {audit.search_seconds:g} s a batch"
    if not audit.found:
        return f"in no batch every image by itself, {limit}."
    errors = [float(error) for batch in audit.batches if batch.found for error in batch.errors]
    where = f"in {audit.found} of {count} batches " if count > 1 else ""
    return (
        f"{where}every image by itself, {limit}: its label and its embedding, the input of the last layer, off by"
        f" {_percent(statistics.median(errors))} in the median."
    )


def _table(batch: Batch) -> list[str]:
    """True and restored counts of the classes that are or seem to be there, side by side."""
    there = ((batch.true + batch.restored) > 0).nonzero().flatten()
    largest = max(int(there[-1]), int(batch.true.max()), int(batch.restored.max()))
    width = len(str(largest)) + 2
    lines: list[str] = []
    for part in torch.split(there, (WIDTH - INDENT) // width):
        if lines:
            lines.append("")
        for name, row in {"class": part, "true": batch.true[part], "restored": batch.restored[part]}.items():
            lines.append(f"  {name:<{INDENT - 2}}" + "".join(f"{value:>{width}}" for value in row.tolist()))
    return lines


def _percent(share: float) -> str:
    """With as many digits as tell it from 0 and from 100 %."""
    percent = 100 * share
    digits = f"{percent:.2g}" if 0 < percent < 1 else f"{percent:.1f}"
    if digits == "100.0" and percent < 100:
        digits = f"{percent:.5g}"
    return f"{digits}{GLUE}%"
