"""The smallest whole line there is: real parts, few of everything, shared by several tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from edgekit.core.errors import TooNoisy
from edgekit.core.limits import Limits
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.predicting.plan import Plan, PlannedNetwork
from edgekit.devices.profile import DeviceProfile, profile_device
from edgekit.effort import QUICK
from edgekit.report.fitted import Fitted
from edgekit.search.evaluated import Evaluated
from edgekit.workflow import fit

Result = TypeVar("Result")
ROOT = Path(__file__).resolve().parents[1]
QUIET = Progress(quiet=True)
# Wide, so that the tests pass on any machine, however slow or busy.
LIMITS = Limits.of("1s", "10MB")
# One epoch each. The rest is that of --quick, so that the command line can ask for the same.
TINY = replace(QUICK, supernet_images=1, finetune_images=1, n_evaluations=3, n_table_networks=3)
AS_TINY = ("--quick", "--evaluations", "3", "--epochs", "1")
WALLS = ("--max-latency", "1s", "--max-size", "10MB")
_N_ATTEMPTS = 3
_TOO_NOISY = TooNoisy.exit_code


@dataclass(frozen=True)
class Line:
    """What one small ``fit`` left.

    Attributes:
        folder: its ``out``.
        data: folder of class folders.
        task: read from it.
        profile_folder: given to it.
        profile: what lies there.
        fitted: what it returned.
    """

    folder: Path
    data: Path
    task: Task
    profile_folder: Path
    profile: DeviceProfile
    fitted: Fitted


def patient(call: Callable[[], Result]) -> Result:
    """Call again where the machine was too noisy, as a user would; skip when it stays so."""
    for attempt in range(_N_ATTEMPTS):
        try:
            return call()
        except TooNoisy as error:
            if attempt == _N_ATTEMPTS - 1:
                pytest.skip(f"this machine is too noisy to measure on: {error}")
    raise AssertionError


def write_digits(folder: Path, n_classes: int = 4, n_per_class: int = 40) -> Path:
    """Class folders with real images: scikit-learn's digits as PNG files of 32x32."""
    digits = load_digits()
    for label in range(n_classes):
        (folder / str(label)).mkdir(parents=True)
        for index, image in enumerate(digits.images[digits.target == label][:n_per_class]):
            grey = Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8))
            grey.resize((32, 32)).save(folder / str(label) / f"{index:03d}.png")
    return folder


def tiny_profile(folder: Path) -> DeviceProfile:
    """A real profile of ten small networks, which hold every operator of the space."""
    chosen = [("mixed", s) for s in (0, 1, 5, 11)]
    chosen += [(precision, seed) for precision in ("fp32", "int8") for seed in (0, 1)]
    networks = [_planned("mbconv_random", precision, seed) for precision, seed in chosen]
    held_out = [_planned("squeezenet", precision, 0, True) for precision in ("fp32", "int8")]
    plan = Plan((*networks, *held_out), n_passes=6, block_s=0.01, n_profiled_runs=3)
    return profile_device(Target(), folder, plan=plan)


def _planned(family: str, precision: str, seed: int, held_out: bool = False) -> PlannedNetwork:
    return PlannedNetwork(family, precision, 32, 0.5, 16, seed, held_out)


def make_line(folder: Path) -> Line:
    """Data, profile and fit, all below one folder."""
    data = write_digits(folder / "data")
    profile = patient(lambda: tiny_profile(folder / "profile"))
    task = Task.from_folder(data, progress=QUIET)
    fitted = patient(
        lambda: fit(
            task,
            folder / "fit",
            limits=LIMITS,
            effort=TINY,
            profile=folder / "profile",
            data=str(data),
            command="edgekit fit mbconv",
            progress=QUIET,
        )
    )
    return Line(folder / "fit", data, task, folder / "profile", profile, fitted)


def copied_fit(line: Line, folder: Path) -> Path:
    """The finished ``fit`` in a folder that a test may change, as ``--quick`` would have made it.

    Of what ``--quick`` sets only the number of table networks differs, and those are measured.
    """
    shutil.copytree(line.folder, folder)
    path = folder / "run" / "run.json"
    document = json.loads(path.read_bytes())
    document["settings"]["n_table_networks"] = QUICK.n_table_networks
    path.write_text(json.dumps(document), "utf-8")
    return folder


def slower(entry: Evaluated, factor: float) -> Evaluated:
    """What the device would have said had it been slower by a factor."""
    latency, (low, high) = entry.latency, entry.latency.interval_s
    changed = replace(
        latency,
        label_s=latency.label_s * factor,
        p50_s=latency.p50_s * factor,
        p90_s=latency.p90_s * factor,
        p99_s=latency.p99_s * factor,
        interval_s=(low * factor, high * factor),
    )
    return replace(entry, latency=changed)


@dataclass(frozen=True)
class Finished:
    """What a command left: exit code and both streams."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        document = json.loads(self.stdout)
        assert isinstance(document, dict)
        return document


def edgekit(*arguments: str | Path, cwd: Path = ROOT) -> Finished:
    """Run the command line in a new process; again where it was too noisy."""
    command = [sys.executable, "-c", "from edgekit.cli import main; main()", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "300", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    for _ in range(_N_ATTEMPTS):
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != _TOO_NOISY:
            return Finished(done.returncode, done.stdout, done.stderr)
    pytest.skip(f"this machine is too noisy to measure on: {done.stderr}")
