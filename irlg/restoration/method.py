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

    `needs`: what an observation must tell for it. Of these only `"size"`, that K is known, can be missing from an
    `Observation` as it is. The others are for methods to come beside those that do without: `"bias"`, ∇b, which
    heads without bias lack; `"sign"`, the signs of ∇W; `"auxiliary"`, data that the server has itself.
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
