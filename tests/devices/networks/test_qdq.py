from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgekit.core.errors import InputError
from edgekit.core.target import Target
from edgekit.devices.networks.graph import GraphBuilder
from edgekit.devices.networks.qdq import (
    activation_scale,
    insert_qdq,
    tensors_to_calibrate,
    typical_ranges,
    weight_scales,
)
from edgekit.devices.probe import probe

Ranges = Mapping[str, tuple[float, float]]
WEIGHT_MAX = probe(Target()).int8_weight_max


def run(model: onnx.ModelProto, x: np.ndarray, names: list[str] | None = None) -> list[np.ndarray]:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {value.name for value in model.graph.output}
    copy.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names or [] if name not in known
    )
    session = ort.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(names, {"input": x})


def image(model: onnx.ModelProto, seed: int) -> np.ndarray:
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def calibrated(model: onnx.ModelProto, nodes: Collection[str]) -> Ranges:
    """Ranges over eight images: over one, the next image would be clipped."""
    names = [name for name in tensors_to_calibrate(model, nodes) if name != "input"]
    seen: dict[str, list[float]] = {}
    for seed in range(10, 18):
        x = image(model, seed)
        for name, value in zip(["input", *names], [x, *run(model, x, names)], strict=True):
            seen.setdefault(name, []).extend([float(value.min()), float(value.max())])
    return {name: (min(ends), max(ends)) for name, ends in seen.items()}


def quantised(model: onnx.ModelProto, nodes: Collection[str]) -> onnx.ModelProto:
    result = insert_qdq(model, nodes, calibrated(model, nodes), weight_max=WEIGHT_MAX)
    onnx.checker.check_model(result, full_check=True)
    return result


def fused_ops(model: onnx.ModelProto, folder: Path) -> Counter[str]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimised = onnx.load(folder / "optimised.onnx")
    return Counter(node.op_type for node in optimised.graph.node)


def sqnr_db(model: onnx.ModelProto, other: onnx.ModelProto) -> float:
    x = image(model, seed=1)
    exact, rounded = run(model, x)[0], run(other, x)[0]
    return float(10 * np.log10((exact**2).sum() / ((exact - rounded) ** 2).sum()))


def mobile_net() -> onnx.ModelProto:
    net = GraphBuilder("mobile", (1, 3, 16, 16))
    with net.block("stem"):
        x = net.conv(net.input, 16, 3, act="relu6")
    for index, stride in enumerate((1, 1, 2)):
        with net.block(f"b{index}"):
            y = net.conv(x, 48, 1, act="relu6", name="expand")
            y = net.conv(y, 48, 3, stride=stride, groups=48, act="relu6", name="depthwise")
            y = net.conv(y, 16, 1, name="project")
            x = net.add(x, y) if stride == 1 else y
    with net.block("head"):
        x = net.conv(x, 32, 1, act="relu6")
        x = net.linear(net.flatten(net.global_pool(x)), 10)
    return net.build(x)


def of_blocks(model: onnx.ModelProto, *blocks: str) -> list[str]:
    return [node.name for node in model.graph.node if node.name.split("/")[0] in blocks]


@pytest.mark.parametrize(
    ("lo", "hi", "scale", "zero_point"),
    [
        (-1.0, 4.1, 5.1 / 255, 50),  # 1 / 0.02
        (0.0, 6.0, 6 / 255, 0),
        (2.0, 5.1, 5.1 / 255, 0),  # widened down to 0
        (-5.1, -2.0, 5.1 / 255, 255),  # widened up to 0
        (-2.54, 2.56, 5.1 / 255, 127),
    ],
)
def test_activation_scale_by_hand(lo: float, hi: float, scale: float, zero_point: int):
    found = activation_scale(lo, hi)
    assert found[0] == np.float32(scale)
    assert found[1] == zero_point
    assert found[0].dtype == np.float32


def test_a_range_of_nothing_still_has_a_scale():
    scale, zero_point = activation_scale(0.0, 0.0)
    assert scale > 0
    assert zero_point == 0


