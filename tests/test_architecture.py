"""The contract of the rooms: imports go one way, and the contract really bites."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on the ``edgekit`` package that lies in ``folder``."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_rooms_keep_the_contract() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("core", "edgekit.devices"),
        ("devices", "edgekit.training"),
        ("search", "edgekit.export"),
        ("report", "edgekit.testing"),
    ],
)
def test_an_import_against_the_direction_is_reported(
    tmp_path: Path, room: str, forbidden: str
) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "edgekit", tmp_path / "edgekit", ignore=ignored)
    (tmp_path / "edgekit" / room / "wrong.py").write_text(f"import {forbidden}\n", "utf-8")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert f"edgekit.{room}.wrong -> {forbidden}" in done.stdout
