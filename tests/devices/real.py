"""Providers that really run here; a test that needs one is skipped where it is not installed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgekit.devices.networks.graph import GraphBuilder
from edgekit.devices.providers.catalogue import provider_named
from edgekit.devices.providers.environments import python_of
from edgekit.devices.providers.loading import why_not_usable


def need(short: str, *, in_ci: bool = True) -> None:
    """Skip the test where a provider is not usable; fail it in CI if CI must have it."""
    provider = provider_named(short)
    if provider.own_env and python_of(provider) is not None:
        return
    if reason := why_not_usable(provider):
        if in_ci and os.environ.get("CI") == "true":
            pytest.fail(f"CI must have the provider {short}: {reason}")
        pytest.skip(f"needs the provider {short}: {reason}")


def small_network() -> ModelProto:
    """Two convolutions that every provider takes whole."""
    net = GraphBuilder("small", (1, 8, 16, 16))
    return net.build(net.conv(net.conv(net.input, 16, 3, act="relu6"), 16, 3))


def with_an_odd_node(operator: str, batch: int | str = 1) -> ModelProto:
    """A convolution, a node of the given operator named ``odd``, and a ReLU."""
    weights = np.ones((4, 4, 3, 3), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1] * 4),
            helper.make_node(operator, ["c"], ["d"], name="odd"),
            helper.make_node("Relu", ["d"], ["y"], name="act"),
        ],
        "odd",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def need_peak_memory() -> None:
    """Skip the test where the system does not tell the peak of a process."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the peak is read from /proc, which this system does not let a process reset")
