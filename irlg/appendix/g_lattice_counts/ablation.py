"""What each part of the lattice is worth: the method less one part at a time."""

from dataclasses import replace
from functools import partial
from unittest import mock

import torch

from irlg.appendix.methods import METHODS, Restorer
from irlg.observation import Observation
from irlg.restoration import Restoration, restore
from irlg.restoration.lattice import decoding, layer, least_squares, logits, method, passes, shrinkage
from irlg.restoration.lattice.bounds import PresenceProofs, presence_proofs


def _without(part: object, name: str, value: object) -> Restorer:
    """The lattice with one name of a module replaced, and without the search, which would hide the loss."""

    def ablated(observation: Observation) -> Restoration:
        with mock.patch.object(part, name, value):
            return restore(observation, search=False)

    return ablated


def _no_bounds(observation: Observation, nonnegative: bool | None = None) -> PresenceProofs:
    proofs = presence_proofs(observation, nonnegative)
    none = torch.zeros_like(proofs.lower_bounds)
    return replace(proofs, lower_bounds=none, presumed=none, clear=none > 0, nonnegative=False, why="told")


def _as_guessed(given: layer.Problem, proofs: PresenceProofs) -> tuple[PresenceProofs, passes.Pass | None, str]:
    return proofs, *passes.estimate(given, proofs)


def _as_fitted(given: layer.Problem, proofs: PresenceProofs, fit: passes.Pass | None) -> passes.Pass:
    return fit or shrinkage.answer(given, proofs, None)


_FAIR = shrinkage.HEADS[0]
# The lattice less one of its parts, by name.
ABLATIONS: dict[str, Restorer] = {
    "nothing": METHODS["lattice, no search"],
    "hard bounds and sign test": _without(method, "presence_proofs", _no_bounds),
    "sign test": partial(restore, search=False, nonnegative=False),
    "signs that the embeddings bear out": _without(passes, "solve", _as_guessed),
    "beam (width 1)": _without(passes, "decode", partial(decoding.decode, width=1)),
    "spread within a class (ω = 0)": _without(least_squares, "OMEGA", 0.0),
    "isotropic prior (ν₀ = 0)": _without(logits, "NU_0", 0.0),
    "third pass": _without(passes, "PASSES", 2),
    "shrinkage of doubtful counts": _without(shrinkage, "answer", _as_fitted),
    "heads that favour classes": _without(shrinkage, "HEADS", (_FAIR,)),
    "errors of fit and guess in common (ρ = 0)": _without(
        shrinkage, "HEADS", (replace(_FAIR, tie=0.0), *shrinkage.HEADS[1:])
    ),
    "even counts (T² = K/r)": _without(shrinkage, "VARIANCE", (1.0,)),
    "absent classes in the prior (π = 0)": _without(shrinkage, "ABSENT", (0.0,)),
}
