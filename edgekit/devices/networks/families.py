"""Families of networks to profile and to check predictions on: two random ones and the stock ones.

Weights are random: latency depends on the shapes.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from onnx import ModelProto

from edgekit.devices.networks import stock
from edgekit.devices.networks.blocks import Widths, classify, inverted_residual, residual, start
from edgekit.devices.networks.qdq import QUANTISABLE, insert_qdq, tensors_to_calibrate


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


def mbconv_random(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Random chain of inverted residuals: kernels 3, 5, 7, expansions 3, 6, widths 16 to 320."""
    rng, scaled = np.random.default_rng(seed), Widths(width_multiple, width)
    net, stride = start("mbconv_random", seed, resolution)
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
                x = inverted_residual(net, x, out, hidden=hidden, kernel=kernel, stride=now)
    with net.block("head"):
        x = net.conv(x, scaled(rng.choice([256, 512, 1024, 1280])), 1, act="relu6")
    return classify(net, x)


def resnet_random(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Random chain of residual blocks: kernels 3, 5, groups 1, 4, with and without bottleneck."""
    rng, scaled = np.random.default_rng(seed), Widths(width_multiple, width)
    net, stride = start("resnet_random", seed, resolution)
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
                x = residual(net, x, convs, 2 if depth == 0 and stage else 1)
    return classify(net, x)


FAMILIES: dict[str, Family] = {
    "mbconv_random": mbconv_random,
    "resnet_random": resnet_random,
    "mobilenet_v2": stock.mobilenet_v2,
    "mobilenet_v3_small": stock.mobilenet_v3_small,
    "resnet18": stock.resnet18,
    "resnet34": stock.resnet34,
    "resnet20": stock.resnet20,
    "squeezenet": stock.squeezenet,
    "shufflenet_v2": stock.shufflenet_v2,
    "efficientnet_b0": stock.efficientnet_b0,
    "mnasnet": stock.mnasnet,
    "regnetx_002": stock.regnetx_002,
    "densenet": stock.densenet,
    "vgg11_small": stock.vgg11_small,
    "ghostnet": stock.ghostnet,
    "convmixer": stock.convmixer,
    "vit_tiny": stock.vit_tiny,
    "cct_tiny": stock.cct_tiny,
}


def quantise_whole(model: ModelProto, seed: int = 0) -> ModelProto:
    """U8S8 in every node that has an int8 kernel, with made-up ranges: for latency, not accuracy.

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
