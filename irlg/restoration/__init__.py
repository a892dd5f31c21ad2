"""From an observation to label counts: `irlg.restore` and its methods.

`registry` has them by name, `method` says what one is and `result` what it returns. `algorithm1` is the appendix's,
`pseudocode` the same written out, its oracle; `uniform` is the constant guess, `lattice` exact counts with a
probability; `rounding` is what they share. `rivals` are the methods of others, and `auxiliary` what some of them need
beside an observation.
"""

from irlg.restoration.auxiliary import Auxiliary
from irlg.restoration.lattice.result import LatticeRestoration
from irlg.restoration.registry import restore, restore_many
from irlg.restoration.result import Restoration

__all__ = ["Auxiliary", "LatticeRestoration", "Restoration", "restore", "restore_many"]
