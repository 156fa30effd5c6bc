"""Every example runs, with settings that are small enough for a test."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import parquet

from edgekit.core.errors import TooNoisy
from edgekit.search import precision
from edgekit.search.elastic import kernels
from tests.line import AS_TINY, ROOT, WALLS, Line, copied_fit, patient

pytestmark = pytest.mark.timeout(900)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MAX_LINES = 100
N_ATTEMPTS = 3


def run(name: str, *arguments: str | Path) -> str:
    """What an example prints; again, and then skipped, where the machine is too noisy."""
    command = [sys.executable, ROOT / "examples" / name, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for _ in range(N_ATTEMPTS):
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        if TooNoisy.__name__ not in done.stderr:
            assert done.returncode == 0, done.stderr
            return done.stdout
    pytest.skip(f"this machine is too noisy to measure on: {done.stderr.splitlines()[-1]}")


@pytest.fixture
def run_briefly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs an example of a module in this process, with few networks lowered and few pairs."""
    monkeypatch.setattr(kernels, "_LEAST", 2)
    monkeypatch.setattr(kernels, "_MOST", 2)
    monkeypatch.setattr(precision, "_N_PAIRS", 4)

    def go(name: str, *arguments: str | Path) -> str:
        path = str(ROOT / "examples" / name)
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        patient(lambda: runpy.run_path(path, run_name="__main__"))
        return capsys.readouterr().out

    return go


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_short_and_run_by_a_test_here(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < MAX_LINES
    here = Path(__file__).read_text("utf-8").replace("(\n        ", "(")
    assert f'run("{path.name}"' in here or f'run_briefly("{path.name}"' in here


def test_predict_latency(line: Line) -> None:
    model = line.fitted.bundle.model_path
    printed = run("predict_latency.py", model, "--profile", line.profile_folder, "--quick")
    assert re.search(r"\d+ kernels; predicted .* costs unknown for: none", printed)
    assert "measured " in printed


def test_search_digits(line: Line, tmp_path: Path) -> None:
    few = ("--images", "1", "--evaluations", "2", "--table-networks", "2")
    given = ("--profile", line.profile_folder, "--out", tmp_path, "--max-latency", "1s")
    printed = run("search_digits.py", *given, *few)
    assert "2 of 1.5e+07 networks measured; the front:" in printed
    assert "best inside latency p50 <= 1 s: " in printed


def test_fit_and_classify(line: Line, tmp_path: Path) -> None:
    """Into the folder of a finished fit, so that nothing is trained."""
    image = shutil.copy(line.data / "3" / "000.png", tmp_path / "three.png")
    given = ("--out", copied_fit(line, tmp_path / "fit"), "--profile", line.profile_folder)
    printed = run("fit_and_classify.py", line.data, image, *given, *WALLS, *AS_TINY)
    assert "latency p50 <= 1 s, size <= 10 MB kept when measured" in printed
    assert re.search(r"three\.png: [0-3] 0\.\d{4}, [0-3] 0\.\d{4}, [0-3] 0\.\d{4}", printed)


def test_compare_models(line: Line, tmp_path: Path) -> None:
    model = line.fitted.bundle.model_path
    same = shutil.copy(model, tmp_path / "same.onnx")
    printed = run("compare_models.py", model, same, "--pairs", "4")
    assert printed.count("p50 ") == 2
    assert "times as long" in printed


def test_fit_vit(line: Line, tmp_path: Path, run_briefly: Callable[..., str]) -> None:
    few = ("--steps", "5", "--images", "100", "--evaluations", "1", "--table", "2")
    given = ("--profile", line.profile_folder, "--out", tmp_path, "--max-latency", "1s")
    assert "on test images" in run_briefly("fit_vit.py", *given, *few)


def test_fit_transformers_cnn(line: Line, tmp_path: Path, run_briefly: Callable[..., str]) -> None:
    pytest.importorskip("transformers", reason="needs the package transformers")
    few = ("--images", "100", "--evaluations", "1", "--table", "2", "--resolution", "32")
    given = ("--profile", line.profile_folder, "--out", tmp_path, "--max-latency", "1s")
    assert "on test images" in run_briefly("fit_transformers_cnn.py", line.data, *given, *few)


def test_fit_cifar_resnet(
    line: Line, data_dir: Path, tmp_path: Path, run_briefly: Callable[..., str]
) -> None:
    few = ("--images", "100", "--evaluations", "1", "--table", "2")
    given = ("--profile", line.profile_folder, "--out", tmp_path, "--max-latency", "1s")
    weights = data_dir / "weights" / "cifar10_resnet20.safetensors"
    some = parquet.read_table(data_dir / "cifar10" / "test-00000-of-00001.parquet")[:800]
    parquet.write_table(some, tmp_path / "some.parquet")
    printed = run_briefly("fit_cifar_resnet.py", tmp_path / "some.parquet", weights, *given, *few)
    assert "12 widths, 7 branches, 11 blocks" in printed
    assert "on test images" in printed
