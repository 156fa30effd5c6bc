"""The whole way on providers beside the CPU's: OpenVINO here, CUDA where there is a GPU."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgekit.core.target import Target
from edgekit.devices.measuring.measure import measure_models
from edgekit.devices.predicting.plan import quick_plan
from edgekit.devices.probe import probe
from edgekit.devices.transferring import profile_by_transfer
from edgekit.workflow import verify_bundle
from tests.devices.real import need, small_network
from tests.line import LIMITS, QUIET, Line, patient

NAMES = {"openvino": "OpenVINOExecutionProvider", "cuda": "CUDAExecutionProvider"}


@pytest.fixture(params=NAMES)
def target(request) -> Target:
    need(request.param, in_ci=request.param != "cuda")
    return Target(f"local?ep={request.param}")


def test_it_is_probed_and_measured_with_every_node_on_it(target: Target) -> None:
    assert probe(target).provider == NAMES[target.ep]
    required = Target(target.text, require=True)
    (figures,) = patient(lambda: measure_models({"small": small_network()}, required)).values()
    assert 0 < figures.label_s <= figures.p50_s
    assert figures.conditions.provider == NAMES[target.ep]
    assert {provider for _, provider in figures.conditions.placement} == {NAMES[target.ep]}


def test_it_gets_a_profile_and_a_bundle_is_verified_on_it(
    line: Line, target: Target, tmp_path: Path
) -> None:
    profile = patient(
        lambda: profile_by_transfer(
            target, tmp_path / "profile", [line.profile], n_networks=10, plan=quick_plan()
        )
    )
    assert profile.facts.provider == NAMES[target.ep]
    bundle = tmp_path / "bundle"
    shutil.copytree(line.fitted.bundle.folder, bundle)
    proof = patient(
        lambda: verify_bundle(bundle, target, line.task, limits=LIMITS, progress=QUIET)
    )
    assert proof.target == target.text
    assert {provider for _, provider in proof.latency.conditions.placement} == {NAMES[target.ep]}
    assert proof.accuracy.n_images == len(line.task.test)
    assert not proof.same_device
