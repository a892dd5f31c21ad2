"""An audit in words."""

import math
import statistics
import textwrap

import torch

from irlg.artifact.statistics import wilson
from irlg.auditing.result import Audit, Batch

WIDTH = 96
COLUMNS = 16  # classes a line of the table


def report(audit: Audit) -> str:
    """What a server learns, in lines of at most `WIDTH` characters."""
    count, size = len(audit.batches), audit.batch_size
    many = f"{count} random batches" if count > 1 else "one batch"
    about = f"Audit of {many} of {_images(size)}, {len(audit.batches[0].true)} classes, network in {audit.mode} mode."
    parts = [about, *_defence(audit), "", "A server that sees the last layer's gradient of such a batch learns"]
    for name, line in (
        ("counts", _counts(audit)),
        ("labels", _labels(audit)),
        ("certainty", _certainty(audit)),
        ("instances", _instances(audit)),
    ):
        parts.append(textwrap.fill(line, WIDTH, initial_indent=f"  {name:<11}", subsequent_indent=" " * 13))
    parts += ["", _heading(audit.batches[0]), *_table(audit.batches[0]), ""]
    end = "This is what one method finds in one layer. Other attacks, and other layers, may tell more."
    return "\n".join([*parts, end])


def _defence(audit: Audit) -> list[str]:
    changes = [batch.changed for batch in audit.batches if not math.isnan(batch.changed)]
    line = f"Defence: {audit.defence}."
    if changes and max(changes) > 0:
        line = f"{line[:-1]}; that changes the gradient by {_percent(statistics.median(changes))} of its norm."
    return textwrap.wrap(line, WIDTH)


def _counts(audit: Audit) -> str:
    line = f"how many images of each class there are: exactly in {_of_batches(audit.exact, audit)}{_interval(audit)}."
    if audit.refused:
        why = next(batch.refused for batch in audit.batches if batch.refused)
        line += f" In {_of_batches(audit.refused, audit)} it cannot read what was sent, and is left to guess ({why})."
    return line


def _labels(audit: Audit) -> str:
    return (
        f"the right label for {_percent(audit.recall)} of the images; a guess without the gradient has"
        f" {_percent(audit.guessed_recall)}."
    )


def _certainty(audit: Audit) -> str:
    if not audit.sure:
        return (
            f"never for sure: in no batch does it give its counts a probability above 0.999 ({_probabilities(audit)})."
        )
    return (
        f"when to believe it: in {_of_batches(audit.sure, audit)} it gives its counts a probability above 0.999, and is"
        f" right in {audit.sure_and_exact} of these {audit.sure}."
    )


def _probabilities(audit: Audit) -> str:
    return f"median {statistics.median(batch.probability for batch in audit.batches):.3f}"


def _instances(audit: Audit) -> str:
    total = len(audit.batches) * audit.batch_size
    if not audit.searched:
        classes = len(audit.batches[0].true)
        if 2 * audit.batch_size < classes:
            return "no image by itself: that takes less label smoothing."
        return (
            f"no image by itself: that takes fewer images than half the classes, and here are {audit.batch_size} of"
            f" {classes}."
        )
    if not audit.found:
        return f"no image by itself (0 of {total})."
    errors = [float(error) for batch in audit.batches for error in batch.errors if error < math.inf]
    return (
        f"{audit.found:,} of {total:,} images one by one, each with its label and its embedding, the input of the last"
        f" layer (off by {_percent(statistics.median(errors))} in the median)."
    )


def _heading(batch: Batch) -> str:
    right = "right" if batch.exact else "wrong"
    return (
        f"The first batch; the server gives its counts a probability of {batch.probability:.3f}, and they are {right}:"
    )


def _table(batch: Batch) -> list[str]:
    """True and restored counts of the classes that are or seem to be there, side by side."""
    there = ((batch.true + batch.restored) > 0).nonzero().flatten()
    width = max(3, len(str(int(there[-1]))), len(str(int(batch.true.max()))), len(str(int(batch.restored.max())))) + 1
    lines: list[str] = []
    for part in torch.split(there, COLUMNS):
        rows = {"class": part, "true": batch.true[part], "restored": batch.restored[part]}
        if lines:
            lines.append("")
        lines += [
            f"  {name:<11}" + "".join(f"{value:>{width}}" for value in row.tolist()) for name, row in rows.items()
        ]
    return lines


def _images(size: int) -> str:
    return f"{size:,} images" if size > 1 else "one image"


def _of_batches(number: int, audit: Audit) -> str:
    return f"{number} of {len(audit.batches)} batches" if len(audit.batches) > 1 else f"{number} of one batch"


def _interval(audit: Audit) -> str:
    if len(audit.batches) == 1:
        return ""
    low, high = wilson(audit.exact, len(audit.batches))
    return f" (95 % interval {100 * low:.0f} to {100 * high:.0f} %)"


def _percent(share: float) -> str:
    """With as many digits as tell it from 0 and from 100 %."""
    percent = 100 * share
    if percent == 0 or 1 <= percent <= 99.94 or percent == 100:
        return f"{percent:.1f} %"
    return f"{percent:.2g} %" if percent < 1 else f"{percent:.4g} %"
