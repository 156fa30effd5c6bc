"""Who runs each node, asked from the runtime."""

from __future__ import annotations

import onnx
import pytest

from edgekit.core.errors import InputError, VerificationFailed
from edgekit.core.target import Target
from edgekit.devices.measuring.placement import placed_nodes, placement, require_provider
from edgekit.devices.networks.graph import GraphBuilder

LOCAL = Target("local")


def _network() -> onnx.ModelProto:
    net = GraphBuilder("placed", (1, 3, 8, 8))
    with net.block("stem"):
        x = net.conv(net.input, 8, 3, act="hardswish")
    return net.build(net.linear(net.flatten(net.global_pool(x)), 4))


def test_every_node_of_the_network_has_a_provider():
    found = placement(_network(), LOCAL)
    assert found["stem/conv"] == "CPUExecutionProvider"
    assert set(found.values()) == {"CPUExecutionProvider"}
    assert require_provider(_network(), LOCAL) == found


def test_unnamed_nodes_are_told_apart():
    model = _network()
    for node in model.graph.node:
        node.name = ""
    placed = placed_nodes(model, LOCAL)
    assert len({node.node for node in placed}) == len(placed)
    assert any(node.node.startswith("Conv_") and node.operator == "Conv" for node in placed)


def test_a_node_elsewhere_is_named_with_its_operator():
    with pytest.raises(VerificationFailed, match=r"stem/conv \(Conv\) on CPUExecutionProvider"):
        require_provider(_network(), LOCAL, "XnnpackExecutionProvider")


def test_a_broken_model_is_refused():
    with pytest.raises(InputError, match="must be able to load"):
        placement(b"no onnx", LOCAL)
