"""The methods of others, each in a few lines by its own paper's definition: what a comparison is with.

`trivial` looks at no gradient; `existence` and `rlg` tell which classes are there; `greedy` gives labels one by one;
`means` and `labelled` use auxiliary instances. `gradients` is what they share. None knows a loss with settings.
"""

from irlg.restoration.rivals.existence import GRADINVERSION, IDLG
from irlg.restoration.rivals.greedy import EBI, LLBG, LLG, LLG_STAR
from irlg.restoration.rivals.labelled import POSTERIOR, RLU
from irlg.restoration.rivals.means import DIMITROV, ZLG
from irlg.restoration.rivals.rlg import RLG
from irlg.restoration.rivals.trivial import PRIOR, ZEROS

RIVALS = (ZEROS, PRIOR, IDLG, GRADINVERSION, RLG, LLG, LLG_STAR, EBI, LLBG, ZLG, DIMITROV, RLU, POSTERIOR)
