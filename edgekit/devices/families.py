"""Networks to profile and to check predictions on: two random families and small versions of stock ones.

Weights are random: only the shapes matter for latency. Each follows its paper in blocks, kernels, strides and
relative widths; where the resolution is 64 or below the stem keeps the resolution, as is usual for CIFAR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from onnx import ModelProto

from edgekit.devices.graph import GraphBuilder
from edgekit.devices.qdq import QUANTISABLE, insert_qdq, tensors_to_calibrate


class Family(Protocol):
    """Writes one network of a family."""

    def __call__(
        self, seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
    ) -> ModelProto:
        """Write a network.

        Args:
            seed: seed of the weights, and of the architecture where that is random.
            resolution: height and width of the input in pixels, 32 to 224.
            width_multiple: channel counts are rounded to it, 8 or 16.
            width: factor on the channel counts, above 0.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Widths:
    multiple: int
    factor: float

    def __call__(self, channels: float) -> int:
        return max(self.multiple, round(channels * self.factor / self.multiple) * self.multiple)


def _start(name: str, seed: int, resolution: int) -> tuple[GraphBuilder, int]:
    """An empty network, and the stride of its stem."""
    net = GraphBuilder(name, (1, 3, resolution, resolution), seed=seed)
    return net, 2 if resolution > 64 else 1


def _classify(net: GraphBuilder, x: str) -> ModelProto:
    """Pool, and a linear layer to 10 classes, or 1000 above 64 pixels."""
    with net.block("classifier"):
        n_classes = 1000 if net.shape(net.input)[2] > 64 else 10
        return net.build(net.linear(net.flatten(net.global_pool(x)), n_classes))


def _squeeze_excite(net: GraphBuilder, x: str, hidden: int, act: str, gate: str) -> str:
    """Channel gate from the pooled tensor (Hu et al. 2017, arXiv 1709.01507, figure 3)."""
    channels = net.shape(x)[1]
    y = net.conv(net.global_pool(x), hidden, 1, act=act, name="squeeze")
    return net.mul(x, net.conv(y, channels, 1, act=gate, name="excite"))


def _inverted(
    net: GraphBuilder,
    x: str,
    out_channels: int,
    *,
    hidden: int,
    kernel: int = 3,
    stride: int = 1,
    act: str = "relu6",
    squeeze: int = 0,
    gate: str = "sigmoid",
) -> str:
    """Inverted residual (Sandler et al. 2018, arXiv 1801.04381, figure 4), optionally with a channel gate."""
    channels, y = net.shape(x)[1], x
    if hidden != channels:
        y = net.conv(y, hidden, 1, act=act, name="expand")
    y = net.conv(y, hidden, kernel, stride=stride, groups=hidden, act=act, name="depthwise")
    if squeeze:
        y = _squeeze_excite(net, y, squeeze, "silu" if gate == "sigmoid" else "relu", gate)
    y = net.conv(y, out_channels, 1, name="project")
    return net.add(x, y) if stride == 1 and channels == out_channels else y


def _residual(
    net: GraphBuilder,
    x: str,
    out_channels: int,
    convs: Sequence[tuple[int, int, int]],
    stride: int,
) -> str:
    """Residual block (He et al. 2015, arXiv 1512.03385, figure 5); convs are (channels, kernel, groups)."""
    y = x
    strided = next(i for i, (_, kernel, _) in enumerate(convs) if kernel > 1)
    for i, (channels, kernel, groups) in enumerate(convs):
        act = "relu" if i < len(convs) - 1 else None
        y = net.conv(
            y, channels, kernel, stride=stride if i == strided else 1, groups=groups, act=act
        )
    if stride > 1 or net.shape(x)[1] != out_channels:
        x = net.conv(x, out_channels, 1, stride=stride, name="shortcut")
    return net.add(y, x, act="relu")


