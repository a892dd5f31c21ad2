"""Models with other outputs and other heads than a tensor of logits and a linear layer."""

import math
import warnings
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.functional import linear, normalize
from torch.nn.utils import parametrizations, weight_norm

import irlg
from irlg import Observation
from tests.training_step import LABELS, Returning, check, pixels, small


@dataclass
class Answer:
    loss: float | None
    logits: torch.Tensor


Auxiliary = namedtuple("Auxiliary", ["logits", "aux"])


@pytest.mark.parametrize("answer", [lambda x: Answer(None, x), lambda x: Auxiliary(x, 2 * x)])
def test_outputs_with_logits(answer):
    check(Returning(answer))


@pytest.mark.parametrize("answer", [lambda x: {"logits": x, "loss": None}, lambda x: x.add_(0), lambda x: x.div_(1)])
def test_logits_in_a_dict_and_logits_that_are_written_into(answer):
    model = Returning(answer)
    check(model, model.net)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: (x,), "model: expected a tensor of logits .*, got tuple; wrap the model in a module that returns"),
        (lambda x: {"scores": x}, "model: expected a tensor of logits .*, got dict; wrap"),
        (lambda x: x.flatten(), r"model: expected logits of shape \(4, C\), got \(12,\)"),
        (lambda x: x.div_(2), "head: expected the layer whose output is the model's output, got 'net.4'"),
        (lambda x: x * x, "head: expected the layer whose output is the model's output, got 'net.4'"),
        (lambda x: x[:, :2], "head: expected the layer whose output is the model's output, got 'net.4'"),
        (lambda x: x.detach(), "head: expected the layer whose output is the model's output, got 'net.4'"),
    ],
)
def test_outputs_that_are_no_logits_of_the_head(answer, message):
    with pytest.raises(ValueError, match=message):
        Observation.from_batch(Returning(answer), pixels(), LABELS % 2)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # the older weight_norm, deprecated and still in use
@pytest.mark.parametrize("norm", [parametrizations.weight_norm, weight_norm, parametrizations.spectral_norm])
def test_weights_that_are_computed(norm):
    model = small()
    model[4] = norm(model[4])
    images = pixels()
    seen = Observation.from_batch(model, images, LABELS)
    embeddings = model[:4](images).detach()
    plain = nn.Linear(16, 3)
    plain.weight.data, plain.bias.data = seen.weight, seen.bias
    expected = Observation.from_embeddings(embeddings, LABELS, plain)
    torch.testing.assert_close(seen.grad_weight, expected.grad_weight)
    gradient = irlg.batch_gradient(model, images, LABELS)
    irlg.invert(model, gradient, LABELS, tuple(images.shape), irlg.InversionConfig(steps=1))


def test_a_head_without_bias_has_no_bias():
    seen = Observation.from_batch(nn.Sequential(nn.Flatten(), nn.Linear(72, 3, bias=False)), pixels(), LABELS)
    assert seen.grad_bias is None and seen.bias is None


class Convolutional(nn.Module):
    """A convolution of size 1 after pooling, or before it as in SqueezeNet."""

    def __init__(self, before):
        super().__init__()
        self.body, self.head = nn.Conv2d(2, 8, 3), nn.Conv2d(8, 3, 1)
        self.pool, self.before = nn.AdaptiveAvgPool2d(1), before

    def forward(self, x):
        x = self.body(x).tanh()
        return (self.pool(self.head(x)) if self.before else self.head(self.pool(x))).flatten(1)


def test_a_convolution_of_size_1_is_a_head_after_pooling_only():
    check(Convolutional(before=False))
    message = r"head: expected a layer that is used once for each image, got 'head', used at each .* \(4, 3, 4, 4\)"
    with pytest.raises(ValueError, match=message):
        Observation.from_batch(Convolutional(before=True), pixels(), LABELS)


