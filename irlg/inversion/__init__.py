"""Images from full gradients, and how alike they are to the originals (appendix D).

`objective` says what is minimised and over what; `descent` minimises it: `irlg.invert`; `convolution` saves it a part
of PyTorch's second derivatives; `matching` scores what comes of it; `plain_loop` is the attack written out, its oracle.
"""

from irlg.inversion.descent import DivergedError, Inversion, Progress, invert
from irlg.inversion.objective import InversionConfig

__all__ = ["DivergedError", "Inversion", "InversionConfig", "Progress", "invert"]