def mbconv_random(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Random chain of inverted residuals: kernels 3, 5, 7, expansions 3, 6, widths 16 to 320."""
    rng, scaled = np.random.default_rng(seed), _Widths(width_multiple, width)
    net, stride = _start("mbconv_random", seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, scaled(rng.choice([16, 24, 32])), 3, stride=stride, act="relu6")
    for stage in range(int(rng.integers(4, 7))):
        size = net.shape(x)[2]
        stride = 2 if size > 7 and rng.random() < 0.75 else 1
        widest = min(max(2700 * stride / size, 20), 320)
        out = scaled(np.exp(rng.uniform(np.log(16), np.log(widest))))
        for depth in range(int(rng.integers(1, 3))):
            kernel, expansion = int(rng.choice([3, 5, 7])), int(rng.choice([3, 6]))
            with net.block(f"b{stage}_{depth}"):
                hidden = net.shape(x)[1] * expansion
                now = stride if depth == 0 else 1
                x = _inverted(net, x, out, hidden=hidden, kernel=kernel, stride=now)
    with net.block("head"):
        x = net.conv(x, scaled(rng.choice([256, 512, 1024, 1280])), 1, act="relu6")
    return _classify(net, x)


def resnet_random(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Random chain of residual blocks: kernels 3, 5, groups 1, 4, with and without bottleneck."""
    rng, scaled = np.random.default_rng(seed), _Widths(width_multiple, width)
    net, stride = _start("resnet_random", seed, resolution)
    channels = int(rng.choice([16, 24, 32, 48]))
    with net.block("stem"):
        x = net.conv(net.input, scaled(channels), 3, stride=stride, act="relu")
    for stage in range(int(rng.integers(3, 5))):
        out = scaled(channels * 2**stage)
        for depth in range(int(rng.integers(1, 3))):
            kernel, groups = int(rng.choice([3, 3, 5])), int(rng.choice([1, 1, 4]))
            convs = [
                (out, kernel, groups if net.shape(x)[1] % groups == 0 else 1),
                (out, 3, groups),
            ]
            if rng.random() < 0.3:
                middle = scaled(out / 2)
                convs = [(middle, 1, 1), (middle, kernel, groups), (out, 1, 1)]
            with net.block(f"b{stage}_{depth}"):
                x = _residual(net, x, out, convs, 2 if depth == 0 and stage else 1)
    return _classify(net, x)


def mobilenet_v2(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Sandler et al. 2018, arXiv 1801.04381, table 2."""
    c = _Widths(width_multiple, width)
    net, stride = _start("mobilenet_v2", seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, c(32), 3, stride=stride, act="relu6")
    table = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    for stage, (expansion, out, n_blocks, stride) in enumerate(table):
        for depth in range(n_blocks):
            with net.block(f"b{stage}_{depth}"):
                hidden, now = net.shape(x)[1] * expansion, stride if depth == 0 else 1
                x = _inverted(net, x, c(out), hidden=hidden, stride=now)
    with net.block("head"):
        x = net.conv(x, c(1280), 1, act="relu6")
    return _classify(net, x)


def mobilenet_v3_small(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Howard et al. 2019, arXiv 1905.02244, table 2; gate in every block that has one there."""
    c = _Widths(width_multiple, width)
    net, stride = _start("mobilenet_v3_small", seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, c(16), 3, stride=stride, act="hardswish")
    table = ((3, 16, 16, 1, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 1, 1, 2),
             (5, 240, 40, 1, 1, 1), (5, 240, 40, 1, 1, 1), (5, 120, 48, 1, 1, 1), (5, 144, 48, 1, 1, 1),
             (5, 288, 96, 1, 1, 2), (5, 576, 96, 1, 1, 1), (5, 576, 96, 1, 1, 1))  # fmt: skip
    for index, (kernel, hidden, out, gated, hard, stride) in enumerate(table):
        with net.block(f"b{index}"):
            x = _inverted(
                net, x, c(out), hidden=c(hidden), kernel=kernel, stride=stride,
                act="hardswish" if hard else "relu", squeeze=gated * c(hidden / 4), gate="hardsigmoid",
            )  # fmt: skip
    with net.block("head"):
        x = net.conv(x, c(576), 1, act="hardswish")
    return _classify(net, x)


def _resnet(
    name: str, depths: Sequence[int], first: int, seed: int, resolution: int, c: _Widths
) -> ModelProto:
    net, stride = _start(name, seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, c(first), 7 if stride == 2 else 3, stride=stride, act="relu")
        x = net.max_pool(x, 3, 2) if stride == 2 else x
    for stage, n_blocks in enumerate(depths):
        out = c(first * 2**stage)
        for depth in range(n_blocks):
            with net.block(f"b{stage}_{depth}"):
                now = 2 if stage and depth == 0 else 1
                x = _residual(net, x, out, [(out, 3, 1), (out, 3, 1)], now)
    return _classify(net, x)


def resnet18(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """He et al. 2015, arXiv 1512.03385, table 1, second column."""
    return _resnet("resnet18", (2, 2, 2, 2), 64, seed, resolution, _Widths(width_multiple, width))


def resnet34(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """He et al. 2015, arXiv 1512.03385, table 1, third column."""
    return _resnet("resnet34", (3, 4, 6, 3), 64, seed, resolution, _Widths(width_multiple, width))


def resnet20(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """He et al. 2015, arXiv 1512.03385, section 4.2 with n = 3."""
    return _resnet("resnet20", (3, 3, 3), 16, seed, resolution, _Widths(width_multiple, width))


def squeezenet(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Iandola et al. 2016, arXiv 1602.07360, table 1 with the pools of version 1.1."""
    c = _Widths(width_multiple, width)
    net, stride = _start("squeezenet", seed, resolution)
    with net.block("stem"):
        x = net.max_pool(net.conv(net.input, c(64), 3, stride=stride, act="relu"), 3, 2)
    for index, squeezed in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        with net.block(f"fire{index}"):
            x = net.max_pool(x, 3, 2) if index in (2, 4) else x
            x = net.conv(x, c(squeezed), 1, act="relu", name="squeeze")
            small = net.conv(x, c(4 * squeezed), 1, act="relu", name="expand1")
            x = net.concat([small, net.conv(x, c(4 * squeezed), 3, act="relu", name="expand3")])
    return _classify(net, x)


def shufflenet_v2(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Ma et al. 2018, arXiv 1807.11164, table 5, width 1.0x; halves are multiples of ``width_multiple``."""
    c = _Widths(width_multiple, width)
    net, stride = _start("shufflenet_v2", seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, c(24), 3, stride=stride, act="relu")
        x = net.max_pool(x, 3, 2) if stride == 2 else x
    for stage, (half, n_blocks) in enumerate(((58, 4), (116, 8), (232, 4))):
        for depth in range(n_blocks):
            with net.block(f"b{stage}_{depth}"):
                x = _shuffle_unit(net, x, c(half), stride=2 if depth == 0 else 1)
    with net.block("head"):
        x = net.conv(x, c(1024), 1, act="relu")
    return _classify(net, x)


def _shuffle_unit(net: GraphBuilder, x: str, half: int, stride: int) -> str:
    left, right = net.split(x, 2) if stride == 1 else (x, x)
    if stride == 2:
        channels = net.shape(left)[1]
        left = net.conv(left, channels, 3, stride=2, groups=channels, name="left_depthwise")
        left = net.conv(left, half, 1, act="relu", name="left_project")
    right = net.conv(right, half, 1, act="relu", name="expand")
    right = net.conv(right, half, 3, stride=stride, groups=half, name="depthwise")
    right = net.conv(right, half, 1, act="relu", name="project")
    return net.channel_shuffle(net.concat([left, right]), 2)


def efficientnet_b0(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Tan and Le 2019, arXiv 1905.11946, table 1."""
    c = _Widths(width_multiple, width)
    net, stride = _start("efficientnet_b0", seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, c(32), 3, stride=stride, act="silu")
    table = (
        (1, 3, 16, 1, 1),
        (6, 3, 24, 2, 2),
        (6, 5, 40, 2, 2),
        (6, 3, 80, 3, 2),
        (6, 5, 112, 3, 1),
        (6, 5, 192, 4, 2),
        (6, 3, 320, 1, 1),
    )
    for stage, (expansion, kernel, out, n_blocks, stride) in enumerate(table):
        for depth in range(n_blocks):
            with net.block(f"b{stage}_{depth}"):
                channels, now = net.shape(x)[1], stride if depth == 0 else 1
                x = _inverted(net, x, c(out), hidden=channels * expansion, kernel=kernel, stride=now,
                              act="silu", squeeze=max(8, channels // 4))  # fmt: skip
    with net.block("head"):
        x = net.conv(x, c(1280), 1, act="silu")
    return _classify(net, x)


def mnasnet(seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0) -> ModelProto:
    """Tan et al. 2018, arXiv 1807.11626, figure 7 (A1 without its gates)."""
    c = _Widths(width_multiple, width)
    net, stride = _start("mnasnet", seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, c(32), 3, stride=stride, act="relu")
    table = (
        (1, 3, 16, 1, 1),
        (6, 3, 24, 2, 2),
        (3, 5, 40, 3, 2),
        (6, 3, 80, 4, 2),
        (6, 3, 112, 2, 1),
        (6, 5, 160, 3, 2),
        (6, 3, 320, 1, 1),
    )
    for stage, (expansion, kernel, out, n_blocks, stride) in enumerate(table):
        for depth in range(n_blocks):
            with net.block(f"b{stage}_{depth}"):
                hidden, now = net.shape(x)[1] * expansion, stride if depth == 0 else 1
                x = _inverted(net, x, c(out), hidden=hidden, kernel=kernel, stride=now, act="relu")
    with net.block("head"):
        x = net.conv(x, c(1280), 1, act="relu")
    return _classify(net, x)


def regnetx_002(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Radosavovic et al. 2020, arXiv 2003.13678, table 2 (200MF): groups of 8 channels."""
    c = _Widths(width_multiple, width)
    net, stride = _start("regnetx_002", seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, c(32), 3, stride=stride, act="relu")
    for stage, (channels, n_blocks) in enumerate(((24, 1), (56, 1), (152, 4), (368, 7))):
        out = c(channels)
        for depth in range(n_blocks):
            with net.block(f"b{stage}_{depth}"):
                convs = [(out, 1, 1), (out, 3, out // 8), (out, 1, 1)]
                x = _residual(net, x, out, convs, 2 if depth == 0 else 1)
    return _classify(net, x)


def densenet(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Huang et al. 2016, arXiv 1608.06993, figure 1 with growth 16, batch norms folded into the convs."""
    c = _Widths(width_multiple, width)
    net, stride = _start("densenet", seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, c(32), 3, stride=stride, act="relu")
    for stage in range(4):
        for depth in range(4):
            with net.block(f"b{stage}_{depth}"):
                y = net.conv(x, c(64), 1, act="relu")
                x = net.concat([x, net.conv(y, c(16), 3, act="relu")])
        with net.block(f"transition{stage}"):
            x = net.conv(x, c(net.shape(x)[1] / 2 / width), 1, act="relu")
            x = net.avg_pool(x, 2, 2) if stage < 3 else x
    return _classify(net, x)


def vgg11_small(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Simonyan and Zisserman 2014, arXiv 1409.1556, table 1 column A, a quarter of its widths."""
    c = _Widths(width_multiple, width / 4)
    net, _ = _start("vgg11_small", seed, resolution)
    x = net.input
    for stage, widths in enumerate(((64,), (128,), (256, 256), (512, 512), (512, 512))):
        with net.block(f"b{stage}"):
            for channels in widths:
                x = net.conv(x, c(channels), 3, act="relu")
            x = net.max_pool(x, 2, 2)
    with net.block("head"):
        x = net.act(net.linear(net.flatten(x), c(2048)), "relu")
        return net.build(net.linear(x, 10))


def ghostnet(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Han et al. 2019, arXiv 1911.11907, figure 3, every second block of table 7, no gates."""
    c = _Widths(width_multiple, width)
    net, stride = _start("ghostnet", seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, c(16), 3, stride=stride, act="relu")
    table = (
        (3, 48, 24, 2),
        (5, 72, 40, 2),
        (3, 240, 80, 2),
        (3, 184, 80, 1),
        (3, 480, 112, 1),
        (5, 672, 160, 2),
        (5, 960, 160, 1),
    )
    for index, (kernel, hidden, out, stride) in enumerate(table):
        with net.block(f"b{index}"):
            y = _ghost(net, x, c(hidden / 2), "relu")
            if stride == 2:
                channels = net.shape(y)[1]
                y = net.conv(y, channels, kernel, stride=2, groups=channels, name="depthwise")
            y = _ghost(net, y, c(out / 2), None)
            x = net.add(x, y) if net.shape(x) == net.shape(y) else y
    return _classify(net, x)


def _ghost(net: GraphBuilder, x: str, half: int, act: str | None) -> str:
    x = net.conv(x, half, 1, act=act, name="primary")
    return net.concat([x, net.conv(x, half, 3, groups=half, act=act, name="cheap")])


def convmixer(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Trockman and Kolter 2022, arXiv 2201.09792, figure 2: width 128, depth 6, kernel 7, ReLU."""
    channels, patch = _Widths(width_multiple, width)(128), max(2, resolution // 16)
    net, _ = _start("convmixer", seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, channels, patch, stride=patch, pad=0, act="relu")
    for index in range(6):
        with net.block(f"b{index}"):
            x = net.add(x, net.conv(x, channels, 7, groups=channels, act="relu", name="depthwise"))
            x = net.conv(x, channels, 1, act="relu", name="pointwise")
    return _classify(net, x)


def vit_tiny(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Dosovitskiy et al. 2020, arXiv 2010.11929, figure 1: heads of 64, depth 6, mean instead of a class token."""
    n_heads, patch = max(1, round(3 * width)), max(4, resolution // 14)
    features = 64 * n_heads
    hidden = _Widths(width_multiple, 1.0)(4 * features)
    net, _ = _start("vit_tiny", seed, resolution)
    with net.block("patches"):
        x = net.conv(net.input, features, patch, stride=patch, pad=0)
        side = net.shape(x)[2]
        x = net.transpose(net.reshape(x, (1, features, side * side)), (0, 2, 1))
    for index in range(6):
        with net.block(f"b{index}"):
            x = net.add(x, _attention(net, net.layer_norm(x), n_heads))
            y = net.gelu(net.bias(net.matmul(net.layer_norm(x), hidden)))
            x = net.add(x, net.bias(net.matmul(y, features)))
    with net.block("head"):
        x = net.transpose(net.layer_norm(x), (0, 2, 1))
        x = net.reshape(x, (1, features, side, side))
    return _classify(net, x)


def _attention(net: GraphBuilder, x: str, n_heads: int) -> str:
    """Multi-head attention (Vaswani et al. 2017, arXiv 1706.03762, equation 1), heads of 64."""
    _, n_tokens, features = net.shape(x)

    def head(order: tuple[int, ...]) -> str:
        y = net.bias(net.matmul(x, features))
        return net.transpose(net.reshape(y, (1, n_tokens, n_heads, 64)), order)

    scores = net.scale(net.matmul(head((0, 2, 1, 3)), head((0, 2, 3, 1))), 1 / 8)
    y = net.transpose(net.matmul(net.softmax(scores), head((0, 2, 1, 3))), (0, 2, 1, 3))
    return net.bias(net.matmul(net.reshape(y, (1, n_tokens, features)), features))


FAMILIES: dict[str, Family] = {
    family.__name__: family
    for family in (
        mbconv_random,
        resnet_random,
        mobilenet_v2,
        mobilenet_v3_small,
        resnet18,
        resnet34,
        resnet20,
        squeezenet,
        shufflenet_v2,
        efficientnet_b0,
        mnasnet,
        regnetx_002,
        densenet,
        vgg11_small,
        ghostnet,
        convmixer,
        vit_tiny,
    )  # fmt: skip
}


def quantise_whole(model: ModelProto, seed: int = 0) -> ModelProto:
    """U8S8 in every node that has an int8 kernel, with made-up ranges: for latency only, not for accuracy.

    Args:
        model: float32 network.
        seed: seed of the ranges; they do not change the speed.

    Returns:
        A new model.
    """
    rng = np.random.default_rng(seed)
    nodes = [node.name for node in model.graph.node if node.op_type in QUANTISABLE]
    writer = {name: node.op_type for node in model.graph.node for name in node.output}
    ranges = {}
    for tensor in tensors_to_calibrate(model, nodes):
        lo = 0.0 if writer.get(tensor) in ("Relu", "Clip", "Sigmoid", "Softmax") else -3.0
        hi = 1.0 if writer.get(tensor) in ("Sigmoid", "Softmax") else rng.uniform(3, 6)
        ranges[tensor] = (lo, float(hi))
    return insert_qdq(model, nodes, ranges)
