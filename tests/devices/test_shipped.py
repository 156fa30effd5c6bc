"""Profiles that come with edgekit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgekit.core.errors import InputError
from edgekit.devices.networks.lowering import lower
from edgekit.devices.predicting.plan import PlannedNetwork
from edgekit.devices.profile import DeviceProfile
from edgekit.devices.shipped import describe, profile_folder, shipped_profiles

NAMES = sorted(shipped_profiles())


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_profile_was_measured_whole_and_says_on_what(name: str) -> None:
    profile = DeviceProfile.load(profile_folder(name))
    facts, made = profile.facts, profile.provenance
    assert made.plan == "full"
    assert made.n_runs > 100_000
    assert made.versions
    assert profile.validation.accuracy.n_networks >= 30
    text = describe(name, profile)
    for said in (name, facts.cpu_model, facts.ort_version, made.measured_at[:10], "off by"):
        assert said in text


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_profile_prices_networks(name: str) -> None:
    predictor = DeviceProfile.load(profile_folder(name)).predictor
    latency_s = []
    for width in (0.25, 1.0):
        net = PlannedNetwork("mbconv_random", "fp32", 64, width, 16, 0, False)
        kernels = [placed.kernel for placed in lower(net.model(), n_threads=1)]
        latency_s.append(predictor.predict(kernels).latency_s)
    assert 1e-5 < 2 * latency_s[0] < latency_s[1] < 1e-1


def test_there_are_profiles_for_one_thread_and_for_two() -> None:
    threads = {DeviceProfile.load(profile_folder(name)).facts.n_threads for name in NAMES}
    assert threads >= {1, 2}


def test_a_folder_here_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(profile_folder(NAMES[1]), tmp_path / NAMES[0])
    assert profile_folder(NAMES[0]) == shipped_profiles()[NAMES[0]]
    monkeypatch.chdir(tmp_path)
    assert profile_folder(NAMES[0]) == Path(NAMES[0])


@pytest.mark.parametrize("text", ["", "nowhere", "../profiles"])
def test_what_is_neither_is_refused_with_the_names(text: str) -> None:
    with pytest.raises(InputError, match=NAMES[0]):
        profile_folder(text)
