from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.errors import InputError
from edgekit.core.task import Task
from edgekit.export.parity import Probe, parity_checks, probe_logits, sqnr_db, take_probe
from tests.export.conftest import Exported


def artifact_logits(exported: Exported, task: Task) -> np.ndarray:
    data = exported.mixed.SerializeToString()
    return probe_logits(data, exported.probe, task.preprocessing, n_threads=1)


def test_all_forms_of_a_network_answer_alike(exported: Exported, digits_task: Task) -> None:
    checks = parity_checks(exported.probe, artifact_logits(exported, digits_task))
    assert all(check.met for check in checks), checks
    found = {check.name: check.value for check in checks}
    assert found["torch, fp32 ONNX: difference"] < 1e-5
    assert found["fp32 ONNX, artifact: SQNR in dB"] > 20
    # the simulation is much nearer to the artifact than float32 is
    assert found["simulation, artifact: difference"] < 0.05
    sqnr_simulated = sqnr_db(
        exported.probe.simulated_logits, artifact_logits(exported, digits_task)
    )
    assert sqnr_simulated > found["fp32 ONNX, artifact: SQNR in dB"] + 6


def test_answers_of_another_network_do_not_pass(exported: Exported, digits_task: Task) -> None:
    logits = artifact_logits(exported, digits_task)
    checks = parity_checks(exported.probe, np.roll(logits, 1, axis=1))
    assert [check.met for check in checks] == [True, True, False, False, False, False]


def test_without_int8_the_simulation_is_the_network(exported: Exported, digits_task: Task) -> None:
    probe = take_probe(exported.net, exported.fp32, (), digits_task)
    np.testing.assert_allclose(probe.simulated_logits, probe.torch_logits, atol=1e-4)
    assert len(probe.images) == 64


def test_a_probe_survives_its_file(exported: Exported) -> None:
    again = Probe.from_bytes(exported.probe.to_bytes())
    for name in ("images", "torch_logits", "onnx_logits", "simulated_logits"):
        np.testing.assert_array_equal(getattr(again, name), getattr(exported.probe, name))


@pytest.mark.parametrize("data", [b"", b"{}", b"\x02\0\0\0\0\0\0\0{}", b"\xff" * 64])
def test_a_file_that_is_no_probe_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="a probe file holds images and logits"):
        Probe.from_bytes(data)


def test_unsound_arrays_are_refused() -> None:
    images, logits = np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 5), np.float32)
    Probe(images, logits, logits, logits)
    for unsound in (logits[:1], logits[0], logits.astype(np.float64), logits[:, :4]):
        with pytest.raises(InputError, match="a probe is uint8 images"):
            Probe(images, logits, unsound, logits)
    with pytest.raises(InputError, match="finite"):
        Probe(images, logits, logits, logits + np.float32(np.nan))


def test_sqnr_of_known_noise() -> None:
    signal = np.array([[3.0, 4.0]], np.float32)
    assert sqnr_db(signal, signal + np.float32(0.5)) == pytest.approx(10 * np.log10(25 / 0.5))
    assert sqnr_db(signal, signal) == 200
