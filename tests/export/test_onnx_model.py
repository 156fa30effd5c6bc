from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper
from torch import nn

from edgekit.core.errors import InputError
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.measuring.placement import placement
from edgekit.devices.networks.lowering import lower
from edgekit.export.onnx_model import export_onnx, nodes_by_block
from edgekit.export.run import logits_of
from edgekit.search.mbconv.lowering import candidate_model
from edgekit.training.layers import folded
from edgekit.training.simulate import blocks_of
from tests.export.conftest import CANDIDATE, Exported


class Awkward(nn.Module):
    """What a network of someone else may do: norm before the convolution, dropout, a free mean."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=2, dilation=2),
            nn.BatchNorm2d(8),
            nn.SiLU(),
            nn.Dropout(0.5),
        )
        self.shared = nn.Conv2d(8, 8, 1)
        self.classifier = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(self.norm(x))
        y = torch.relu(self.shared(torch.relu(self.shared(y)))) + y
        return self.classifier(y.mean((2, 3), keepdim=True).flatten(1))


def test_the_export_answers_like_the_module(exported: Exported, digits_task: Task) -> None:
    x = digits_task.preprocessing.apply(digits_task.test.images[:50])
    with torch.no_grad():
        expected = exported.net.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(logits_of(exported.fp32, x), expected, rtol=0, atol=1e-4)


def test_exported_kernels_equal_those_of_the_model_written_directly(exported: Exported) -> None:
    """What the search measured and what is delivered are the same kernels in the same blocks."""
    weights = folded(exported.net).state_dict()
    direct = candidate_model(exported.space, CANDIDATE, weights)
    kernels = [
        [(placed.kernel, placed.block) for placed in lower(model)]
        for model in (exported.mixed, direct)
    ]
    assert kernels[0] == kernels[1]


def test_an_open_batch_costs_no_kernel(exported: Exported) -> None:
    for model in (exported.fp32, exported.mixed):
        fixed = ModelProto()
        fixed.CopyFrom(model)
        for value in (*fixed.graph.input, *fixed.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
        assert [p.kernel for p in lower(fixed)] == [p.kernel for p in lower(model)]


def test_every_node_is_named_by_its_block(exported: Exported) -> None:
    names = [node.name for node in exported.fp32.graph.node]
    assert len(set(names)) == len(names)
    blocks = nodes_by_block(exported.fp32)
    assert list(blocks) == ["stem", "b00", "b01", "b02", "b04", "b05", "head"]
    assert blocks["b01"] == (
        *("b01/expand.conv", "b01/expand.act", "b01/depthwise.conv", "b01/depthwise.act"),
        *("b01/project.conv", "b01/add"),
    )
    assert sum(map(len, blocks.values())) == len(names)


def test_nothing_is_left_that_is_not_needed(exported: Exported) -> None:
    graph = exported.fp32.graph
    assert {node.op_type for node in graph.node} == {
        *("Conv", "Clip", "Add", "GlobalAveragePool", "Flatten", "Gemm")
    }
    assert [value.name for value in graph.input] == ["input"]
    assert [value.name for value in graph.output] == ["logits"]
    used = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= used
    assert not graph.value_info
    assert not any(node.metadata_props for node in graph.node)


def test_exporting_prints_nothing_and_leaves_the_network_as_it_is(
    capfd: pytest.CaptureFixture[str],
) -> None:
    net = Awkward().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    model = export_onnx(net, 16, {"body": "body", "classifier": "classifier"})
    assert capfd.readouterr() == ("", "")
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    check_awkward(net.eval(), model)


def check_awkward(net: Awkward, model: ModelProto) -> None:
    """Blocks that were named, the rest outside; the answers of the module."""
    blocks = nodes_by_block(model)
    assert list(blocks) == ["body", "classifier"]
    outside = {node.name for node in model.graph.node} - {n for v in blocks.values() for n in v}
    assert {"shared", "shared_2"} <= outside
    operators = [node.op_type for node in model.graph.node]
    assert "GlobalAveragePool" in operators
    assert "Dropout" not in operators
    assert "Identity" not in operators
    conv = next(node for node in model.graph.node if node.name == "body/1")
    assert next(a for a in conv.attribute if a.name == "dilations").ints == [2, 2]
    x = np.random.default_rng(0).standard_normal((5, 3, 16, 16), dtype=np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(logits_of(model, x), expected, atol=1e-5)
    assert set(placement(model, Target()).values()) == {"CPUExecutionProvider"}


class Branching(nn.Module):
    """Its way depends on values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


class Features(nn.Module):
    """Returns something else than logits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def test_a_network_that_cannot_be_exported_is_refused_with_the_reason() -> None:
    with pytest.raises(InputError, match="must be exportable with an open batch"):
        export_onnx(Branching(), 8, {})


def test_a_network_without_logits_is_refused() -> None:
    with pytest.raises(InputError, match=r"must return one tensor \(batch, n_classes\)"):
        export_onnx(Features(), 8, {})


@pytest.mark.parametrize("resolution", [0, 2000])
def test_a_resolution_out_of_range_is_refused(resolution: int) -> None:
    with pytest.raises(InputError, match="a resolution is from 1 to 1024"):
        export_onnx(Features(), resolution, {})


def test_blocks_that_are_badly_named_are_refused_and_absent_ones_have_no_nodes() -> None:
    net = Awkward()
    assert "other" not in nodes_by_block(export_onnx(net, 8, {"other": "other"}))
    with pytest.raises(InputError, match="has no slash"):
        export_onnx(net, 8, {"body": "a/b"})


def test_batch_norms_are_folded(exported: Exported) -> None:
    weights = {t.name: numpy_helper.to_array(t) for t in exported.fp32.graph.initializer}
    expected = folded(exported.net).state_dict()
    for name in ("stem.conv.conv.weight", "blocks.b01.project.conv.bias"):
        np.testing.assert_array_equal(weights[name], expected[name].numpy())
    onnx.checker.check_model(exported.fp32, full_check=True)
    assert list(blocks_of(exported.net)) == list(nodes_by_block(exported.fp32))
