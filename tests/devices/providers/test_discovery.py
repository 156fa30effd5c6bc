"""What is usable here, asked in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.devices.providers.catalogue import catalogue
from edgekit.devices.providers.discovery import Found, find_providers
from edgekit.devices.providers.environments import FOLDER_VARIABLE
from tests.devices.real import need


def _by_name() -> dict[str, Found]:
    return {found.provider.short: found for found in find_providers()}


def test_every_provider_is_usable_or_says_why_not() -> None:
    found = find_providers()
    assert [entry.provider for entry in found] == list(catalogue())
    assert all(entry.usable != bool(entry.reason) for entry in found)
    cpu = found[0]
    assert (cpu.provider.short, cpu.usable, cpu.emulated) == ("cpu", True, False)


def test_an_emulated_device_says_so() -> None:
    need("qnn")
    assert _by_name()["qnn"].emulated


def test_an_environment_of_its_own_has_its_own_runtime() -> None:
    need("openvino")
    found = _by_name()
    assert found["openvino"].usable
    assert found["openvino"].version != found["cpu"].version


def test_without_that_environment_the_command_that_makes_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    openvino = _by_name()["openvino"]
    assert not openvino.usable
    assert "edgekit devices --install openvino" in openvino.reason


def test_an_environment_that_fails_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "openvino" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'no such library' >&2\nexit 9\n")
    python.chmod(0o755)
    (tmp_path / "openvino" / "complete").touch()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    openvino = _by_name()["openvino"]
    assert not openvino.usable
    assert openvino.reason == "its environment fails: code 9, no such library"
