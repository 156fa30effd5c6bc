from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.core.errors import InputError, VerificationFailed
from edgekit.core.limits import Limits
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.measuring.placement import NodePlacement
from edgekit.export.bundle import PROOF, Bundle
from edgekit.export.parity import parity_checks, probe_logits
from edgekit.export.run import logits_of
from edgekit.export.verify import Proof, verify
from tests.export.conftest import Exported

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def proof(written: Path, digits_task: Task) -> Proof:
    return verify(Bundle.open(written), Target(), digits_task, progress=QUIET)


def test_the_proof_measures_everything(
    proof: Proof, written: Path, exported: Exported, digits_task: Task
) -> None:
    assert proof.holds
    proof.require()
    assert proof.size_bytes == (written / "model.onnx").stat().st_size
    assert proof.accuracy.n_images == len(digits_task.test)
    assert proof.accuracy.split == "test"
    logits = logits_of(exported.mixed, digits_task.preprocessing.apply(digits_task.test.images))
    assert proof.accuracy.n_correct == (logits.argmax(1) == digits_task.test.labels).sum()
    assert proof.latency.p50_s <= proof.latency.p90_s
    assert {node.provider for node in proof.nodes} == {"CPUExecutionProvider"}
    assert [block.name for block in proof.blocks] == list(exported.provenance.precisions)
    assert (proof.same_device, proof.same_data, proof.broken) == (True, True, ())


def test_the_proof_lies_beside_the_bundle(proof: Proof, written: Path) -> None:
    text = (written / PROOF).read_text()
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert document["holds"] is True
    assert document["latency"]["p50_s"] == proof.latency.p50_s
    assert document["latency"]["conditions"]["n_threads"] == 1
    assert document["model_sha256"] == Bundle.open(written).manifest.files["model.onnx"].sha256
    summary = Bundle.open(written).manifest.measured
    assert summary == proof.summary()


def test_a_broken_limit_is_in_the_proof_and_raises_on_demand(
    proof: Proof, exported: Exported
) -> None:
    limits = Limits(latency_s=1e-9, size_bytes=10, quantile="p90")
    broken = limits.broken_by(proof.latency.p90_s, proof.size_bytes, proof.memory_bytes)
    strict = replace(proof, limits=limits, broken=broken)
    assert not strict.holds
    with pytest.raises(VerificationFailed, match=r"latency p90 is .* the limit 1 ns; size is"):
        strict.require()


def test_other_limits_and_other_data_can_be_asked_for(copied: Path, proof: Proof) -> None:
    bundle, limits = Bundle.open(copied), Limits(size_bytes=10)
    found = verify(bundle, Target(), Task.digits(seed=1), limits=limits, progress=QUIET)
    assert found.broken == ("size",)
    assert found.same_data is False
    assert found.accuracy == proof.accuracy
    measured = Bundle.open(copied).manifest.measured
    assert measured is not None
    assert measured.holds is False


def test_a_network_that_answers_differently_on_the_target_does_not_pass(
    proof: Proof, exported: Exported, digits_task: Task
) -> None:
    """Wrong weights stand for a runtime whose int8 is wrong."""
    model = onnx.ModelProto()
    model.CopyFrom(exported.mixed)
    for tensor in model.graph.initializer:
        if tensor.name == "b01/expand.conv_weight_q":
            values = np.roll(numpy_helper.to_array(tensor), 3, axis=0)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    answers = probe_logits(
        model.SerializeToString(), exported.probe, digits_task.preprocessing, n_threads=1
    )
    wrong = replace(proof, parity=parity_checks(exported.probe, answers))
    assert not wrong.holds
    with pytest.raises(VerificationFailed, match="simulation, artifact"):
        wrong.require()


def test_a_node_that_fell_back_does_not_pass(proof: Proof) -> None:
    stray = NodePlacement("b01/add", "Add", "OtherProvider")
    with pytest.raises(VerificationFailed, match=r"b01/add \(Add\) ran on OtherProvider"):
        replace(proof, nodes=(*proof.nodes, stray)).require()


def test_a_task_with_other_classes_is_refused(written: Path, digits_task: Task) -> None:
    other = replace(digits_task, labels=("a", "b"))
    with pytest.raises(InputError, match=r"10 \(0, 1, 2, ...\), it has 2 \(a, b\)"):
        verify(Bundle.open(written), Target(), other, progress=QUIET)
