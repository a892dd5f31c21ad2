import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, one_hot

from irlg import last_layer_gradients
from irlg.appendix.random_layers import random_layer

sizes = {"classes": st.integers(2, 30), "width": st.integers(1, 20), "batch": st.integers(1, 20)}


@given(**sizes, seed=st.integers(0, 2**31), smoothing=st.sampled_from([None, 0.0, 0.1, 1.0]))
def test_closed_form_is_autograds_gradient(classes, width, batch, seed, smoothing):
    embeddings, labels, head = random_layer(np.random.default_rng(seed), classes, width, batch)
    loss = cross_entropy(head(embeddings), labels, label_smoothing=smoothing or 0.0)
    targets = labels
    if smoothing is not None:
        targets = (1 - smoothing) * one_hot(labels, classes).double() + smoothing / classes
    closed = last_layer_gradients(embeddings, targets, head.weight.detach(), head.bias.detach())
    for mine, reference in zip(closed, torch.autograd.grad(loss, [head.weight, head.bias]), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-14)


def test_gradcheck():
    embeddings, labels, head = random_layer(np.random.default_rng(0), 5, 3, 4)
    assert torch.autograd.gradcheck(lambda w, b: cross_entropy(embeddings @ w.T + b, labels), (head.weight, head.bias))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gradients_keep_the_dtype(dtype):
    embeddings, labels, head = random_layer(np.random.default_rng(0), 5, 3, 4)
    head = head.to(dtype)
    gradients = last_layer_gradients(embeddings.to(dtype), labels, head.weight.detach(), head.bias.detach())
    assert [g.dtype for g in gradients] == [dtype, dtype]
