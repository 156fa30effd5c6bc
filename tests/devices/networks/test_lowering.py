from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.errors import EdgekitError, InputError
from edgekit.core.kernel import PlacedKernel
from edgekit.devices.networks.families import quantise_whole
from edgekit.devices.networks.graph import GraphBuilder
from edgekit.devices.networks.lowering import KernelTimes, ProfiledModel, lower
from edgekit.devices.networks.qdq import insert_qdq, tensors_to_calibrate


def net_of(act: str = "relu6", n_blocks: int = 2) -> GraphBuilder:
    net = GraphBuilder("net", (1, 3, 16, 16))
    with net.block("stem"):
        x = net.conv(net.input, 16, 3, stride=2, act=act)
    for index in range(n_blocks):
        with net.block(f"b{index}"):
            y = net.conv(x, 48, 1, act=act, name="expand")
            y = net.conv(y, 48, 5, groups=48, act=act, name="depthwise")
            x = net.add(x, net.conv(y, 16, 1, name="project"))
    with net.block("head"):
        net.linear(net.flatten(net.global_pool(x)), 10)
    return net


def model_of(act: str = "relu6"):
    return net_of(act).build("head/linear")


def kernels(placed: tuple[PlacedKernel, ...]):
    return [each.kernel for each in placed]


def by_node(placed: tuple[PlacedKernel, ...], node: str) -> PlacedKernel:
    return next(each for each in placed if each.node.startswith(node))


def test_a_float_conv_has_its_shapes_and_attributes():
    placed = by_node(lower(model_of()), "b0/depthwise")
    kernel = placed.kernel
    assert (kernel.op, kernel.domain, kernel.dtype) == ("Conv", "com.microsoft.nchwc", "float")
    assert kernel.input_shapes == ((1, 48, 8, 8),)
    assert kernel.weight_shapes == ((48, 1, 5, 5), (48,))
    assert kernel.output_shapes == ((1, 48, 8, 8),)
    assert kernel.provider == "CPUExecutionProvider"
    assert kernel.attribute("kernel_shape", 0) == (5, 5)
    assert kernel.attribute("pads", 0) == (2, 2, 2, 2)
    assert kernel.attribute("group", 0) == 48
    assert kernel.attribute("activation", "") == "Clip"
    assert placed.block == "b0"


def test_a_fused_residual_is_an_attribute_and_an_input():
    placed = lower(model_of())
    project = by_node(placed, "b0/").kernel, by_node(placed, "b0/project").kernel
    assert [kernel.attribute("fused_add", -1) for kernel in project] == [0, 1]
    assert project[1].input_shapes == ((1, 48, 8, 8), (1, 16, 8, 8))


def test_an_int8_conv_keeps_its_weight_shapes_but_not_its_scales():
    placed = by_node(lower(quantise_whole(model_of())), "b1/expand")
    assert placed.kernel.op == "QLinearConv"
    assert placed.kernel.dtype == "uint8"
    assert placed.kernel.input_shapes == ((1, 8, 8, 16),)  # channels last
    assert placed.kernel.weight_shapes[0] == (48, 16, 1, 1)
    first, second = (lower(quantise_whole(model_of(), seed)) for seed in (0, 1))
    assert kernels(first) == kernels(second)


def test_every_kernel_belongs_to_a_block_in_order():
    for model in (model_of(), quantise_whole(model_of())):
        blocks = [each.block for each in lower(model)]
        assert list(dict.fromkeys(blocks)) == ["stem", "b0", "b1", "head"]
        assert blocks == sorted(blocks, key=["stem", "b0", "b1", "head"].index)


def test_nodes_at_a_border_go_to_the_block_that_made_their_tensor():
    model = model_of()
    nodes = [node.name for node in model.graph.node if node.name.startswith("b1/")]
    ranges = {
        name: (0.0, 6.0) if name.endswith("_act") else (-3.0, 3.0)
        for name in tensors_to_calibrate(model, nodes)
    }
    placed = lower(insert_qdq(model, nodes, ranges))
    border = {each.kernel.op: each.block for each in placed if "Linear" in each.kernel.op}
    assert border["QuantizeLinear"] == "b0"
    assert border["DequantizeLinear"] == "b1"
    assert by_node(placed, "b0/project").block == "b0"
    assert all(each.block for each in placed)


@pytest.mark.parametrize("act", ["relu6", "silu", "hardswish"])
def test_two_sessions_give_equal_kernels(act: str):
    for model in (model_of(act), quantise_whole(model_of(act))):
        data = model.SerializeToString()
        first = lower(data)
        for _ in range(2):
            again = lower(data)
            assert kernels(again) == kernels(first)
            assert [each.block for each in again] == [each.block for each in first]


def test_nodes_that_the_runtime_leaves_without_a_name_are_joined():
    placed = lower(quantise_whole(model_of("hardswish")))
    assert [each.kernel.op for each in placed].count("HardSigmoid") == 5
    assert all(each.node and each.block for each in placed)


def test_equal_blocks_lower_to_equal_kernels():
    placed = lower(model_of())
    first, second = (
        [each.kernel for each in placed if each.block == block and each.kernel.op == "Conv"]
        for block in ("b0", "b1")
    )
    assert first == second


def test_a_symbolic_batch_is_lowered_as_one_image():
    opened = net_of().build("head/linear", dynamic_batch=True)
    assert by_node(lower(opened), "stem/conv").kernel.input_shapes == ((1, 3, 16, 16),)


def test_profiled_runs_are_kept_one_by_one():
    profiled = ProfiledModel(model_of())
    for _ in range(7):
        profiled.run()
    times = profiled.close()
    assert times.durations_s.shape == (7, len(times.placed))
    assert times.started_s.shape == (7,)
    assert np.all(np.diff(times.started_s) > 0)
    assert np.all(times.durations_s >= 0)
    assert times.durations_s.sum() > 0
    assert kernels(times.placed) == kernels(lower(model_of()))


def test_the_fastest_share_is_a_mean():
    durations = np.array(
        [[5, 1], [3, 9], [4, 2], [9, 3], [2, 8], [7, 7], [8, 6], [6, 5], [1, 4], [10, 10]]
    )
    times = KernelTimes((), durations * 1e-6, np.arange(10.0))
    np.testing.assert_allclose(times.fastest_s(), [2e-6, 2e-6])
    np.testing.assert_allclose(times.fastest_s(0.01), [1e-6, 1e-6])


def test_a_profile_without_a_run_is_refused():
    with pytest.raises(EdgekitError, match="run the model at least once"):
        ProfiledModel(model_of()).close()


def test_what_the_runtime_does_not_load_is_refused():
    with pytest.raises(InputError, match="ONNX Runtime"):
        lower(b"not a model")
