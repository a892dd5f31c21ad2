"""The package against independent computations: what notebooks A, D, E and G measure."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from irlg.artifact.timing import best_seconds
from irlg.data.sampling import stream
from irlg.gradients import batch_gradient, last_layer_gradients
from irlg.inversion import invert, matching
from irlg.inversion.objective import InversionConfig, Problem
from irlg.inversion.plain_loop import inverting_gradients
from irlg.observation import Observation
from irlg.restoration import restore
from irlg.restoration.pseudocode import Array, algorithm_1


def random_layer(
    rng: np.random.Generator, classes: int, width: int, batch_size: int
) -> tuple[Tensor, Tensor, nn.Linear]:
    """A batch at an untrained last layer, in float64.

    **Returns:** embeddings (K, m), absolute values of normal numbers, as after a ReLU; labels (K,),
    uniform; a layer with PyTorch's initial weights, uniform within ±1/√m.
    """
    head = nn.Linear(width, classes, dtype=torch.float64)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.as_tensor(rng.uniform(-1, 1, parameter.shape) / np.sqrt(width)))
    embeddings = torch.as_tensor(np.abs(rng.normal(size=(batch_size, width))))
    return embeddings, torch.as_tensor(rng.integers(classes, size=batch_size)), head


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


def solver_differences(problems: int, seed: int) -> pd.DataFrame:
    """The vectorised solver against the literal loop on random problems, before rounding.

    **Returns:** one row a problem: C, m, K, `difference`, the largest over the C counts, and
    `condition`, the condition number of the system of equation (6).
    """
    rows = []
    for number in range(problems):
        observation = solver_problem(number, seed)
        classes, width = observation.weight.shape
        _, literal = algorithm_1(*arrays(observation), observation.size)
        restored = restore(observation, "irlg")
        system = torch.cat([torch.ones(1, classes), restored.probabilities.T - torch.eye(classes)])
        rows.append(
            {
                "C": classes,
                "m": width,
                "K": observation.batch_size,
                "difference": float(np.abs(restored.raw_counts.numpy() - literal).max()),
                "condition": float(torch.linalg.cond(system)),
            }
        )
    return pd.DataFrame(rows)


def solver_problem(number: int, seed: int) -> Observation:
    """Random problem `number` of a seed: C from 2 to 40, m from 1 to 64, K from 1 to 200."""
    rng = stream(seed, "E problems", number)
    classes, width, size = (int(rng.integers(low, high)) for low, high in ((2, 41), (1, 65), (1, 201)))
    return Observation.from_embeddings(*random_layer(rng, classes, width, size))


def solver_seconds(classes: int, width: int, batch_size: int, seed: int, device: str) -> dict[str, float]:
    """Seconds of one restoration, ours (the best of three) and the literal loop's, same problem."""
    embeddings, labels, head = random_layer(stream(seed, "E speed"), classes, width, batch_size)
    observation = Observation.from_embeddings(embeddings.to(device), labels.to(device), head.to(device))
    ours = best_seconds(lambda: restore(observation, "irlg").raw_counts.cpu())  # waits for the device
    literal = best_seconds(lambda: algorithm_1(*arrays(observation), batch_size), times=1)
    return {"irlg": ours, "literal": literal}


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


def arrays(observation: Observation) -> tuple[Array, Array, Array, Array]:
    """∇W, ∇b, W and b of an observation as float64 arrays, for `reference.algorithm_1`."""
    names = ("grad_weight", "grad_bias", "weight", "bias")
    grad_weight, grad_bias, weight, bias = (getattr(observation, n).double().cpu().numpy() for n in names)
    return grad_weight, grad_bias, weight, bias


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
