"""What is profiled: networks, sizes, precisions, and the families kept out of the fit.

A predictor learns from the networks of the fitted families and is judged on the held-out ones, of
which it has seen nothing. Random families stand for the shapes; ``assorted_random`` holds the
operators that the two others lack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from edgekit.core.errors import InputError
from edgekit.devices.networks.families import FAMILIES, quantise_whole
from edgekit.devices.networks.graph import GraphBuilder
from edgekit.devices.networks.qdq import QUANTISABLE, insert_qdq, tensors_to_calibrate

PRECISIONS = ("fp32", "int8", "mixed")
FITTED_STOCK = ("shufflenet_v2", "densenet", "vit_tiny", "convmixer", "vgg11_small", "regnetx_002")
HELD_OUT = ("mobilenet_v2", "resnet18", "squeezenet", "efficientnet_b0")
_SMALL, _MEDIUM = (32, 32, 48, 64), (80, 96, 128, 160)
_ASSORTED = "assorted_random"


@dataclass(frozen=True, slots=True)
class PlannedNetwork:
    """One network of a plan.

    Attributes:
        family: a name in ``FAMILIES``, or ``assorted_random``.
        precision: one of ``PRECISIONS``; ``mixed`` quantises about half of the blocks.
        resolution: height and width of the input in pixels.
        width: factor on the channel counts.
        width_multiple: channel counts are multiples of it.
        seed: of weights, architecture and choice of blocks.
        held_out: kept out of the fit, for validation.
    """

    family: str
    precision: str
    resolution: int
    width: float
    width_multiple: int
    seed: int
    held_out: bool

    @property
    def name(self) -> str:
        """Unique in a plan: equal networks have equal names."""
        size = f"{self.resolution}px_x{self.width:g}_m{self.width_multiple}"
        return f"{self.family}_{size}_s{self.seed}_{self.precision}"

    def model(self) -> ModelProto:
        """Write the network."""
        write = assorted_random if self.family == _ASSORTED else FAMILIES[self.family]
        model = write(self.seed, self.resolution, self.width_multiple, self.width)
        if self.precision == "fp32":
            return model
        if self.precision == "int8":
            return quantise_whole(model, self.seed)
        return quantise_blocks(model, drawn_blocks(model, self.seed), self.seed)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is profiled, and how long.

    Attributes:
        networks: in the order they are opened.
        n_passes: blocks per network and session.
        block_s: length of a block without profiling, in seconds.
        n_profiled_runs: runs per block of the profiled session.

    Raises:
        InputError: two equal networks, or none in or none out of the fit.
    """

    networks: tuple[PlannedNetwork, ...]
    n_passes: int
    block_s: float
    n_profiled_runs: int

    def __post_init__(self) -> None:
        names = [network.name for network in self.networks]
        if len(set(names)) != len(names):
            raise InputError(f"the networks of a plan differ from each other, got {names}")
        if {network.held_out for network in self.networks} != {True, False}:
            raise InputError("a plan needs networks to fit and others, held out, to validate with")


# In every plan: mixed precisions whose borders hold conversions that a draw may miss.
_BORDERS = PlannedNetwork("mbconv_random", "mixed", 32, 0.5, 16, 1, held_out=False)


def full_plan(seed: int = 0) -> Plan:
    """About 300 networks; a few minutes on a desktop processor."""
    rng = np.random.default_rng([seed, 1])
    networks = (
        *_drawn(rng, "mbconv_random", 102, seed),
        *_drawn(rng, "resnet_random", 48, seed),
        *_drawn(rng, _ASSORTED, 60, seed),
        *(n for family in FITTED_STOCK for n in _drawn(rng, family, 9, seed)),
        *(n for family in HELD_OUT for n in _drawn(rng, family, 9, seed, held_out=True)),
        _BORDERS,
    )
    return Plan(networks, n_passes=12, block_s=0.03, n_profiled_runs=4)


