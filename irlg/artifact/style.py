"""How pictures look."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SHEET = Path(__file__).with_suffix(".mplstyle")
BLUE, ORANGE, GREY, GREEN = "#2b6ca3", "#d9822b", "#8a8a8a", "#4a9a5b"


def panels(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure of so many axes, `size` in inches."""
    # Not pyplot's figure, which Jupyter would show a second time.
    figure = Figure(figsize=size, layout="constrained")
    return figure, list(np.ravel(figure.subplots(rows, columns)))