def test_the_head_is_the_layer_whose_output_it_is_and_not_the_last_that_is_registered():
    class Auxiliaries(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.body = nn.Linear(4, 3), nn.Sequential(nn.Flatten(), nn.Linear(72, 4))
            self.fc, self.last, self.unused = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            x = self.body(x)
            first = self.first(x)
            logits = self.fc(x)
            return {"logits": logits, "first": first, "last": self.last(x)}

    model = Auxiliaries()
    assert torch.equal(Observation.from_batch(model, pixels(), LABELS).weight, model.fc.weight)
    assert torch.equal(Observation.from_batch(model, pixels(), LABELS, model.fc).weight, model.fc.weight)
    for other in ("first", "last", "unused", "body.1"):
        with pytest.raises(ValueError, match=f"head: expected the layer whose output .* got '{other}', which is not"):
            Observation.from_batch(model, pixels(), LABELS, other)


def test_a_layer_that_only_calls_itself_linear_is_refused():
    class Cosine(nn.Linear):
        def forward(self, x):
            return linear(normalize(x), normalize(self.weight), self.bias)

    with pytest.raises(ValueError, match=r"head: expected a layer whose output is weight · input \+ bias, got '1'"):
        Observation.from_batch(nn.Sequential(nn.Flatten(), Cosine(72, 3)), pixels(), LABELS)


def test_a_users_hook_on_the_head_is_part_of_the_model():
    model = small()
    model[4].register_forward_hook(lambda module, inputs, output: output / 2)
    with pytest.raises(ValueError, match="head: expected the layer whose output is the model's output, got '4'"):
        Observation.from_batch(model, pixels(), LABELS)


def test_models_that_cannot_be_differentiated_are_named():
    detached = Returning(lambda logits: logits.detach())
    with pytest.raises(ValueError, match="model: expected logits that autograd can trace to its parameters"):
        irlg.batch_gradient(detached, pixels(), LABELS)
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    for call in (irlg.batch_gradient, Observation.from_batch):
        with pytest.raises(ValueError, match="model: expected initialised parameters, got lazy"):
            call(lazy, pixels(), LABELS)
    assert isinstance(lazy[1], nn.LazyLinear)
    with torch.inference_mode():
        born = small()
    with pytest.raises(ValueError, match="model: expected float parameters made outside inference mode, got"):
        irlg.batch_gradient(born, pixels(), LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, and still in use
        script = torch.jit.script(small())
    with pytest.raises(ValueError, match="model: expected modules that run in Python, got TorchScript"):
        irlg.batch_gradient(script, pixels(), LABELS)


@pytest.mark.parametrize("call", [irlg.batch_gradient, Observation.from_batch])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "resnet18"}, "model: expected a torch.nn.Module, got str"),
        ({"images": pixels()[:0], "labels": LABELS[:0]}, r"images: expected a tensor of at least one image, got shape"),
        ({"images": pixels().numpy()}, "images: expected a tensor of at least one image, got ndarray"),
        ({"images": pixels() * math.nan}, "model: expected .* of finite numbers, got NaN .*; look for such in images"),
        ({"model": Returning(lambda logits: logits / 0)}, "model: expected .* of finite numbers, got NaN"),
        ({"labels": LABELS + 7}, "labels: expected indices from 0 to 2, at least one, got some from 7 to 9"),
        ({"labels": LABELS * 0 - 100}, "labels: expected indices from 0 to 2, at least one, got none"),
        ({"labels": LABELS[:3]}, r"labels: expected 4 class indices, got torch.int64 of shape \(3,\)"),
    ],
)
def test_a_batch_that_does_not_do_is_refused_by_name(call, change, message):
    with pytest.raises(ValueError, match=message):
        call(**{"model": small(), "images": pixels(), "labels": LABELS, **change})


def test_labels_may_be_an_array_or_a_list():
    model, images = small(), pixels()
    gradient = irlg.batch_gradient(model, images, LABELS)
    config = irlg.InversionConfig(steps=1)
    found = irlg.invert(model, gradient, LABELS, tuple(images.shape), config)
    for labels in (LABELS.tolist(), LABELS.numpy(), LABELS.int().numpy()[::-1][::-1]):
        assert all(map(torch.equal, irlg.batch_gradient(model, images, labels), gradient))
        again = irlg.invert(model, gradient, labels, tuple(images.shape), config)
        assert torch.equal(found.objectives, again.objectives)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_grad_mode_of_the_caller_does_not_matter(mode):
    model, images = small(), pixels()
    with mode():
        within = irlg.batch_gradient(model, images + 0, LABELS + 0)
        seen = Observation.from_batch(model, images + 0, LABELS + 0)
        found = irlg.invert(model, within, LABELS + 0, (4, 2, 6, 6), irlg.InversionConfig(steps=1))
    gradient = irlg.batch_gradient(model, images, LABELS)
    assert all(torch.equal(a, b) for a, b in zip(gradient, within, strict=True))
    assert torch.equal(seen.grad_weight, Observation.from_batch(model, images, LABELS).grad_weight)
    again = irlg.invert(model, gradient, LABELS, (4, 2, 6, 6), irlg.InversionConfig(steps=1))
    assert torch.equal(found.objectives, again.objectives)


@pytest.mark.parametrize("train", [False, True])
def test_googlenet_with_auxiliary_heads(train):
    model = torchvision.models.googlenet(num_classes=3, aux_logits=True, init_weights=False).train(train)
    images = pixels(32, 3)
    torch.manual_seed(0)
    gradient = irlg.batch_gradient(model, images, LABELS)
    torch.manual_seed(0)
    seen = Observation.from_batch(model, images, LABELS)
    names = [name for name, _ in model.named_parameters()]
    torch.testing.assert_close(seen.grad_weight, gradient[names.index("fc.weight")])
    assert {name.split(".")[0] for name, g in zip(names, gradient, strict=True) if not g.any()} == {"aux1", "aux2"}
    if not train:
        irlg.invert(model, gradient, LABELS, tuple(images.shape), irlg.InversionConfig(steps=1))


def test_squeezenet_is_refused_for_its_convolution_before_pooling():
    with pytest.raises(ValueError, match=r"got 'classifier.1', used at each of several positions .* \(4, 3, 3, 3\)"):
        Observation.from_batch(torchvision.models.squeezenet1_1(num_classes=3).eval(), pixels(64, 3), LABELS)


@pytest.mark.parametrize("train", [False, True])
def test_attention_can_be_attacked(train):
    transformer = torchvision.models.VisionTransformer(8, 4, 1, 2, 8, 8, num_classes=3).train(train)
    nn.init.normal_(transformer.heads.head.weight)
    layer = nn.TransformerEncoderLayer(16, 2, 8, dropout=0.0, batch_first=True)
    encoder = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.Flatten(2), Transposed(), layer, nn.Flatten(), nn.Linear(64, 3))
    for model in (transformer, encoder.train(train)):
        check(model, images=pixels(8, 3))


class Transposed(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


def test_what_cannot_be_differentiated_twice_is_named():
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 8), nn.Hardsigmoid(), nn.Linear(8, 3))
    gradient = irlg.batch_gradient(model, pixels(), LABELS)
    with pytest.raises(ValueError, match=r"model: expected layers whose gradient .* again, got .*hardsigmoid_backward"):
        irlg.invert(model, gradient, LABELS, (4, 2, 6, 6), irlg.InversionConfig(steps=1))
