"""How far a loop is, where somebody watches."""

import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")


def progress(things: Iterable[T], what: str) -> Iterator[T]:
    """The things, with a bar that says `what` they are and is gone after them.

    There is none where `notebooks/batch.py` runs the notebook: it says itself how far it is.
    """
    every = list(things)
    return iter(tqdm(every, desc=what, leave=False, disable="IRLG_JOBS" in os.environ))
