"""Defences by name: what a client does to its loss or its gradients so that they tell less."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from irlg import defences
from irlg.defences import Gradients

Send = Callable[[Gradients, np.random.Generator], Gradients]


@dataclass(frozen=True)
class Defence:
    """What is sent in place of ∇W (C, m) and ∇b (C,), `words` for it, and the loss's `label_smoothing`.

    `own`: whether it is a function of the user's, of which the server knows nothing.
    """

    words: str
    send: Send
    label_smoothing: float = 0.0
    own: bool = False


def _as_they_are(gradients: Gradients, rng: np.random.Generator) -> Gradients:
    return gradients


def _smoothing(value: float) -> Defence:
    return Defence(f"label smoothing of {value:g}, which the server knows", _as_they_are, value)


def _noise(value: float) -> Defence:
    return Defence(f"Gaussian noise of standard deviation {value:g} on every entry", partial(defences.gaussian, value))


def _top(value: float) -> Defence:
    words = f"the largest {100 * value:g} % of each tensor's entries, 0 in place of the others"
    return Defence(words, partial(defences.largest, value))


# With a number: what makes the defence, what is expected of the number, and whether it is so.
NUMBERED: dict[str, tuple[Callable[[float], Defence], str, Callable[[float], bool]]] = {
    "noise": (_noise, "a standard deviation above 0", lambda value: 0 < value < float("inf")),
    "top-k": (_top, "a share of the entries above 0, and at most 1", lambda value: 0 < value <= 1),
    "label-smoothing": (_smoothing, "a number above 0 and below 1", lambda value: 0 < value < 1),
}
PLAIN = {
    "sign": Defence("signs alone, and the mean size of each tensor's entries", defences.signs),
    "int8": Defence("whole numbers from −127 to 127, and a scale for each tensor", defences.integers),
    "float8": Defence("numbers of 8 bits (e4m3), and a scale for each tensor", defences.float8),
    "bfloat16": Defence("numbers of 16 bits (bfloat16)", defences.bfloat16),
}
NONE = Defence("none", _as_they_are)
KNOWN = (*(f"{name}:NUMBER" for name in NUMBERED), *PLAIN)


def defence(given: str | Send | None) -> Defence:
    """The defence of a name such as `"noise:1e-3"` or `"sign"`, of a function of one's own, or none.

    **Raises:** `ValueError` for an unknown name, or a number that does not fit.
    """
    if given is None:
        return NONE
    if callable(given):
        return Defence(getattr(given, "__name__", repr(given)), given, own=True)
    name, colon, number = given.partition(":") if isinstance(given, str) else ("", "", "")
    if name in PLAIN and not colon:
        return PLAIN[name]
    if name not in NUMBERED:
        raise ValueError(f"defence: expected a function or one of {', '.join(KNOWN)}, got {given!r}")
    make, wanted, fits = NUMBERED[name]
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not fits(value):
        raise ValueError(f"defence: expected {name}:NUMBER, {wanted}, got {given!r}")
    return make(value)
