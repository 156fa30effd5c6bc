"""Quantising chosen nodes of an ONNX network: QDQ U8S8, as ONNX Runtime's CPU provider fuses it.

    float producer --> Q --> DQ --> quantised node --> Q --> DQ --> any consumer

A tensor has at most one Q and DQ. What a quantised node hands to Relu or Clip alone is quantised
after that activation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit.core.errors import InputError
from edgekit.core.precision import FULL_WEIGHT_MAX

_ABSORBED = ("Relu", "Clip")
_WEIGHTED = ("Conv", "Gemm", "MatMul")
_SAME_SCALE = ("Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "MaxPool", "Split")
_COMPUTED = (
    "Add",
    "Mul",
    "GlobalAveragePool",
    "AveragePool",
    "Concat",
    "Sigmoid",
    "Softmax",
    "Relu",
    "Clip",
)
QUANTISABLE = (*_WEIGHTED, *_COMPUTED, *_SAME_SCALE)
_GIVES_INTEGERS = ("Shape", "Size", "ArgMax", "ArgMin", "NonZero")
_MAKES_FLOATS = ("Cast", "ConstantOfShape", "DequantizeLinear")
_ABOVE_ZERO = ("Relu", "Clip", "Sigmoid", "Softmax")
_KEEPS_SIGN = (
    *_SAME_SCALE,
    "Add",
    "Mul",
    "Concat",
    "AveragePool",
    "GlobalAveragePool",
    "Pad",
    "Slice",
)
_TYPICAL = 4.0
_BIAS_LIMIT = 2.0**30
Array = NDArray[np.float32]


def activation_scale(lo: float, hi: float) -> tuple[np.float32, int]:
    """Scale and zero point of a uint8 tensor with values in ``lo..hi``, widened to hold 0.

    Raises:
        InputError: a range that is not finite, or upside down.

    Example:
        >>> scale, zero_point = activation_scale(-1.0, 4.1)
        >>> round(float(scale), 6), zero_point
        (0.02, 50)
    """
    if not (np.isfinite(lo) and np.isfinite(hi) and lo <= hi):
        raise InputError(
            f"a range is two finite numbers in order, got ({lo}, {hi}); calibrate again"
        )
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    scale = np.float32(max((hi - lo) / 255, float(np.finfo(np.float32).tiny)))
    return scale, int(np.clip(np.rint(-lo / float(scale)), 0, 255))


def weight_scales(
    weight: Array,
    bias: Array | None = None,
    input_scale: float | None = None,
    *,
    weight_max: int = FULL_WEIGHT_MAX,
) -> Array:
    """Scales of an int8 weight, one per output channel on axis 0, symmetric.

    A channel's largest weight becomes ``weight_max``.

    A channel whose weights are so near 0 that its bias would leave int32 gets the least scale that
    holds the bias.

    Args:
        weight: float32, output channels first.
        bias: ``(out,)`` float32, or None.
        input_scale: scale of the activation, needed with a bias.
        weight_max: largest magnitude of an integer, 1..127.

    Returns:
        ``(out,)`` float32, above 0.
    """
    largest = np.abs(weight.reshape(weight.shape[0], -1)).max(axis=1)
    scales = largest.astype(np.float64) / weight_max
    if bias is not None and input_scale is not None:
        scales = np.maximum(scales, np.abs(bias) / (_BIAS_LIMIT * float(input_scale)))
    return np.where(scales > 0, np.maximum(scales, np.finfo(np.float32).tiny), 1.0).astype(
        np.float32
    )


def tensors_to_calibrate(model: ModelProto, nodes: Collection[str]) -> tuple[str, ...]:
    """Names of the tensors whose ranges ``insert_qdq`` needs for these nodes, in graph order.

    Raises:
        InputError: a name that no node of the model has.
    """
    plan = _Plan(model, nodes)
    return tuple(
        dict.fromkeys(
            plan.source(tensor) for tensor in plan.tensors if tensor not in plan.constants
        )
    )


def typical_ranges(model: ModelProto, nodes: Collection[str]) -> dict[str, tuple[float, float]]:
    """Ranges for where only speed matters, of every tensor that ``insert_qdq`` needs one of.

    Speed does not depend on the values but for one thing: the runtime drops a ReLU before a range
    that begins at 0, and cannot drop it before another.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    above_zero: set[str] = set()
    for node in model.graph.node:
        inputs = [name for name in node.input if name and name not in weights]
        keeps_sign = node.op_type in _KEEPS_SIGN and above_zero.issuperset(inputs)
        if node.op_type in _ABOVE_ZERO or (inputs and keeps_sign):
            above_zero.update(node.output)
    return {
        tensor: (0.0 if tensor in above_zero else -_TYPICAL, _TYPICAL)
        for tensor in tensors_to_calibrate(model, nodes)
    }


