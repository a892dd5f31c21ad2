"""Images from full gradients, and how alike they are to the originals (appendix D).

`config` has its settings; `objective` says what is minimised and over what; `descent` minimises it: `irlg.invert`;
`convolution` saves it a part of PyTorch's second derivatives; `matching` scores what comes of it; `plain_loop` is the
attack written out, its oracle.
"""

from irlg.inversion.config import InversionConfig
from irlg.inversion.descent import DivergedError, Inversion, Progress, invert

__all__ = ["DivergedError", "Inversion", "InversionConfig", "Progress", "invert"]