def quick_plan(seed: int = 0) -> Plan:
    """About 70 networks; below two minutes on a desktop processor."""
    rng = np.random.default_rng([seed, 2])
    networks = (
        *_drawn(rng, "mbconv_random", 24, seed),
        *_drawn(rng, "resnet_random", 18, seed),
        *_drawn(rng, _ASSORTED, 18, seed),
        *(n for family in HELD_OUT for n in _drawn(rng, family, 3, seed, held_out=True)),
        _BORDERS,
    )
    return Plan(networks, n_passes=8, block_s=0.02, n_profiled_runs=4)


def _drawn(
    rng: np.random.Generator, family: str, n_networks: int, seed: int, *, held_out: bool = False
) -> Iterator[PlannedNetwork]:
    """Networks of a family, the precisions in turn; two thirds have at most 64 pixels."""
    for index in range(n_networks):
        resolutions = _SMALL if rng.random() < 0.67 else _MEDIUM
        yield PlannedNetwork(
            family=family,
            precision=PRECISIONS[index % 3],
            resolution=int(rng.choice(resolutions)),
            width=float(rng.choice([0.5, 0.75, 1.0])),
            width_multiple=int(rng.choice([8, 16, 16])),
            seed=seed * 1000 + index,
            held_out=held_out,
        )


def drawn_blocks(model: ModelProto, seed: int) -> frozenset[str]:
    """Blocks of a network that become int8: half of them, in runs of one to three neighbours."""
    rng = np.random.default_rng([seed, 3])
    blocks = list(dict.fromkeys(node.name.partition("/")[0] for node in model.graph.node))
    chosen: list[str] = []
    is_int8 = bool(rng.random() < 0.5)
    while blocks:
        n_alike = int(rng.integers(1, 4))
        chosen += blocks[:n_alike] if is_int8 else []
        blocks, is_int8 = blocks[n_alike:], not is_int8
    return frozenset(chosen)


def quantise_blocks(model: ModelProto, blocks: frozenset[str], seed: int = 0) -> ModelProto:
    """U8S8 in the named blocks, with made-up ranges: for latency only, not for accuracy.

    Args:
        model: float32 network whose node names begin with their block and a ``/``.
        blocks: names of the blocks to quantise.
        seed: of the ranges; they do not change the speed.

    Returns:
        A new model.
    """
    rng = np.random.default_rng(seed)
    nodes = [
        node.name
        for node in model.graph.node
        if node.op_type in QUANTISABLE and node.name.partition("/")[0] in blocks
    ]
    positive = {
        name
        for node in model.graph.node
        if node.op_type in ("Relu", "Clip", "Sigmoid", "Softmax")
        for name in node.output
    }
    ranges = {
        tensor: (0.0 if tensor in positive else -3.0, float(rng.uniform(3, 6)))
        for tensor in tensors_to_calibrate(model, nodes)
    }
    return insert_qdq(model, nodes, ranges)


def assorted_random(
    seed: int, resolution: int, width_multiple: int = 8, width: float = 1.0
) -> ModelProto:
    """Random chain of blocks with the operators that chains of convolutions and additions lack.

    Gates (squeeze and excite), other activations, concatenations, splits with shuffles, pools,
    grouped and large convolutions, and fully connected heads with a hidden layer.

    Args:
        seed: of weights and architecture.
        resolution: height and width of the input in pixels.
        width_multiple: channel counts are multiples of it.
        width: factor on the channel counts.
    """
    rng = np.random.default_rng([seed, 4])
    net = GraphBuilder("assorted_random", (1, 3, resolution, resolution), seed=seed)

    def channels(count: float) -> int:
        return max(width_multiple, round(count * width / width_multiple) * width_multiple)

    act = str(rng.choice(["relu", "hardswish", "silu", "silu", "relu6"]))
    with net.block("stem"):
        stride = 2 if resolution > 64 else 1
        kernel, first = int(rng.choice([3, 3, 5, 7])), channels(rng.choice([16, 24, 32, 64]))
        x = net.conv(net.input, first, kernel, stride=stride, act=act)
        x = net.max_pool(x, 3, 2) if rng.random() < 0.4 else x
    for index in range(int(rng.integers(5, 10))):
        with net.block(f"b{index}"):
            size = net.shape(x)[2]
            stride = 2 if size > 7 and rng.random() < 0.4 else 1
            out = channels(np.exp(rng.uniform(np.log(16), np.log(min(320, max(24, 2000 / size))))))
            x = _BLOCKS[int(rng.integers(len(_BLOCKS)))](net, x, out, stride, act, rng)
    return _head(net, x, channels, act, rng)


