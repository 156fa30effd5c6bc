"""Building blocks that the network families share, written on ``GraphBuilder``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onnx import ModelProto

from edgekit.devices.networks.graph import GraphBuilder


@dataclass(frozen=True, slots=True)
class Widths:
    """Channel counts of a family, scaled and rounded.

    Attributes:
        multiple: what the counts are rounded to, and the least of them.
        factor: factor on the counts of the paper, above 0.

    Example:
        >>> Widths(8, 0.5)(58)
        32
    """

    multiple: int
    factor: float

    def __call__(self, channels: float) -> int:
        """The scaled count."""
        return max(self.multiple, round(channels * self.factor / self.multiple) * self.multiple)


def start(name: str, seed: int, resolution: int) -> tuple[GraphBuilder, int]:
    """An empty network for RGB images, and the stride of its stem: 1 up to 64 pixels, then 2."""
    net = GraphBuilder(name, (1, 3, resolution, resolution), seed=seed)
    return net, 2 if resolution > 64 else 1


def classify(net: GraphBuilder, x: str) -> ModelProto:
    """Pool, and a linear layer to 10 classes, or 1000 above 64 pixels."""
    with net.block("classifier"):
        n_classes = 1000 if net.shape(net.input)[2] > 64 else 10
        return net.build(net.linear(net.flatten(net.global_pool(x)), n_classes))


def squeeze_excite(net: GraphBuilder, x: str, hidden: int, act: str, gate: str) -> str:
    """Channel gate from the pooled tensor (Hu et al. 2017, arXiv 1709.01507, figure 3)."""
    channels = net.shape(x)[1]
    y = net.conv(net.global_pool(x), hidden, 1, act=act, name="squeeze")
    return net.mul(x, net.conv(y, channels, 1, act=gate, name="excite"))


def inverted_residual(
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
    """Inverted residual (Sandler et al. 2018, arXiv 1801.04381, figure 4).

    Args:
        net: network to write to.
        x: tensor ``(batch, channels, height, width)``.
        out_channels: channels of the result.
        hidden: channels in the middle; no expansion where they are those of ``x``.
        kernel: size of the depthwise kernel.
        stride: stride of the depthwise convolution.
        act: activation after the first two convolutions.
        squeeze: hidden channels of a channel gate; 0 for none.
        gate: activation at the end of that gate.
    """
    channels, y = net.shape(x)[1], x
    if hidden != channels:
        y = net.conv(y, hidden, 1, act=act, name="expand")
    y = net.conv(y, hidden, kernel, stride=stride, groups=hidden, act=act, name="depthwise")
    if squeeze:
        y = squeeze_excite(net, y, squeeze, "silu" if gate == "sigmoid" else "relu", gate)
    y = net.conv(y, out_channels, 1, name="project")
    return net.add(x, y) if stride == 1 and channels == out_channels else y


@dataclass(frozen=True, slots=True)
class Stage:
    """A row of a table of inverted residuals: only the first block has the stride."""

    expansion: int
    kernel: int
    channels: int
    n_blocks: int
    stride: int


def inverted_stages(
    net: GraphBuilder,
    x: str,
    stages: Iterable[Stage],
    widths: Widths,
    act: str,
    gated: bool = False,
) -> str:
    """The blocks of a table; gates squeeze to a quarter of a block's input channels."""
    for index, stage in enumerate(stages):
        for depth in range(stage.n_blocks):
            channels = net.shape(x)[1]
            with net.block(f"b{index}_{depth}"):
                x = inverted_residual(
                    net,
                    x,
                    widths(stage.channels),
                    hidden=channels * stage.expansion,
                    kernel=stage.kernel,
                    stride=stage.stride if depth == 0 else 1,
                    act=act,
                    squeeze=max(8, channels // 4) if gated else 0,
                )
    return x


def residual(net: GraphBuilder, x: str, convs: Sequence[tuple[int, int, int]], stride: int) -> str:
    """Residual block (He et al. 2015, arXiv 1512.03385, figure 5).

    Args:
        net: network to write to.
        x: tensor ``(batch, channels, height, width)``.
        convs: (channels, kernel, groups) of each convolution.
        stride: stride of the first convolution whose kernel is above 1.
    """
    y = x
    strided = next(i for i, (_, kernel, _) in enumerate(convs) if kernel > 1)
    for i, (channels, kernel, groups) in enumerate(convs):
        act, now = "relu" if i < len(convs) - 1 else None, stride if i == strided else 1
        y = net.conv(y, channels, kernel, stride=now, groups=groups, act=act)
    if net.shape(x) != net.shape(y):
        x = net.conv(x, net.shape(y)[1], 1, stride=stride, name="shortcut")
    return net.add(y, x, act="relu")
