"""Fixtures several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is loaded. The networks of tests are small: two threads that wait for each other are
# slower than one, and many times as slow where another process has one of the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

from edgekit.core.task import Task
from tests.line import Line, make_line

# Property tests draw the same examples everywhere and are not judged by how fast the machine is.
settings.register_profile(
    "edgekit",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("edgekit")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of optional real data: EDGEKIT_DATA, or shared/data beside the repository."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    path = Path(os.environ.get("EDGEKIT_DATA", default)).resolve()
    if not path.is_dir():
        pytest.skip(f"needs the optional data folder, {path} is not there; set EDGEKIT_DATA")
    return path


@pytest.fixture(scope="session")
def digits_task() -> Task:
    """The embedded digits at 32x32."""
    return Task.digits()


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """One small real ``fit`` on class folders of digits; tests leave its folders as they are."""
    return make_line(tmp_path_factory.mktemp("line"))