@pytest.mark.parametrize("wrong", [(1.0, -1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_a_range_must_be_finite_and_in_order(wrong: tuple[float, float]):
    with pytest.raises(InputError, match="two finite numbers"):
        activation_scale(*wrong)


def test_weight_scales_by_hand():
    weight = np.array([[1.0, -2.54], [0.127, 0.0], [0.0, 0.0]], np.float32).reshape(3, 2, 1, 1)
    np.testing.assert_allclose(weight_scales(weight), [0.02, 0.001, 1.0], rtol=1e-6)


def test_the_bias_of_a_dead_channel_fits_int32():
    weight = np.array([[1e-12], [1.0]], np.float32)
    bias = np.array([0.5, 0.5], np.float32)
    scales = weight_scales(weight, bias, 0.02)
    assert np.all(np.abs(bias / (0.02 * scales)) <= 2**30 * 1.001)
    assert scales[1] == np.float32(1 / 127)


def test_one_conv_gives_what_integer_arithmetic_gives():
    net = GraphBuilder("one", (1, 4, 8, 8))
    weight = np.random.default_rng(5).uniform(-1, 1, (6, 4, 1, 1)).astype(np.float32)
    bias = np.linspace(-1, 1, 6, dtype=np.float32)
    model = net.build(net.conv(net.input, 6, 1, weight=weight, bias=bias))
    ranges = {"input": (-1.0, 4.1), "logits": (-5.1, 5.1)}
    result = insert_qdq(model, ["conv"], ranges, weight_max=WEIGHT_MAX)
    x = np.random.default_rng(6).uniform(-1, 4, (1, 4, 8, 8)).astype(np.float32)

    scales = np.abs(weight).max(axis=(1, 2, 3)) / WEIGHT_MAX
    integer_x = np.clip(np.rint(x / np.float32(0.02)) + 50, 0, 255) - 50
    integer_w = np.rint(weight[:, :, 0, 0] / scales[:, None])
    integer_b = np.rint(bias / (0.02 * scales))
    sums = np.einsum("oc,nchw->nohw", integer_w, integer_x) + integer_b[None, :, None, None]
    # range -5.1..5.1: scale 0.04, zero point 127.5 rounded to even
    levels = np.clip(np.rint(sums * (0.02 * scales / 0.04)[None, :, None, None]) + 128, 0, 255)

    found = run(result, x)[0] / np.float32(0.04) + 128
    difference = np.abs(found - levels)
    assert difference.max() < 1.01
    assert (difference > 0.01).mean() < 0.01


def test_a_whole_network_is_fused(tmp_path: Path):
    model = mobile_net()
    result = quantised(model, [node.name for node in model.graph.node])
    assert fused_ops(result, tmp_path) == {
        "QuantizeLinear": 1,
        "Transpose": 2,
        "QLinearConv": 11,
        "QLinearAdd": 2,
        "QLinearGlobalAveragePool": 1,
        "Flatten": 1,
        "QGemm": 1,
    }
    assert sqnr_db(model, result) > 25


def test_range_ends_of_an_activation_are_still_fused(tmp_path: Path):
    model = mobile_net()
    nodes = [node.name for node in model.graph.node]
    ranges = {
        name: (0.0, 6.0) if name.endswith("_act") else (-3.0, 3.0)
        for name in tensors_to_calibrate(model, nodes)
    }
    assert "Clip" not in fused_ops(insert_qdq(model, nodes, ranges), tmp_path)


@pytest.mark.parametrize(
    ("blocks", "n_int8"),
    [(("stem",), 1), (("b0", "b2"), 6), (("b1",), 3), (("head",), 1), (("stem", "b0", "b1"), 7)],
)
def test_mixed_blocks_run_and_stay_close(blocks: tuple[str, ...], n_int8: int, tmp_path: Path):
    model = mobile_net()
    result = quantised(model, of_blocks(model, *blocks))
    ops = fused_ops(result, tmp_path)
    assert ops["QLinearConv"] == n_int8
    assert ops["Conv"] == 11 - n_int8
    assert sqnr_db(model, result) > 25


def test_a_tensor_has_one_pair_and_a_float_reader_sees_what_was_rounded():
    model = mobile_net()
    graph = quantised(model, of_blocks(model, "b0")).graph
    reads = {node.name: list(node.input) for node in graph.node}
    pairs = [node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert len(set(pairs)) == len(pairs)
    # the stem is float: only the quantised block reads its rounded output
    assert reads["b0/expand"][0] == "stem/conv_act_dq"
    # b0 is int8: the float block after it reads the rounded tensor, twice
    assert reads["b1/expand"][0] == "b0/add_dq"
    assert reads["b1/add"][0] == "b0/add_dq"
    assert reads["b1/depthwise"][0] == "b1/expand_act"


def test_a_float_reader_of_a_float_tensor_is_not_rounded():
    net = GraphBuilder("fork", (1, 8, 8, 8))
    x = net.conv(net.input, 8, 1, name="first")
    one, two = net.conv(x, 8, 1, name="int8"), net.conv(x, 8, 1, name="fp32")
    model = net.build(net.add(one, two))
    reads = {node.name: list(node.input) for node in quantised(model, ["int8"]).graph.node}
    assert reads["int8"][0] == "first_dq"
    assert reads["fp32"][0] == "first"


def test_operators_that_move_values_keep_the_scale(tmp_path: Path):
    net = GraphBuilder("pooled", (1, 3, 16, 16))
    x = net.max_pool(net.conv(net.input, 16, 3, act="relu"), 3, 2)
    left, right = net.split(x, 2)
    x = net.concat([net.conv(left, 16, 1), right])
    model = net.build(net.linear(net.flatten(x), 4))
    nodes = [node.name for node in model.graph.node]
    assert tensors_to_calibrate(model, nodes) == ("input", "conv_act", "conv_2", "concat")
    ops = fused_ops(quantised(model, nodes), tmp_path)
    assert ops["QuantizeLinear"] == 1
    assert ops["DequantizeLinear"] == 0
    assert ops["NhwcMaxPool"] == 1


def test_residual_networks_are_fused_through_relu(tmp_path: Path):
    net = GraphBuilder("residual", (1, 3, 16, 16))
    x = net.conv(net.input, 16, 3, act="relu")
    x = net.add(x, net.conv(net.conv(x, 16, 3, act="relu"), 16, 3), act="relu")
    model = net.build(net.linear(net.flatten(net.global_pool(x)), 4))
    result = quantised(model, [node.name for node in model.graph.node])
    ops = fused_ops(result, tmp_path)
    assert ops["QLinearAdd"] == 1
    assert ops["Relu"] == 0
    assert sqnr_db(model, result) > 25


def test_a_lone_float_conv_between_int8_ones_is_run_in_int8_by_the_runtime(tmp_path: Path):
    net = GraphBuilder("between", (1, 3, 16, 16))
    x = net.conv(net.input, 16, 3, act="relu6", name="first")
    x = net.conv(x, 16, 3, act="relu6", name="between")
    model = net.build(net.global_pool(net.conv(x, 16, 3, act="relu6", name="last")))
    result = quantised(model, ["first", "first_act", "last", "last_act"])
    ops = fused_ops(result, tmp_path)
    assert ops["QLinearConv"] == 3
    assert ops["Conv"] == 0


def test_attention_is_fused(tmp_path: Path):
    net = GraphBuilder("attention", (1, 16, 4, 4))
    x = net.transpose(net.reshape(net.input, (1, 16, 16)), (0, 2, 1))
    q, k, v = (net.bias(net.matmul(net.layer_norm(x), 16)) for _ in range(3))
    y = net.softmax(net.scale(net.matmul(q, net.transpose(k, (0, 2, 1))), 0.25))
    model = net.build(net.add(x, net.matmul(y, v)))
    result = quantised(model, [node.name for node in model.graph.node])
    ops = fused_ops(result, tmp_path)
    assert ops["QLinearMatMul"] == 5
    assert ops["QLinearSoftmax"] == 1
    assert sqnr_db(model, result) > 25


def test_an_operator_without_an_int8_kernel_stays_in_float():
    net = GraphBuilder("swish", (1, 8, 8, 8))
    x = net.conv(net.input, 8, 3, act="hardswish")
    model = net.build(net.conv(x, 8, 1))
    nodes = [node.name for node in model.graph.node]
    result = quantised(model, nodes)
    assert tensors_to_calibrate(model, nodes) == ("input", "conv", "conv_act", "logits")
    assert sqnr_db(model, result) > 25


def test_a_missing_range_is_named():
    model = mobile_net()
    nodes = of_blocks(model, "b0")
    ranges = {**calibrated(model, nodes)}
    del ranges["b0/depthwise_act"]
    with pytest.raises(InputError, match="'b0/depthwise_act' has none"):
        insert_qdq(model, nodes, ranges)


def test_an_unknown_node_is_named():
    with pytest.raises(InputError, match="got 'b9/expand'"):
        tensors_to_calibrate(mobile_net(), ["b9/expand"])


def test_nothing_to_quantise_leaves_the_network_as_it_is():
    model = mobile_net()
    assert insert_qdq(model, [], {}).SerializeToString() == model.SerializeToString()


def test_shapes_that_are_computed_are_not_quantised() -> None:
    """As torch writes a view of an open batch: Shape, Gather, Concat, Reshape."""
    helper = onnx.helper
    four = onnx.numpy_helper.from_array(np.array([4], np.int64), "four")
    zero = onnx.numpy_helper.from_array(np.array([0], np.int64), "zero")
    nodes = [
        helper.make_node("Relu", ["input"], ["relu"], "b/relu"),
        helper.make_node("Shape", ["relu"], ["shape"], "b/shape"),
        helper.make_node("Gather", ["shape", "zero"], ["batch"], "b/gather"),
        helper.make_node("Concat", ["batch", "four"], ["sizes"], "b/concat", axis=0),
        helper.make_node("Reshape", ["relu", "sizes"], ["output"], "b/reshape"),
    ]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("input", [2, 2, 2]), ("output", [2, 4]))
    ]
    graph = helper.make_graph(nodes, "view", ends[:1], ends[1:], [four, zero])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    names = [node.name for node in nodes]
    assert not {"sizes", "shape", "batch"} & set(tensors_to_calibrate(model, names))
    result = quantised(model, names)
    x = image(model, 0)
    np.testing.assert_allclose(run(result, x)[0], run(model, x)[0], atol=0.05)


def test_typical_ranges_begin_at_zero_behind_a_relu_alone() -> None:
    graph = GraphBuilder("net", (1, 3, 8, 8))
    with graph.block("b"):
        x = graph.conv(graph.input, 8, 3, act="relu")
        y = graph.conv(x, 8, 3, act=None)
        model = graph.build(graph.add(x, y))
    ranges = typical_ranges(model, [node.name for node in model.graph.node])
    assert set(ranges) == set(tensors_to_calibrate(model, [n.name for n in model.graph.node]))
    assert ranges[x][0] == 0
    assert ranges[y][0] < 0 < ranges[y][1]
    assert ranges["input"][0] < 0
