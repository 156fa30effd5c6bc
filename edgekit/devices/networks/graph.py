"""Networks written as ONNX without torch: what is profiled and what checks are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edgekit.core.errors import InputError

OPSET = 20
IR_VERSION = 10
Array = NDArray[np.float32]
_SIMPLE_ACTIVATIONS = {
    "relu": "Relu",
    "hardswish": "HardSwish",
    "sigmoid": "Sigmoid",
    "hardsigmoid": "HardSigmoid",
    "gelu": "Gelu",
}
ACTIVATIONS = (*_SIMPLE_ACTIVATIONS, "relu6", "silu")


class GraphBuilder:
    """Writes an ONNX network node by node; every method takes and returns tensor names.

    Every node is named, and so is the tensor it writes: ``<block>/<name>`` inside ``block``.
    Weights that are not given are He-normal float32 (He et al. 2015, arXiv 1502.01852, equation
    10), biases small.

    Args:
        name: name of the graph.
        input_shape: ``(batch, channels, height, width)``, each above 0.
        seed: seed of the weights.

    Raises:
        InputError: an input shape that is not four positive numbers.

    Example:
        >>> net = GraphBuilder("tiny", (1, 3, 8, 8))
        >>> with net.block("stem"):
        ...     x = net.conv(net.input, 16, 3, stride=2, act="relu6")
        >>> x, net.shape(x)
        ('stem/conv_act', (1, 16, 4, 4))
        >>> net.build(x).graph.output[0].name
        'logits'
    """

    def __init__(
        self, name: str, input_shape: tuple[int, int, int, int], *, seed: int = 0
    ) -> None:
        if len(input_shape) != 4 or min(input_shape) < 1:
            raise InputError(
                f"an input shape is four numbers above 0, got {input_shape}; write (1, 3, 32, 32)"
            )
        self._name = name
        self._rng = np.random.default_rng(seed)
        self._prefix = ""
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._shapes: dict[str, tuple[int, ...]] = {"input": input_shape}
        self._n_uses: dict[str, int] = {}

    @property
    def input(self) -> str:
        """Name of the input tensor."""
        return "input"

    def shape(self, x: str) -> tuple[int, ...]:
        """Static shape of a tensor."""
        return self._shapes[x]

    @contextmanager
    def block(self, name: str) -> Iterator[None]:
        """Put ``name + "/"`` before the names of all nodes and tensors written inside."""
        outer = self._prefix
        self._prefix = f"{outer}{name}/"
        try:
            yield
        finally:
            self._prefix = outer

    def conv(
        self,
        x: str,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        pad: int | None = None,
        act: str | None = None,
        weight: Array | None = None,
        bias: Array | None = None,
        name: str = "conv",
    ) -> str:
        """Convolution, padded by ``kernel // 2`` unless told otherwise.

        Args:
            x: tensor ``(batch, channels, height, width)``.
            out_channels: output channels, a multiple of ``groups``.
            kernel: height and width of the kernel.
            stride: in both directions.
            groups: divides the channels on both sides.
            pad: zeros on each side; ``kernel // 2`` if None.
            act: one of ``ACTIVATIONS``, or None.
            weight: ``(out_channels, channels / groups, kernel, kernel)`` float32; random if None.
            bias: ``(out_channels,)`` float32; random if None.
            name: name of the node.

        Returns:
            Tensor ``(batch, out_channels, h, w)``; for odd kernels ``h = ceil(height / stride)``.

        Raises:
            InputError: channels that the groups do not divide, or a weight of another shape.
        """
        batch, channels, height, width = self._shapes[x]
        if channels % groups or out_channels % groups:
            raise InputError(
                f"groups must divide the channels of a conv, "
                f"got {groups} for {channels} -> {out_channels}"
            )
        name, pad = self._unique(name), kernel // 2 if pad is None else pad
        weights = self._weights(
            name, weight, bias, (out_channels, channels // groups, kernel, kernel)
        )
        size = (
            (height + 2 * pad - kernel) // stride + 1,
            (width + 2 * pad - kernel) // stride + 1,
        )
        self._write(
            "Conv",
            [x, *weights],
            (batch, out_channels, *size),
            name,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            group=groups,
        )
        return name if act is None else self._activate(name, act, f"{name}_act")

    def linear(
        self,
        x: str,
        out_features: int,
        weight: Array | None = None,
        bias: Array | None = None,
        name: str = "linear",
    ) -> str:
        """Fully connected layer on ``(batch, features)``, weight ``(out_features, features)``."""
        batch, features = self._shapes[x]
        name = self._unique(name)
        weights = self._weights(name, weight, bias, (out_features, features))
        return self._write("Gemm", [x, *weights], (batch, out_features), name, transB=1)

    def act(self, x: str, kind: str) -> str:
        """One of ``ACTIVATIONS``, elementwise."""
        return self._activate(x, kind, self._unique(kind))

    def add(self, a: str, b: str, act: str | None = None) -> str:
        """Elementwise sum of two tensors, broadcast as in numpy."""
        name = self._elementwise("Add", a, b, "add")
        return name if act is None else self._activate(name, act, f"{name}_act")

    def mul(self, a: str, b: str) -> str:
        """Elementwise product of two tensors, broadcast as in numpy."""
        return self._elementwise("Mul", a, b, "mul")

    def concat(self, tensors: Sequence[str]) -> str:
        """Tensors joined along axis 1."""
        first = self._shapes[tensors[0]]
        channels = sum(self._shapes[tensor][1] for tensor in tensors)
        shape = (first[0], channels, *first[2:])
        return self._write("Concat", list(tensors), shape, self._unique("concat"), axis=1)

    def split(self, x: str, n_parts: int) -> tuple[str, ...]:
        """Axis 1 cut into equal parts.

        Raises:
            InputError: channels that ``n_parts`` does not divide.
        """
        shape = self._shapes[x]
        if shape[1] % n_parts:
            raise InputError(f"a split needs channels that {n_parts} divides, got {shape[1]}")
        name = self._unique("split")
        parts = tuple(f"{name}.{index}" for index in range(n_parts))
        self._shapes.update(dict.fromkeys(parts, (shape[0], shape[1] // n_parts, *shape[2:])))
        self._nodes.append(
            helper.make_node("Split", [x], parts, name, axis=1, num_outputs=n_parts)
        )
        return parts

    def max_pool(self, x: str, kernel: int, stride: int) -> str:
        """Maximum over windows padded by ``(kernel - 1) // 2``."""
        return self._pool("MaxPool", "max_pool", x, kernel, stride)

    def avg_pool(self, x: str, kernel: int, stride: int) -> str:
        """Mean over windows padded by ``(kernel - 1) // 2``; the padding is not counted."""
        return self._pool("AveragePool", "avg_pool", x, kernel, stride)

    def global_pool(self, x: str) -> str:
        """Mean over height and width: ``(batch, channels, 1, 1)``."""
        batch, channels = self._shapes[x][:2]
        return self._write(
            "GlobalAveragePool", [x], (batch, channels, 1, 1), self._unique("global_pool")
        )

    def flatten(self, x: str) -> str:
        """All axes but the first in one: ``(batch, features)``."""
        batch, *rest = self._shapes[x]
        return self._write("Flatten", [x], (batch, math.prod(rest)), self._unique("flatten"))

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """Another static shape of the same size; the batch stays on the first axis."""
        name = self._unique("reshape")
        target = np.array([0, *shape[1:]], np.int64)
        return self._write(
            "Reshape", [x, self._constant(f"{name}.shape", target)], tuple(shape), name
        )

    def transpose(self, x: str, order: Sequence[int]) -> str:
        """Axes in another order."""
        shape = tuple(self._shapes[x][axis] for axis in order)
        return self._write("Transpose", [x], shape, self._unique("transpose"), perm=list(order))

    def channel_shuffle(self, x: str, groups: int) -> str:
        """Channels interleaved over groups (Zhang et al. 2017, arXiv 1707.01083, figure 1)."""
        batch, channels, height, width = self._shapes[x]
        x = self.reshape(x, (batch, groups, channels // groups, height, width))
        x = self.transpose(x, (0, 2, 1, 3, 4))
        return self.reshape(x, (batch, channels, height, width))

    def matmul(self, a: str, b: str | int) -> str:
        """Matrix product; ``b`` is a tensor, or the columns of a random weight."""
        name, left = self._unique("matmul"), self._shapes[a]
        if isinstance(b, int):
            b = self._constant(f"{name}.weight", self._random((left[-1], b), left[-1]))
        return self._write("MatMul", [a, b], (*left[:-1], self._shapes[b][-1]), name)

    def bias(self, x: str) -> str:
        """Sum with a small random vector along the last axis."""
        name, size = self._unique("bias"), self._shapes[x][-1]
        vector = self._constant(f"{name}.vector", 0.01 * self._random((size,), 2))
        return self._write("Add", [x, vector], self._shapes[x], name)

    def scale(self, x: str, factor: float) -> str:
        """Product with one number."""
        name = self._unique("scale")
        number = self._constant(f"{name}.factor", np.array(factor, np.float32))
        return self._write("Mul", [x, number], self._shapes[x], name)

    def softmax(self, x: str) -> str:
        """Softmax over the last axis."""
        return self._write("Softmax", [x], self._shapes[x], self._unique("softmax"), axis=-1)

    def layer_norm(self, x: str) -> str:
        """Layer normalisation over the last axis, gain 1 and bias 0."""
        name, shape = self._unique("layer_norm"), self._shapes[x]
        gain = self._constant(f"{name}.gain", np.ones(shape[-1], np.float32))
        bias = self._constant(f"{name}.bias", np.zeros(shape[-1], np.float32))
        return self._write("LayerNormalization", [x, gain, bias], shape, name, axis=-1)

    def gelu(self, x: str) -> str:
        """Gaussian error linear unit, exact form."""
        return self.act(x, "gelu")

    def build(self, output: str, *, dynamic_batch: bool = False) -> ModelProto:
        """The network that ends in ``output``; that tensor is called ``"logits"``.

        Args:
            output: tensor to return, not the input itself.
            dynamic_batch: leave the batch open, as axis ``"batch"``.

        Returns:
            Opset 20, IR 10, one input ``"input"`` and one output ``"logits"``, float32.
        """
        graph = helper.make_graph(
            [_renamed(node, output) for node in self._nodes],
            self._name,
            [_value("input", self._shapes["input"], dynamic_batch)],
            [_value("logits", self._shapes[output], dynamic_batch)],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="edgekit"
        )

    def _unique(self, name: str) -> str:
        full = self._prefix + name
        count = self._n_uses.get(full, 0) + 1
        self._n_uses[full] = count
        return full if count == 1 else self._unique(f"{name}_{count}")

    def _write(
        self, op: str, inputs: list[str], shape: tuple[int, ...], name: str, **attributes: Any
    ) -> str:
        self._nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        self._shapes[name] = shape
        return name

    def _constant(self, name: str, value: NDArray[np.generic]) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(value, name)
            self._shapes[name] = value.shape
        return name

    def _random(self, shape: tuple[int, ...], fan_in: int) -> Array:
        values = self._rng.standard_normal(shape, np.float32)
        return values * np.float32(math.sqrt(2 / fan_in))

    def _weights(
        self, name: str, weight: Array | None, bias: Array | None, shape: tuple[int, ...]
    ) -> list[str]:
        if weight is None:
            weight = self._random(shape, math.prod(shape[1:]))
        if bias is None:
            bias = 0.01 * self._rng.standard_normal(shape[0], np.float32)
        if weight.shape != shape or bias.shape != shape[:1]:
            raise InputError(
                f"{name} needs weight {shape} and bias {shape[:1]}, "
                f"got {weight.shape} and {bias.shape}"
            )
        weight, bias = weight.astype(np.float32), bias.astype(np.float32)
        return [self._constant(f"{name}.weight", weight), self._constant(f"{name}.bias", bias)]

    def _elementwise(self, op: str, a: str, b: str, name: str) -> str:
        shape = np.broadcast_shapes(self._shapes[a], self._shapes[b])
        return self._write(op, [a, b], shape, self._unique(name))

    def _activate(self, x: str, kind: str, name: str) -> str:
        shape = self._shapes[x]
        if kind == "relu6":
            low = self._constant("relu6.min", np.array(0, np.float32))
            high = self._constant("relu6.max", np.array(6, np.float32))
            return self._write("Clip", [x, low, high], shape, name)
        if kind == "silu":
            return self._write(
                "Mul", [x, self._write("Sigmoid", [x], shape, f"{name}_gate")], shape, name
            )
        if kind not in _SIMPLE_ACTIVATIONS:
            raise InputError(f"an activation is one of {', '.join(ACTIVATIONS)}, got {kind!r}")
        sixth = {"alpha": 1 / 6} if kind == "hardsigmoid" else {}
        return self._write(_SIMPLE_ACTIVATIONS[kind], [x], shape, name, **sixth)

    def _pool(self, op: str, name: str, x: str, kernel: int, stride: int) -> str:
        batch, channels, *size = self._shapes[x]
        pad = (kernel - 1) // 2
        height, width = ((length + 2 * pad - kernel) // stride + 1 for length in size)
        return self._write(
            op,
            [x],
            (batch, channels, height, width),
            self._unique(name),
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
        )


def _value(name: str, shape: tuple[int, ...], dynamic_batch: bool) -> ValueInfoProto:
    dims = ["batch" if dynamic_batch else shape[0], *shape[1:]]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


def _renamed(node: NodeProto, output: str) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    for names in (copy.input, copy.output):
        for index, name in enumerate(names):
            if name == output:
                names[index] = "logits"
    return copy
