"""One network of ``mbconv`` as a plain module: fine-tuned, simulated in int8 and exported."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from edgekit.search.mbconv.space import Architecture, MBConvRecipe, MBConvSpace
from edgekit.training.layers import ConvUnit


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise kxk, project 1x1, and the identity where shapes allow.

    Source: Sandler et al. 2018 (MobileNetV2, arXiv 1801.04381), table 1.

    Args:
        in_width: input channels.
        mid_width: channels after the expansion.
        out_width: output channels.
        kernel: side of the depthwise kernel, odd.
        stride: of the depthwise convolution, 1 or 2.
    """

    def __init__(
        self, in_width: int, mid_width: int, out_width: int, kernel: int, stride: int
    ) -> None:
        super().__init__()
        self.expand = ConvUnit(in_width, mid_width, 1)
        self.depthwise = ConvUnit(mid_width, mid_width, kernel, stride=stride, groups=mid_width)
        self.project = ConvUnit(mid_width, out_width, 1, act=False)
        self.residual = stride == 1 and in_width == out_width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, in_width, h, w)`` to ``(batch, out_width, h / stride, w / stride)``."""
        y: torch.Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class Stem(nn.Module):
    """3x3 convolution and one fixed depthwise-separable block."""

    def __init__(self, recipe: MBConvRecipe) -> None:
        super().__init__()
        width = recipe.stem_width
        self.conv = ConvUnit(3, width, 3, stride=recipe.stem_stride)
        self.depthwise = ConvUnit(width, width, 3, groups=width)
        self.project = ConvUnit(width, recipe.first_width, 1, act=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, 3, r, r)`` to ``(batch, first_width, r / stem_stride, r / stem_stride)``."""
        y: torch.Tensor = self.project(self.depthwise(self.conv(x)))
        return y


class Head(nn.Module):
    """1x1 convolution, global average pool, classifier."""

    def __init__(self, in_width: int, head_width: int, n_classes: int) -> None:
        super().__init__()
        self.conv = ConvUnit(in_width, head_width, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(head_width, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, width, h, w)`` to logits ``(batch, n_classes)``."""
        y: torch.Tensor = self.classifier(self.pool(self.conv(x)).flatten(1))
        return y


class MBConvNet(nn.Module):
    """Stem, active blocks (children named as their positions), head.

    The module is stateless about precision: quantisation is simulated or written from outside, by
    block name.
    """

    def __init__(self, space: MBConvSpace, architecture: Architecture) -> None:
        super().__init__()
        recipe = space.recipe
        self.stem = Stem(recipe)
        blocks: dict[str, nn.Module] = {}
        for block in architecture.active():
            position, (kernel, expansion) = block.position, block.operation or (0, 0)
            mid = position.in_width * expansion
            blocks[position.name] = InvertedResidual(
                position.in_width, mid, position.out_width, kernel, position.stride
            )
        self.blocks = nn.Sequential(OrderedDict(blocks))
        self.head = Head(recipe.stages[-1].width, recipe.head_width, recipe.n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images ``(batch, 3, r, r)`` float32 to logits ``(batch, n_classes)``."""
        y: torch.Tensor = self.head(self.blocks(self.stem(x)))
        return y
