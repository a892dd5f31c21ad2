"""The methods of restoration by name, and the one call that they share."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock
from typing import Any, Literal, overload

import torch

from irlg import checks
from irlg.observation import Observation
from irlg.restoration import algorithm1, uniform
from irlg.restoration.auxiliary import Auxiliary
from irlg.restoration.lattice import method as lattice
from irlg.restoration.lattice.result import LatticeRestoration
from irlg.restoration.method import Method
from irlg.restoration.result import Restoration
from irlg.restoration.rivals import RIVALS

METHODS: dict[str, Method] = {each.name: each for each in (lattice.METHOD, algorithm1.METHOD, uniform.METHOD, *RIVALS)}
LARGEST_BATCH = 256
SEARCH_SECONDS = 60.0
_THREADS = Lock()  # over PyTorch's number of threads, which is the whole process's


@overload
def restore(
    observation: Observation,
    method: Literal["lattice"] = "lattice",
    nonnegative: bool | None = None,
    search: bool | Literal["always"] = True,
    search_seconds: float = SEARCH_SECONDS,
    largest_batch: int = LARGEST_BATCH,
) -> LatticeRestoration: ...


@overload
def restore(
    observation: Observation, method: str, nonnegative: bool | None = None, *, auxiliary: Auxiliary | None = None
) -> Restoration: ...


def restore(
    observation: Observation,
    method: str = "lattice",
    nonnegative: bool | None = None,
    search: bool | Literal["always"] = True,
    search_seconds: float = SEARCH_SECONDS,
    largest_batch: int = LARGEST_BATCH,
    auxiliary: Auxiliary | None = None,
) -> Restoration:
    """Restore how many instances of each class the observed batch held.

    **Arguments:** `method`:

    - `"lattice"`: least squares over all classes at once, then the most likely whole counts that sum
      to K and obey the hard bounds, with a probability: a `LatticeRestoration`.
    - `"irlg"`: Algorithm 1 of the appendix.
    - `"uniform"`: the constant guess Σ_k p_{k,j} = K/C in n_j = Σ_k p_{k,j} − K∇b_j, which looks at
      nothing but ∇b: the yardstick for every other method.
    - those of `irlg.restoration.rivals`, the methods of others, of which some are `existence_only`.

    `auxiliary`: instances of the server's own, for `"llg-star"`, `"zlg"`, `"dimitrov"`, `"rlu"` and `"posterior"`,
    which need them, and `"llbg"`. The others are for `"lattice"` alone. `nonnegative`: whether embeddings are (as after
    a ReLU); `None` guesses, by a class that shows no sign of presence, or by the mean embedding of the fit. Methods
    that need it take it for granted, and refuse if told `False`.
    `search`: whether to look for each instance on its own where K < C/2 and the counts are not sure, their misfit is
    above 1.5, or K is not told; or `"always"`, so that `instances` are those of the batch. `search_seconds`: when it
    stops, from the call on. Instances found by then are counted, and the lattice restores the rest.
    `largest_batch`: the largest K that is tried where the observation does not say it.

    The probability is one if the loss and its settings are as told. Where the network has learnt it is at most 0.98,
    unless every instance is found, of up to ten classes, and where noise, coarse numbers or a misfit above 1.5 leave
    room for an instance that is not seen. In a clean gradient one that a head is nearly sure of may be missed even so.

    Everything is computed in float64. **Raises:** `ValueError` for several observations at once, for an
    unknown method or `nonnegative`, for options of `"lattice"` with another, for an unknown K with
    another or with more instances than `largest_batch`, and where what a method needs is not there.
    """
    if not isinstance(observation, Observation):
        got = type(observation).__name__
        raise ValueError(f"observation: expected one irlg.Observation, got {got}; irlg.restore_many takes several")
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"method: expected one of {list(METHODS)}, got {method!r}")
    chosen, options = METHODS[method], dict[str, object]()
    if "sign" in chosen.needs and nonnegative is not None:
        if nonnegative is not True:
            raise ValueError(f"nonnegative: expected True or None for method {method!r}, got {nonnegative!r}")
        nonnegative = None  # which it takes for granted
    for name, value, default in (
        ("nonnegative", nonnegative, None),
        ("search", search, True),
        ("search_seconds", search_seconds, SEARCH_SECONDS),
        ("largest_batch", largest_batch, LARGEST_BATCH),
        ("auxiliary", auxiliary, None),
    ):
        if name in chosen.options:
            options[name] = value
        elif value != default:
            raise ValueError(f"{name}: expected {default} for method {method!r}, got {value!r}")
    if "size" in chosen.needs:
        _ = observation.size  # raises where it is not known
    if "bias" in chosen.needs:
        _ = observation.biases  # raises for a head without one
    if "auxiliary" in chosen.needs or auxiliary is not None:
        if not isinstance(auxiliary, Auxiliary):
            got = type(auxiliary).__name__
            raise ValueError(f"auxiliary: expected irlg.Auxiliary for method {method!r}, got {got}")
        auxiliary.check(observation)
    return chosen.function(observation, **options)


def restore_many(
    observations: Iterable[Observation], method: str = "lattice", threads: int | None = None, **options: Any
) -> list[Restoration]:
    """`restore` each of many observations of one network, in their order, side by side.

    On a head of 1,000 classes this is nearly as many times faster than a loop as there are cores, for most steps are
    too small to be shared by them. **Arguments:** `threads`: how many at a time, by default as many as PyTorch uses;
    the rest as `restore` has it. **Raises:** `ValueError` for what is none, or of other weights than the first, and
    what `restore` raises.
    """
    threads = torch.get_num_threads() if threads is None else checks.as_whole("threads", threads, 1)
    if not isinstance(observations, Iterable):
        raise ValueError(f"observations: expected several, such as a list, got {type(observations).__name__}")
    observations = list(observations)
    if not observations:
        return []
    first = observations[0]
    for number, other in enumerate(observations):
        if not isinstance(other, Observation):
            raise ValueError(f"observations: expected irlg.Observation, got {type(other).__name__} as number {number}")
        if other.weight is not first.weight and not torch.equal(other.weight, first.weight):
            raise ValueError(f"observations: expected those of one network, got other weights in number {number}")
    weight = first.weight.double()  # once, in place of a copy a step
    shared = [replace(each, weight=weight) for each in observations]
    with _THREADS:
        before = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                return list(pool.map(lambda each: restore(each, method, **options), shared))
        finally:
            torch.set_num_threads(before)
