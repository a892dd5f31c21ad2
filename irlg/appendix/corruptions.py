"""What befalls gradients between client and server: noise, dropped entries, coarse numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from irlg.defences import Gradients, bfloat16, float8, gaussian, integers, largest, largest_of_all, signs


@dataclass(frozen=True)
class Corruption:
    """What is sent in place of ∇W (C, m) and ∇b (C,). `kind`: noisy, sparse or coarse; `std`, of Gaussian noise."""

    kind: str
    send: Callable[[Gradients, np.random.Generator], Gradients]
    std: float = float("nan")


SHARES = (0.9, 0.5, 0.2, 0.1)
STDS = (1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2)
CORRUPTIONS = {
    **{f"noise {std:g}": Corruption("noisy", partial(gaussian, std), std) for std in STDS},
    **{f"largest {share:.0%}": Corruption("sparse", partial(largest, share)) for share in SHARES},
    "largest 10% of all": Corruption("sparse", partial(largest_of_all, 0.1)),
    "bfloat16": Corruption("coarse", bfloat16),
    "float8": Corruption("coarse", float8),
    "int8": Corruption("coarse", integers),
    "signs": Corruption("coarse", signs),
}
