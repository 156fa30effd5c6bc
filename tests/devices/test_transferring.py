"""Profiles of other targets from a few whole networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.errors import InputError
from edgekit.core.target import Target
from edgekit.devices.explain import explain_model
from edgekit.devices.predicting.plan import quick_plan
from edgekit.devices.profile import DeviceProfile, profile_device
from edgekit.devices.transferring import profile_by_transfer
from tests.devices.real import need, small_network
from tests.line import Line, patient

THREADS = Target("local?threads=2")
OPENVINO = Target("local?ep=openvino")


def test_a_few_whole_networks_make_a_profile(line: Line, tmp_path: Path) -> None:
    need("openvino")
    target = OPENVINO
    with pytest.raises(InputError, match=r"openvino hides its own; .* with --from"):
        profile_device(target, tmp_path / "kernels")
    made = patient(
        lambda: profile_by_transfer(
            target, tmp_path, [line.profile], n_networks=10, plan=quick_plan()
        )
    )
    assert made.target_text == target.text
    assert made.provenance.plan == "transfer"
    assert made.provenance.known == (f"{line.profile.facts.cpu_model}, local",)
    assert made.provenance.n_networks <= 10 + made.validation.accuracy.n_networks
    assert set(made.validation.families) == {
        "mobilenet_v2",
        "resnet18",
        "squeezenet",
        "efficientnet_b0",
    }
    assert made.validation.node_times is None
    made.check_current(target)
    loaded = DeviceProfile.load(tmp_path)
    assert loaded.provenance == made.provenance
    (tmp_path / "small.onnx").write_bytes(small_network().SerializeToString())
    explained = explain_model(tmp_path / "small.onnx", tmp_path)
    assert explained.target_text == target.text
    assert explained.predicted.latency_s > 0
    with pytest.raises(InputError, match="is a transfer itself"):
        profile_by_transfer(target, tmp_path / "again", [made])


def test_what_cannot_be_carried_over_is_refused(line: Line, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a profile to start from, got none"):
        profile_by_transfer(THREADS, tmp_path, [])
    with pytest.raises(InputError, match="takes 10 to 265 networks, got 9"):
        profile_by_transfer(THREADS, tmp_path, [line.profile], n_networks=9)
    emulated = Target("local?ep=qnn")
    with pytest.raises(InputError, match="qnn only emulates it here"):
        profile_by_transfer(emulated, tmp_path, [line.profile])
    assert not list(tmp_path.iterdir())
