"""The settings of the comparison: how a batch comes about, what is sent of it, and what the server knows."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from irlg.appendix import losses
from irlg.appendix.clients import after_steps
from irlg.appendix.comparison import Case
from irlg.appendix.j_comparison.networks import SEEN, UNTRAINED
from irlg.appendix.losses import Sent
from irlg.appendix.servers import Server
from irlg.appendix.trained import LITE0
from irlg.data.sampling import uniform_batch
from irlg.observation import Observation

Maker = Callable[[Server, int, np.random.Generator], Case]
GRADIENT = "gradient, K"
LOSS = "the loss's settings"  # which the lattice alone can make use of
MODELS = "network before and after, rate, K, steps"
RATE = 0.01  # of clients' own steps of SGD
EPOCHS, BATCH = 10, 32  # of a client that makes several, and images of a step
ALPHAS = (0.05, 0.1, 1.0, 100.0)


@dataclass(frozen=True)
class Setting:
    """A row of the tables: batches of `size` K at a network, by its `Server.name`, made by `make`.

    `what` is done but for drawing images uniformly; `knows`: what the server is told.
    """

    group: str
    network: str
    size: int
    what: str
    knows: str
    make: Maker

    @property
    def name(self) -> str:
        """Network, K and what is done."""
        return ", ".join(filter(None, (self.network, f"K = {self.size}", self.what)))


def plain(server: Server, size: int, rng: np.random.Generator) -> Case:
    """The gradient of a uniform batch, in eval mode."""
    return _gradient(server, uniform_batch(rng, server.clients.images.labels, size))


def dirichlet(alpha: float, server: Server, size: int, rng: np.random.Generator) -> Case:
    """Classes in shares drawn from a symmetric Dirichlet distribution, as long as there are images of them."""
    labels, classes = server.clients.images.labels, server.clients.model.head.out_features
    shares = np.maximum(rng.dirichlet(np.full(classes, alpha)), 1e-12)
    weights = (shares / np.maximum(np.bincount(labels, minlength=classes), 1))[labels]
    return _gradient(server, rng.choice(len(labels), size, replace=False, p=weights / weights.sum()))


def singletons(server: Server, size: int, rng: np.random.Generator) -> Case:
    """A third of the images of one class, and one of each of as many other classes as there are others."""
    labels, classes = server.clients.images.labels, server.clients.model.head.out_features
    first, *others = rng.permutation(classes)[: size - size // 3 + 1]
    parts = [rng.choice(np.flatnonzero(labels == first), size // 3, replace=False)]
    return _gradient(server, np.concatenate([*parts, *(rng.choice(np.flatnonzero(labels == c), 1) for c in others)]))


def train_mode(server: Server, size: int, rng: np.random.Generator) -> Case:
    """By autograd through a copy of the network in train mode: statistics of the batch, dropout."""
    clients = server.clients
    chosen = uniform_batch(rng, clients.images.labels, size)
    device = str(clients.labels.device)
    labels = clients.labels[torch.as_tensor(chosen, device=device)]
    with torch.random.fork_rng():
        torch.manual_seed(int(rng.integers(2**62)))
        model = copy.deepcopy(clients.model).train()
        seen = Observation.from_batch(model, clients.images.load(chosen, device), labels)
    return _case(server, seen, torch.bincount(labels, minlength=seen.num_classes))


def loss(
    make: Callable[..., Sent], server: Server, size: int, rng: np.random.Generator, sizes: tuple[int, ...] = ()
) -> Case:
    """What one of `irlg.appendix.losses` sends. Methods that know plain cross-entropy alone take it for that."""
    clients = server.clients
    options = {"sizes": sizes} if sizes else {}
    sent = make(clients, _tensor(server, uniform_batch(rng, clients.images.labels, size)), rng, **options)
    head, (weight, bias) = clients.model.head, sent.gradients
    told = Observation(weight, bias, head.weight, head.bias, **sent.ways["told"])
    divisor = told.known_divisor or float(told.size)
    untold = Observation(weight, bias, head.weight, head.bias, told.size, noise=told.noise, divisor=divisor)
    return Case(told, untold, sent.counts, server.nonnegative, server.auxiliary)


def local_steps(steps: int, server: Server, size: int, rng: np.random.Generator) -> Case:
    """The network after steps of SGD, of K/E images each, all different."""
    chosen = _tensor(server, uniform_batch(rng, server.clients.images.labels, size))
    return _updated(server, list(torch.split(chosen, size // steps)), chosen, 1)


def local_epochs(server: Server, size: int, rng: np.random.Generator) -> Case:
    """The network after `EPOCHS` over a client's K images, in steps of `BATCH`. Counts are those of one epoch."""
    chosen = _tensor(server, uniform_batch(rng, server.clients.images.labels, size))
    orders = [torch.as_tensor(rng.permutation(size), device=chosen.device) for _ in range(EPOCHS)]
    return _updated(server, [part for order in orders for part in torch.split(chosen[order], BATCH)], chosen, EPOCHS)


