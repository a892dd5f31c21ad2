"""Seconds an iteration of the attack, beside the plain loop."""

import copy
import time
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from irlg.appendix.d_gradient_inversion.steps import Step
from irlg.gradients import batch_gradient
from irlg.inversion import InversionConfig, invert, matching
from irlg.inversion.objective import Problem
from irlg.inversion.plain_loop import inverting_gradients


def inversion_seconds(model: nn.Module, images: Tensor, labels: Tensor, config: InversionConfig) -> dict[str, float]:
    """Seconds an iteration of `invert` and of the plain loop, same start and settings.

    **Arguments:** `model`, which takes `images` (K, channels, height, width) in [0, 1].
    **Returns:** the best of three runs of each, in turns; by how many dB their mean matched PSNR differs, the
    `difference`, and `in_float64`, without the rounding that signs amplify until single pixels part.
    """
    loops, seconds = _loops(model, images, labels, config), dict[str, list[float]]()
    found = {}
    for _ in range(3):
        for name, loop in loops.items():
            begin = time.perf_counter()
            found[name] = loop().cpu()  # waits for the device
            seconds.setdefault(name, []).append((time.perf_counter() - begin) / config.steps)
    exact = _loops(copy.deepcopy(model).double(), images.double(), labels, config)
    in_float64 = _apart({name: loop().cpu() for name, loop in exact.items()}, images)
    apart = {"difference": _apart(found, images), "in_float64": in_float64}
    return {name: min(values) for name, values in seconds.items()} | apart


def term_seconds(step: Step, config: InversionConfig) -> dict[str, float]:
    """Seconds an iteration of the attack with the instances' embeddings, and without: the best of three in turns."""
    model, gradient, instances = step.model("eval"), step.gradient("eval"), step.instances("eval")
    shape = (step.originals.shape[0], *step.originals.shape[1:])
    seconds = dict[str, list[float]]()
    for _ in range(3):
        for name, known in (("with", instances), ("without", None)):
            begin = time.perf_counter()
            invert(
                model,
                gradient,
                step.labels,
                shape,
                config,
                mean=step.images.mean,
                std=step.images.std,
                instances=known,
            ).images.cpu()
            seconds.setdefault(name, []).append((time.perf_counter() - begin) / config.steps)
    return {name: min(values) for name, values in seconds.items()}


def _loops(
    model: nn.Module, images: Tensor, labels: Tensor, config: InversionConfig
) -> dict[str, Callable[[], Tensor]]:
    """Our attack and the plain loop, from the same start."""
    gradient, shape = batch_gradient(model, images, labels), (len(images), *images.shape[1:])
    start = Problem(model, gradient, labels, shape, config, (0.0,), (1.0,)).start(0)[0].detach()
    return {
        "irlg": lambda: invert(model, gradient, labels, shape, config).images,
        "plain": lambda: inverting_gradients(model, gradient, labels, start, config.steps, config.tv_weight),
    }


def _apart(found: Mapping[str, Tensor], images: Tensor) -> float:
    """By how many dB of mean matched PSNR our reconstruction is above the plain loop's."""
    images = images.cpu()
    psnr = {name: matching.scores(r[matching.match(r, images)], images).psnr.mean() for name, r in found.items()}
    return float(psnr["irlg"] - psnr["plain"])
