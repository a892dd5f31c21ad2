"""The closed form of the loss's gradients against autograd, in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from irlg import Observation
from irlg.losses import cross_entropy

C, M, K = 7, 5, 12
SETTINGS = {
    "none": {},
    "smoothing": {"label_smoothing": 0.1},
    "weights": {"class_weight": torch.linspace(0.2, 5, C).double()},
    "both": {"label_smoothing": 0.3, "class_weight": torch.linspace(5, 0.2, C).double()},
}


def layer(seed=0):
    """Embeddings (K, m), labels (K,), soft labels (K, C), and a head."""
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(M, C).double()
    head.weight.data = torch.randn(C, M, generator=generator, dtype=torch.float64)
    head.bias.data = torch.randn(C, generator=generator, dtype=torch.float64)
    embeddings = torch.randn(K, M, generator=generator, dtype=torch.float64)
    soft = torch.softmax(2 * torch.randn(K, C, generator=generator, dtype=torch.float64), dim=1)
    return embeddings, torch.randint(C, (K,), generator=generator), soft, head


def autograd(embeddings, labels, head, label_smoothing=0.0, class_weight=None, divisor=None):
    """∇W and ∇b of PyTorch's loss."""
    reduction = {"reduction": "mean" if divisor is None else "sum"}
    settings = {"weight": class_weight, "label_smoothing": label_smoothing, **reduction}
    loss = nn.functional.cross_entropy(head(embeddings), labels, **settings) / (divisor or 1)
    return torch.autograd.grad(loss, (head.weight, head.bias))


def close(seen, gradients):
    for mine, theirs in zip((seen.grad_weight, seen.grad_bias), gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("divisor", [None, 8.0])
@pytest.mark.parametrize("kind", ["indices", "ignored", "soft", "one class"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_gradients_are_those_of_pytorchs_loss(settings, kind, divisor):
    embeddings, labels, soft, head = layer()
    labels = {"soft": soft, "one class": torch.full_like(labels, 3)}.get(kind, labels)
    labels = torch.where(torch.arange(K) < 4, -100, labels) if kind == "ignored" else labels
    seen = Observation.from_embeddings(embeddings, labels, head, divisor=divisor, **settings)
    assert (seen.batch_size, seen.soft_labels) == (8 if kind == "ignored" else K, kind == "soft")
    close(seen, autograd(embeddings, labels, head, divisor=divisor, **settings))
    close(
        Observation.from_batch(head, embeddings, labels, divisor=divisor, **settings),
        (seen.grad_weight, seen.grad_bias),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_soft_labels_may_be_of_another_dtype_than_embeddings(dtype):
    embeddings, _, soft, head = layer()
    seen = Observation.from_embeddings(embeddings.to(dtype), soft, head.to(dtype))
    assert seen.grad_weight.dtype == dtype
    with pytest.raises(ValueError, match="labels: expected soft labels of at least 0 whose rows sum to 1"):
        Observation.from_embeddings(embeddings.to(dtype), torch.full_like(soft, torch.nan), head)


@pytest.mark.parametrize("kind", ["indices", "soft"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_bias_gradient_is_what_softmax_and_counts_make_of_it(settings, kind):
    embeddings, labels, soft, head = layer()
    loss = cross_entropy(settings.get("label_smoothing", 0.0), settings.get("class_weight"), C)
    hard = nn.functional.one_hot(labels, C).double()
    shares, labels = (soft, soft) if kind == "soft" else (hard, labels)
    counts, w, smoothing = shares.sum(dim=0), loss.class_weight, loss.label_smoothing
    omega = (1 - smoothing) * shares @ w + smoothing * w.mean()  # Σ_j t_kj
    torch.testing.assert_close(shares @ loss.total, omega, rtol=1e-12, atol=1e-12)
    softmax = torch.softmax(head(embeddings), dim=1).detach()
    expected = omega @ softmax - (1 - smoothing) * w * counts - smoothing * K * w / C
    divisor = loss.mean_divisor(labels)
    assert divisor == pytest.approx(K if kind == "soft" else float(w @ counts), rel=1e-12)
    _, grad_bias = autograd(embeddings, labels, head, **settings)
    torch.testing.assert_close(divisor * grad_bias, expected, rtol=1e-12, atol=1e-12)
    assert abs(float(grad_bias.sum())) < 1e-12


def test_the_mean_over_ignored_labels_is_that_of_the_others():
    embeddings, labels, _, head = layer()
    ignored = torch.where(torch.arange(K) < 4, 5, labels)
    settings = {"class_weight": SETTINGS["weights"]["class_weight"], "label_smoothing": 0.2}
    kept = ignored != 5
    seen = Observation.from_embeddings(embeddings, ignored, head, ignore_index=5, **settings)
    assert seen.batch_size == int(kept.sum())
    close(seen, autograd(embeddings[kept], ignored[kept], head, **settings))


def test_weights_that_are_all_alike_cancel_but_in_a_sum():
    embeddings, labels, _, head = layer()
    alike = torch.full((C,), 3.0).double()
    plain, weighted = (Observation.from_embeddings(embeddings, labels, head, class_weight=w) for w in (None, alike))
    torch.testing.assert_close(weighted.grad_weight, plain.grad_weight, rtol=1e-12, atol=1e-12)
    plain, weighted = (
        Observation.from_embeddings(embeddings, labels, head, class_weight=w, divisor=8.0) for w in (None, alike)
    )
    torch.testing.assert_close(weighted.grad_weight, 3 * plain.grad_weight, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_target_sums_to_what_an_instance_gives_its_softmax(settings):
    _, labels, soft, _ = layer()
    loss = cross_entropy(settings.get("label_smoothing", 0.0), settings.get("class_weight"), C)
    torch.testing.assert_close(loss.targets(labels).sum(dim=1), loss.total[labels], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(loss.targets(soft).sum(dim=1), soft @ loss.total, rtol=1e-12, atol=1e-12)
    assert loss.plain == (not settings) and loss.weighted == ("class_weight" in settings)


@pytest.mark.parametrize("value", [True, "0.1", None, -0.1, 1.0, float("nan"), np.array([0.1])])
def test_smoothing_that_does_not_fit_is_refused_by_name(value):
    with pytest.raises(ValueError, match="label_smoothing: expected a number from 0 to below 1, got"):
        cross_entropy(value, None, C)


@pytest.mark.parametrize("value", ["many", 1.0, [1.0] * 6, [0.0] * C, [-1.0] * C, [float("inf")] * C, [[1.0] * C]])
def test_weights_that_do_not_fit_are_refused_by_name(value):
    with pytest.raises(ValueError, match="class_weight: expected 7 positive numbers, got"):
        cross_entropy(0.0, value, C)


def test_a_batch_that_is_all_wrong_has_a_gradient_like_any_other():
    """With smoothing and weights, instances of a class of little weight give more than they are divided by."""
    embeddings, labels, _, head = layer()
    head.bias.data[0] += 50
    settings = {"class_weight": torch.tensor([1.0, 0.2, *[1.0] * 5]).double(), "label_smoothing": 0.1}
    labels = torch.ones_like(labels)
    close(
        Observation.from_embeddings(embeddings, labels, head, **settings),
        autograd(embeddings, labels, head, **settings),
    )
