"""Predictions of a model file from a profile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest

from edgekit.core.errors import InputError
from edgekit.devices.explain import explain_model
from edgekit.devices.networks.graph import GraphBuilder
from edgekit.devices.predicting.plan import PlannedNetwork
from edgekit.devices.profile import PROFILE_FILE
from tests.line import Line


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network that the profile was made with: the runtime here runs no other kernels."""
    net = PlannedNetwork("mbconv_random", "mixed", 32, 0.5, 16, 0, False)
    onnx.save(net.model(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_the_kernels_add_up_to_the_prediction(line: Line, model: Path) -> None:
    found = explain_model(model, line.profile_folder)
    assert found.target_text == line.profile.target_text
    assert sum(row.cost_s for row in found.rows) == pytest.approx(found.predicted.latency_s)
    assert {row.op for row in found.rows} >= {"Conv"}
    assert found.held_out_mape == line.profile.validation.accuracy.mape
    assert not found.predicted.unknown_ops
    assert not found.predicted.extrapolated_ops


def test_an_operator_the_profile_has_not_seen_is_listed(line: Line, tmp_path: Path) -> None:
    net = GraphBuilder("odd", (1, 8, 16, 16))
    onnx.save(net.build(net.softmax(net.conv(net.input, 8, 3))), tmp_path / "odd.onnx")
    found = explain_model(tmp_path / "odd.onnx", line.profile_folder)
    assert "Softmax" in found.predicted.unknown_ops
    unknown = {row.op for row in found.rows if not row.known}
    assert found.predicted.unknown_ops == tuple(sorted(unknown))
    assert all(row.cost_s > 0 for row in found.rows)


def test_kernels_larger_than_any_that_was_profiled_are_named(line: Line, tmp_path: Path) -> None:
    net = PlannedNetwork("mbconv_random", "fp32", 224, 2.0, 16, 0, False)
    onnx.save(net.model(), tmp_path / "large.onnx")
    found = explain_model(tmp_path / "large.onnx", line.profile_folder)
    assert "Conv" in found.predicted.extrapolated_ops
    assert {row.op for row in found.rows if row.extrapolated} == {
        *found.predicted.extrapolated_ops
    }


def test_a_profile_of_another_runtime_is_refused(line: Line, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "profile"
    shutil.copytree(line.profile_folder, folder)
    document = json.loads((folder / PROFILE_FILE).read_text())
    document["facts"]["ort_version"] = "1.0"
    (folder / PROFILE_FILE).write_text(json.dumps(document))
    with pytest.raises(InputError):
        explain_model(model, folder)


def test_a_missing_model_and_one_that_is_none_are_refused(line: Line, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    for name, reason in (("none.onnx", "is not there"), ("text.onnx", "ONNX model is needed")):
        with pytest.raises(InputError, match=reason):
            explain_model(tmp_path / name, line.profile_folder)
