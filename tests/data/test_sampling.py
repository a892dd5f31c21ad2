import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irlg.appendix.published import DISTRIBUTIONS
from irlg.data.sampling import balanced_batch, stream, uniform_batch

LABELS = np.repeat(np.arange(100), 130)[np.random.default_rng(0).permutation(13000)]


@given(st.sampled_from([p for pairs in DISTRIBUTIONS.values() for p in pairs]), st.integers(0, 2**31))
def test_exactly_the_stated_noc_and_mroc_without_repeats(pair, seed):
    noc, mroc = pair
    indices = balanced_batch(stream(seed, "row", 0), LABELS, noc, mroc)
    counts = np.bincount(LABELS[indices])
    assert len(set(indices.tolist())) == len(indices) == noc * mroc
    assert set(counts[counts > 0]) == {mroc} and (counts > 0).sum() == noc


@given(st.integers(1, 400), st.integers(0, 2**31))
def test_uniform_draws_without_repeats(size, seed):
    indices = uniform_batch(stream(seed), LABELS[:400], size)
    assert len(set(indices.tolist())) == size and indices.min() >= 0 and indices.max() < 400


def test_every_class_is_drawn_equally_often():
    drawn = np.concatenate([LABELS[balanced_batch(stream(0, t), LABELS, 4, 1)] for t in range(5000)])
    counts = np.bincount(drawn, minlength=100)
    assert ((counts - 200) ** 2 / 200).sum() < 161  # chi-squared, 99 degrees of freedom, p = 1e-4


def test_streams_depend_on_every_key_and_on_nothing_else():
    draws = {stream(*key).integers(2**62) for key in [(0, "a", 0), (0, "a", 1), (0, "b", 0), (1, "a", 0), (0, "a")]}
    assert len(draws) == 5
    assert stream(0, "a", 0).integers(2**62) == stream(0, "a", 0).integers(2**62)


def test_too_few_images():
    with pytest.raises(ValueError, match="noc: expected at most the 100 classes with 130 images or more, got 101"):
        balanced_batch(stream(0), LABELS, 101, 130)
    with pytest.raises(ValueError, match="batch_size: expected at most the 13000 images there, got 13001"):
        uniform_batch(stream(0), LABELS, 13001)
