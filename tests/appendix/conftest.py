import pytest

from irlg.appendix import networks
from irlg.data.datasets import open_images


@pytest.fixture(scope="session")
def digits():
    """Digits, and FCN-3 untrained and trained on them."""
    images = open_images("mnist", policy="stand-in")
    return images, list(networks.fcns(images, 1, 0, "cpu"))
