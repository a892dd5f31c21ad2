"""Gradient inversion: a batch of images from its full gradient (appendix D, Figure 6)."""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from irlg.instances import Instances
from irlg.inversion.config import FIGURE_6, FROM_FEATURES, InversionConfig
from irlg.inversion.feature_maps import FeatureMaps
from irlg.inversion.objective import Problem

STATE = {"key", "best", "restart", "unknowns", "optimiser", "objectives"}  # what a checkpoint holds
PLATEAU = 1e-3  # a smaller relative gain within `patience` iterations is none


@dataclass(frozen=True, eq=False)
class Progress:
    """Where an inversion stands: `restart`, `iteration` (steps taken), `objective` and `images`.

    `images` (K, channels, height, width) in [0, 1], after the steps taken; `objective`, theirs.
    """

    restart: int
    iteration: int
    objective: float
    images: Tensor


@dataclass(frozen=True, eq=False)
class Inversion:
    """What `invert` returns: the restart of the lowest objective.

    `images` (K, channels, height, width) in [0, 1], in the order of the labels where these were
    given; `labels`: (K,) class indices as given, or (K, C) probabilities found with the images (all
    rows alike for `"joint-shared"`); `objective`, of `images`; `objectives` (iterations + 1,), from
    the start to `images`; `restart`, which of them.
    """

    images: Tensor
    labels: Tensor
    objective: float
    objectives: Tensor
    restart: int


class DivergedError(RuntimeError):
    """The objective is no number: `restart` and `iteration` of it, `objective`, and `images` (in [0, 1]) before it."""

    def __init__(self, restart: int, iteration: int, objective: float, images: Tensor) -> None:
        super().__init__(
            f"the objective is {objective} at iteration {iteration} of restart {restart};"
            " a lower learning_rate may help (the last good images are in .images)"
        )
        self.restart, self.iteration, self.objective, self.images = restart, iteration, objective, images

    def __reduce__(self) -> tuple[type, tuple[int, int, float, Tensor]]:
        """What it is made of: an attack may run in another process than the one that asked for it."""
        return type(self), (self.restart, self.iteration, self.objective, self.images)


@torch.inference_mode(False)
@torch.enable_grad()
def invert(
    model: nn.Module,
    gradient: Sequence[Tensor],
    labels: Tensor | str,
    image_shape: tuple[int, int, int, int],
    config: InversionConfig | None = None,
    *,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    instances: Instances | None = None,
    features: FeatureMaps | None = None,
    progress: Callable[[Progress], None] | None = None,
    checkpoint: str | Path | None = None,
) -> Inversion:
    """Images whose gradient points where the observed one does (appendix D).

    Minimises 1 − cos(gradient of the images, `gradient`) + TV + L2 by Adam on the sign of the image
    gradient, with pixels held in [0, 1] after every step. The network mode is the caller's: in train
    mode the images are evaluated with their own batch statistics, and no running statistic moves.

    **Arguments:** `model` and `gradient`: one tensor a parameter, as for and of `irlg.batch_gradient`; `labels`:
    class indices (K,), held fixed; or `"joint"`, K soft labels found with the images; or
    `"joint-shared"`, one soft label for the whole batch, the paper's baseline; `image_shape`:
    (K, channels, height, width); `mean`, `std`: one a channel, by which `model` expects pixels in
    [0, 1] to be normalised; `instances`, as `irlg.restore` may find them: each image is then drawn to the embedding of
    one of its class, which tells images of a class apart, by `config.embedding_weight`; `features`, as
    `irlg.feature_maps` may find them: images are then drawn to theirs, and to little TV, in place of the gradient;
    `config`, by default Figure 6's, or with features `irlg.FROM_FEATURES`; `progress`: called at the start, every
    `config.interval` iterations and at the end of a restart; `checkpoint`: a file written at these moments. Where it is
    there, the inversion goes on from it: bit for bit on a CPU, for a model that draws no random numbers.

    **Raises:** `ValueError` naming what does not fit, among it a checkpoint of another inversion or what is none, and a
    model of whose gradient PyTorch has no derivative; `DivergedError` where the objective is no number.
    """
    if config is None:
        config = FIGURE_6 if features is None else FROM_FEATURES
    problem = Problem(model, gradient, labels, image_shape, config, mean, std, instances, features)
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.exists():
        descent, best = _Descent.load(problem, path)
    else:
        descent, best = _Descent(problem), None
    while True:
        while not descent.done():
            descent.report(progress, path, best)
            descent.advance()
        descent.report(progress, path, best)
        if best is None or descent.objectives[-1] < best.objective:
            best = descent.result()
        if descent.restart + 1 == config.restarts:
            return best
        descent = _Descent(problem, descent.restart + 1)


