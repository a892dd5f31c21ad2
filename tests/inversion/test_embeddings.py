"""Each image drawn to the embedding of its instance."""

import pytest
import torch

import irlg
from irlg import Instances
from irlg.inversion.objective import Problem
from tests.helpers import random_images
from tests.inversion.problems import settings, small_problem


def known_instances(model, images, labels, order):
    """As a restoration may find them: in an order of their own."""
    embeddings = model[:-1](images).detach().double()
    return Instances(labels[order], embeddings[order], 0.0)


def test_embeddings_of_instances_draw_each_image_to_its_own():
    """Two images of a class are told apart by nothing else that is given here."""
    model, gradient, labels, shape = small_problem(None, "eval")
    images = random_images(3, 1, 8, 8)
    given = known_instances(model, images, labels, torch.tensor([2, 0, 1]))
    config = settings(tv_weight=0.0, l2_weight=0.0, embedding_weight=0.5)
    problem = Problem(model, gradient, labels, shape, config, (0.0,), (1.0,), given)
    blind = Problem(model, gradient, labels, shape, config, (0.0,), (1.0,))
    unknowns = problem.start(0)
    ours = model[:-1](unknowns[0])
    theirs = given.embeddings[[1, 0, 2]]  # class 0 first, then the instances of class 1 as they come
    apart = (ours - theirs).square().mean() / given.embeddings.var()
    value, without = (float(one.objective(unknowns, 0).detach()) for one in (problem, blind))
    assert value - without == pytest.approx(0.5 * float(apart.detach()), rel=1e-6)
    assert problem.key != blind.key


def test_instances_of_other_classes_or_beside_unknown_labels_are_refused():
    model, gradient, labels, shape = small_problem(None, "eval")
    given = known_instances(model, random_images(3, 1, 8, 8), torch.tensor([0, 0, 1]), torch.arange(3))
    with pytest.raises(ValueError, match="instances: expected of the classes that labels has"):
        irlg.invert(model, gradient, labels, shape, settings(), instances=given)
    with pytest.raises(ValueError, match="instances: expected with class indices as labels, got 'joint'"):
        irlg.invert(model, gradient, "joint", shape, settings(), instances=given)


def test_instances_and_features_at_once_are_refused():
    model, gradient, labels, shape = small_problem(None, "eval")
    given = known_instances(model, random_images(3, 1, 8, 8), labels, torch.arange(3))
    maps = irlg.FeatureMaps("4", given.embeddings, labels, 0.0)
    with pytest.raises(ValueError, match="instances, features: expected one of them, got both"):
        irlg.invert(model, gradient, labels, shape, settings(), instances=given, features=maps)
