"""Pictures of appendix D: images in aligned columns, and curves. They draw results and run nothing."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from irlg.appendix.d_gradient_inversion.running import Outcome
from irlg.appendix.d_gradient_inversion.steps import Step

INCHES = 0.88  # of an image's side, with what surrounds it


def reconstructions(
    step: Step, outcomes: Mapping[str, Outcome], shown: Sequence[str], columns: int, chosen: Iterable[int] | None = None
) -> Figure:
    """Originals with their class names, and below each its reconstructions with PSNR and SSIM.

    **Arguments:** `outcomes` by attack, and which of them are `shown`; `columns`: images a line, after
    which a new block of lines begins; `chosen`: which originals, by default all.
    """
    originals, labels = step.originals.cpu(), step.labels.tolist()
    places = list(range(len(originals)) if chosen is None else chosen)
    lines, columns = len(shown) + 1, min(columns, len(places))
    blocks = -(-len(places) // columns)
    figure = Figure(figsize=(INCHES * columns + 0.4, 1.22 * INCHES * blocks * lines), layout="constrained")
    axes = figure.subplots(blocks * lines, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for place, k in enumerate(places):
        line, column = place // columns * lines, place % columns
        _image(axes[line, column], originals[k], step.images.classes[labels[k]].replace("_", " "))
        for below, name in enumerate(shown, start=1):
            scores = outcomes[name].scores
            text = f"{scores.psnr[k]:.1f} dB, {scores.ssim[k]:.2f}"
            _image(axes[line + below, column], outcomes[name].images[k], text)
    for line, axis in enumerate(axes[:, 0]):
        name = ["original", *shown][line % lines].replace(", ", ",\n")
        axis.text(-0.12, 0.5, name, fontsize=8, rotation=90, ha="right", va="center", transform=axis.transAxes)
    return figure


def snapshots(images: Mapping[int, Tensor], columns: int) -> Figure:
    """The first reconstructions of an attack, `columns` of them at most, a line an iteration.

    **Arguments:** `images`: (K, channels, height, width), pixels in [0, 1], by iteration.
    """
    columns = min(columns, *map(len, images.values()))
    figure = Figure(figsize=(INCHES * columns + 0.4, INCHES * len(images)), layout="constrained")
    axes = figure.subplots(len(images), columns, squeeze=False)
    for line, (iteration, part) in zip(axes, images.items(), strict=True):
        for axis, image in zip(line, part, strict=False):
            axis.set_axis_off()
            _image(axis, image, "")
        line[0].text(-0.12, 0.5, f"{iteration:,}", fontsize=8, ha="right", va="center", transform=line[0].transAxes)
    return figure


def curves(traces: pd.DataFrame, published: Mapping[str, float] | None = None) -> Figure:
    """Mean matched PSNR over iterations and over seconds, a line an attack and seed.

    **Arguments:** `traces`: one row a report, with attack, seed, iteration, seconds and psnr; `published`, the paper's
    PSNR by attack, a dotted line each.
    """
    figure = Figure(figsize=(9.2, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    colours = {name: f"C{number}" for number, name in enumerate(dict.fromkeys(traces.attack))}
    for (name, seed), part in traces.groupby(["attack", "seed"], sort=False):
        # `true` lies on `restored` where restoration is exact: dashes let both be seen.
        style = {"color": colours[name], "lw": 1.3, "ls": "--" if name == "true" else "-"}
        left.plot(part.iteration, part.psnr, **style)
        right.plot(part.seconds, part.psnr, label=name if seed == traces.seed.iloc[0] else None, **style)
    for axis in (left, right):
        for name, psnr in (published or {}).items():
            axis.axhline(psnr, color=colours[name], lw=0.9, ls=":")
    left.set(xlabel="iteration", ylabel="PSNR, mean of the batch, dB")
    right.set(xlabel="seconds")
    for axis in (left, right):
        axis.set_xscale("symlog", linthresh=10)
        axis.set_xlim(left=0)
    right.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def _image(axis: Axes, image: Tensor, text: str) -> None:
    axis.imshow(np.asarray(image.permute(1, 2, 0)).squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.text(0.5, -0.06, text, fontsize=7, ha="center", va="top", transform=axis.transAxes)
