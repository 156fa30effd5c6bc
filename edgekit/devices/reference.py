"""Fixed reference kernels: how fast the machine is right now, said by work that never changes."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekit.devices.session import open_session, random_inputs

OPSET = 20
IR_VERSION = 10
KERNELS = ("conv_fp32", "conv_int8", "memory")
_CHANNELS = 32
_SIZE = 28
_MEMORY_VALUES = 2**19
_N_RUNS = 3


class ReferenceKernels:
    """Three tiny resident models: an fp32 convolution, an int8 one, and one bound by memory.

    Example:
        >>> reference = ReferenceKernels(n_threads=1)
        >>> len(reference.time_s())
        3
    """

    def __init__(self, n_threads: int) -> None:
        """Open the sessions and warm them up."""
        self._runs = tuple(_runner(model, n_threads) for model in reference_models())
        for _ in range(10):
            self.time_s()

    def time_s(self) -> tuple[float, ...]:
        """One time per kernel, in seconds: the median of three runs after one discarded run."""
        return tuple(_median_s(run) for run in self._runs)


def reference_models() -> tuple[onnx.ModelProto, ...]:
    """The models behind ``KERNELS``, in that order. The weights are fixed."""
    return _conv_fp32(), _conv_int8(), _memory()


def _runner(model: onnx.ModelProto, n_threads: int) -> Callable[[], object]:
    session = open_session(model, n_threads=n_threads)
    feed = random_inputs(session, seed=0)
    names = [output.name for output in session.get_outputs()]
    return lambda: session.run(names, feed)


def _median_s(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(_N_RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return sorted(times)[_N_RUNS // 2]


def _model(
    nodes: list[onnx.NodeProto],
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
    weights: dict[str, NDArray[np.generic]],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)


def _conv_fp32() -> onnx.ModelProto:
    shape = (1, _CHANNELS, _SIZE, _SIZE)
    weight = np.random.default_rng(0).standard_normal((_CHANNELS, _CHANNELS, 3, 3), np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    return _model([node], shape, shape, {"w": weight / 17})


def _conv_int8() -> onnx.ModelProto:
    shape = (1, _CHANNELS, _SIZE, _SIZE)
    weight = np.random.default_rng(0).integers(-90, 91, (_CHANNELS, _CHANNELS, 3, 3), np.int8)
    weights: dict[str, NDArray[np.generic]] = {
        "w": weight,
        "scale": np.array(0.03, np.float32),
        "zero": np.array(128, np.uint8),
        "w_scale": np.array(0.001, np.float32),
        "w_zero": np.array(0, np.int8),
    }
    grid = ["scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *grid], ["xq"]),
        helper.make_node(
            "QLinearConv",
            ["xq", *grid, "w", "w_scale", "w_zero", *grid],
            ["yq"],
            pads=[1, 1, 1, 1],
        ),
        helper.make_node("DequantizeLinear", ["yq", *grid], ["y"]),
    ]
    return _model(nodes, shape, shape, weights)


def _memory() -> onnx.ModelProto:
    shape = (1, _MEMORY_VALUES)
    values = np.random.default_rng(0).standard_normal(shape, np.float32)
    return _model([helper.make_node("Add", ["x", "w"], ["y"])], shape, shape, {"w": values})
