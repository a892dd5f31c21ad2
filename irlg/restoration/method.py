"""What a method of restoration is, to the registry."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from irlg.observation import Observation
from irlg.restoration.result import Restoration

Need = Literal["bias", "sign", "size", "auxiliary"]


@dataclass(frozen=True)
class Method:
    """A method by `name`: `function` takes an observation and, by keyword, those of `restore`'s options it names.

    `needs`: what must be there for it, which the registry checks: `"size"`, that K is known; `"bias"`, ∇b, which heads
    without bias lack; `"sign"`, that embeddings are not negative, so that signs of ∇W tell of labels, unless
    `nonnegative=False` says that they are; `"auxiliary"`, instances that the server has itself.
    `options`: names of the keyword options that it takes; those of other methods are refused.
    """

    name: str
    function: Callable[..., Restoration]
    needs: frozenset[Need] = frozenset()
    options: tuple[str, ...] = ()


def plain_divisor(observation: Observation) -> float:
    """What the sum of plain cross-entropy was divided by, for methods that know no other loss.

    **Raises:** `ValueError` where the loss has settings, or the divisor is not known.
    """
    known = observation.known_divisor
    if known is None or not observation.loss.plain:
        raise ValueError("method: expected 'lattice' for a loss with settings or an unknown divisor, got another")
    return known
