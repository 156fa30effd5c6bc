from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from edgekit.core.errors import InputError, TooNoisy
from edgekit.core.target import Target
from edgekit.devices.networks.lowering import lower
from edgekit.devices.predicting.plan import Plan, PlannedNetwork
from edgekit.devices.profile import (
    MEASUREMENTS_FILE,
    PROFILE_FILE,
    DeviceProfile,
    profile_device,
)

TARGET = Target("local?threads=1")


def _network(family: str, precision: str, *, held_out: bool = False) -> PlannedNetwork:
    return PlannedNetwork(family, precision, 32, 0.5, 8, 0, held_out)


PLAN = Plan(
    (
        *(_network("resnet_random", precision) for precision in ("fp32", "int8", "mixed")),
        *(_network("mbconv_random", precision) for precision in ("fp32", "int8")),
        _network("resnet20", "fp32", held_out=True),
    ),
    n_passes=4,
    block_s=0.01,
    n_profiled_runs=3,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("profile")


@pytest.fixture(scope="module")
def profile(folder) -> DeviceProfile:
    for _ in range(3):
        try:
            return profile_device(TARGET, folder, plan=PLAN)
        except TooNoisy:
            continue
    pytest.skip("this machine is too noisy to profile: three attempts did not repeat")


def test_a_profile_says_what_was_measured(profile):
    assert profile.target_text == TARGET.text
    assert profile.facts.n_threads == 1
    assert profile.provenance.plan == "custom"
    assert profile.provenance.n_networks == len(PLAN.networks)
    assert profile.provenance.n_blocks >= 2 * 4 * len(PLAN.networks)
    assert dict(profile.provenance.versions)["onnxruntime"] == profile.facts.ort_version


def test_it_is_judged_on_the_held_out_family(profile):
    assert profile.validation.families == ("resnet20",)
    assert profile.validation.accuracy.n_networks == 1
    assert profile.validation.worst_family == "resnet20"
    assert set(profile.validation.by_precision) == {"fp32"}
    assert profile.validation.accuracy.mape >= 0


def test_it_predicts_a_network_it_has_not_seen(profile):
    model = _network("mobilenet_v2", "fp32").model()
    predicted = profile.predictor.predict([placed.kernel for placed in lower(model)])
    assert 1e-6 < predicted.latency_s < 1
    assert predicted.interval_s[0] < predicted.interval_s[1]


def test_a_loaded_profile_is_the_same(profile, folder):
    loaded = DeviceProfile.load(folder)
    assert loaded.facts == profile.facts
    assert loaded.reference_fast_s == profile.reference_fast_s
    assert json.dumps(dataclasses.asdict(loaded.validation)) == json.dumps(
        dataclasses.asdict(profile.validation)
    )
    kernels = [placed.kernel for placed in lower(_network("resnet20", "mixed").model())]
    assert loaded.predictor.predict(kernels) == profile.predictor.predict(kernels)
    loaded.check_current(TARGET)


def test_it_keeps_the_fast_state_of_the_reference_kernels(profile, folder):
    rows = pq.read_table(folder / MEASUREMENTS_FILE).to_pylist()
    reference_s = np.array([row["reference_s"] for row in rows])
    assert (reference_s.min(axis=0) <= profile.reference_fast_s).all()
    assert (profile.reference_fast_s <= np.median(reference_s, axis=0)).all()


def test_every_block_is_kept(profile, folder):
    rows = pq.read_table(folder / MEASUREMENTS_FILE).to_pylist()
    assert len(rows) == profile.provenance.n_blocks
    assert sum(len(row["durations_s"]) for row in rows) == profile.provenance.n_runs
    assert sum(row["marked"] for row in rows) == profile.provenance.n_blocks_marked
    started_s = [row["started_s"] for row in rows]
    assert started_s == sorted(started_s)
    assert {len(row["reference_s"]) for row in rows} == {3}
    assert min(np.concatenate([row["durations_s"] for row in rows])) > 0


@pytest.mark.parametrize(("ep", "reason"), [("qnn", "only emulates"), ("openvino", "hides")])
def test_providers_whose_kernel_times_cannot_be_had_are_refused(tmp_path, ep, reason):
    with pytest.raises(InputError, match=reason):
        profile_device(Target(f"local?ep={ep}"), tmp_path, plan=PLAN)
    assert not list(tmp_path.iterdir())


def test_another_machine_is_refused(profile):
    other = dataclasses.replace(profile.facts, cpu_model="another", n_threads=7)
    with pytest.raises(InputError, match=r"cpu_model was 'another'.*n_threads was 7"):
        dataclasses.replace(profile, facts=other).check_current(TARGET)


@pytest.mark.parametrize("field", ["fingerprint", "validation", "predictor"])
def test_a_file_with_a_field_missing_or_altered_is_refused(profile, folder, tmp_path, field):
    document = json.loads((folder / PROFILE_FILE).read_text())
    document[field] = "0" * 16 if field == "fingerprint" else {}
    (tmp_path / PROFILE_FILE).write_text(json.dumps(document))
    with pytest.raises(InputError, match="profile again"):
        DeviceProfile.load(tmp_path)


def test_a_missing_profile_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        DeviceProfile.load(tmp_path)
