from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.devices.networks.families import (
    FAMILIES,
    mbconv_random,
    quantise_whole,
    resnet_random,
)
from edgekit.devices.networks.lowering import lower

INT8_OPS = {"QLinearConv", "QLinearMatMul", "QGemm"}


def small(name: str, seed: int = 0, resolution: int = 32) -> onnx.ModelProto:
    return FAMILIES[name](seed, resolution, 8, 0.25)


def convs(model: onnx.ModelProto) -> list[tuple[tuple[int, ...], int, int]]:
    """(weight shape, group, stride) of every convolution."""
    dims = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            values = {
                entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute
            }
            found.append((dims[node.input[1]], values["group"], values["strides"][0]))
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_runs_in_float_and_int8(name: str):
    model = small(name)
    onnx.checker.check_model(model, full_check=True)
    floats, integers = lower(model), lower(quantise_whole(model))
    assert floats[-1].kernel.output_shapes == ((1, 10),)
    assert integers[-1].kernel.output_shapes == ((1, 10),)
    assert all(placed.block for placed in (*floats, *integers))
    n_weighted = sum(node.op_type in ("Conv", "Gemm") for node in model.graph.node)
    n_matmul = sum(node.op_type == "MatMul" for node in model.graph.node)
    assert sum(placed.kernel.op in INT8_OPS for placed in integers) == n_weighted + n_matmul


@pytest.mark.parametrize("name", FAMILIES)
def test_the_arguments_decide_a_network(name: str):
    again = small(name).SerializeToString(deterministic=True)
    assert small(name).SerializeToString(deterministic=True) == again
    assert small(name, seed=1).SerializeToString(deterministic=True) != again
    shape = small(name, resolution=96).graph.input[0].type.tensor_type.shape
    assert [dim.dim_value for dim in shape.dim] == [1, 3, 96, 96]


@pytest.mark.parametrize("multiple", [8, 16])
def test_widths_are_multiples(multiple: int):
    for name in ("mbconv_random", "resnet_random", "mobilenet_v2", "densenet", "shufflenet_v2"):
        for weight, group, _ in convs(FAMILIES[name](0, 32, multiple, 0.5)):
            assert weight[0] % multiple == 0, name
            assert group == 1 or weight[1] * group % multiple == 0, name


def test_random_mbconv_networks_cover_the_space():
    seen: Counter[tuple[str, int]] = Counter()
    for seed in range(30):
        model = mbconv_random(seed, (32, 128, 224)[seed % 3], 8)
        sizes = {
            value.name: value
            for value in onnx.shape_inference.infer_shapes(model).graph.value_info
        }
        for node, (weight, group, stride) in zip(
            (node for node in model.graph.node if node.op_type == "Conv"),
            convs(model),
            strict=True,
        ):
            output = sizes[node.output[0]].type.tensor_type.shape
            seen["size", output.dim[2].dim_value] += 1
            if group > 1:
                seen["kernel", weight[2]] += 1
                seen["stride", stride] += 1
            elif node.name.endswith("expand"):
                seen["expansion", weight[0] // weight[1]] += 1
                seen["width", weight[1]] += 1
    found = {kind: {value for k, value in seen if k == kind} for kind, _ in seen}
    assert found["kernel"] == {3, 5, 7}
    assert found["expansion"] == {3, 6}
    assert found["stride"] == {1, 2}
    assert min(found["size"]) <= 4
    assert max(found["size"]) == 112
    assert min(found["width"]) <= 24
    assert max(found["width"]) >= 256


def test_random_residual_networks_cover_kernels_and_groups():
    found = {
        (weight[2], group)
        for seed in range(20)
        for weight, group, _ in convs(resnet_random(seed, 32))
    }
    assert {(1, 1), (3, 1), (5, 1), (3, 4), (5, 4)} <= found


def test_macs_of_mobilenet_v2_are_those_of_the_paper():
    model = FAMILIES["mobilenet_v2"](0, 224, 8)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.output)
    }
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    macs = sum(
        weights[node.input[1]].size * int(np.prod(shapes[node.output[0]][2:]))
        for node in model.graph.node
        if node.op_type in ("Conv", "Gemm")
    )
    assert macs == pytest.approx(300e6, rel=0.02)