def insert_qdq(
    model: ModelProto,
    nodes: Collection[str],
    ranges: Mapping[str, tuple[float, float]],
    *,
    weight_max: int = FULL_WEIGHT_MAX,
) -> ModelProto:
    """Quantise the named nodes.

    Nodes whose operator has no int8 kernel (see ``QUANTISABLE``) stay in float. A fully connected
    layer that ends the network keeps a float output.

    ONNX Runtime itself quantises the weight of a float Conv or Gemm that reads a DQ and, but for
    an activation, feeds a Q (its WeightBiasQuantization): a block of one float convolution between
    two int8 blocks runs in int8.

    Args:
        model: float32 network; left as it is.
        nodes: names of the nodes to quantise.
        ranges: (min, max) of every tensor that ``tensors_to_calibrate`` names.
        weight_max: largest magnitude of an int8 weight, 1..127: that of the device
            (``DeviceFacts.int8_weight_max``) where answers matter; speed does not depend on it.

    Returns:
        A new model: uint8 activations, int8 weights per output channel, int32 biases.

    Raises:
        InputError: an unknown node, or a tensor without a range.
    """
    plan = _Plan(model, nodes)
    writer = _Writer(plan, ranges, weight_max)
    result = ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:]
    result.graph.node.extend(writer.rewritten())
    used = {name for node in result.graph.node for name in node.input}
    kept = [constant for constant in model.graph.initializer if constant.name in used]
    result.graph.initializer.extend([*kept, *writer.constants])
    return result


class _Plan:
    """Which nodes are quantised, and which tensors get a Q and DQ."""

    def __init__(self, model: ModelProto, names: Collection[str]) -> None:
        self.nodes: list[NodeProto] = list(model.graph.node)
        wanted = frozenset(names)
        if missing := sorted(wanted - {node.name for node in self.nodes}):
            raise InputError(
                f"nodes to quantise must be in the model, got {missing[0]!r}; name its nodes"
            )
        self.outputs = {value.name for value in model.graph.output}
        self.constants = _constants(model)
        self.producer = {name: node for node in self.nodes for name in node.output}
        self._consumers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self._consumers.setdefault(name, []).append(node)
        integers = self._integers()
        self.quantised = {
            node.name
            for node in self.nodes
            if node.name in wanted and self._fits(node) and node.input[0] not in integers
        }
        self.absorbed = {
            tail.name for node in self._chosen() if (tail := self._activation(node)) is not None
        }
        self.produced = dict.fromkeys(
            name for node in self._chosen() for name in self._results(node)
        )
        self.tensors = self._in_order()

    def activations(self, node: NodeProto) -> list[str]:
        """The inputs of a quantised node that are uint8."""
        if node.op_type in ("Conv", "Gemm"):
            return [node.input[0]]
        if node.op_type == "MatMul":
            return [name for name in node.input if not self._is_matmul_weight(name)]
        return list(node.input) if node.op_type in ("Add", "Mul", "Concat") else [node.input[0]]

    def source(self, tensor: str) -> str:
        """The tensor whose range this one shares: operators that only move values keep it."""
        node = self.producer.get(tensor)
        while node is not None and node.name in self.quantised and node.op_type in _SAME_SCALE:
            tensor = node.input[0]
            node = self.producer.get(tensor)
        return tensor

    def _is_matmul_weight(self, name: str) -> bool:
        return name in self.constants and self.constants[name].ndim == 2

    def _fits(self, node: NodeProto) -> bool:
        if node.op_type in ("Conv", "Gemm"):
            return node.input[1] in self.constants
        if node.op_type in ("Add", "Mul"):
            return not all(name in self.constants for name in node.input)
        return node.op_type in QUANTISABLE

    def _integers(self) -> set[str]:
        """Tensors of whole numbers, such as shapes: they are computed with, but not quantised."""
        found = {name for name, value in self.constants.items() if value.dtype.kind != "f"}
        for node in self.nodes:
            decides = node.input[1:2] if node.op_type == "Where" else node.input[:1]
            is_cast = node.op_type == "Cast" and _attribute(node, "to") != TensorProto.FLOAT
            gives = node.op_type in _GIVES_INTEGERS or is_cast
            if gives or (found.intersection(decides) and node.op_type not in _MAKES_FLOATS):
                found.update(node.output)
        return found

    def _chosen(self) -> Iterator[NodeProto]:
        return (node for node in self.nodes if node.name in self.quantised)

    def _activation(self, node: NodeProto) -> NodeProto | None:
        """The Relu or Clip that alone reads what a computing node writes."""
        readers = self._consumers.get(node.output[0], [])
        fits = (
            len(readers) == 1
            and readers[0].op_type in _ABSORBED
            and node.output[0] not in self.outputs
        )
        return readers[0] if fits and node.op_type in ("Conv", "Gemm", "MatMul", "Add") else None

    def _results(self, node: NodeProto) -> list[str]:
        if node.name in self.absorbed:
            return []
        if node.op_type == "Split":
            return list(node.output)
        tail = self._activation(node)
        name = (tail or node).output[0]
        is_float = node.op_type in ("Gemm", "MatMul") and name in self.outputs
        return [] if is_float else [str(name)]

    def _in_order(self) -> dict[str, None]:
        tensors: dict[str, None] = {}
        for node in self._chosen():
            if node.name not in self.absorbed:
                tensors.update(dict.fromkeys([*self.activations(node), *self._results(node)]))
        return tensors


