"""The verbs about devices and model files, through the command line."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgekit.core.errors import VerificationFailed
from edgekit.devices.shipped import shipped_profiles
from tests.devices.real import need, small_network, with_an_odd_node
from tests.line import Line, edgekit

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(small_network(), tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def test_devices_lists_the_catalogue() -> None:
    done = edgekit("devices", "--json")
    assert done.exit_code == 0
    rows = {row["ep"]: row for row in done.json["providers"]}
    assert rows["cpu"]["state"] == "usable"
    assert rows["coreml"]["state"] == "not usable"
    assert "darwin/arm64" in rows["coreml"]["reason"]
    providers, profiles = edgekit("devices").stdout.split("\n\n")
    assert [line.split()[0] for line in providers.splitlines()] == list(rows)
    named = [line.split(":")[0] for line in profiles.splitlines()[1:]]
    assert named == done.json["profiles"] == list(shipped_profiles())


def test_bench_prints_latency_kernels_placement_and_memory(model: Path) -> None:
    done = edgekit("bench", str(model), "--require-ep", "--json")
    assert done.exit_code == 0, done.stderr
    found = done.json
    assert found["latency_p50_s"] > 0
    assert found["nodes_per_provider"] == {"CPUExecutionProvider": len(found["placement"])}
    assert sum(row["share"] for row in found["kernels"]) == pytest.approx(1)
    text = edgekit("bench", str(model)).stdout
    assert "peaks here, just now" in text
    assert "peak memory added by the model" in text
    assert "Conv (float)" in text


def test_bench_says_that_emulated_times_say_nothing(model: Path) -> None:
    need("qnn")
    text = edgekit("bench", str(model), "--target", "local?ep=qnn").stdout
    assert "EMULATED: these times say nothing about the device" in text
    assert "on QNNExecutionProvider" in text


def test_a_node_that_strays_has_code_5_and_its_reason(tmp_path: Path) -> None:
    need("qnn")
    path = tmp_path / "odd.onnx"
    onnx.save(with_an_odd_node("Erf"), path)
    done = edgekit("bench", str(path), "--target", "local?ep=qnn", "--require-ep", "--json")
    assert done.exit_code == VerificationFailed.exit_code
    assert "does not take Erf with float[1, 4, 8, 8]" in done.json["message"]


def test_predict_explains_and_never_says_measured(line: Line, model: Path) -> None:
    arguments = ("predict", str(model), "--profile", str(line.profile_folder))
    found = edgekit(*arguments, "--json").json
    assert sum(row["cost_s"] for row in found["kernels"]) == pytest.approx(
        found["predicted_latency_s"]
    )
    text = edgekit(*arguments).stdout
    assert text.startswith("predicted on local")
    assert "not measured" in text


def test_compare_gives_a_ratio_with_its_interval(model: Path) -> None:
    done = edgekit("compare", str(model), str(model), "--pairs", "4", "--json")
    assert done.exit_code == 0, done.stderr
    low, high = done.json["interval"]
    assert low <= done.json["ratio"] <= high
    assert done.json["n_pairs"] >= 2  # fewer sound ones than wanted on a busy machine
    assert "times as long as" in edgekit("compare", str(model), str(model), "--pairs", "2").stdout
