"""Images from feature maps that are known, in place of the gradient."""

from dataclasses import replace

import pytest
import torch

import irlg
from irlg import FeatureMaps
from irlg.inversion import matching
from tests.helpers import random_images
from tests.inversion.problems import small_problem

SHORT = replace(irlg.FROM_FEATURES, steps=30, interval=10)


def known(order=(2, 0, 1), module="2", **changes):
    """Of the small problem: maps behind its BatchNorm, in an order of their own."""
    model, _, labels, _ = small_problem()
    maps = model[:2](random_images(3, 1, 8, 8)).detach()
    return FeatureMaps(
        **{"module": module, "maps": maps[[*order]], "labels": labels[[*order]], "residual": 0.0, **changes}
    )


def test_images_are_those_of_the_maps():
    weights = {"tv_weight": 1e-3, "tv_end": 1e-8}  # these images are noise
    config = replace(irlg.FROM_FEATURES, steps=500, learning_rate=0.1, **weights)
    found = irlg.invert(*small_problem(), config, features=known())
    scores = matching.scores(found.images, random_images(3, 1, 8, 8)[[0, 2, 1]])  # those of class 1 as their maps come
    assert min(scores.psnr) > 40
    assert found.labels.tolist() == [0, 1, 1] and found.objective < 1e-3


def test_maps_of_other_classes_or_beside_unknown_labels_are_refused():
    model, gradient, labels, shape = small_problem()
    with pytest.raises(ValueError, match="features: expected of the classes that labels has"):
        irlg.invert(model, gradient, labels, shape, SHORT, features=known(labels=torch.tensor([0, 0, 1])))
    with pytest.raises(ValueError, match="features: expected with class indices as labels, got 'joint'"):
        irlg.invert(model, gradient, "joint", shape, SHORT, features=known())


def test_maps_of_another_shape_number_or_place_are_refused():
    maps = known().maps
    with pytest.raises(ValueError, match=r"features: expected maps of shape \(3, 4, 6, 6\), got \(3, 4, 5, 6\)"):
        irlg.invert(*small_problem(), SHORT, features=known(maps=maps[:, :, 1:]))
    with pytest.raises(ValueError, match="features: expected of the classes that labels has"):
        irlg.invert(*small_problem(), SHORT, features=known(maps=maps[:2]))
    with pytest.raises(ValueError, match="features: expected at a module of the model, got 'trunk'"):
        irlg.invert(*small_problem(), SHORT, features=known(module="trunk"))


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    path = tmp_path / "state.pt"
    whole = irlg.invert(*small_problem(), SHORT, features=known())

    def kill(progress):
        if progress.iteration == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        irlg.invert(*small_problem(), SHORT, features=known(), progress=kill, checkpoint=path)
    resumed = irlg.invert(*small_problem(), SHORT, features=known(), checkpoint=path)
    assert torch.equal(resumed.images, whole.images) and torch.equal(resumed.objectives, whole.objectives)


@pytest.mark.parametrize("other", [None, known(maps=2 * known().maps), known(module="3")])
def test_a_checkpoint_of_other_maps_or_of_the_gradient_is_refused(tmp_path, other):
    path = tmp_path / "state.pt"
    irlg.invert(*small_problem(), SHORT, features=known(), checkpoint=path)
    with pytest.raises(ValueError, match=r"checkpoint: .* is of another inversion"):
        irlg.invert(*small_problem(), SHORT, features=other, checkpoint=path)
