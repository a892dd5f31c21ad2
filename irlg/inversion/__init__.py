"""Images from full gradients, and how alike they are to the originals (appendix D).

`patches` and `feature_maps` find what each image is deep in the network, by algebra alone, `equations` a convolution
further down; `given` refuses arguments that do not fit. `config` has the settings of the search for images; `objective`
says what is minimised and over what; `descent` minimises it: `irlg.invert`; `convolution` saves it a part of PyTorch's
second derivatives; `matching` scores what comes of it; `plain_loop` is the attack written out, its oracle.
"""

from irlg.inversion.config import FROM_FEATURES, InversionConfig
from irlg.inversion.descent import DivergedError, Inversion, Progress, invert
from irlg.inversion.feature_maps import FeatureMaps, feature_maps

__all__ = [
    "FROM_FEATURES",
    "DivergedError",
    "FeatureMaps",
    "Inversion",
    "InversionConfig",
    "Progress",
    "feature_maps",
    "invert",
]
