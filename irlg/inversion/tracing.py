"""The convolutions of a network, in the order in which an image passes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Convolution:
    """One on an image's way: `gradient` of its kernel, where that is a parameter; the shapes of what it takes and
    gives; `takes`, all modules of the same input, by name, the outermost first; `below`, the convolution before it.
    """

    name: str
    module: nn.Conv2d
    gradient: Tensor | None
    input: torch.Size
    output: torch.Size
    takes: list[str]
    below: "Convolution | None"


def tracing(model: nn.Module, observed: Mapping[str, Tensor]) -> tuple[list[Any], list[Convolution]]:
    """Hooks, and a list that a run of the model with them fills.

    **Arguments:** `observed`, gradients by the parameter's name.
    """
    entered = list[tuple[str, Tensor, int]]()  # modules, what they take, and how often that was written to
    inputs = list[tuple[list[str], Tensor, int]]()
    found = list[Convolution]()

    def enter(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, given: tuple[Any, ...]) -> None:
            if given and isinstance(given[0], Tensor):
                entered.append((name, given[0], given[0]._version))
                for takes, taken, writes in inputs:  # of convolutions before: a branch beside theirs
                    if taken is given[0] and writes == given[0]._version:
                        takes.append(name)

        return hook

    def leave(name: str, module: nn.Conv2d) -> Callable[..., None]:
        def hook(_: nn.Module, given: tuple[Tensor], output: Tensor) -> None:
            takes = [other for other, taken, writes in entered if taken is given[0] and writes == given[0]._version]
            inputs.append((takes, given[0], given[0]._version))
            before = found[-1] if found else None
            gradient = observed.get(f"{name}.weight")
            found.append(Convolution(name, module, gradient, given[0].shape, output.shape, takes, before))

        return hook

    hooks = []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(enter(name)))
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(leave(name, module)))
    return hooks, found
