"""Instance-wise batch label restoration from the gradients of a classifier's last layer."""

from irlg.auditing import Audit, audit
from irlg.gradients import batch_gradient, last_layer_gradients
from irlg.instances import Instances
from irlg.inversion import (
    FROM_FEATURES,
    DivergedError,
    FeatureMaps,
    Inversion,
    InversionConfig,
    Progress,
    feature_maps,
    invert,
)
from irlg.metrics import i_rec, le_acc, ln_acc
from irlg.observation import Observation
from irlg.restoration import Auxiliary, LatticeRestoration, Restoration, restore, restore_many
from irlg.restoration.lattice.bounds import PresenceProofs, presence_proofs

__all__ = [
    "FROM_FEATURES",
    "Audit",
    "Auxiliary",
    "DivergedError",
    "FeatureMaps",
    "Instances",
    "Inversion",
    "InversionConfig",
    "LatticeRestoration",
    "Observation",
    "PresenceProofs",
    "Progress",
    "Restoration",
    "audit",
    "batch_gradient",
    "feature_maps",
    "i_rec",
    "invert",
    "last_layer_gradients",
    "le_acc",
    "ln_acc",
    "presence_proofs",
    "restore",
    "restore_many",
]
