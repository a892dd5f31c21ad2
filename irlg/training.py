"""Trained networks: a few epochs of plain training, the same for the same seed."""

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from irlg.models import Classifier

BATCH = 64
Optimiser = Callable[[nn.Module, int], Callable[[], None]]


def sgd(model: nn.Module, steps: int) -> Callable[[], None]:
    """Stochastic gradient descent at a constant rate of 0.01, whatever the number of `steps`."""
    step: Callable[[], None] = torch.optim.SGD(model.parameters(), lr=0.01).step
    return step


def adam(model: nn.Module, steps: int) -> Callable[[], None]:
    """Adam, its rate up to 0.002 and down again over `steps` (one cycle)."""
    optimiser = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.002, total_steps=steps)

    def step() -> None:
        optimiser.step()
        schedule.step()

    return step


def train(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    optimiser: Optimiser,
    marks: Sequence[int],
    seed: int,
    mirror: bool = False,
) -> Iterator[Classifier]:
    """Train with cross-entropy in batches of 64; yield a copy in eval mode after each of `marks` steps.

    **Arguments:** `images` (N, channels, height, width) and `labels` (N,), N ≥ 64; `optimiser`: `sgd` or
    `adam`; `marks`, ascending; `seed`, of the order of images; `mirror`: turn every other image, at random,
    left to right. The model itself is left as it was.
    """
    model = copy.deepcopy(model).train()
    generator = torch.Generator().manual_seed(seed)
    step, order = optimiser(model, marks[-1]), labels[:0]
    for number in range(1, marks[-1] + 1):
        if len(order) < BATCH:
            order = torch.randperm(len(labels), generator=generator).to(labels.device)
        chosen, order = order[:BATCH], order[BATCH:]
        batch = images[chosen]
        if mirror:
            turned = torch.rand(BATCH, 1, 1, 1, generator=generator).to(batch.device) < 0.5
            batch = torch.where(turned, batch.flip(3), batch)
        model.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(batch), labels[chosen]))
        step()
        if number in marks:
            yield copy.deepcopy(model).eval()
