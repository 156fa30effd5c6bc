"""Small definitions of well-known networks, to check predictions on families never fitted.

Each follows its paper in blocks, kernels, strides and relative widths. Batch norms are folded, and
up to 64 pixels the stem keeps the resolution, as is usual for CIFAR.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto

from edgekit.devices.networks.blocks import (
    Stage,
    Widths,
    classify,
    inverted_residual,
    inverted_stages,
    residual,
    start,
)
from edgekit.devices.networks.graph import GraphBuilder

_MOBILENET_V2 = (
    Stage(1, 3, 16, 1, 1),
    Stage(6, 3, 24, 2, 2),
    Stage(6, 3, 32, 3, 2),
    Stage(6, 3, 64, 4, 2),
    Stage(6, 3, 96, 3, 1),
    Stage(6, 3, 160, 3, 2),
    Stage(6, 3, 320, 1, 1),
)
_EFFICIENTNET_B0 = (
    Stage(1, 3, 16, 1, 1),
    Stage(6, 3, 24, 2, 2),
    Stage(6, 5, 40, 2, 2),
    Stage(6, 3, 80, 3, 2),
    Stage(6, 5, 112, 3, 1),
    Stage(6, 5, 192, 4, 2),
    Stage(6, 3, 320, 1, 1),
)
_MNASNET = (
    Stage(1, 3, 16, 1, 1),
    Stage(6, 3, 24, 2, 2),
    Stage(3, 5, 40, 3, 2),
    Stage(6, 3, 80, 4, 2),
    Stage(6, 3, 112, 2, 1),
    Stage(6, 5, 160, 3, 2),
    Stage(6, 3, 320, 1, 1),
)
# kernel, hidden channels, output channels, gate, hard-swish instead of ReLU, stride
_MOBILENET_V3_SMALL = (
    (3, 16, 16, 1, 0, 2),
    (3, 72, 24, 0, 0, 2),
    (3, 88, 24, 0, 0, 1),
    (5, 96, 40, 1, 1, 2),
    (5, 240, 40, 1, 1, 1),
    (5, 240, 40, 1, 1, 1),
    (5, 120, 48, 1, 1, 1),
    (5, 144, 48, 1, 1, 1),
    (5, 288, 96, 1, 1, 2),
    (5, 576, 96, 1, 1, 1),
    (5, 576, 96, 1, 1, 1),
)
# kernel, hidden channels, output channels, stride
_GHOSTNET = (
    (3, 48, 24, 2),
    (5, 72, 40, 2),
    (3, 240, 80, 2),
    (3, 184, 80, 1),
    (3, 480, 112, 1),
    (5, 672, 160, 2),
    (5, 960, 160, 1),
)


def _inverted_network(
    name: str,
    stages: Sequence[Stage],
    act: str,
    drawn: tuple[int, int],
    widths: Widths,
    gated: bool = False,
) -> ModelProto:
    """Stem of 32 channels, inverted residuals, 1x1 convolution; drawn: seed, resolution."""
    net, stride = start(name, *drawn)
    with net.block("stem"):
        x = net.conv(net.input, widths(32), 3, stride=stride, act=act)
    x = inverted_stages(net, x, stages, widths, act, gated)
    with net.block("head"):
        x = net.conv(x, widths(1280), 1, act=act)
    return classify(net, x)


def mobilenet_v2(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Sandler et al. 2018, arXiv 1801.04381, table 2."""
    return _inverted_network(
        "mobilenet_v2", _MOBILENET_V2, "relu6", (seed, resolution), Widths(width_multiple, width)
    )


