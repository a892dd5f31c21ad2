"""Notebook A: the closed form of the last layer's gradient against autograd and central differences."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from irlg.appendix.random_layers import random_layer
from irlg.artifact.claims import Claim
from irlg.artifact.style import BLUE, ORANGE, panels
from irlg.artifact.summary import Row
from irlg.data.sampling import stream
from irlg.gradients import last_layer_gradients


def gradient_errors(sizes: Sequence[int], seed: int, width: int = 16, batch_size: int = 8) -> pd.DataFrame:
    """The closed form against autograd and against central differences, by C and dtype.

    **Returns:** one row a size, dtype and oracle, with `error`: for autograd the largest difference
    of any entry over the largest entry; for differences, of the slope along one random direction of
    unit length over the norm of the gradient.
    """
    rows = []
    for dtype in (torch.float32, torch.float64):
        for classes in sizes:
            embeddings, labels, head = random_layer(stream(seed, "A", classes), classes, width, batch_size)
            embeddings, head = embeddings.to(dtype), head.to(dtype)
            closed = _flat(last_layer_gradients(embeddings, labels, head.weight.detach(), head.bias.detach()))
            loss = nn.functional.cross_entropy(head(embeddings), labels)
            autograd = _flat(torch.autograd.grad(loss, [head.weight, head.bias]))
            largest = autograd.abs().max()
            slope = _slope(embeddings, labels, head, closed, stream(seed, "A direction", classes))
            name = str(dtype).removeprefix("torch.")
            errors = {"autograd": (closed - autograd).abs().max() / largest, "central differences": slope}
            rows += [{"C": classes, "dtype": name, "oracle": o, "error": float(e)} for o, e in errors.items()]
    return pd.DataFrame(rows)


def _slope(embeddings: Tensor, labels: Tensor, head: nn.Linear, gradient: Tensor, rng: np.random.Generator) -> Tensor:
    direction = torch.as_tensor(rng.normal(size=gradient.shape)).to(gradient.dtype)
    direction /= direction.norm()
    start = torch.nn.utils.parameters_to_vector(head.parameters()).detach()
    step = torch.finfo(gradient.dtype).eps ** (1 / 3)  # balances truncation against rounding

    def loss(vector: Tensor) -> Tensor:
        weight, bias = vector[: head.weight.numel()].view_as(head.weight), vector[head.weight.numel() :]
        return nn.functional.cross_entropy(embeddings @ weight.T + bias, labels)

    slope = (loss(start + step * direction) - loss(start - step * direction)) / (2 * step)
    return (slope - gradient @ direction).abs() / gradient.norm()


def smoothing_error(seed: int) -> float:
    """Largest difference of the closed form at smoothed labels and autograd with `label_smoothing=0.1`."""
    embeddings, labels, head = random_layer(stream(seed, "smoothing"), 10, 16, 8)
    targets = 0.9 * nn.functional.one_hot(labels, 10).double() + 0.1 / 10
    closed = last_layer_gradients(embeddings, targets, head.weight.detach(), head.bias.detach())
    value = nn.functional.cross_entropy(head(embeddings), labels, label_smoothing=0.1)
    autograd = torch.autograd.grad(value, [head.weight, head.bias])
    return max(float((a - b).abs().max()) for a, b in zip(closed, autograd, strict=True))


def gradcheck(seed: int) -> bool:
    """PyTorch's own `gradcheck` of mean cross-entropy by weight and bias, float64."""
    embeddings, labels, head = random_layer(stream(seed, "smoothing"), 10, 16, 8)

    def loss(weight: Tensor, bias: Tensor) -> Tensor:
        return nn.functional.cross_entropy(embeddings @ weight.T + bias, labels)

    return bool(torch.autograd.gradcheck(loss, (head.weight, head.bias)))


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([gradient.detach().flatten() for gradient in gradients])


def curves(errors: pd.DataFrame) -> Figure:
    """`gradient_errors`: relative error of the closed form against each oracle over C, one line a dtype."""
    figure, axes = panels(1, 1, (6.4, 3.8))
    axis = axes[0]
    for (dtype, oracle), group in errors.groupby(["dtype", "oracle"]):
        colour = BLUE if dtype == "float64" else ORANGE
        style = "o-" if oracle == "autograd" else "s--"
        axis.loglog(group.C, group.error.clip(lower=1e-17), style, color=colour, label=f"{oracle}, {dtype}")
    for dtype, colour in ((np.float32, ORANGE), (np.float64, BLUE)):
        epsilon = float(np.finfo(dtype).eps)
        axis.axhline(epsilon, color=colour, lw=0.8, ls=":")
        name = f"ε of {np.dtype(dtype).name}"
        axis.text(errors.C.max(), epsilon * 1.3, name, fontsize=8, color=colour, ha="right")
    axis.set(xlabel="classes C", ylabel="relative error")
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def claims(errors: pd.DataFrame, slips: int) -> list[Claim]:
    """What is derived and what is measured: `slips`, terms of the print set right; `errors`, of `gradient_errors`."""
    exact = errors[(errors.oracle == "autograd") & (errors.dtype == "float64")]
    worst = exact.error.max()
    return [
        Claim(
            claim="Equations (7) and (8), ∇z = p − y",
            paper="derived",
            ours=f"derived; {slips} printed terms set right",
            n=1,
            interval="exact (SymPy, any C)",
            data="none",
            verdict="reproduced",
        ),
        Claim(
            claim="Batch form of ∇W and ∇b against autograd, float64",
            paper="implied",
            ours=f"{worst:.1e} relative",
            n=len(exact),
            interval=f"largest of C = 2 … {exact.C.max():,}",
            data="random layers",
            verdict="holds" if worst < 1e-13 else "fails",
        ),
    ]


def claims_again(folder: Path, found: Sequence[Claim]) -> list[Claim]:
    """Those that follow from the table in `folder`."""
    return claims(pd.read_csv(folder / "A_errors.csv"), 0)[1:]


def findings(folder: Path, claims: Sequence[Claim]) -> list[Row]:
    """For the summary."""
    derivation, autograd = claims
    return [Row(derivation.paper, f"{derivation.ours}; against autograd {autograd.ours}", claims)]
