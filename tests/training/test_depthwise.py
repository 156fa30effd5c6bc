"""The fast gradient of depthwise kernels against torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from edgekit.training.depthwise import depthwise_conv
from edgekit.training.layers import ConvUnit, DepthwiseConv


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [2, 3, 4, 5, 6, 7, 9])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_values_and_gradients_are_those_of_torch(kernel: int, side: int, stride: int) -> None:
    generator = torch.Generator().manual_seed(kernel * side)
    x = torch.randn(4, 6, side, side + 1 if side == 5 else side, generator=generator)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(6, 1, kernel, kernel, generator=generator).requires_grad_()
    ours, expected = (
        depthwise_conv(x, weight, stride),
        F.conv2d(x, weight, None, stride, kernel // 2, 1, 6),
    )
    torch.testing.assert_close(ours, expected)
    gradient = torch.randn(expected.shape, generator=generator)
    for got, wanted in zip(
        torch.autograd.grad(ours, (x, weight), gradient),
        torch.autograd.grad(expected, (x, weight), gradient),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_a_gradient_that_nobody_wants_is_left_out() -> None:
    x, weight = torch.randn(2, 3, 4, 4), torch.randn(3, 1, 7, 7, requires_grad=True)
    depthwise_conv(x, weight, 1).sum().backward()
    assert x.grad is None
    assert weight.grad is not None


def test_a_unit_trains_with_it_and_is_judged_and_exported_without() -> None:
    unit = ConvUnit(8, 8, 7, groups=8)
    conv = unit.get_submodule("conv")
    assert isinstance(conv, DepthwiseConv)
    x = torch.randn(2, 8, 4, 4)
    trained = conv(x)
    assert type(trained.grad_fn).__name__ == "_SmallPlaneBackward"
    judged = conv.eval()(x)
    assert type(judged.grad_fn).__name__ == "ConvolutionBackward0"
    torch.testing.assert_close(trained, judged)