def _head(
    net: GraphBuilder,
    x: str,
    channels: Callable[[float], int],
    act: str,
    rng: np.random.Generator,
) -> ModelProto:
    n_classes = int(rng.choice([10, 100, 1000]))
    with net.block("head"):
        x = net.conv(x, channels(rng.choice([128, 512, 1280])), 1, act=act)
    with net.block("classifier"):
        x = net.flatten(net.global_pool(x))
        if rng.random() < 0.3:
            x = net.act(net.linear(x, int(rng.choice([64, 256, 1024]))), "relu")
        return net.build(net.linear(x, n_classes))


def _gated(
    net: GraphBuilder, x: str, out: int, stride: int, act: str, rng: np.random.Generator
) -> str:
    hidden = net.shape(x)[1] * int(rng.choice([2, 3, 4, 6]))
    y = net.conv(x, hidden, 1, act=act)
    y = net.conv(y, hidden, int(rng.choice([3, 5])), stride=stride, groups=hidden, act=act)
    squeezed = net.conv(net.global_pool(y), max(8, hidden // int(rng.choice([4, 16]))), 1, act=act)
    gate = str(rng.choice(["sigmoid", "hardsigmoid"]))
    y = net.conv(net.mul(y, net.conv(squeezed, hidden, 1, act=gate)), out, 1)
    return net.add(x, y) if net.shape(x) == net.shape(y) else y


def _branched(
    net: GraphBuilder, x: str, out: int, stride: int, act: str, rng: np.random.Generator
) -> str:
    x = net.conv(x, max(8, out // 4), 1, act=act)
    branches = [net.conv(x, out, kernel, stride=stride, act=act) for kernel in (1, 3)]
    if rng.random() < 0.3:
        branches.append(net.conv(x, out, 3, stride=stride, act=act))
    return net.concat(branches)


def _shuffled(
    net: GraphBuilder, x: str, out: int, stride: int, act: str, rng: np.random.Generator
) -> str:
    channels = net.shape(x)[1]
    if channels % 2:
        return net.conv(x, out, 3, stride=stride, act=act)
    left, right = net.split(x, 2)
    half = channels // 2
    right = net.conv(right, half, 1, act=act)
    right = net.conv(right, half, 3, groups=half)
    y = net.channel_shuffle(net.concat([left, net.conv(right, half, 1, act=act)]), 2)
    return net.max_pool(y, int(rng.choice([2, 3])), 2) if stride == 2 else y


def _grouped(
    net: GraphBuilder, x: str, out: int, stride: int, act: str, rng: np.random.Generator
) -> str:
    group_width = int(rng.choice([4, 8, 16]))
    out = max(group_width, out // group_width * group_width)
    x = net.conv(x, out, 1, act=act)
    y = net.conv(
        x, out, int(rng.choice([3, 3, 5])), stride=stride, groups=out // group_width, act=act
    )
    return net.conv(y, out, 1, act=act)


def _dense(
    net: GraphBuilder, x: str, out: int, stride: int, act: str, rng: np.random.Generator
) -> str:
    y = net.conv(net.conv(x, out, 1, act=act), max(8, out // 4), 3, act=act)
    y = net.concat([x, y])
    return net.avg_pool(net.conv(y, out, 1, act=act), 2, 2) if stride == 2 else y


def _large(
    net: GraphBuilder, x: str, out: int, stride: int, act: str, rng: np.random.Generator
) -> str:
    kernel = int(rng.choice([2, 3, 5, 7]))
    if rng.random() < 0.5:
        return net.conv(x, out, kernel, stride=stride, act=act)
    y = net.conv(x, out, kernel, act=act)
    return net.max_pool(y, int(rng.choice([2, 3])), 2) if stride == 2 else y


_BLOCKS = (_gated, _gated, _branched, _shuffled, _grouped, _dense, _large)
