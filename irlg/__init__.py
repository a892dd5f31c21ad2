"""Instance-wise batch label restoration from the gradients of a classifier's last layer."""

from irlg.bounds import PresenceProofs, presence_proofs
from irlg.gradients import last_layer_gradients
from irlg.metrics import i_rec, le_acc, ln_acc
from irlg.observation import Observation
from irlg.restoration import LatticeRestoration, Restoration, restore

__all__ = [
    "LatticeRestoration",
    "Observation",
    "PresenceProofs",
    "Restoration",
    "i_rec",
    "last_layer_gradients",
    "le_acc",
    "ln_acc",
    "presence_proofs",
    "restore",
]
