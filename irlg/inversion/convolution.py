"""Convolutions whose gradients can be differentiated without the part that PyTorch computes in vain.

Differentiating a convolution's gradients, PyTorch always takes the derivative with respect to the kernel
too. Gradient inversion has no use for it: that is 19 of the 157 convolutions of an iteration on ResNet-18.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode

Geometry = tuple[Any, Any, Any, int]  # stride, padding, dilation, groups


class FixedKernels(TorchFunctionMode):
    """Within it, gradients of `conv2d` can be differentiated again in all but the kernels.

    First gradients are complete where they are taken with `create_graph`, and lack those of kernels otherwise.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.conv2d:
            return _conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    if isinstance(padding, str) or input.dim() != 4:
        return functional.conv2d(input, weight, bias, stride, padding, dilation, groups)
    kind = input.device.type
    if torch.is_autocast_enabled(kind) and torch.float64 not in (input.dtype, weight.dtype):  # as it does to conv2d
        dtype = torch.get_autocast_dtype(kind)
        input, weight, bias = input.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    out = _Convolution.apply(input, weight, (_pair(stride), _pair(padding), _pair(dilation), groups))
    return out if bias is None else out + bias[:, None, None]


def _convolve(input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    return functional.conv2d(input, weight, None, *geometry)


def _gradients(
    grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry, kernel: bool
) -> tuple[Tensor, Tensor | None]:
    """Of the input and, where asked for, of the kernel."""
    *places, groups = geometry
    mask = [True, kernel, False]
    return torch.ops.aten.convolution_backward(grad, input, weight, None, *places, False, [0, 0], groups, mask)[:2]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.geometry = geometry
        return _convolve(input, weight, geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        # Grad mode tells the gradient that is to be differentiated from the last one, which is the images'.
        return *_Gradients.apply(grad, *ctx.saved_tensors, ctx.geometry, torch.is_grad_enabled()), None


class _Gradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, input: Tensor, weight: Tensor, geometry: Geometry, kernel: bool) -> Any:
        ctx.save_for_backward(grad, input, weight)
        ctx.geometry = geometry
        return _gradients(grad, input, weight, geometry, kernel)

    @staticmethod
    def backward(ctx: Any, towards_input: Tensor, towards_weight: Tensor) -> Any:
        grad, input, weight = ctx.saved_tensors
        for_grad = _convolve(towards_input, weight, ctx.geometry) + _convolve(input, towards_weight, ctx.geometry)
        for_input, _ = _gradients(grad, input, towards_weight, ctx.geometry, kernel=False)
        return for_grad, for_input, None, None, None
