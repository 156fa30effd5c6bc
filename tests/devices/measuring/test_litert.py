"""TFLite files in LiteRT: who runs each node, what is refused, and that they are measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.errors import InputError, VerificationFailed
from edgekit.core.target import Target
from edgekit.devices.measuring.elsewhere import run_job
from edgekit.devices.measuring.litert import (
    BUILT_IN,
    DELEGATE,
    LiteRtModel,
    is_tflite,
    random_values,
)
from edgekit.devices.measuring.measure import compare_models, measure_models
from edgekit.devices.measuring.placement import (
    placed_nodes,
    provider_of,
    require_provider,
    why_strayed,
)
from edgekit.devices.measuring.session import open_session
from tests.devices.real import need, small_network
from tests.devices.tflite import tflite_network
from tests.line import patient

LOCAL = Target("local")


@pytest.fixture(autouse=True)
def _litert() -> None:
    need("litert")


def test_a_tflite_file_is_known_by_its_identifier(tmp_path: Path) -> None:
    path = tmp_path / "no-suffix"
    path.write_bytes(tflite_network())
    assert is_tflite(path)
    assert is_tflite(tflite_network())
    assert not is_tflite(small_network().SerializeToString())
    assert is_tflite(tmp_path / "missing.tflite")
    assert not is_tflite(tmp_path / "missing.onnx")


def test_the_delegate_takes_what_it_can_and_the_rest_is_named() -> None:
    whole = placed_nodes(tflite_network(), LOCAL)
    assert [(n.operator, n.provider) for n in whole] == [("CONV_2D", DELEGATE)]
    parted = placed_nodes(tflite_network(odd=True), LOCAL)
    assert [(n.operator, n.provider) for n in parted] == [
        ("CONV_2D", DELEGATE),
        ("LOG_SOFTMAX", BUILT_IN),
    ]
    assert require_provider(tflite_network(), LOCAL) == {"CONV_2D_0": DELEGATE}
    with pytest.raises(
        VerificationFailed,
        match=r"1 of 2 do not: LOG_SOFTMAX_1 \(LOG_SOFTMAX\) on LiteRT: "
        r"XNNPACK does not take LOG_SOFTMAX with float32\[1, 8, 8, 8\]",
    ):
        require_provider(tflite_network(odd=True), LOCAL)


def test_without_the_delegate_the_answers_are_the_same_and_nobody_is_delegated() -> None:
    model = tflite_network(odd=True)
    plain = LiteRtModel(model, 1, 5, delegate=False)
    assert {provider for _, _, provider in plain.nodes()} == {BUILT_IN}
    fast = LiteRtModel(model, 1, 5).answers()[0]
    np.testing.assert_allclose(fast, plain.answers()[0], atol=1e-5)
    job = {"job": "answers", "seed": 5, "delegate": True}
    np.testing.assert_array_equal(run_job(job, {"model": model}, LOCAL)[0], fast)  # type: ignore[index]


def test_it_is_measured_and_compared_with_an_onnx_model() -> None:
    figure = patient(
        lambda: measure_models({"net": tflite_network()}, LOCAL, max_relative_interval=0.5)
    )["net"]
    assert figure.conditions.provider == DELEGATE
    assert figure.conditions.placement == (("CONV_2D_0", DELEGATE),)
    assert 0 < figure.label_s <= 1.1 * figure.p50_s < 1
    found = compare_models(tflite_network(), small_network(), LOCAL, n_pairs=4, block_s=0.01)
    assert found.ratio > 0
    with pytest.raises(VerificationFailed, match=r"LOG_SOFTMAX_1"):
        measure_models({"odd": tflite_network(odd=True)}, Target("local", require=True))


def test_providers_and_files_that_do_not_match_are_refused() -> None:
    assert provider_of(tflite_network(), LOCAL).name == DELEGATE
    with pytest.raises(InputError, match="runs in LiteRT on the CPU, got the provider qnn"):
        provider_of(tflite_network(), Target("local?ep=qnn"))
    with pytest.raises(InputError, match="got the provider openvino"):
        measure_models({"net": tflite_network()}, Target("local?ep=openvino"))
    with pytest.raises(InputError, match="got the provider openvino"):
        compare_models(tflite_network(), small_network(), Target("local?ep=openvino"))
    with pytest.raises(InputError, match="litert runs TFLite files"):
        open_session(small_network(), n_threads=1, ep="litert")
    with pytest.raises(InputError, match="LiteRT must be able to load"):
        LiteRtModel(tflite_network()[:200], 1, 0)
    with pytest.raises(InputError, match="is not there"):
        LiteRtModel(Path("none.tflite"), 1, 0)


def test_inputs_are_floats_or_whole_numbers_of_8_bits() -> None:
    generator = np.random.default_rng(0)
    assert random_values((2, 3), np.float32, generator).dtype == np.float32
    whole = random_values((1000,), np.int8, generator)
    assert (whole.min(), whole.max()) == (-128, 127)
    with pytest.raises(InputError, match="got int64"):
        random_values((2,), np.int64, generator)


def test_real_models_run_on_the_delegate_but_for_nodes_with_a_reason(data_dir: Path) -> None:
    for path in sorted((data_dir / "models").glob("*.tflite")):
        nodes = placed_nodes(path, LOCAL)
        strays = [node for node in nodes if node.provider != DELEGATE]
        assert len(strays) < len(nodes) / 2, path.name
        reasons = why_strayed(path, LOCAL, strays)
        assert all(f"does not take {s.operator} with" in reasons[s.node] for s in strays)
