"""Measuring in the environment of a provider."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.errors import EdgekitError, InputError, TooNoisy, VerificationFailed
from edgekit.core.target import Target
from edgekit.devices.measuring.elsewhere import is_elsewhere, run_job
from edgekit.devices.measuring.interleave import RawBlock
from edgekit.devices.measuring.measure import compare_models, fit_labels_s, measure_models
from edgekit.devices.measuring.placement import placement, require_provider
from edgekit.devices.measuring.session import open_session, random_inputs
from edgekit.devices.providers.environments import FOLDER_VARIABLE
from tests.devices.real import need, small_network, with_an_odd_node
from tests.line import patient

OPENVINO = Target("local?ep=openvino", require=True)


@pytest.fixture
def _openvino() -> None:
    need("openvino")
    assert is_elsewhere(OPENVINO)


def test_the_cpu_is_never_elsewhere() -> None:
    assert not is_elsewhere(Target("local"))


@pytest.mark.usefixtures("_openvino")
def test_a_model_is_measured_there_as_here() -> None:
    raw: list[RawBlock] = []
    seen: list[tuple[int, int]] = []
    figure = patient(
        lambda: measure_models(
            {"small": small_network()},
            OPENVINO,
            n_passes=6,
            max_relative_interval=0.5,
            raw=raw,
            progress=lambda *done: seen.append(done),
        )
    )["small"]
    assert figure.conditions.provider == "OpenVINOExecutionProvider"
    assert not figure.conditions.is_emulated
    assert {provider for _, provider in figure.conditions.placement} == {
        "OpenVINOExecutionProvider"
    }
    assert 0 < figure.label_s <= 1.1 * figure.p50_s
    assert figure.p50_s <= figure.p90_s < 1
    assert fit_labels_s(raw)["small"] == pytest.approx(figure.label_s)
    assert seen[-1] == (len(raw), len(raw))


@pytest.mark.usefixtures("_openvino")
def test_two_models_are_compared_there() -> None:
    found = compare_models(small_network(), small_network(), OPENVINO, n_pairs=4, block_s=0.01)
    assert found.n_pairs >= 2
    assert found.interval[0] <= found.ratio <= found.interval[1]


@pytest.mark.usefixtures("_openvino")
def test_it_gives_the_answers_of_the_cpu() -> None:
    model = small_network()
    there = run_job({"job": "answers", "seed": 3}, {"model": model}, OPENVINO)
    session = open_session(model, n_threads=1)
    here = session.run(None, random_inputs(session, 3))
    assert np.array(there) == pytest.approx(np.array(here), abs=1e-4)


@pytest.mark.usefixtures("_openvino")
def test_a_node_that_strays_is_named_with_operator_and_reason() -> None:
    model = with_an_odd_node("Hardmax")
    assert placement(model, OPENVINO)["odd"] == "CPUExecutionProvider"
    reason = r"odd \(Hardmax\) on CPUExecutionProvider: the provider does not take Hardmax with"
    with pytest.raises(VerificationFailed, match=reason):
        require_provider(model, OPENVINO)
    with pytest.raises(VerificationFailed, match=reason):
        measure_models({"odd": model}, OPENVINO)


@pytest.mark.usefixtures("_openvino")
@pytest.mark.parametrize(
    ("model", "settings", "error"),
    [
        (b"no onnx", {}, InputError),
        (None, {"max_relative_interval": 1e-9, "patience_s": 0.0, "n_passes": 5}, TooNoisy),
    ],
)
def test_what_goes_wrong_there_is_raised_here(
    model: bytes | None, settings: dict[str, float], error: type[EdgekitError]
) -> None:
    with pytest.raises(error):
        measure_models({"m": model or small_network()}, OPENVINO, **settings)  # type: ignore[arg-type]


def test_a_missing_environment_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match="edgekit devices --install openvino"):
        measure_models({"small": small_network()}, OPENVINO)


def test_a_worker_that_dies_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "openvino" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'library not found' >&2\nexit 9\n")
    python.chmod(0o755)
    (tmp_path / "openvino" / "complete").touch()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(EdgekitError, match=r"ended with code 9: library not found"):
        measure_models({"small": small_network()}, OPENVINO)
