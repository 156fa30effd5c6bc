"""The over-parameterised network: every operation of every position with weights of its own.

One path a point is alive in a step, two while the parameters of the gates learn: memory does not
grow with the number of paths. The two precisions of an operation share its weights, as in the
network that is shipped; the int8 path rounds them, and what flows between its kernels, as
``edgekit.training.simulate`` does with a finished network, but with the ranges of the batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from edgekit.core.precision import Precision
from edgekit.search.mbconv.network import Head, InvertedResidual, Stem
from edgekit.search.mbconv.space import OPERATIONS, SKIP, MBConvSpace
from edgekit.search.proxyless.gates import Gates
from edgekit.search.proxyless.paths import Indices, choice_points
from edgekit.search.space import PRECISIONS
from edgekit.training.depthwise import depthwise_conv
from edgekit.training.layers import ConvUnit, DepthwiseConv
from edgekit.training.simulate import uint8_scale


class OverNetwork(nn.Module):
    """All operations of ``mbconv`` side by side.

    Args:
        space: the space.
        n_figures: limited figures, each with a price.
        seed: of the gates' start.
        weight_max: largest magnitude of an int8 weight, 1..127.
    """

    def __init__(self, space: MBConvSpace, n_figures: int, seed: int, weight_max: int) -> None:
        super().__init__()
        recipe, self.weight_max = space.recipe, weight_max
        self.points = choice_points(space)
        self.gates = Gates([len(point) for point in self.points], n_figures, seed)
        self.stem = Stem(recipe)
        self.positions = nn.ModuleList(
            nn.ModuleList(
                InvertedResidual(p.in_width, p.in_width * expansion, p.out_width, kernel, p.stride)
                for kernel, expansion in OPERATIONS
            )
            for p in space.positions
        )
        self.head = Head(recipe.stages[-1].width, recipe.head_width, recipe.n_classes)

    def forward(self, x: torch.Tensor, paths: Indices) -> torch.Tensor:
        """Logits ``(batch, classes)`` of the network of ``(points,)`` paths."""
        for index, path in enumerate(paths.tolist()):
            x = self._path(index, path, x)
        return x

    def gated(
        self, x: torch.Tensor, pairs: Indices, active: Indices
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """As ``forward`` on the active paths, with a gradient by the gates of both of each pair.

        Args:
            x: images.
            pairs: ``(points, 2)`` paths.
            active: ``(points,)`` 0 or 1, the one of the pair that is taken.

        Returns:
            Logits; the gates ``(2,)`` of each point, 1 for the active path and 0 for the other,
            whose output adds nothing but its gradient.
        """
        gates = []
        for index, (pair, taken) in enumerate(zip(pairs.tolist(), active.tolist(), strict=True)):
            gate = torch.eye(2, device=x.device)[taken].clone().requires_grad_()
            gates.append(gate)
            alive = self._path(index, pair[taken], x)
            with torch.no_grad():
                other = self._path(index, pair[1 - taken], x)
            x = gate[taken] * alive + gate[1 - taken] * other
        return x, gates

    def _path(self, index: int, path: int, x: torch.Tensor) -> torch.Tensor:
        point = self.points[index]
        *operation, precision = point.values[path].tolist()
        block: nn.Module
        if not operation:
            block = self.stem if index == 0 else self.head
        elif operation[0] == SKIP:
            return x
        else:
            block = self.positions[index - 1][operation[0]]  # type: ignore[index]
        if PRECISIONS[precision] is Precision.FP32:
            result: torch.Tensor = block(x)
            return result
        return _rounded_block(block, x, self.weight_max)


def _rounded_block(block: nn.Module, x: torch.Tensor, weight_max: int) -> torch.Tensor:
    """The block in simulated int8, batch norms in training mode."""
    y = x = _rounded(x)
    for child in block.children():
        if isinstance(child, ConvUnit):
            y = _rounded_unit(child, y, weight_max)
        elif isinstance(child, nn.Linear):
            y = F.linear(y.flatten(1), _rounded_weight(child.weight, weight_max), child.bias)
        else:
            y = _rounded(child(y))
    return _rounded(x + y) if getattr(block, "residual", False) else y


def _rounded_unit(unit: ConvUnit, x: torch.Tensor, weight_max: int) -> torch.Tensor:
    conv, norm = unit.get_submodule("conv"), unit.get_submodule("bn")
    assert isinstance(conv, nn.Conv2d)
    weight = _rounded_weight(conv.weight, weight_max)
    if isinstance(conv, DepthwiseConv):
        y = depthwise_conv(x, weight, conv.stride[0])
    else:
        y = F.conv2d(x, weight, None, conv.stride, conv.padding)
    y = norm(y)
    return _rounded(F.hardtanh(y, 0, 6) if "act" in unit._modules else y)


def _rounded(x: torch.Tensor) -> torch.Tensor:
    """To uint8 steps over the range of the batch; the gradient passes where nothing is cut."""
    low, high = x.detach().aminmax()
    scale, zero_point = uint8_scale(float(low), float(high))
    return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, 255)


def _rounded_weight(weight: torch.Tensor, weight_max: int) -> torch.Tensor:
    """To int8 steps, symmetric, one scale per output channel.

    The batch norm that follows scales whole channels, so this is the rounding of the folded
    weights.
    """
    largest = weight.detach().flatten(1).abs().amax(1)
    scales = (largest / weight_max).clamp(min=torch.finfo(torch.float32).tiny)
    zeros = torch.zeros(len(scales), dtype=torch.int32, device=scales.device)
    return torch.fake_quantize_per_channel_affine(
        weight, scales, zeros, 0, -weight_max, weight_max
    )
