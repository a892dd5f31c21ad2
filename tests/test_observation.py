import copy

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from irlg import Observation, models, restore


def small(**changes):
    """A valid observation's fields: C = 3, m = 2, K = 4."""
    embeddings, weight, bias = torch.rand(4, 2), torch.randn(3, 2), torch.randn(3)
    head = nn.Linear(2, 3)
    head.weight.data, head.bias.data = weight, bias
    seen = Observation.from_embeddings(embeddings, torch.tensor([0, 1, 1, 2]), head)
    fields = {name: getattr(seen, name) for name in ("grad_weight", "grad_bias", "weight", "bias", "batch_size")}
    return {**fields, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grad_weight": torch.zeros(3, 5)}, r"grad_weight: expected shape \(3, 2\) .* got \(3, 5\)"),
        ({"grad_bias": torch.zeros(4)}, r"grad_bias: expected shape \(3,\) .* got \(4,\)"),
        ({"bias": torch.zeros(2)}, r"bias: expected shape \(3,\)"),
        ({"weight": torch.zeros(3)}, r"weight: expected 2 dimension.* got shape \(3,\)"),
        ({"weight": torch.zeros(1, 2)}, r"weight: expected at least 2 classes"),
        ({"bias": None}, r"bias: expected a torch tensor or a NumPy array, as grad_bias is one, got None"),
        ({"weight": None}, r"weight: expected a torch tensor or a NumPy array, got NoneType"),
        ({"noise": -1.0}, r"noise: expected a number of at least 0, got -1.0"),
        ({"divisor": 0.0}, r"divisor: expected a positive number, got 0.0"),
        (
            {"divisor": "unknown", "batch_size": None},
            "divisor: expected a number or None where",
        ),
        ({"label_smoothing": 1.0}, r"label_smoothing: expected a number from 0 to below 1, got 1.0"),
        ({"class_weight": [1.0, 2.0]}, r"class_weight: expected 3 positive numbers"),
        ({"class_weight": [1.0, 2.0, 0.0]}, r"class_weight: expected 3 positive numbers"),
        ({"soft_labels": 1}, r"soft_labels: expected True or False, got 1"),
        ({"bias": torch.tensor([0.0, float("nan"), 0.0])}, r"bias: expected finite numbers, got 1"),
        ({"grad_weight": torch.full((3, 2), float("inf"))}, r"grad_weight: expected finite numbers, got 6"),
        ({"grad_weight": torch.zeros(3, 2).to_sparse()}, r"grad_weight: expected a dense tensor, got torch.sparse_coo"),
        (
            {"grad_weight": torch.zeros(3, 2, dtype=torch.int64)},
            "grad_weight: expected a float dtype, got",
        ),
        ({"weight": np.zeros((3, 2), dtype=int)}, r"weight: expected a float dtype .* got int64"),
        ({"batch_size": 0}, r"batch_size: expected a whole number from 1 to 1000000000, got 0"),
        ({"batch_size": 2.5}, r"batch_size: .* got 2.5"),
        ({"batch_size": "many"}, r"batch_size: .* got 'many'"),
        ({"batch_size": True}, r"batch_size: .* got True"),
        ({"batch_size": "4"}, r"batch_size: .* got '4'"),
        ({"batch_size": np.bool_(True)}, r"batch_size: "),
        ({"batch_size": torch.tensor(True)}, r"batch_size: "),
        ({"batch_size": 10**400}, r"batch_size: "),
        ({"batch_size": float("inf")}, r"batch_size: .* got inf"),
        ({"grad_bias": torch.tensor([0.1, 0.1, 0.1])}, r"grad_bias: expected the gradient of mean cross-entropy"),
        ({"grad_bias": torch.tensor([3.0, -2.0, -1.0])}, r"grad_bias: .* got a sum of 6; divided by 3 or more"),
    ],
)
def test_bad_input_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        Observation(**small(**changes))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_numpy_arrays_of_every_float_dtype(dtype):
    fields = small()
    arrays = {k: v if isinstance(v, int) else v.numpy().astype(dtype)[::-1] for k, v in fields.items()}
    seen = Observation(**arrays)
    assert (seen.weight.double() - fields["weight"].flip(0)).abs().max() < 1e-2
    assert torch.isfinite(restore(seen, "irlg").raw_counts).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_gradients_cast_up_keep_their_own_rounding(dtype):
    fields = small()
    coarse = fields["grad_bias"].to(dtype)
    assert Observation(**{**fields, "grad_bias": coarse.double()}).grad_bias.dtype == torch.float64
    off = coarse.double()
    off[0] += 40 * torch.finfo(torch.float32).eps  # no rounding of float32 or better
    seen = Observation(**{**fields, "grad_bias": off})  # it is noise, and so much is seen
    if dtype is torch.float32:
        assert seen.noise > 1e-6 > 10 * Observation(**fields).noise


@pytest.mark.parametrize("size", [4, 4.0, np.int32(4), torch.tensor(4)])
def test_whole_batch_sizes(size):
    assert Observation(**small(batch_size=size)).batch_size == 4


def test_a_single_rounded_entry_is_no_licence_for_a_large_sum():
    with pytest.raises(ValueError, match="grad_bias: expected the gradient of mean cross-entropy"):
        Observation(**small(grad_bias=torch.tensor([0.125, 0.0, 0.0], dtype=torch.float64)))