def mobilenet_v3_small(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Howard et al. 2019, arXiv 1905.02244, table 2; gate in every block that has one there."""
    c = Widths(width_multiple, width)
    net, stride = start("mobilenet_v3_small", seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, c(16), 3, stride=stride, act="hardswish")
    for index, (kernel, hidden, out, gated, hard, stride) in enumerate(_MOBILENET_V3_SMALL):
        with net.block(f"b{index}"):
            x = inverted_residual(
                net,
                x,
                c(out),
                hidden=c(hidden),
                kernel=kernel,
                stride=stride,
                act="hardswish" if hard else "relu",
                squeeze=gated * c(hidden / 4),
                gate="hardsigmoid",
            )
    with net.block("head"):
        x = net.conv(x, c(576), 1, act="hardswish")
    return classify(net, x)


def _resnet(
    name: str, depths: Sequence[int], first: int, seed: int, resolution: int, c: Widths
) -> ModelProto:
    net, stride = start(name, seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, c(first), 7 if stride == 2 else 3, stride=stride, act="relu")
        x = net.max_pool(x, 3, 2) if stride == 2 else x
    for stage, n_blocks in enumerate(depths):
        out = c(first * 2**stage)
        for depth in range(n_blocks):
            with net.block(f"b{stage}_{depth}"):
                now = 2 if stage and depth == 0 else 1
                x = residual(net, x, [(out, 3, 1), (out, 3, 1)], now)
    return classify(net, x)


def resnet18(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """He et al. 2015, arXiv 1512.03385, table 1, second column."""
    return _resnet("resnet18", (2, 2, 2, 2), 64, seed, resolution, Widths(width_multiple, width))


def resnet34(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """He et al. 2015, arXiv 1512.03385, table 1, third column."""
    return _resnet("resnet34", (3, 4, 6, 3), 64, seed, resolution, Widths(width_multiple, width))


def resnet20(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """He et al. 2015, arXiv 1512.03385, section 4.2 with n = 3."""
    return _resnet("resnet20", (3, 3, 3), 16, seed, resolution, Widths(width_multiple, width))


def squeezenet(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Iandola et al. 2016, arXiv 1602.07360, table 1 with the pools of version 1.1."""
    c = Widths(width_multiple, width)
    net, stride = start("squeezenet", seed, resolution)
    with net.block("stem"):
        x = net.max_pool(net.conv(net.input, c(64), 3, stride=stride, act="relu"), 3, 2)
    for index, squeezed in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        with net.block(f"fire{index}"):
            x = net.max_pool(x, 3, 2) if index in (2, 4) else x
            x = net.conv(x, c(squeezed), 1, act="relu", name="squeeze")
            small = net.conv(x, c(4 * squeezed), 1, act="relu", name="expand1")
            x = net.concat([small, net.conv(x, c(4 * squeezed), 3, act="relu", name="expand3")])
    return classify(net, x)


def shufflenet_v2(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Ma et al. 2018, arXiv 1807.11164, table 5, 1.0x; each half is a multiple of the argument."""
    c = Widths(width_multiple, width)
    net, stride = start("shufflenet_v2", seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, c(24), 3, stride=stride, act="relu")
        x = net.max_pool(x, 3, 2) if stride == 2 else x
    for stage, (half, n_blocks) in enumerate(((58, 4), (116, 8), (232, 4))):
        for depth in range(n_blocks):
            with net.block(f"b{stage}_{depth}"):
                x = _shuffle_unit(net, x, c(half), stride=2 if depth == 0 else 1)
    with net.block("head"):
        x = net.conv(x, c(1024), 1, act="relu")
    return classify(net, x)


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
    return _inverted_network(
        "efficientnet_b0",
        _EFFICIENTNET_B0,
        "silu",
        (seed, resolution),
        Widths(width_multiple, width),
        gated=True,
    )


def mnasnet(seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0) -> ModelProto:
    """Tan et al. 2018, arXiv 1807.11626, figure 7 (A1 without its gates)."""
    return _inverted_network(
        "mnasnet", _MNASNET, "relu", (seed, resolution), Widths(width_multiple, width)
    )


def regnetx_002(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Radosavovic et al. 2020, arXiv 2003.13678, table 2 (200MF): groups of 8 channels."""
    c = Widths(width_multiple, width)
    net, stride = start("regnetx_002", seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, c(32), 3, stride=stride, act="relu")
    for stage, (channels, n_blocks) in enumerate(((24, 1), (56, 1), (152, 4), (368, 7))):
        out = c(channels)
        for depth in range(n_blocks):
            with net.block(f"b{stage}_{depth}"):
                convs = [(out, 1, 1), (out, 3, out // 8), (out, 1, 1)]
                x = residual(net, x, convs, 2 if depth == 0 else 1)
    return classify(net, x)


def densenet(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Huang et al. 2016, arXiv 1608.06993, figure 1 with growth 16."""
    c = Widths(width_multiple, width)
    net, stride = start("densenet", seed, resolution)
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
    return classify(net, x)


def vgg11_small(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Simonyan and Zisserman 2014, arXiv 1409.1556, table 1 column A, a quarter of its widths."""
    c = Widths(width_multiple, width / 4)
    net, _ = start("vgg11_small", seed, resolution)
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
    c = Widths(width_multiple, width)
    net, stride = start("ghostnet", seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, c(16), 3, stride=stride, act="relu")
    for index, (kernel, hidden, out, stride) in enumerate(_GHOSTNET):
        with net.block(f"b{index}"):
            y = _ghost(net, x, c(hidden / 2), "relu")
            if stride == 2:
                channels = net.shape(y)[1]
                y = net.conv(y, channels, kernel, stride=2, groups=channels, name="depthwise")
            y = _ghost(net, y, c(out / 2), None)
            x = net.add(x, y) if net.shape(x) == net.shape(y) else y
    return classify(net, x)


def _ghost(net: GraphBuilder, x: str, half: int, act: str | None) -> str:
    x = net.conv(x, half, 1, act=act, name="primary")
    return net.concat([x, net.conv(x, half, 3, groups=half, act=act, name="cheap")])


def convmixer(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Trockman and Kolter 2022, arXiv 2201.09792, figure 2: width 128, depth 6, kernel 7, ReLU."""
    channels, patch = Widths(width_multiple, width)(128), max(2, resolution // 16)
    net, _ = start("convmixer", seed, resolution)
    with net.block("stem"):
        x = net.conv(net.input, channels, patch, stride=patch, pad=0, act="relu")
    for index in range(6):
        with net.block(f"b{index}"):
            x = net.add(x, net.conv(x, channels, 7, groups=channels, act="relu", name="depthwise"))
            x = net.conv(x, channels, 1, act="relu", name="pointwise")
    return classify(net, x)


def vit_tiny(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Dosovitskiy et al. 2020, arXiv 2010.11929, figure 1: heads of 64, 6 layers, mean."""
    n_heads, patch = max(1, round(3 * width)), max(4, resolution // 14)
    features = 64 * n_heads
    hidden = Widths(width_multiple, 1.0)(4 * features)
    net, _ = start("vit_tiny", seed, resolution)
    with net.block("patches"):
        x = net.conv(net.input, features, patch, stride=patch, pad=0)
        side = net.shape(x)[2]
        x = net.transpose(net.reshape(x, (1, features, side * side)), (0, 2, 1))
    return _transformer(net, x, side, n_heads, hidden, 6)


def cct_tiny(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Hassani et al. 2021, arXiv 2104.05704, section 3: convolutions make the tokens.

    Heads of 64, 4 layers with hidden width twice the features, mean instead of the pooling by
    attention.
    """
    n_heads = max(1, round(3 * width))
    features = 64 * n_heads
    net, stride = start("cct_tiny", seed, resolution)
    x = net.input
    with net.block("tokens"):
        for out in (Widths(width_multiple, 0.5)(features), features):
            x = net.max_pool(net.conv(x, out, 3, stride=stride, act="relu"), 3, 2)
        side = net.shape(x)[2]
        x = net.transpose(net.reshape(x, (1, features, side * side)), (0, 2, 1))
    return _transformer(net, x, side, n_heads, 2 * features, 4)


def _transformer(
    net: GraphBuilder, x: str, side: int, n_heads: int, hidden: int, n_layers: int
) -> ModelProto:
    """Layers over ``side`` times ``side`` tokens, each normed before it, and the classifier."""
    features = net.shape(x)[2]
    for index in range(n_layers):
        with net.block(f"b{index}"):
            x = net.add(x, _attention(net, net.layer_norm(x), n_heads))
            y = net.gelu(net.bias(net.matmul(net.layer_norm(x), hidden)))
            x = net.add(x, net.bias(net.matmul(y, features)))
    with net.block("head"):
        x = net.transpose(net.layer_norm(x), (0, 2, 1))
        x = net.reshape(x, (1, features, side, side))
    return classify(net, x)


def _attention(net: GraphBuilder, x: str, n_heads: int) -> str:
    """Multi-head attention (Vaswani et al. 2017, arXiv 1706.03762, equation 1), heads of 64."""
    _, n_tokens, features = net.shape(x)

    def head(order: tuple[int, ...]) -> str:
        y = net.bias(net.matmul(x, features))
        return net.transpose(net.reshape(y, (1, n_tokens, n_heads, 64)), order)

    scores = net.scale(net.matmul(head((0, 2, 1, 3)), head((0, 2, 3, 1))), 1 / 8)
    y = net.transpose(net.matmul(net.softmax(scores), head((0, 2, 1, 3))), (0, 2, 1, 3))
    return net.bias(net.matmul(net.reshape(y, (1, n_tokens, features)), features))
