"""Figure 6's attack written out plainly: the oracle for `irlg.invert`."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


def inverting_gradients(
    model: nn.Module, gradient: Sequence[Tensor], labels: Tensor, images: Tensor, steps: int, tv_weight: float
) -> Tensor:
    """Figure 6's attack with fixed labels, op by op, for a model that takes pixels in [0, 1].

    **Arguments:** `gradient`, a tensor a parameter; `labels` (K,) class indices; `images`, the start
    (K, channels, height, width); `steps`, of which the learning rate is 0.1, then a tenth of it from
    3/8, 5/8 and 7/8 on. **Returns:** images of the same shape.
    """
    images = images.clone().requires_grad_()
    adam = torch.optim.Adam([images], lr=0.1)
    milestones = [int(np.ceil(steps * share)) for share in (3 / 8, 5 / 8, 7 / 8)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(adam, milestones, gamma=0.1)
    for _ in range(steps):
        adam.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        own = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        dot, own_square, square = torch.zeros(3, dtype=images.dtype, device=images.device)
        for a, b in zip(own, gradient, strict=True):
            dot = dot + (a * b).sum()
            own_square = own_square + a.pow(2).sum()
            square = square + b.pow(2).sum()
        objective = 1 - dot / (own_square.sqrt() * square.sqrt())
        rows = (images[:, :, 1:, :] - images[:, :, :-1, :]).abs().mean()
        columns = (images[:, :, :, 1:] - images[:, :, :, :-1]).abs().mean()
        objective = objective + tv_weight * (rows + columns) + 1e-6 * images.norm()
        (images.grad,) = torch.autograd.grad(objective, images)
        images.grad.sign_()
        adam.step()
        schedule.step()
        with torch.no_grad():
            images.clamp_(0, 1)
    return images.detach()
