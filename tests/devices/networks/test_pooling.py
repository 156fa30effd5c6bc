from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.devices.networks.pooling import pool_means


def mean_of(
    shape: list[int], axes: list[int], keepdims: int, result: list[int]
) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Relu", ["input"], ["relu"], "relu"),
        helper.make_node("ReduceMean", ["relu", "axes"], ["logits"], "mean", keepdims=keepdims),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, result)],
        [numpy_helper.from_array(np.array(axes, np.int64), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0]


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
@pytest.mark.parametrize(
    ("keepdims", "result", "nodes"),
    [
        (1, [2, 3, 1, 1], {"relu": "Relu", "mean": "GlobalAveragePool"}),
        (0, [2, 3], {"relu": "Relu", "mean": "GlobalAveragePool", "mean_flatten": "Flatten"}),
    ],
)
def test_a_mean_over_height_and_width_becomes_a_pool(
    axes: list[int], keepdims: int, result: list[int], nodes: dict[str, str]
):
    model = mean_of([2, 3, 4, 5], axes, keepdims, result)
    pooled = pool_means(model)
    onnx.checker.check_model(pooled, full_check=True)
    assert {node.name: node.op_type for node in pooled.graph.node} == nodes
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5), np.float32)
    np.testing.assert_allclose(run(pooled, x), run(model, x), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "axes", "result"),
    [
        ([2, 3, 4, 5], [1, 2], [2, 5]),
        ([2, 3, 4, 5], [3], [2, 3, 4]),
        ([2, 3, 4, 5, 6], [2, 3], [2, 3, 6]),
    ],
)
def test_other_means_stay(shape: list[int], axes: list[int], result: list[int]):
    model = mean_of(shape, axes, 0, result)
    assert pool_means(model).SerializeToString() == model.SerializeToString()
