"""Trained networks: a few epochs of plain training, the same for the same seed."""

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from irlg.artifact.progress import progress
from irlg.models import Classifier

Optimiser = Callable[[nn.Module, int], Callable[[], None]]


def sgd(model: nn.Module, steps: int) -> Callable[[], None]:
    """Stochastic gradient descent at a constant rate of 0.01, whatever the number of `steps`."""
    step: Callable[[], None] = torch.optim.SGD(model.parameters(), lr=0.01).step
    return step


def adamw(model: nn.Module, steps: int) -> Callable[[], None]:
    """Adam with a decoupled weight decay of 0.05, its rate up to 0.002 and down again over `steps` (one cycle)."""
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.002, total_steps=steps, pct_start=0.15)

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
    batch: int,
    mirror: bool = False,
) -> Iterator[Classifier]:
    """Train with cross-entropy; yield a copy in eval mode after each of `marks` steps.

    **Arguments:** `images` (N, channels, height, width) and `labels` (N,); `optimiser`: `sgd` or `adamw`;
    `marks`, ascending; `seed`, of the order of images; `batch`, images a step, at most N; `mirror`: turn every
    other image, at random, left to right. The model itself is left as it was.
    """
    model = copy.deepcopy(model).train()
    generator = torch.Generator().manual_seed(seed)
    step, order = optimiser(model, marks[-1]), labels[:0]
    for number in progress(range(1, marks[-1] + 1), "training"):
        if len(order) < batch:
            order = torch.randperm(len(labels), generator=generator).to(labels.device)
        chosen, order = order[:batch], order[batch:]
        shown = images[chosen]
        if mirror:
            turned = torch.rand(batch, 1, 1, 1, generator=generator).to(shown.device) < 0.5
            shown = torch.where(turned, shown.flip(3), shown)
        model.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(shown), labels[chosen]))
        step()
        if number in marks:
            yield copy.deepcopy(model).eval()
