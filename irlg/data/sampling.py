"""Random batches: which images a client draws."""

import zlib

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def stream(seed: int, *keys: str | int) -> np.random.Generator:
    """A random generator of its own for each (seed, keys), so that no draw depends on another.

    Adding a row or a trial, which have keys of their own, changes no other row's batches.
    """
    words = [zlib.crc32(key.encode()) if isinstance(key, str) else key for key in keys]
    # Their number too, because a seed sequence takes no notice of zeros at its end.
    return np.random.default_rng([seed, len(words), *words])


def uniform_batch(rng: np.random.Generator, labels: Indices, batch_size: int) -> Indices:
    """`batch_size` different images, uniformly. **Returns:** indices (K,) into `labels`.

    **Raises:** `ValueError` where there are too few images.
    """
    if batch_size > len(labels):
        raise ValueError(f"batch_size: expected at most the {len(labels)} images there, got {batch_size}")
    return rng.choice(len(labels), size=batch_size, replace=False)


def balanced_batch(rng: np.random.Generator, labels: Indices, noc: int, mroc: int) -> Indices:
    """`mroc` different images of each of `noc` random classes (appendix F).

    **Arguments:** `noc`, the number of classes (NoC); `mroc`, the instances of each (MRoC).
    **Returns:** indices (noc · mroc,) into `labels`.
    **Raises:** `ValueError` where fewer than `noc` classes have `mroc` images.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    eligible = classes[sizes >= mroc]
    if noc > len(eligible):
        raise ValueError(f"noc: expected at most the {len(eligible)} classes with {mroc} images or more, got {noc}")
    chosen = rng.choice(eligible, size=noc, replace=False)
    return np.concatenate([rng.choice(np.flatnonzero(labels == c), mroc, replace=False) for c in chosen])
