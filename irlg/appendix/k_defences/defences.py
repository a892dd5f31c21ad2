"""What a client can do before it sends: a table of defences, and what the server then sees of a batch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from irlg.appendix.servers import Server
from irlg.defences import Gradients, gaussian, integers, largest, signs
from irlg.models import Classifier
from irlg.observation import Observation

NORM = 1.0  # R, to which DP-SGD clips an instance's gradient: that of Opacus's own example on MNIST
STDS = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # of noise on each entry
SHARES = (0.9, 0.5, 0.2, 0.1, 0.01)  # of the entries, those that are kept
MULTIPLIERS = (0.0, 0.03, 0.1, 0.3, 1.0)  # σ of DP-SGD; 0 clips alone
TYPICAL = 100  # images of the server's own by which it measures how far clipping shrinks


def _as_it_is(gradients: Gradients, rng: np.random.Generator) -> Gradients:
    return gradients


@dataclass(frozen=True)
class Defence:
    """`send` makes of a layer's ∇W and ∇b what leaves the client; `kind` and `strength` say how it is drawn.

    `multiplier`, of DP-SGD: σ, where instances are clipped to `NORM` first, and the sum gets noise of σ · `NORM`.
    """

    kind: str
    strength: float = float("nan")
    send: Callable[[Gradients, np.random.Generator], Gradients] = _as_it_is
    multiplier: float | None = None

    def noise(self, size: int) -> float:
        """Standard deviation of the noise of DP-SGD on an entry of the mean over a batch of `size`."""
        return 0.0 if self.multiplier is None else self.multiplier * NORM / size


def dp_name(multiplier: float) -> str:
    """How DP-SGD of a σ is called."""
    return f"DP-SGD σ={multiplier:g}" if multiplier else "clipped"


DEFENCES = {
    "none": Defence("none"),
    **{f"noise {std:g}": Defence("noise", std, partial(gaussian, std)) for std in STDS},
    **{f"largest {share:.0%}": Defence("sparse", share, partial(largest, share)) for share in SHARES},
    "int8": Defence("coarse", send=integers),
    "signs": Defence("coarse", send=signs),
    **{dp_name(sigma): Defence("DP-SGD", sigma, multiplier=sigma) for sigma in MULTIPLIERS},
    "no bias": Defence("no bias"),
    "withheld": Defence("withheld"),
}
NOISY = ("none", *(name for name, defence in DEFENCES.items() if defence.kind == "noise"))  # tried at larger K too


def without_bias(head: nn.Linear) -> nn.Linear:
    """The head with the same weights and no bias."""
    classes, width = head.weight.shape
    bare = nn.Linear(width, classes, bias=False, device=head.weight.device, dtype=head.weight.dtype)
    bare.weight = head.weight
    return bare


def norms(model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """|g_k| (N,) of each image's gradient of cross-entropy in all parameters, BatchNorm in eval mode; one by one.

    **Arguments:** `images` (N, channels, height, width), `labels` (N,).
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = []
    for image, label in zip(images, labels, strict=True):
        loss = nn.functional.cross_entropy(model(image[None]), label[None])
        parts = torch.autograd.grad(loss, parameters)
        found.append(torch.stack([part.square().sum() for part in parts]).sum().sqrt())
    return torch.stack(found)


def shrunk(norms: Tensor) -> Tensor:
    """s_k = min(1, R / |g_k|), by which clipping scales instances of these gradient norms (N,)."""
    return (NORM / norms.clamp_min(1e-12)).clamp_max(1.0)


def observed(
    server: Server, defence: Defence, chosen: Tensor, rng: np.random.Generator, factors: Tensor | None, scale: float
) -> Observation:
    """What a server sees of a batch, and is told: its size, and of DP-SGD the noise.

    **Arguments:** `chosen` (K,), indices of the clients' images; `factors` (K,), by which each instance is scaled, or
    `None`; `scale`: what the server divides by what it gets, to make up for clipping.
    """
    clients = server.clients
    head = without_bias(clients.model.head) if defence.kind == "no bias" else clients.model.head
    embeddings, labels = clients.embeddings[chosen], clients.labels[chosen]
    with torch.no_grad():
        errors = torch.softmax(head(embeddings), dim=1) - nn.functional.one_hot(labels, head.out_features)
        shares = errors / len(chosen) if factors is None else errors * (factors[:, None] / len(chosen))
        sent = defence.send((shares.T @ embeddings, shares.sum(dim=0)), rng)
        noise = defence.noise(len(chosen))
        grad_weight, grad_bias = (part / scale for part in (gaussian(noise, sent, rng) if noise else sent))
    bias = None if head.bias is None else head.bias.detach()
    parts = (grad_weight, None if bias is None else grad_bias, head.weight.detach(), bias, len(chosen))
    told: Any = noise / scale if noise else None  # which is measured
    try:
        return Observation(*parts, noise=told)
    except ValueError:  # too large, or of one sign: a server that doubts its scale still has the lattice
        return Observation(*parts, noise=told, divisor="unknown")
