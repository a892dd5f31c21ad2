import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from irlg import Observation, restore
from irlg.appendix.random_layers import arrays, random_layer
from irlg.restoration.algorithm1 import solve_counts
from irlg.restoration.pseudocode import algorithm_1
from irlg.restoration.rounding import round_counts
from tests.helpers import observe, problems, rebuilt


@pytest.mark.parametrize("margin", [20.0, 60.0, 800.0])
def test_singular_systems_take_the_pseudo_inverse(margin):
    """Probabilities near or at one-hot rows decouple the classes: the square system has no inverse."""
    logits = torch.zeros(6, 6, dtype=torch.float64)
    logits[range(6), [0, 1, 1, 3, 4, 4]] = margin
    probabilities, size = torch.softmax(logits, 1), 12
    grad_bias = torch.tensor([2.0, -1, 0, 3, -3, -1], dtype=torch.float64) / size / 4
    system = np.vstack([np.ones(6), probabilities.numpy().T - np.eye(6)])
    right = np.concatenate([[size], size * grad_bias.numpy()])
    expected = np.linalg.lstsq(system, right, rcond=7 * np.finfo(float).eps)[0]
    solved = solve_counts(probabilities, grad_bias, size).numpy()
    # What is lost to rounding grows with the condition number; the least norm does not.
    singular = np.linalg.svd(system, compute_uv=False)
    kept = singular[singular > 7 * np.finfo(float).eps * singular[0]]
    scale = np.abs(expected).max() * kept[0] / kept[-1]
    assert np.abs(solved - expected).max() <= 1e-13 * scale


@given(**problems)
def test_permuting_classes_permutes_counts(classes, width, batch, seed):
    seen = observe(classes, width, batch, seed)
    order = torch.as_tensor(np.random.default_rng(seed).permutation(classes))
    permuted = rebuilt(
        seen,
        grad_weight=seen.grad_weight[order],
        grad_bias=seen.grad_bias[order],
        weight=seen.weight[order],
        bias=seen.bias[order],
    )
    for method in ("irlg", "uniform"):
        raw = restore(seen, method).raw_counts
        torch.testing.assert_close(restore(permuted, method).raw_counts, raw[order], rtol=1e-6, atol=1e-6)


@given(**problems, scale=st.sampled_from([2.0**-20, 0.5, 8.0, 2.0**20]))
def test_scaling_embeddings_against_weights_changes_nothing(classes, width, batch, seed, scale):
    seen = observe(classes, width, batch, seed)
    scaled = rebuilt(seen, grad_weight=seen.grad_weight * scale, weight=seen.weight / scale)
    raw = restore(seen, "irlg").raw_counts
    torch.testing.assert_close(restore(scaled, "irlg").raw_counts, raw, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(restore(scaled, "irlg").embeddings, restore(seen, "irlg").embeddings * scale)


@given(**problems, shift=st.floats(-50, 50))
def test_adding_a_constant_to_all_logits_changes_nothing(classes, width, batch, seed, shift):
    seen = observe(classes, width, batch, seed)
    raw = restore(seen, "irlg").raw_counts
    torch.testing.assert_close(
        restore(rebuilt(seen, bias=seen.bias + shift), "irlg").raw_counts, raw, rtol=1e-5, atol=1e-5
    )


def test_exact_when_every_embedding_of_a_class_is_the_same():
    """One class alone: e^i is its embedding, p^i its probability, and (6) holds exactly."""
    seen = observe(10, 5, 1, 0, labels=[3])
    restored = restore(seen, "irlg")
    assert restored.counts.tolist() == [int(j == 3) for j in range(10)]
    torch.testing.assert_close(restored.raw_counts, restored.counts.double(), rtol=0, atol=1e-9)


def test_shapes_and_dtypes():
    restored = restore(observe(6, 4, 9, 0), "irlg")
    assert restored.method == "irlg"
    assert restored.counts.shape == (6,) and restored.counts.dtype == torch.int64
    assert restored.raw_counts.shape == (6,) and restored.raw_counts.dtype == torch.float64
    assert restored.embeddings.shape == (6, 4) and restored.probabilities.shape == (6, 6)
    torch.testing.assert_close(restored.probabilities.sum(1), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("method", ["lattice", "irlg", "uniform"])
def test_a_restoration_survives_pickling(method):
    restored = restore(observe(6, 4, 9, 0), method)
    copy = pickle.loads(pickle.dumps(restored))
    assert torch.equal(copy.counts, restored.counts)
    assert method == "uniform" or torch.equal(copy.embeddings, restored.embeddings)


def test_uniform_is_the_constant_guess():
    seen = observe(6, 4, 9, 0)
    expected = 9 / 6 - 9 * seen.grad_bias.numpy()
    np.testing.assert_allclose(restore(seen, "uniform").raw_counts, expected)
    assert restore(seen, "uniform").embeddings is None


def test_rounding_follows_the_paper():
    raw = torch.tensor([-0.7, 0.4, 0.6, 3.2, 9.6, 8.4])
    assert round_counts(raw, 8).tolist() == [0, 0, 1, 3, 0, 8]


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (2, [0, 1, 1, 1]),
        (2, [1]),
        (10, [4]),
        (10, [7] * 16),
        (10, list(range(10))),
        (10, [3, 3, 5]),
    ],
    ids=["C=2", "C=2, K=1", "K=1", "one class", "all classes", "two classes"],
)
def test_edge_cases_have_defined_results(classes, labels):
    seen = observe(classes, 8, len(labels), 3, labels)
    for method in ("irlg", "uniform"):
        restored = restore(seen, method)
        assert torch.isfinite(restored.raw_counts).all()
        assert int(restored.counts.min()) >= 0 and int(restored.counts.max()) <= len(labels)
    _, literal = algorithm_1(*arrays(seen), len(labels))
    np.testing.assert_allclose(restore(seen, "irlg").raw_counts, literal, atol=1e-6, rtol=1e-6)


