"""An audit as a picture."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from irlg.artifact.style import BLUE, GREY, ORANGE, panels
from irlg.auditing.result import Audit

NAMED = 40  # classes that have room for their numbers


def picture(audit: Audit) -> Figure:
    """The first batch: a bar a class for its true count, a dot for the restored one, by whether it is right."""
    batch = audit.batches[0]
    there = ((batch.true + batch.restored) > 0).nonzero().flatten()
    places = range(len(there))
    figure, (axes,) = panels(1, 1, (min(12.0, max(5.0, 1.5 + 0.28 * len(there))), 3.2))
    axes.bar(places, batch.true[there].tolist(), color=GREY, alpha=0.55, label="in the batch")
    for right, colour, marker, name in ((True, BLUE, "o", "restored"), (False, ORANGE, "X", "restored, wrong")):
        chosen = [place for place in places if (batch.true[there[place]] == batch.restored[there[place]]) == right]
        if chosen:
            counts = batch.restored[there[chosen]].tolist()
            (dots,) = axes.plot(chosen, counts, marker, color=colour, markeredgecolor="white", markersize=8, label=name)
            dots.set_clip_on(False)  # those at 0
    if len(there) <= NAMED:
        axes.set_xticks(places, [str(int(label)) for label in there])
        axes.set_xlabel("class")
    else:
        axes.set_xticks([])
        axes.set_xlabel(f"the {len(there)} classes that are or seem to be there")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0, 1.15 * float(max(batch.true.max(), batch.restored.max())) + 0.1)
    axes.set_ylabel("images")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, ncols=3, loc="outside upper right")
    axes.set_title(f"{audit.batch_size} images, p = {batch.probability:.3f}", loc="left", fontsize="medium")
    return figure