class _Descent:
    """One restart: its unknowns, its optimiser, and the objective of the start and after every step."""

    def __init__(self, problem: Problem, restart: int = 0) -> None:
        self.problem, self.restart = problem, restart
        self.unknowns = problem.start(restart)
        self.optimiser = torch.optim.Adam(self.unknowns)
        self.objectives: list[float] = []
        self.lowest, self.lowest_at = math.inf, 0
        self.value = problem.objective(self.unknowns, 0)
        self._record(float(self.value.detach()), self.unknowns[0])

    @property
    def iteration(self) -> int:
        """Steps taken."""
        return len(self.objectives) - 1

    def done(self) -> bool:
        """Whether all steps are taken, or the last `patience` of them gained nothing."""
        config = self.problem.config
        plateau = 0 < config.patience <= self.iteration - self.lowest_at
        return plateau or self.iteration == config.steps

    def advance(self) -> None:
        """One step: Adam, on the sign of the image gradient and the label gradient as it is; the box."""
        images = self.unknowns[0]
        gradients = self.problem.derivative(self.value, self.unknowns)
        gradients[0].sign_()
        for unknown, gradient in zip(self.unknowns, gradients, strict=True):
            unknown.grad = gradient
        self.optimiser.param_groups[0]["lr"] = self.problem.config.rate(self.iteration)
        before = images.detach().clone()
        self.optimiser.step()
        self.problem.constrain(images)
        self.value = self.problem.objective(self.unknowns, len(self.objectives))
        self._record(float(self.value.detach()), before)

    def _record(self, objective: float, before: Tensor) -> None:
        if not math.isfinite(objective):
            raise DivergedError(self.restart, self.iteration + 1, objective, self.problem.pixels(before))
        self.objectives.append(objective)
        if objective < self.lowest * (1 - PLATEAU):
            self.lowest, self.lowest_at = objective, self.iteration

    def report(
        self, progress: Callable[[Progress], None] | None, checkpoint: Path | None, best: Inversion | None
    ) -> None:
        """Write `checkpoint` and call `progress`, where it is time."""
        if self.iteration % self.problem.config.interval and not self.done():
            return
        if checkpoint is not None:
            self.save(checkpoint, best)
        if progress is not None:  # last: it may raise, and the inversion be gone on with another time
            images = self.problem.pixels(self.unknowns[0])
            progress(Progress(self.restart, self.iteration, self.objectives[-1], images))

    def result(self) -> Inversion:
        problem = self.problem
        labels = problem.label_rows(self.unknowns).detach().clone()
        objectives = torch.tensor(self.objectives, dtype=torch.float64)
        return Inversion(problem.pixels(self.unknowns[0]), labels, self.objectives[-1], objectives, self.restart)

    def save(self, path: Path, best: Inversion | None) -> None:
        """Write a checkpoint to a temporary name and rename it."""
        state = {
            "key": self.problem.key,
            "best": None if best is None else vars(best),
            "restart": self.restart,
            "unknowns": [unknown.detach() for unknown in self.unknowns],
            "optimiser": self.optimiser.state_dict(),
            "objectives": self.objectives,
        }
        temporary = path.with_name(path.name + ".tmp")
        torch.save(state, temporary)
        temporary.replace(path)

    @classmethod
    def load(cls, problem: Problem, path: Path) -> tuple["_Descent", Inversion | None]:
        """The restart that `save` wrote, and the best of those before it."""
        wanted = f"checkpoint: expected a file that an inversion wrote, got {str(path)!r}"
        if not path.is_file():
            raise ValueError(f"{wanted}, which is not a file")
        content = io.BytesIO(path.read_bytes())
        try:
            state = torch.load(content, map_location=problem.like.device, weights_only=True)
        except Exception as error:  # of any kind: PyTorch reads a damaged or foreign file as far as it can
            raise ValueError(f"{wanted}, which is damaged or of another kind; remove it to start anew") from error
        if not isinstance(state, dict) or set(state) != STATE:
            raise ValueError(f"{wanted}, which is of another kind; remove it to start anew")
        if state["key"] != problem.key:
            raise ValueError(f"checkpoint: {path} is of another inversion; remove it to start anew")
        descent = cls(problem, state["restart"])
        with torch.no_grad():
            for unknown, value in zip(descent.unknowns, state["unknowns"], strict=True):
                unknown.copy_(value)
        descent.optimiser.load_state_dict(state["optimiser"])
        for objective in state["objectives"][1:]:  # the start is recorded
            descent._record(objective, descent.unknowns[0])
        descent.value = problem.objective(descent.unknowns, descent.iteration)
        return descent, None if state["best"] is None else Inversion(**state["best"])