def test_a_zero_in_the_bias_gradient_falls_back_to_the_bias():
    """∇b_j = 0 exactly: e^j is undefined; its row is 0 and p^j = softmax(b)."""
    weight = torch.randn(3, 4, dtype=torch.float64)
    bias = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    grad_weight = torch.randn(3, 4, dtype=torch.float64)
    seen = Observation(grad_weight, torch.tensor([0.2, 0.0, -0.2], dtype=torch.float64), weight, bias, 5)
    restored = restore(seen, "irlg")
    assert (restored.embeddings[1] == 0).all()
    torch.testing.assert_close(restored.probabilities[1], torch.softmax(bias, 0))
    np.testing.assert_allclose(restored.raw_counts, algorithm_1(*arrays(seen), 5)[1], atol=1e-9)


def test_all_zero_gradients_and_overflow_are_defined():
    weight, bias = torch.randn(4, 3, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    zero = Observation(torch.zeros(4, 3), torch.zeros(4), weight, bias, 8)
    assert torch.isfinite(restore(zero, "irlg").raw_counts).all()
    tiny = torch.tensor([1e-300, -1e-300, 0.25, -0.25], dtype=torch.float64)
    huge = Observation(torch.full((4, 3), 1e10, dtype=torch.float64), tiny, weight * 1e200, bias, 8)
    assert torch.isfinite(restore(huge, "irlg").raw_counts).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("classes", "batch"), [(10, 4), (100, 64), (1000, 512)])
def test_low_precision_gradients_are_accepted(dtype, classes, batch):
    """Computed in float32 and stored in `dtype`, and computed in `dtype` from the start."""
    embeddings, labels, head = random_layer(np.random.default_rng(5), classes, 32, batch)
    stored = Observation.from_embeddings(embeddings.float(), labels, head.float())
    stored = rebuilt(stored, grad_weight=stored.grad_weight.to(dtype), grad_bias=stored.grad_bias.to(dtype))
    computed = Observation.from_batch(nn.Sequential(head.to(dtype)), embeddings.to(dtype), labels)
    true = torch.bincount(labels, minlength=classes)
    for seen in (stored, computed):
        restored = restore(seen, "irlg")
        assert restored.raw_counts.dtype == torch.float64
        assert torch.isfinite(restored.raw_counts).all()
        if dtype is torch.float32 and classes < 1000:
            assert (restored.counts == true).double().mean() > 0.9


def test_same_input_same_bits():
    one, two = (restore(observe(50, 20, 64, 9), "irlg").raw_counts for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_the_observations_device():
    seen = observe(20, 8, 30, 1)
    moved = Observation(seen.grad_weight.cuda(), seen.grad_bias.cuda(), seen.weight.cuda(), seen.bias.cuda(), 30)
    restored = restore(moved, "irlg")
    assert restored.counts.is_cuda
    torch.testing.assert_close(restored.raw_counts.cpu(), restore(seen, "irlg").raw_counts, rtol=1e-6, atol=1e-6)
