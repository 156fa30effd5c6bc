"""What a search depends on, in its folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.core.errors import InputError
from edgekit.core.limits import Limits
from edgekit.search.settings import (
    RUN_FILE,
    check_objectives,
    objectives_of,
    read_settings,
    write_settings,
)
from tests.search.synthetic import SETTINGS


def test_settings_come_back_and_others_are_refused(tmp_path: Path) -> None:
    write_settings(tmp_path, SETTINGS, {"created_at": "now"})
    assert read_settings(tmp_path) == SETTINGS
    before = (tmp_path / RUN_FILE).read_bytes()
    write_settings(tmp_path, SETTINGS, {"created_at": "later"})
    assert (tmp_path / RUN_FILE).read_bytes() == before
    with pytest.raises(InputError, match="another folder"):
        write_settings(tmp_path, replace(SETTINGS, seed=4), {})


@pytest.mark.parametrize(
    "change",
    [
        {"strategy": "grid"},
        {"n_evaluations": 0},
        {"population": "many"},
        {"seed": -1},
        {"space": None},
        {"training": {"n_epochs": 0}},
        {"limits": {"latency_s": -1.0}},
        {"unknown": 1},
    ],
)
def test_altered_settings_are_refused(change: dict[str, object], tmp_path: Path) -> None:
    write_settings(tmp_path, SETTINGS, {})
    path = tmp_path / RUN_FILE
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"settings": document["settings"] | change}))
    with pytest.raises(InputError):
        read_settings(tmp_path)


def test_what_is_limited_is_an_objective_too() -> None:
    assert objectives_of(None, Limits()) == ("latency", "size")
    assert objectives_of(None, Limits(memory_bytes=10)) == ("latency", "size", "memory")
    assert objectives_of(["memory"], Limits(latency_s=1.0)) == ("latency", "memory")


@pytest.mark.parametrize("asked", [["latency", "energy"], []])
def test_objectives_that_are_none_are_refused(asked: list[str]) -> None:
    with pytest.raises(InputError, match="some of latency, size, memory small, got"):
        objectives_of(asked, Limits())


def test_a_run_has_no_limit_beside_its_objectives() -> None:
    with pytest.raises(InputError, match="with all that are limited, got latency, size for"):
        check_objectives(("latency", "size"), Limits(memory_bytes=10))
