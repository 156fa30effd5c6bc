"""Int8 simulated in torch, with the scales and rounding of the exported QDQ network.

    block input --> fake-quantise --> unit --> fake-quantise --> unit --> ... --> sum -->
    fake-quantise --> next block

A network is a module with the children ``stem``, ``blocks`` (named) and ``head``; each of them is
a block. Inside an int8 block every tensor between kernels is rounded to uint8 (one scale and zero
point per tensor) and every weight to int8 (one scale per output channel), and every bias to int32
at the product of both scales. The classifier that ends the network keeps a float output. A value
on the edge between two steps may still fall to the other side in the runtime, whose sums
have another order: the two agree in distribution and in nearly every answer, not in every bit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from edgekit.core.precision import FULL_WEIGHT_MAX
from edgekit.core.task import Preprocessing, Split
from edgekit.training.augment import evaluation_batches
from edgekit.training.layers import ConvUnit

Ranges = Mapping[str, tuple[float, float]]
"""(min, max) of each tensor, by point: ``b00.in``, ``b00.expand``, ``b00.out``, ..."""

_Visit = Callable[[str, torch.Tensor], torch.Tensor]


def blocks_of(net: nn.Module) -> dict[str, nn.Module]:
    """The blocks in order: ``stem``, the children of ``blocks``, ``head``."""
    middle = dict(net.get_submodule("blocks").named_children())
    return {"stem": net.get_submodule("stem"), **middle, "head": net.get_submodule("head")}


def block_paths(net: nn.Module) -> dict[str, str]:
    """Name of each block by the path of its module."""
    names = {id(module): name for name, module in blocks_of(net).items()}
    return {path: names[id(m)] for path, m in net.named_modules() if id(m) in names}


def record_ranges(
    net: nn.Module, split: Split, preprocessing: Preprocessing
) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of every tensor that quantisation may round (MinMax calibration).

    Args:
        net: folded network (``edgekit.training.layers.folded``).
        split: calibration images.
        preprocessing: normalisation.
    """
    ranges: dict[str, tuple[float, float]] = {}

    def visit(point: str, x: torch.Tensor) -> torch.Tensor:
        low, high = x.aminmax()
        before = ranges.get(point, (float("inf"), float("-inf")))
        ranges[point] = (min(before[0], float(low)), max(before[1], float(high)))
        return x

    with torch.no_grad(), _visited(net, blocks_of(net), visit):
        for x, _ in evaluation_batches(split, preprocessing):
            net(x)
    return ranges


@contextmanager
def simulated(
    net: nn.Module,
    int8_blocks: Collection[str],
    ranges: Ranges,
    *,
    weight_max: int = FULL_WEIGHT_MAX,
) -> Iterator[None]:
    """Inside the context a folded network computes as if the named blocks were int8.

    Args:
        net: folded network, changed inside the context only.
        int8_blocks: names from ``blocks_of``.
        ranges: from ``record_ranges``.
        weight_max: largest magnitude of an int8 weight, 1..127 (``DeviceFacts.int8_weight_max``).
    """

    def visit(point: str, x: torch.Tensor) -> torch.Tensor:
        scale, zero_point = uint8_scale(*ranges[point])
        return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, 255)

    chosen = {name: block for name, block in blocks_of(net).items() if name in int8_blocks}
    with _rounded_weights(chosen, ranges, weight_max), _visited(net, chosen, visit):
        yield


def uint8_scale(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of a tensor whose values lie in ``low..high``, widened to hold 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, torch.finfo(torch.float32).tiny)
    scale = float(torch.tensor(scale, dtype=torch.float32))
    return scale, min(255, max(0, round(-low / scale)))


def weight_scales(
    weight: torch.Tensor,
    bias: torch.Tensor,
    input_scale: float,
    *,
    weight_max: int = FULL_WEIGHT_MAX,
) -> torch.Tensor:
    """Symmetric int8 scales of a layer, one per output channel: ``max |w| / weight_max``.

    A channel whose weights are so near 0 that its bias would leave int32 gets the smallest scale
    that holds it; a channel of zeros gets 1.

    Args:
        weight: ``(out, ...)`` float32.
        bias: ``(out,)`` float32.
        input_scale: scale of the uint8 input.
        weight_max: largest magnitude of an integer, 1..127.

    Returns:
        ``(out,)`` float32, above 0.
    """
    scales = weight.flatten(1).abs().amax(1).double() / weight_max
    scales = torch.maximum(scales, (bias.abs() / (2.0**30 * input_scale)).double())
    least = torch.finfo(torch.float32).tiny
    return torch.where(scales > 0, scales.clamp(min=least), 1.0).float()


@contextmanager
def _rounded_weights(
    blocks: Mapping[str, nn.Module], ranges: Ranges, weight_max: int
) -> Iterator[None]:
    with ExitStack() as stack:
        for name, block in blocks.items():
            points = [point for point in ranges if point.startswith(f"{name}.")]
            for part, layer in block.named_modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    own = f"{name}.{part.removesuffix('.conv')}"
                    before = points[points.index(own) - 1] if own in points else points[-1]
                    input_scale = uint8_scale(*ranges[before])[0]
                    stack.enter_context(_rounded_layer(layer, input_scale, weight_max))
        yield


@contextmanager
def _rounded_layer(
    layer: nn.Conv2d | nn.Linear, input_scale: float, weight_max: int
) -> Iterator[None]:
    weight, bias = layer.weight, layer.bias
    assert bias is not None
    scales = weight_scales(weight.detach(), bias.detach(), input_scale, weight_max=weight_max)
    per_channel = scales.reshape(-1, *[1] * (weight.ndim - 1))
    integers = (weight.detach() / per_channel).round().clamp(-weight_max, weight_max)
    step = scales * input_scale
    n_steps = (bias.detach().double() / step.double()).round().float()
    layer.weight = nn.Parameter(integers * per_channel, requires_grad=False)
    layer.bias = nn.Parameter(n_steps * step, requires_grad=False)
    try:
        yield
    finally:
        layer.weight, layer.bias = weight, bias


@contextmanager
def _visited(net: nn.Module, blocks: Mapping[str, nn.Module], visit: _Visit) -> Iterator[None]:
    """Pass every tensor between kernels of the blocks through ``visit``."""
    with ExitStack() as stack:
        for name, block in blocks.items():
            handle = block.register_forward_pre_hook(_before(f"{name}.in", visit))
            stack.callback(handle.remove)
            for part, module in block.named_modules():
                if isinstance(module, ConvUnit | nn.AdaptiveAvgPool2d):
                    handle = module.register_forward_hook(_after(f"{name}.{part}", visit))
                    stack.callback(handle.remove)
            if getattr(block, "residual", False):
                handle = block.register_forward_hook(_after(f"{name}.out", visit))
                stack.callback(handle.remove)
        yield


def _before(point: str, visit: _Visit) -> Callable[..., tuple[torch.Tensor]]:
    return lambda _module, arguments: (visit(point, arguments[0]),)


def _after(point: str, visit: _Visit) -> Callable[..., torch.Tensor]:
    return lambda _module, _arguments, output: visit(point, output)
