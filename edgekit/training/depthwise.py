"""Depthwise convolution whose weight gradient stays fast where the kernel covers the plane."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

_COLUMNS = 3


def depthwise_conv(x: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
    """Depthwise convolution with same padding.

    The backward pass of torch on x86 leaves its fast path for the weights of a large kernel on a
    small plane (7x7 on 6x6: fifteen times as long as 3x3). There we take the gradient three
    columns of the kernel at a time, each from a window of the padded input.

    Args:
        x: ``(n, c, h, w)`` float32, channels last.
        weight: ``(c, 1, k, k)`` float32, k odd.
        stride: of both axes.

    Returns:
        ``(n, c, ceil(h / stride), ceil(w / stride))``.
    """
    kernel = weight.shape[-1]
    if kernel > _COLUMNS and x.shape[-1] <= kernel and x.device.type == "cpu":
        result: torch.Tensor = _SmallPlane.apply(x, weight, stride)  # type: ignore[no-untyped-call]
        return result
    return F.conv2d(x, weight, None, stride, kernel // 2, 1, x.shape[1])


class _SmallPlane(torch.autograd.Function):
    """``depthwise_conv`` with the gradient in windows."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, x.shape[1])

    @staticmethod
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        x, weight = ctx.saved_tensors
        pad = weight.shape[-1] // 2
        of_input, of_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        input_gradient = (
            _gradients(gradient, x, weight, ctx.stride, pad, (True, False))[0]
            if of_input
            else None
        )
        weight_gradient = _in_windows(gradient, x, weight, ctx.stride) if of_weight else None
        return input_gradient, weight_gradient, None


def _in_windows(
    gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: int
) -> torch.Tensor:
    """Gradient of the weight, from windows as wide as three columns of the kernel see."""
    kernel, pad = weight.shape[-1], weight.shape[-1] // 2
    padded = F.pad(x, (pad, pad, pad, pad))
    height = (gradient.shape[-2] - 1) * stride + kernel
    width = (gradient.shape[-1] - 1) * stride + _COLUMNS
    part, result = weight[..., :_COLUMNS].contiguous(), torch.empty_like(weight)
    for first in sorted({*range(0, kernel - _COLUMNS + 1, _COLUMNS), kernel - _COLUMNS}):
        window = padded[:, :, :height, first : first + width]
        window = window.contiguous(memory_format=torch.channels_last)
        columns = _gradients(gradient, window, part, stride, 0, (False, True))[1]
        result[..., first : first + _COLUMNS] = columns
    return result


def _gradients(
    gradient: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: int,
    pad: int,
    wanted: tuple[bool, bool],
) -> tuple[torch.Tensor, torch.Tensor]:
    """(of the input, of the weight); what is not wanted is undefined."""
    groups = x.shape[1]
    found = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], groups,
        [*wanted, False],
    )  # fmt: skip
    return found[0], found[1]