def _updated(server: Server, parts: list[Tensor], chosen: Tensor, times: int) -> Case:
    clients = server.clients
    after = after_steps(clients, parts, RATE)
    seen = Observation.from_update(clients.model, after, RATE, len(parts[0]), local_steps=len(parts))
    auxiliary = server.auxiliary_after(after, len(parts))
    return Case(seen, seen, clients.counts(chosen), server.nonnegative, auxiliary, times)


def _gradient(server: Server, chosen: np.ndarray) -> Case:
    indices = _tensor(server, chosen)
    return _case(server, server.clients.observe(indices), server.clients.counts(indices))


def _case(server: Server, seen: Observation, counts: Tensor) -> Case:
    return Case(seen, seen, counts, server.nonnegative, server.auxiliary)


def _tensor(server: Server, chosen: np.ndarray) -> Tensor:
    return torch.as_tensor(chosen, device=server.clients.labels.device)


def settings(steps: int) -> list[Setting]:
    """All of them. **Arguments:** `steps` of the ResNet-18 that has learnt."""
    resnet = f"ResNet-18, {steps:,} steps"
    return [*_untrained(), *_learnt(resnet), *_batches(resnet), *_clients()]


def _some(group: str, network: str, sizes: tuple[int, ...], make: Maker = plain, what: str = "") -> Iterator[Setting]:
    yield from (Setting(group, network, size, what, GRADIENT, make) for size in sizes)


def _untrained() -> Iterator[Setting]:
    for network, sizes in {
        "FCN-3": (8, 24, 32, 64, 128, 1024),
        "LeNet-5": (24, 128, 256, 512, 1024, 4096),
        "LeNet-5 SiLU": (128,),
        "LeNet-5 LeakyReLU": (128,),
        "ResNet-18": (24,),
        "VGG-16": (64,),
        "ResNet-50": (64,),
    }.items():
        yield from _some("untrained", f"{network}, {UNTRAINED}", sizes)


def _learnt(resnet: str) -> Iterator[Setting]:
    for network, sizes in {
        "FCN-3, 100 steps": (24,),
        "FCN-3, 1,000 steps": (24,),
        f"FCN-3, 1,000 steps, {SEEN}": (24,),
        "LeNet-5, 1 epoch": (24, 128),
        "LeNet-5, 3 epochs": (24, 128),
        "LeNet-5, 12 epochs": (24, 128),
        f"LeNet-5, 12 epochs, {SEEN}": (24, 128),
        resnet: (24,),
        f"{LITE0}, published weights": (24, 64),
    }.items():
        yield from _some("trained", network, sizes)


def _batches(resnet: str) -> Iterator[Setting]:
    for network in (f"LeNet-5, {UNTRAINED}", "LeNet-5, 3 epochs"):
        for alpha in ALPHAS:
            yield from _some("batches", network, (128,), partial(dirichlet, alpha), f"Dirichlet {alpha:g}")
        yield from _some("batches", network, (96,), singletons, "one class and singletons")
    for network in (resnet, f"{LITE0}, published weights"):
        yield from _some("batches", network, (24,), train_mode, "train mode")


def _clients() -> Iterator[Setting]:
    client = "LeNet-5, 3 epochs"
    for what, make in {
        f"label smoothing {losses.SMOOTHING:g}": losses.smoothing,
        f"class weights {losses.LEAST:g} to {losses.MOST:g}": losses.weights,
        "mixup": losses.mixup,
    }.items():
        yield Setting("clients", client, 24, what, f"{GRADIENT}, {LOSS}", partial(loss, make))
    for count, each in ((2, 12), (10, 4)):
        make_sum = partial(loss, losses.aggregated, sizes=(each,) * count)
        yield Setting("clients", client, count * each, f"{count} clients", f"sum of gradients, {GRADIENT}", make_sum)
    for steps, size in ((1, 24), (5, 120), (10, 240)):
        what = f"update of {steps} step{'s' * (steps > 1)}"
        yield Setting("clients", client, size, what, MODELS, partial(local_steps, steps))
    yield Setting("clients", client, 96, f"update of {EPOCHS} epochs", f"{MODELS}, epochs", local_epochs)
