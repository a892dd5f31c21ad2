"""The trivial answers, which look at no gradient: what every score of a method has to be held against."""

import torch

from irlg.observation import Observation
from irlg.restoration.method import Method
from irlg.restoration.result import Restoration
from irlg.restoration.rivals.gradients import counted


def _zeros(observation: Observation) -> Restoration:
    """Nobody is there: n_j = 0. With K < C most classes are absent, and LeAcc and LnAcc count these as right."""
    raw = observation.weight.new_zeros(observation.num_classes, dtype=torch.float64)
    return counted(observation, raw, "zeros", raw.long())


def _prior(observation: Observation) -> Restoration:
    """What a server expects before it looks: n_j = K/C, rounded. With K < C/2 that is nobody."""
    share = observation.size / observation.num_classes
    raw = observation.weight.new_full((observation.num_classes,), share, dtype=torch.float64)
    return counted(observation, raw, "prior")


ZEROS = Method("zeros", _zeros)
PRIOR = Method("prior", _prior, needs=frozenset({"size"}))
