"""Settings of gradient inversion."""

import math
from dataclasses import dataclass

from irlg import checks


@dataclass(frozen=True)
class InversionConfig:
    """Settings of the attack; the defaults are Figure 6's, those of "Inverting Gradients".

    - `steps`: iterations of a restart; `restarts`: starts from fresh noise, of which the lowest
      objective is kept; `seed`, of the starts; `patience`: a restart stops once the objective has not
      fallen in so many iterations, at whatever learning rate (0: never); `interval`: iterations
      between reports and checkpoints.
    - `learning_rate`: Adam's, on the sign of the image gradient, in normalised pixels; `schedule`:
      `"steps"` multiplies it by 0.1 at 3/8, 5/8 and 7/8 of the iterations, `"cosine"` takes it to 0.
    - `tv_weight`, `l2_weight`: of the total variation and of ‖x‖₂; `tv_end`: what the former falls to, geometrically,
      by the last iteration (`None`: it does not fall); `last_weight`: of the last layer's gradient, beside 1 for each
      other layer's; `embedding_weight`: of the embeddings' distance, where these are known.
    - `span`: whether images are held to the span of the rows of the first layer's gradient, which for
      a fully connected first layer are weighted sums of the images.

    **Raises:** `ValueError` naming a setting that is no such number, or out of range.
    """

    steps: int = 24_000
    learning_rate: float = 0.1
    schedule: str = "steps"
    tv_weight: float = 8e-3
    tv_end: float | None = None
    l2_weight: float = 1e-6
    last_weight: float = 1.0
    embedding_weight: float = 0.01
    span: bool = False
    restarts: int = 1
    patience: int = 0
    interval: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        whole = {"steps": 1, "restarts": 1, "interval": 1, "patience": 0, "seed": 0}
        positive = dict.fromkeys(("learning_rate", "last_weight", "embedding_weight"), math.ulp(0.0))
        for name, low in whole.items():
            object.__setattr__(self, name, checks.as_whole(name, getattr(self, name), low))
        for name, least in {"tv_weight": 0.0, "l2_weight": 0.0, **positive}.items():
            object.__setattr__(self, name, checks.as_number(name, getattr(self, name), least))
        if self.tv_end is not None:
            object.__setattr__(self, "tv_end", checks.as_number("tv_end", self.tv_end, math.ulp(0.0)))
            if self.tv_end > self.tv_weight:
                raise ValueError(f"tv_end: expected None or a positive number up to tv_weight, got {self.tv_end!r}")
        if self.schedule not in ("steps", "cosine"):
            raise ValueError(f"schedule: expected 'steps' or 'cosine', got {self.schedule!r}")

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration, from 0."""
        done = iteration / self.steps
        if self.schedule == "cosine":
            return self.learning_rate * (1 + math.cos(math.pi * done)) / 2
        return self.learning_rate * 0.1 ** sum(done >= share for share in (3 / 8, 5 / 8, 7 / 8))

    def tv(self, iteration: int) -> float:
        """The weight of the total variation at an iteration, from 0."""
        if self.tv_end is None:
            return self.tv_weight
        return self.tv_weight * (self.tv_end / self.tv_weight) ** min(1.0, iteration / self.steps)


FIGURE_6 = InversionConfig()
FROM_FEATURES = InversionConfig(steps=1_000, learning_rate=1.0, schedule="cosine", tv_weight=3.0, tv_end=1e-4)