@dataclass(slots=True)
class _Writer:
    """Writes the nodes and constants of a plan."""

    plan: _Plan
    ranges: Mapping[str, tuple[float, float]]
    weight_max: int
    constants: list[TensorProto] = field(default_factory=list)

    def rewritten(self) -> list[NodeProto]:
        """All nodes in topological order, Q and DQ among them."""
        nodes: list[NodeProto] = []
        for tensor in self.plan.tensors:
            if tensor not in self.plan.producer:
                nodes += self._pair(tensor)
        for node in self.plan.nodes:
            nodes += self._node(node)
            for tensor in node.output:
                if tensor in self.plan.tensors:
                    nodes += self._pair(tensor)
        return nodes

    def _node(self, node: NodeProto) -> Iterator[NodeProto]:
        copy = NodeProto()
        copy.CopyFrom(node)
        quantised = node.name in self.plan.quantised and node.name not in self.plan.absorbed
        mine = self.plan.activations(node) if quantised else []
        for index, name in enumerate(node.input):
            if name in mine or name in self.plan.produced:
                copy.input[index] = _dequantised(name, self.plan.outputs)
        for index, name in enumerate(node.output):
            if name in self.plan.produced and name in self.plan.outputs:
                copy.output[index] = f"{name}_float"
        if quantised and node.op_type in _WEIGHTED:
            yield from self._weights(node, copy)
        yield copy

    def _scale(self, tensor: str) -> tuple[np.float32, int]:
        if tensor in self.plan.constants:
            value = self.plan.constants[tensor]
            return activation_scale(float(value.min()), float(value.max()))
        source = self.plan.source(tensor)
        if source not in self.ranges:
            raise InputError(
                f"every quantised tensor needs a range, {source!r} has none; calibrate it"
            )
        return activation_scale(*self.ranges[source])

    def _pair(self, tensor: str) -> Iterator[NodeProto]:
        scale, zero_point = self._scale(tensor)
        names = [
            self._constant(f"{tensor}_scale", scale),
            self._constant(f"{tensor}_zero", np.uint8(zero_point)),
        ]
        is_output = tensor in self.plan.outputs
        before = f"{tensor}_float" if is_output else tensor
        quantised = f"{tensor}_q"
        after = _dequantised(tensor, self.plan.outputs)
        yield helper.make_node("QuantizeLinear", [before, *names], [quantised], quantised)
        yield helper.make_node("DequantizeLinear", [quantised, *names], [after], f"{tensor}_dq")

    def _weights(self, node: NodeProto, copy: NodeProto) -> Iterator[NodeProto]:
        """DQ nodes of the int8 weight and int32 bias of a node; ``copy`` is made to read them."""
        constant = [
            index for index in (1, 0) if node.input[index] not in self.plan.activations(node)
        ]
        if not constant:
            return
        index = constant[0]
        weight = self.plan.constants[node.input[index]].astype(np.float32)
        axis = 0 if node.op_type == "Conv" or _attribute(node, "transB") else 1
        bias = self.plan.constants.get(node.input[2]) if len(node.input) > 2 else None
        input_scale = float(self._scale(node.input[1 - index])[0])
        most = self.weight_max
        channels = np.moveaxis(weight, axis, 0)
        scales = weight_scales(channels, bias, input_scale, weight_max=most)
        shape = [-1 if dim == axis else 1 for dim in range(weight.ndim)]
        integers = np.clip(np.rint(weight / scales.reshape(shape)), -most, most).astype(np.int8)
        yield self._dequantise(node, copy, index, integers, scales, axis)
        if bias is not None:
            products = (np.float32(input_scale) * scales).astype(np.float32)
            yield self._dequantise(
                node,
                copy,
                2,
                np.rint(bias / products.astype(np.float64)).astype(np.int32),
                products,
                0,
            )

    def _dequantise(
        self,
        node: NodeProto,
        copy: NodeProto,
        index: int,
        integers: NDArray[np.generic],
        scales: Array,
        axis: int,
    ) -> NodeProto:
        part = f"{node.name}_{'weight' if index < 2 else 'bias'}"
        copy.input[index] = f"{part}_dq"
        zeros = np.zeros(scales.shape, integers.dtype)
        names = [
            self._constant(f"{part}_q", integers),
            self._constant(f"{part}_scale", scales),
            self._constant(f"{part}_zero", zeros),
        ]
        return helper.make_node("DequantizeLinear", names, [f"{part}_dq"], f"{part}_dq", axis=axis)

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _dequantised(tensor: str, outputs: Collection[str]) -> str:
    return tensor if tensor in outputs else f"{tensor}_dq"


def _attribute(node: NodeProto, name: str) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), 0)


def _constants(model: ModelProto) -> dict[str, NDArray[np.float32]]:
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return values
