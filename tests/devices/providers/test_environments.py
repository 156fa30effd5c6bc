"""Environments of their own."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from edgekit.core.errors import EdgekitError, InputError
from edgekit.devices.providers.catalogue import provider_named
from edgekit.devices.providers.environments import (
    FOLDER_VARIABLE,
    environment_variables,
    folder_of,
    install,
    python_of,
)

OPENVINO = provider_named("openvino")


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def test_there_is_none_before_it_is_made(tmp_path: Path) -> None:
    assert folder_of(OPENVINO) == tmp_path / "openvino"
    assert python_of(OPENVINO) is None


def test_one_that_pip_could_not_fill_is_an_error_and_does_not_count() -> None:
    with pytest.raises(EdgekitError, match=r"environment of openvino could not be made.*pip|No"):
        install(OPENVINO)
    assert folder_of(OPENVINO).is_dir()
    assert python_of(OPENVINO) is None


def test_one_that_is_made_is_found_again() -> None:
    wheel_less = dataclasses.replace(OPENVINO, requires=("pip",))
    python = install(wheel_less)
    assert python == python_of(wheel_less)
    before = python.stat().st_mtime_ns
    assert install(wheel_less) == python
    assert python.stat().st_mtime_ns == before


def test_a_provider_without_a_package_of_its_own_is_refused() -> None:
    with pytest.raises(InputError, match="comes with Ryzen AI installer"):
        install(provider_named("vitisai"))


def test_a_process_there_sees_this_edgekit_and_no_python_settings_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    variables = environment_variables()
    assert "PYTHONHOME" not in variables
    assert Path(variables["PYTHONPATH"], "edgekit", "__init__.py").is_file()
    assert sys.prefix not in variables["PYTHONPATH"]
