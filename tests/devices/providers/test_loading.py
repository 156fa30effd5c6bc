"""Asking the runtime for a provider."""

from __future__ import annotations

import onnxruntime as ort
import pytest

from edgekit.core.errors import InputError, MissingExtra
from edgekit.devices.measuring.placement import assigned_nodes
from edgekit.devices.measuring.session import open_session
from edgekit.devices.providers import loading
from edgekit.devices.providers.catalogue import provider_named
from edgekit.devices.providers.loading import add_provider, found_here, why_not_usable
from tests.devices.real import need, small_network


def test_the_cpu_provider_is_always_usable() -> None:
    assert why_not_usable(provider_named("cpu")) == ""
    assert found_here()["cpu"] == ""
    assert found_here()["version"] == ort.__version__


@pytest.mark.parametrize(
    ("short", "reason"),
    [("coreml", "it is for darwin/arm64"), ("cann", "has it not"), ("webgpu", "is not installed")],
)
def test_a_provider_that_is_not_here_is_refused_with_the_reason(short: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        add_provider(ort.SessionOptions(), provider_named(short), 1)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'edgekit\[qnn\]'"):
        add_provider(ort.SessionOptions(), provider_named("qnn"), 1)


def test_a_plug_in_runs_the_nodes_and_its_name_alone_does_not() -> None:
    need("qnn")
    session = open_session(small_network(), n_threads=1, ep="qnn")
    name = provider_named("qnn").name
    assert {node.provider for node in assigned_nodes(session)} == {name}
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    by_name = ort.InferenceSession(
        small_network().SerializeToString(), options, providers=[name, "CPUExecutionProvider"]
    )
    assert {node.provider for node in assigned_nodes(by_name)} == {"CPUExecutionProvider"}
