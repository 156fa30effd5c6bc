from __future__ import annotations

import re
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

import edgekit
from edgekit.core.provenance import git_revision, utc_now, versions

PACKAGE = Path(edgekit.__file__).parent


def test_versions_name_what_decides_a_result() -> None:
    found = versions()
    assert {"python", "numpy", "onnxruntime", "torch"} <= set(found)
    assert found["python"].split(".")[0] == str(sys.version_info.major)


def test_the_revision_is_that_of_the_checkout() -> None:
    if not (PACKAGE.parent / ".git").exists():
        pytest.skip("not a git checkout: it has no revision")
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", git_revision() or "")


def test_a_copy_inside_another_repository_has_no_revision(tmp_path: Path) -> None:
    """An environment often lies in the checkout of another project; its commit is not ours."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "edgekit", ignore=ignored)
    code = "from edgekit.core.provenance import git_revision as r; print(r())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "None"


def test_the_time_is_in_utc() -> None:
    offset = datetime.fromisoformat(utc_now()).utcoffset()
    assert offset is not None
    assert offset.total_seconds() == 0
