"""The layer that training, quantisation and export agree on: convolution, norm, activation."""

from __future__ import annotations

import copy
from collections import OrderedDict

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from edgekit.training.depthwise import depthwise_conv


class DepthwiseConv(nn.Conv2d):
    """``torch.nn.Conv2d`` with one group per channel and same padding, faster to train."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the parent's."""
        if self.training and self.bias is None:
            return depthwise_conv(x, self.weight, self.stride[0])
        y: torch.Tensor = super().forward(x)
        return y


class ConvUnit(nn.Sequential):
    """Convolution with same padding, batch norm and, if asked, ReLU6.

    One int8 kernel once it is quantised.

    Args:
        in_width: input channels.
        out_width: output channels.
        kernel: side of the square kernel, odd.
        stride: of both axes.
        groups: as in ``torch.nn.Conv2d``.
        act: whether ReLU6 follows.
    """

    def __init__(
        self,
        in_width: int,
        out_width: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        act: bool = True,
    ) -> None:
        make = DepthwiseConv if groups == in_width == out_width else nn.Conv2d
        layers: dict[str, nn.Module] = {
            "conv": make(
                in_width, out_width, kernel, stride, kernel // 2, groups=groups, bias=False
            ),
            "bn": nn.BatchNorm2d(out_width),
        }
        if act:
            layers["act"] = nn.ReLU6(inplace=True)
        super().__init__(OrderedDict(layers))

    def fold(self) -> None:
        """Fold the batch norm into the convolution; the running statistics must be final."""
        conv, norm = self.get_submodule("conv"), self.get_submodule("bn")
        if not isinstance(norm, nn.BatchNorm2d):
            return
        assert isinstance(conv, nn.Conv2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = norm.running_mean, norm.running_var
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
        )
        self._modules["bn"] = nn.Identity()


def folded(net: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose ``ConvUnit`` layers carry no batch norm."""
    result = copy.deepcopy(net).eval()
    for module in result.modules():
        if isinstance(module, ConvUnit):
            module.fold()
    return result.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
