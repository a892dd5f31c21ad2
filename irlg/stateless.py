"""Running a user's model and leaving it exactly as it was."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from irlg.checks import check_model

# Wrappers and where they keep their model. By the name of a class: Opacus need not be installed to know its own.
WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
    "AbstractGradSampleModule": "_module",
}
# What these, and FSDP, put before every name of a state dict.
PREFIXES = (*(f"{inside}." for inside in dict.fromkeys(WRAPPERS.values())), "_fsdp_wrapped_module.")
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


class Stateless:
    """A model that can be run without a trace, out of whatever wraps it.

    It runs on its own parameters, which are only read, and on clones of its buffers. Afterwards parameters, buffers,
    modes, hooks and the modules' own tensors are those that they were. What a forward pass of the user's writes into
    parameters, or keeps elsewhere, is not guarded against.

    **Raises:** `ValueError` for a model that cannot be run so.
    """

    def __init__(self, model: nn.Module) -> None:
        check_model(model)
        self.model, self.prefix = unwrapped(model)
        modules = list(self.model.modules())
        if any(isinstance(module, torch.jit.ScriptModule) for module in modules):
            raise ValueError("model: expected modules that run in Python, got TorchScript; give what it was made from")
        tensors = [*self.model.named_parameters(), *self.model.named_buffers()]
        if lazy := [name for name, tensor in tensors if is_lazy(tensor)]:
            raise ValueError(f"model: expected initialised parameters, got lazy {lazy}; run it on a batch once")
        self._buffers = [(m._buffers, name, buffer) for m in modules for name, buffer in m._buffers.items()]
        # Such as the weight that `torch.nn.utils.weight_norm` computes before each pass.
        self._others = [(vars(m), name, t) for m in modules for name, t in vars(m).items() if isinstance(t, Tensor)]
        self._modes = [(module, module.training) for module in modules]
        self._switched = [hooks for m in modules for hooks in (getattr(m, n) for n in HOOKS) if _has_switched(hooks)]
        self._frozen = [p for p in self.model.parameters() if not p.requires_grad]

    @contextmanager
    def running(self, differentiable: bool = False) -> Iterator[None]:
        """Where to run the model, and to take derivatives of what comes of it; `differentiable` in all parameters."""
        with ExitStack() as after, torch.inference_mode(False), torch.enable_grad():
            after.callback(self._restore)
            for hooks in self._switched:
                after.callback(_refill, hooks, dict(hooks))
                _refill(hooks, {key: hook for key, hook in hooks.items() if not _is_switched(hook)})
            if "torch._dynamo" in sys.modules:  # compiled parts have no second derivatives, and hide a hook
                after.enter_context(torch.compiler.set_stance("force_eager"))
            clones = {id(b): b.detach().clone() for _, _, b in self._buffers if b is not None}
            for where, name, buffer in self._buffers:
                where[name] = None if buffer is None else clones[id(buffer)]
            if differentiable:
                for parameter in self._frozen:
                    after.callback(parameter.requires_grad_, False)
                    parameter.requires_grad_()
            yield

    def logits(self, images: Tensor, count: int | None = None) -> Tensor:
        """Logits (K, C) of images (K, ...), within `running`; of `count`, where a hook puts others in their place.

        **Raises:** `ValueError` for no images, and where others come.
        """
        if not isinstance(images, Tensor) or images.dim() == 0 or len(images) == 0:
            got = f"shape {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"images: expected a tensor of at least one image, got {got}")
        count = len(images) if count is None else count
        output: Any = self.model(ordinary(images))
        if isinstance(output, Mapping):
            output = output.get("logits", output)
        elif not isinstance(output, Tensor):
            output = getattr(output, "logits", output)
        if not isinstance(output, Tensor):
            raise ValueError(
                f"model: expected a tensor of logits (K, C), or one as .logits of what it returns, got"
                f" {type(output).__name__}; wrap the model in a module that returns its logits"
            )
        if output.dim() != 2 or len(output) != count:
            raise ValueError(f"model: expected logits of shape ({count}, C), got {tuple(output.shape)}")
        return output

    def _restore(self) -> None:
        for where, name, tensor in (*self._buffers, *self._others):
            where[name] = tensor
        for module, mode in self._modes:
            if module.training != mode:
                module.training = mode


def unwrapped(model: nn.Module) -> tuple[nn.Module, str]:
    """The model in its wrappers, nested in any order, and what they put before its parameters' names."""
    prefix = ""
    while inside := next((WRAPPERS[c.__name__] for c in type(model).__mro__ if c.__name__ in WRAPPERS), ""):
        model, prefix = getattr(model, inside), f"{prefix}{inside}."
    return model, prefix


def unwrapped_name(name: str) -> str:
    """A layer's or a parameter's name without what wrappers put before it."""
    while prefix := next((each for each in PREFIXES if f"{name}.".startswith(each)), None):
        name = name[len(prefix) :]
    return name


def ordinary(tensor: Tensor) -> Tensor:
    """The tensor, or where it was made in inference mode a clone that autograd can keep."""
    with torch.inference_mode(False):
        return tensor.clone() if tensor.is_inference() else tensor


def _is_switched(hook: Any) -> bool:
    """Whether a hook is of what can switch its hooks off, as Opacus's per-sample gradients.

    Switched off they would still be kept in a graph, and be there when it is differentiated after.
    """
    return hasattr(getattr(getattr(hook, "func", hook), "__self__", None), "hooks_enabled")


def _has_switched(hooks: dict[int, Any]) -> bool:
    return any(_is_switched(hook) for hook in hooks.values())


def _refill(hooks: dict[int, Any], content: dict[int, Any]) -> None:
    """In place: what removes a hook refers to the dictionary that it is in."""
    hooks.clear()
    hooks.update(content)
