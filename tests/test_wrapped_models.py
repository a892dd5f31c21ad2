"""Models as people hold them: wrapped, in parts compiled, distributed."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from irlg import Observation
from tests.helpers import AbstractGradSampleModule
from tests.training_step import LABELS, Returning, check, pixels, small


def compiled(model):
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize(
    ("wrap", "head"),
    [
        (nn.DataParallel, "module.4"),
        (compiled, "_orig_mod.4"),
        (AbstractGradSampleModule, "_module.4"),
        (lambda model: compiled(nn.DataParallel(AbstractGradSampleModule(model))), "_orig_mod.module._module.4"),
        (lambda model: AbstractGradSampleModule(compiled(model)), "_module._orig_mod.4"),
        (lambda model: Returning(lambda logits: logits, compiled(model)), "net._orig_mod.4"),
    ],
)
def test_wrapped_models(wrap, head):
    plain = small()
    model = wrap(copy.deepcopy(plain))
    for given in (None, head, model.get_submodule(head)):
        check(model, plain, head=given)


def test_a_models_own_part_of_a_wrappers_name_is_not_taken_for_one():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = self._module = self._orig_mod = small()

        def forward(self, x):
            return self.module(x) / 2

    with pytest.raises(ValueError, match="head: expected the layer whose output is the model's output, got"):
        Observation.from_batch(Scaled(), pixels(), LABELS)


def test_parts_that_are_compiled():
    model = Returning(torch.compile(lambda logits: logits.log_softmax(1), backend="eager"))
    model.net[1] = compiled(model.net[1])
    model.net[4] = compiled(model.net[4])
    model.compile(backend="eager")
    plain = Returning(lambda logits: logits.log_softmax(1))
    plain.load_state_dict({name.replace("_orig_mod.", ""): value for name, value in model.state_dict().items()})
    check(model, plain, head="net.4")


def test_distributed_data_parallel(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=(tmp_path / "store").as_uri(), rank=0, world_size=1)
    try:
        plain = small()
        model = nn.parallel.DistributedDataParallel(copy.deepcopy(plain))
        check(model, plain, head="module.4")
        cross_entropy(model(pixels()), LABELS).backward()  # it goes on as it was
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")  # of a package that is not ours
def test_opacus():
    opacus = pytest.importorskip("opacus")
    plain = small()
    model = opacus.GradSampleModule(copy.deepcopy(plain))
    check(model, plain)
    check(model._module, plain)
    assert not any(hasattr(module, "activations") for module in model.modules())
    cross_entropy(model(pixels()), LABELS).backward()
    assert all(len(p.grad_sample) == len(LABELS) and p._forward_counter == 0 for p in model.parameters())
