from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgekit.core.errors import InputError
from edgekit.devices.networks.graph import ACTIVATIONS, GraphBuilder


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0]


def arange(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_a_given_weight_and_bias_are_what_the_conv_computes():
    net = GraphBuilder("conv", (1, 2, 2, 2))
    weight = np.array([[2, -1], [0, 3]], np.float32).reshape(2, 2, 1, 1)
    x = net.conv(net.input, 2, 1, weight=weight, bias=np.array([1, -5], np.float32))
    image = np.array([[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]], np.float32)
    # channel 0: 2a - b + 1, channel 1: 3b - 5
    expected = [[[[-2, -1], [0, 1]], [[10, 13], [16, 19]]]]
    assert run(net.build(x), image).tolist() == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("relu", [0, 0, 0, 1.5, 7]),
        ("relu6", [0, 0, 0, 1.5, 6]),
        ("hardswish", [0, -0.375, 0, 1.125, 7]),
        ("hardsigmoid", [0, 0.25, 0.5, 0.75, 1]),
        ("sigmoid", [0.0179862, 0.1824255, 0.5, 0.8175745, 0.9990889]),
        ("silu", [-0.0719448, -0.2736383, 0, 1.2263617, 6.9936224]),
        ("gelu", [-0.0001267, -0.1002108, 0, 1.3997892, 7]),
    ],
)
def test_activations(kind: str, expected: list[float]):
    net = GraphBuilder("act", (1, 1, 1, 5))
    x = np.array([-4, -1.5, 0, 1.5, 7], np.float32).reshape(1, 1, 1, 5)
    result = run(net.build(net.act(net.input, kind)), x)
    np.testing.assert_allclose(result.ravel(), expected, atol=1e-5)


def test_every_activation_is_tested():
    marks = test_activations.pytestmark[0].args[1]
    assert {kind for kind, _ in marks} == set(ACTIVATIONS)


def test_channel_shuffle_interleaves_the_groups():
    net = GraphBuilder("shuffle", (1, 6, 1, 1))
    shuffled = run(net.build(net.channel_shuffle(net.input, 2)), arange(1, 6, 1, 1))
    assert shuffled.ravel().tolist() == [0, 3, 1, 4, 2, 5]


def test_split_and_concat_are_inverse():
    net = GraphBuilder("split", (1, 6, 2, 2))
    left, right = net.split(net.input, 2)
    image = arange(1, 6, 2, 2)
    result = run(net.build(net.concat([right, left])), image)
    assert result.tolist() == np.concatenate([image[:, 3:], image[:, :3]], axis=1).tolist()


def every_operator() -> tuple[GraphBuilder, str]:
    net = GraphBuilder("all", (1, 3, 16, 16), seed=3)
    with net.block("stem"):
        x = net.conv(net.input, 16, 3, stride=2, act="relu6")
        x = net.add(x, net.conv(x, 16, 5, groups=16), act="relu")
        x = net.mul(x, net.conv(net.global_pool(x), 16, 1, act="sigmoid"))
        x = net.concat([net.max_pool(x, 3, 2), net.avg_pool(x, 3, 2)])
    with net.block("mixer"):
        with net.block("tokens"):
            x = net.transpose(net.reshape(x, (1, 32, 16)), (0, 2, 1))
        y = net.gelu(net.bias(net.matmul(net.layer_norm(x), 24)))
        y = net.softmax(net.scale(net.matmul(y, net.transpose(y, (0, 2, 1))), 0.5))
        x = net.matmul(y, x)
    return net, net.linear(net.flatten(x), 5)


def test_every_operator_runs_with_the_shape_the_builder_says():
    net, output = every_operator()
    model = net.build(output)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 10
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    shapes = {node.output[0]: net.shape(node.output[0]) for node in model.graph.node[:-1]}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in shapes)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    results = session.run(list(shapes), {"input": arange(1, 3, 16, 16) / 768})
    assert {name: array.shape for name, array in zip(shapes, results, strict=True)} == shapes


def test_every_node_has_a_name_of_its_own_that_starts_with_its_block():
    net, output = every_operator()
    names = [node.name for node in net.build(output).graph.node]
    assert len(set(names)) == len(names)
    assert names[:2] == ["stem/conv", "stem/conv_act"]
    assert any(name.startswith("mixer/tokens/") for name in names)
    assert names[-1] == "linear"


def test_the_seed_decides_the_weights():
    def written(seed: int) -> bytes:
        net = GraphBuilder("seeded", (1, 3, 8, 8), seed=seed)
        return net.build(net.conv(net.input, 8, 3)).SerializeToString()

    assert written(1) == written(1)
    assert written(1) != written(2)


def test_an_open_batch_takes_any_batch():
    net = GraphBuilder("batch", (1, 4, 4, 4))
    x = net.channel_shuffle(net.conv(net.input, 4, 3), 2)
    model = net.build(net.linear(net.flatten(x), 3), dynamic_batch=True)
    assert run(model, arange(5, 4, 4, 4)).shape == (5, 3)


def test_a_tensor_may_be_both_output_and_input_of_others():
    net = GraphBuilder("reread", (1, 4, 2, 2))
    x = net.conv(net.input, 4, 1)
    net.act(x, "relu")
    assert run(net.build(x), arange(1, 4, 2, 2)).shape == (1, 4, 2, 2)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda net: net.conv(net.input, 8, 3, groups=3), "groups must divide"),
        (lambda net: net.conv(net.input, 8, 3, weight=np.ones((8, 4, 1, 1), "f")), "needs weight"),
        (lambda net: net.act(net.input, "tanh"), "got 'tanh'"),
        (lambda net: net.split(net.input, 3), "that 3 divides, got 4"),
    ],
)
def test_wrong_arguments_are_named(write, message: str):
    with pytest.raises(InputError, match=message):
        write(GraphBuilder("wrong", (1, 4, 8, 8)))


def test_an_input_shape_has_four_positive_numbers():
    with pytest.raises(InputError, match="four numbers above 0"):
        GraphBuilder("wrong", (1, 3, 0, 32))
