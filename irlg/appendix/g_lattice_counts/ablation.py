"""What each part of the lattice is worth: the method less one part at a time."""

from dataclasses import replace
from functools import partial
from unittest import mock

import torch
from torch import Tensor

from irlg.appendix.g_lattice_counts.trials import METHODS, Restorer
from irlg.observation import Observation
from irlg.restoration import Restoration, restore
from irlg.restoration.lattice import decoding, guess, layer, least_squares, logits, method, passes
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


def _as_guessed(given: layer.Problem, proofs: PresenceProofs) -> tuple[PresenceProofs, passes.Passes]:
    return proofs, passes.estimate(given, proofs)


def _by_distance(given: layer.Problem, fit: Tensor, other: Tensor, there: Tensor, near: float) -> float:
    apart = float((fit - other).square().sum())
    return guess._whole(fit[there], other[there], (near / apart) ** 2) if apart > near else 1.0


def _uneven(x: Tensor, there: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    return x, torch.full_like(x, noise)


def _as_believed(fit: Tensor, guess: Tensor, believed: float) -> float:
    return believed


# The lattice less one of its parts, by name.
ABLATIONS: dict[str, Restorer] = {
    "nothing": METHODS["lattice, no search"],
    "hard bounds and sign test": _without(method, "presence_proofs", _no_bounds),
    "sign test": partial(restore, search=False, nonnegative=False),
    "beam (width 1, the second 16)": _without(decoding, "WIDTH", 1),
    "second, wider beam": _without(guess, "assured", lambda given, proofs, one: one),
    "spread within a class (ω = 0)": _without(least_squares, "OMEGA", 0.0),
    "isotropic prior (ν₀ = 0)": _without(logits, "NU_0", 0.0),
    "further passes (two only)": _without(passes, "PASSES", 2),
    "signs that the embeddings bear out": _without(passes, "solve", _as_guessed),
    "guess where the fit is doubtful": _without(guess, "doubtful", lambda one: False),
    "fit where it is doubtful": _without(guess, "_share", lambda *_: 0.0),
    "what spreads and an uneven S tell": _without(guess, "_share", _by_distance),
    "how even the guess's counts are": _without(guess, "_evened", _uneven),
    "how whole mixtures of fit and guess are": _without(guess, "_whole", _as_believed),
}
