"""Methods that tell by signs which classes are there, and not how many: iDLG and GradInversion.

An instance of class c adds (p_j − 1_{j=c}) e to row j of K∇W: of embeddings e ≥ 0, only its own class's row can get
anything negative. So a negative sign proves its class, if nothing is noisy; none does not prove that it is absent.
"""

from irlg.observation import Observation
from irlg.restoration.method import Method
from irlg.restoration.result import Restoration
from irlg.restoration.rivals.gradients import check_plain, present, unscaled


def _idlg(observation: Observation) -> Restoration:
    """B. Zhao, K. R. Mopuri and H. Bilen, *iDLG: Improved Deep Leakage from Gradients*, 2020; extended to batches.

    Class j is there if and only if a_j = Σ_d ∇W_{j,d} < 0. Of one instance that is right. In a batch, what other
    instances give a row may outweigh what the class's own take. Needs e ≥ 0. Existence only.
    """
    return present(observation, unscaled(observation) < 0, "idlg")


def _gradinversion(observation: Observation) -> Restoration:
    """H. Yin et al., *See through Gradients: Image Batch Recovery via GradInversion*, CVPR 2021.

    Class j is there if and only if min_d ∇W_{j,d} < 0: one entry is enough, and sees what sums hide. (The paper takes
    the K smallest minima, as its batches have no class twice.) Needs e ≥ 0. Existence only.
    """
    check_plain(observation)
    return present(observation, observation.grad_weight.amin(dim=1) < 0, "gradinversion")


IDLG = Method("idlg", _idlg, needs=frozenset({"sign"}))
GRADINVERSION = Method("gradinversion", _gradinversion, needs=frozenset({"sign"}))
