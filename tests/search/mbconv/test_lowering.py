"""Candidates as ONNX networks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import ModelProto

from edgekit.core.candidate import Candidate
from edgekit.core.precision import Precision
from edgekit.search.mbconv.lowering import candidate_model
from edgekit.search.mbconv.network import MBConvNet
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.space import int8_blocks
from edgekit.training.layers import folded
from tests.search.synthetic import drawn

MIXED = Candidate((1, 6, 5, 0, 1, 0, 0, 1, 0, 1))


def _run(model: ModelProto, x: torch.Tensor) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: row[None].numpy()})[0] for row in x])


def test_a_float_candidate_computes_what_its_module_does(space: MBConvSpace) -> None:
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for candidate in drawn(space, 4, 3):
        operations = candidate.genes[: space.n_positions]
        plain = Candidate((*operations, *([0] * (space.n_positions + 2))))
        torch.manual_seed(0)
        net = folded(MBConvNet(space, space.decode(plain)).to(memory_format=torch.channels_last))
        with torch.no_grad():
            expected = net(x).numpy()
        model = candidate_model(space, plain, net.state_dict())
        onnx.checker.check_model(model, full_check=True)
        np.testing.assert_allclose(_run(model, x), expected, atol=1e-5, rtol=1e-4)


def test_only_the_int8_blocks_carry_quantised_weights(space: MBConvSpace) -> None:
    assert int8_blocks(space, MIXED) == ("stem", "b02", "head")
    model = candidate_model(space, MIXED)
    int8 = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    # Three convolutions each in stem and block, one and the classifier in the head; each with its
    # zero points.
    counts = Counter(tensor.name.split("/")[0] for tensor in int8)
    assert counts == {"stem": 2 * 3, "b02": 2 * 3, "head": 2 * 2}


def test_nodes_bear_the_names_of_their_blocks(space: MBConvSpace) -> None:
    model = candidate_model(space, space.uniform(0, Precision.FP32))
    names = list(dict.fromkeys(node.name.split("/")[0] for node in model.graph.node))
    assert names == ["stem", "b00", "b01", "b02", "b03", "head"]


def test_input_and_output_are_one_image_and_its_logits(space: MBConvSpace) -> None:
    for candidate in (MIXED, space.largest(), space.smallest(Precision.INT8)):
        graph = candidate_model(space, candidate).graph
        shapes = [
            [d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in (*graph.input, *graph.output)
        ]
        assert shapes == [[1, 3, 32, 32], [1, 10]]


def test_random_weights_are_the_same_each_time(space: MBConvSpace) -> None:
    once, again = candidate_model(space, MIXED), candidate_model(space, MIXED)
    assert once.SerializeToString() == again.SerializeToString()


def test_int8_makes_the_model_smaller(space: MBConvSpace) -> None:
    sizes = [
        candidate_model(space, space.largest(precision)).ByteSize()
        for precision in (Precision.INT8, Precision.FP32)
    ]
    assert sizes[0] < 0.5 * sizes[1]