def test_heads_that_are_computed_and_models_that_are_wrapped():
    images, labels = torch.rand(6, 4), torch.tensor([0, 0, 1, 2, 2, 2])
    normed = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), torch.nn.utils.parametrizations.weight_norm(nn.Linear(5, 3)))
    plain = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    plain.load_state_dict(
        {**plain.state_dict(), "0.weight": normed[0].weight, "0.bias": normed[0].bias}
        | {"2.weight": normed[2].weight.detach(), "2.bias": normed[2].bias}
    )
    expected = Observation.from_batch(plain, images, labels)
    for model in (normed, nn.DataParallel(plain)):
        seen = Observation.from_batch(model, images, labels)
        torch.testing.assert_close(seen.grad_weight, expected.grad_weight)
        torch.testing.assert_close(seen.weight, expected.weight)


@pytest.mark.parametrize("after", [nn.ReLU(), nn.Sigmoid(), nn.Softmax(1)])
def test_what_follows_the_head_is_seen_even_where_logits_are_all_zero(after):
    head = nn.Linear(4, 3)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    with pytest.raises(ValueError, match="head: expected the layer whose output"):
        Observation.from_batch(nn.Sequential(head, after), torch.rand(4, 4), [0, 1, 1, 2])
    assert Observation.from_batch(head, torch.rand(4, 4), [0, 1, 1, 2]).batch_size == 4


def test_from_embeddings_checks_labels_and_bias():
    for labels in ([0, 1, -1], [0, 1, 3]):
        with pytest.raises(ValueError, match="labels: expected indices from 0 to 2"):
            Observation.from_embeddings(torch.rand(3, 4), torch.tensor(labels), nn.Linear(4, 3))


@pytest.mark.parametrize("train", [False, True])
def test_from_batch_is_the_clients_step_and_leaves_no_trace(train):
    model = torchvision.models.resnet18(num_classes=7).train(train)
    before = copy.deepcopy(model.state_dict())
    images, labels = torch.rand(5, 3, 32, 32), torch.tensor([0, 6, 6, 2, 1])
    seen = Observation.from_batch(model, images, labels)
    assert model.training is train
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    # The oracle: the ordinary training step.
    nn.functional.cross_entropy(model(images), labels).backward()
    torch.testing.assert_close(seen.grad_weight, model.fc.weight.grad)
    torch.testing.assert_close(seen.grad_bias, model.fc.bias.grad)
    assert seen.batch_size == 5


def test_from_batch_under_no_grad_and_inference_mode():
    model = models.build(models.fcn3, 0)
    images, labels = torch.rand(3, 1, 28, 28), torch.tensor([1, 2, 3])
    expected = Observation.from_batch(model, images, labels).grad_weight
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            seen = Observation.from_batch(model, images + 0, labels)
            assert torch.equal(seen.grad_weight, expected)
    with torch.inference_mode():
        born = models.build(models.fcn3, 0)
    assert torch.equal(Observation.from_batch(born, images, labels).grad_weight, expected)


def test_a_bare_layer_and_log_softmax_are_models_too():
    layer = nn.Linear(4, 3)
    images, labels = torch.rand(2, 4), [0, 2]
    bare = Observation.from_batch(layer, images, labels)
    log = Observation.from_batch(nn.Sequential(layer, nn.LogSoftmax(1)), images, np.array(labels))
    torch.testing.assert_close(bare.grad_weight, log.grad_weight)


def test_head_by_name_and_by_module():
    model = nn.ModuleDict({"first": nn.Linear(4, 3), "aside": nn.Linear(4, 3)})
    model.forward = lambda x: model["first"](x)
    images, labels = torch.rand(2, 4), torch.tensor([0, 2])
    with pytest.raises(ValueError, match=r"head: expected the layer whose output.* got 'aside'"):
        Observation.from_batch(model, images, labels, head="aside")
    by_name = Observation.from_batch(model, images, labels, head="first")
    by_module = Observation.from_batch(model, images, labels, head=model["first"])
    assert torch.equal(by_name.grad_weight, by_module.grad_weight)
    with pytest.raises(ValueError, match=r"head: expected one of .*\['first', 'aside'\], got 'last'"):
        Observation.from_batch(model, images, labels, head="last")


@pytest.mark.parametrize(
    ("model", "labels", "message"),
    [
        (nn.Sequential(nn.Flatten()), [0, 1], "model: expected at least one nn.Linear layer"),
        # Not a ReLU: it changes nothing of logits that happen to be positive.
        (nn.Sequential(nn.Linear(4, 3), nn.Tanh()), [0, 1], "head: expected the layer whose output"),
        (nn.Linear(4, 3), [0, 3], "labels: expected indices from 0 to 2"),
        (nn.Linear(4, 3), [0, 1, 2], r"labels: expected 2 class indices, got torch.int64 of shape \(3,\)"),
        (nn.Linear(4, 3), [0.0, 1.0], "labels: expected 2 class indices, got torch.float32"),
        (nn.Linear(4, 3), "ab", "labels: expected 2 class indices, got 'ab'"),
    ],
)
def test_from_batch_refuses_by_name(model, labels, message):
    with pytest.raises(ValueError, match=message):
        Observation.from_batch(model, torch.randn(2, 4), labels)


@pytest.mark.parametrize(
    "embeddings", [np.zeros((3, 4)), torch.zeros(3, 5), torch.zeros(12), torch.zeros(3, 4).double()]
)
def test_embeddings_that_do_not_fit_the_head_are_named(embeddings):
    with pytest.raises(ValueError, match=r"embeddings: expected a tensor of shape \(K, 4\) and torch.float32, got"):
        Observation.from_embeddings(embeddings, torch.tensor([0, 1, 1]), nn.Linear(4, 2))
