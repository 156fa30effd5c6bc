"""An encoder of patches that computes as its int8 export will, and can be trained so."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from edgekit.search.elastic.rounding import rounded_weight
from edgekit.split.patches import PatchRecipe, SumOf
from edgekit.training.simulate import uint8_scale

_Visit = Callable[[int, torch.Tensor], torch.Tensor]


class EncoderRounding(nn.Module):
    """Where the int8 export of an encoder rounds, and in which ranges.

    Uint8 with one scale and zero point per tensor, int8 weights with one scale per output channel,
    as ``insert_qdq`` writes them. In training mode every batch gives its own ranges; in evaluation
    mode they are those that ``fix`` found. Gradients pass the rounding as if it were not there.

    Args:
        recipe: of the encoder.
        weight_max: largest magnitude of an int8 weight, 1..127.
    """

    ranges: torch.Tensor

    def __init__(self, recipe: PatchRecipe, weight_max: int) -> None:
        super().__init__()
        self.weight_max = weight_max
        n_points = 6 if recipe.width else 2
        unknown = torch.tensor([float("inf"), float("-inf")])
        self.register_buffer("ranges", unknown.repeat(n_points, 1))

    @torch.no_grad()
    def fix(self, encoder: nn.Sequential, images: torch.Tensor) -> None:
        """Take the ranges of images (MinMax calibration).

        Args:
            encoder: as it is exported.
            images: ``(n, 3, side, side)`` float32, as preprocessed.
        """

        def visit(index: int, x: torch.Tensor) -> torch.Tensor:
            self.ranges[index] = torch.stack(x.aminmax())
            return x

        _latent(encoder, images, visit, lambda weight: weight)

    def forward(self, encoder: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
        """What ``encoder`` makes of images in int8."""
        return _latent(
            encoder, x, self._rounded, lambda weight: rounded_weight(weight, self.weight_max)
        )

    def _rounded(self, index: int, x: torch.Tensor) -> torch.Tensor:
        low, high = x.detach().aminmax() if self.training else self.ranges[index]
        scale, zero_point = uint8_scale(float(low), float(high))
        return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, 255)


def _latent(
    encoder: nn.Sequential,
    x: torch.Tensor,
    visit: _Visit,
    weight_of: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """An encoder with every tensor between its kernels passed through ``visit``."""

    def conv(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        assert isinstance(layer, nn.Conv2d)
        weight = weight_of(layer.weight)
        return F.conv2d(x, weight, layer.bias, layer.stride, layer.padding)

    outer, x = encoder[0], visit(0, x)
    if isinstance(outer, nn.Conv2d):
        return visit(1, conv(outer, x))
    assert isinstance(outer, SumOf)
    linear, added = visit(1, conv(outer.linear, x)), x
    convs = [layer for layer in outer.added if isinstance(layer, nn.Conv2d)]
    for index, layer in enumerate(convs, 2):
        found = conv(layer, added)
        added = visit(index, found if layer is convs[-1] else found.relu())
    return visit(len(convs) + 2, linear + added)
