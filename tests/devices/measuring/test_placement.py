"""Who runs each node, asked from the runtime."""

from __future__ import annotations

import onnx
import pytest

from edgekit.core.errors import InputError, VerificationFailed
from edgekit.core.target import Target
from edgekit.devices.measuring.measure import measure_models
from edgekit.devices.measuring.placement import (
    placed_nodes,
    placement,
    require_provider,
    why_strayed,
)
from edgekit.devices.networks.graph import GraphBuilder
from tests.devices.real import need, small_network, with_an_odd_node
from tests.line import patient

LOCAL = Target("local")
QNN = Target("local?ep=qnn", require=True)


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


def test_a_node_the_provider_has_not_is_named_with_operator_and_reason():
    need("qnn")
    with pytest.raises(
        VerificationFailed,
        match=r"1 of 5 do not: odd \(Erf\) on CPUExecutionProvider: "
        r"the provider does not take Erf with float\[1, 4, 8, 8\]",
    ):
        require_provider(with_an_odd_node("Erf"), QNN)


def test_a_node_left_out_by_the_parting_is_told_from_one_that_is_not_supported():
    need("openvino")
    strays = placed_nodes(with_an_odd_node("Hardmax"), Target("local?ep=openvino"))
    named = {node.node: node for node in strays if node.provider == "CPUExecutionProvider"}
    reasons = why_strayed(
        with_an_odd_node("Hardmax"), Target("local?ep=openvino"), list(named.values())
    )
    assert "takes Conv with float[1, 4, 8, 8] and float[4, 4, 3, 3] alone" in reasons["conv"]
    assert reasons["odd"] == "the provider does not take Hardmax with float[1, 4, 8, 8]"


def test_a_symbolic_batch_does_not_send_the_model_to_the_cpu():
    need("qnn")
    found = placement(with_an_odd_node("Sign", batch="N"), QNN)
    assert set(found.values()) == {"QNNExecutionProvider"}


def test_measuring_keeps_the_contract_and_says_that_times_are_emulated():
    need("qnn")
    with pytest.raises(VerificationFailed, match=r"odd \(Erf\)"):
        measure_models({"odd": with_an_odd_node("Erf")}, QNN)
    figure = patient(
        lambda: measure_models(
            {"small": small_network()}, QNN, n_passes=5, max_relative_interval=0.9
        )
    )["small"]
    assert figure.conditions.is_emulated
    assert {provider for _, provider in figure.conditions.placement} == {"QNNExecutionProvider"}


def test_a_broken_model_is_refused():
    with pytest.raises(InputError, match="must be able to load"):
        placement(b"no onnx", LOCAL)
