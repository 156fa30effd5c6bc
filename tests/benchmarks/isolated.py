"""The baseline of isolated kernels: every node of the optimised model as a model of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from edgekit.core.kernel import Kernel
from edgekit.core.target import Target
from edgekit.devices.measuring.estimators import low_quantile_s
from edgekit.devices.measuring.session import create_session, session_options
from edgekit.devices.networks.lowering import ProfiledModel

_TYPES = {
    "float": TensorProto.FLOAT,
    "uint8": TensorProto.UINT8,
    "int8": TensorProto.INT8,
    "int64": TensorProto.INT64,
}
_NUMPY = {"float": np.float32, "uint8": np.uint8, "int8": np.int8, "int64": np.int64}
_LOOP_S = 0.006
_MIN_RUNS = 12


def isolated_times_s(models: Sequence[ModelProto], target: Target) -> NDArray[np.float64]:
    """(n_models,) sum over a network's kernels of each one's time alone, run hot, in seconds.

    What an empty model takes is subtracted from each: calling the runtime costs more than many
    kernels.
    """
    known: dict[Kernel, float] = {}
    call_s = _hot_s(_empty(), {"x": np.zeros(1, np.float32)}, target)
    totals_s = []
    for model in models:
        total_s = 0.0
        for kernel, single in _singles(model, target):
            if kernel not in known:
                feed = _feed(single, kernel.dtype)
                known[kernel] = max(0.0, _hot_s(single, feed, target) - call_s)
            total_s += known[kernel]
        totals_s.append(total_s)
    return np.array(totals_s)


def _singles(model: ModelProto, target: Target) -> Iterator[tuple[Kernel, ModelProto]]:
    """Every executed kernel, and the model of it alone."""
    profiled = ProfiledModel(model, target.n_threads)
    optimised = profiled.optimised()
    profiled.run()
    placed = profiled.close().placed
    constants = {tensor.name: tensor for tensor in optimised.graph.initializer}
    nodes = {node.name: node for node in optimised.graph.node}
    unnamed = [node for node in optimised.graph.node if not node.name]
    for kernel in placed:
        node = nodes.get(kernel.node)
        if node is None:
            node = next(n for n in unnamed if n.op_type == kernel.kernel.op)
            unnamed.remove(node)
        yield kernel.kernel, _single(node, kernel.kernel, constants, optimised)


def _single(
    node: NodeProto,
    kernel: Kernel,
    constants: dict[str, TensorProto],
    optimised: ModelProto,
) -> ModelProto:
    names = [name for name in node.input if name and name not in constants]
    inputs = [
        helper.make_tensor_value_info(name, _TYPES[kernel.dtype], shape)
        for name, shape in dict(zip(names, kernel.input_shapes, strict=False)).items()
    ]
    out_type = {"QuantizeLinear": "uint8", "DequantizeLinear": "float"}.get(kernel.op)
    if kernel.op in ("QGemm",) and len(node.input) < 8:
        out_type = "float"
    outputs = [
        helper.make_tensor_value_info(name, _TYPES[out_type or kernel.dtype], shape)
        for name, shape in zip(node.output, kernel.output_shapes, strict=False)
        if name
    ]
    graph = helper.make_graph(
        [node], "single", inputs, outputs, [constants[n] for n in node.input if n in constants]
    )
    return helper.make_model(
        graph, opset_imports=optimised.opset_import, ir_version=optimised.ir_version
    )


def _empty() -> ModelProto:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1,)) for name in "xy"]
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "empty", value[:1], value[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _feed(model: ModelProto, dtype: str) -> dict[str, NDArray[np.generic]]:
    rng = np.random.default_rng(0)
    return {
        value.name: rng.uniform(
            0, 100, [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        ).astype(_NUMPY[dtype])
        for value in model.graph.input
    }


def _hot_s(model: ModelProto, feed: dict[str, NDArray[np.generic]], target: Target) -> float:
    options = session_options(target.n_threads)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = create_session(model, options)
    names = [output.name for output in session.get_outputs()]
    times: list[float] = []
    deadline = time.perf_counter() + _LOOP_S
    while len(times) < _MIN_RUNS or time.perf_counter() < deadline:
        start = time.perf_counter()
        session.run(names, feed)
        times.append(time.perf_counter() - start)
    return low_quantile_s(np.array(times[2:]))
