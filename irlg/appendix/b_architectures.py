"""Notebook B: the architectures, asked of the built networks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from irlg.appendix.published import PAPER_TABLE_2
from irlg.artifact.claims import Claim
from irlg.artifact.summary import Row
from irlg.models import Classifier

SHAPES = {"fcn3": (1, 28, 28), "lenet5": (3, 32, 32), "vgg16": (3, 224, 224), "resnet18": (3, 32, 32)}
VARIANTS: dict[str, tuple[str, dict[str, bool]]] = {
    "FCN-3": ("fcn3", {}),
    "LeNet-5": ("lenet5", {}),
    "LeNet-5 with BatchNorm": ("lenet5", {"batchnorm": True}),
    "VGG-16 with BatchNorm and Dropout": ("vgg16", {"dropout": True}),
    "ResNet-18": ("resnet18", {}),
}


def layers(model: Classifier, shape: tuple[int, ...]) -> pd.DataFrame:
    """One row a layer that has parameters, in the order in which data pass: its kind, shapes and their number.

    **Arguments:** `shape` (channels, height, width) of an image.
    """
    rows = []
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):

            def watch(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
                count = sum(parameter.numel() for parameter in module.parameters())
                rows.append((name, type(module).__name__, (*inputs[0].shape[1:],), (*output.shape[1:],), count))

            layer.register_forward_hook(watch)
    with torch.inference_mode():
        model(torch.zeros(2, *shape))
    return pd.DataFrame(rows, columns=["layer", "kind", "input", "output", "parameters"])


def claims(table_2: pd.DataFrame) -> list[Claim]:
    """Whether the built FCN-3 has the shapes of Table 2."""
    ours, paper = ", ".join(table_2["Shape (In-Out)"]), ", ".join(PAPER_TABLE_2)
    verdict = "reproduced" if ours == paper else "differs"
    return [Claim("Table 2, shapes of FCN-3", paper, ours, 1, "exact", "none", verdict)]


def claims_again(folder: Path, found: Sequence[Claim]) -> list[Claim]:
    """Those that follow from the table in `folder`: all."""
    return claims(pd.read_csv(folder / "table_2.csv"))


def as_printed(table_2: pd.DataFrame) -> pd.DataFrame:
    """Table 2 as the appendix prints it: in each cell ours, and the paper's in brackets."""
    cells = [f"{ours} ({paper})" for ours, paper in zip(table_2["Shape (In-Out)"], table_2.paper, strict=True)]
    return pd.DataFrame({"Shape (In-Out)": cells}, list(table_2.Layer)).rename_axis(columns="Layer")


def findings(folder: Path, claims: Sequence[Claim]) -> list[Row]:
    """For the summary."""
    (table_2,) = claims
    same = "the same, asked of the built network"
    return [Row(table_2.paper, same if table_2.ours == table_2.paper else table_2.ours, claims)]
