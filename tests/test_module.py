"""A module of the user's on the command line: fitted, resumed, refused."""

from __future__ import annotations

import io
import json
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from edgekit import cli
from edgekit.core.errors import TooNoisy
from edgekit.search.elastic import kernels
from tests.line import WALLS, Line, edgekit, patient

pytestmark = pytest.mark.timeout(900)

MODEL = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width)

    def forward(self, x):
        y = self.norm1(self.conv1(x)).relu()
        return (x + self.norm2(self.conv2(y))).relu()


def net(seed=0, n_classes=4):
    torch.manual_seed(seed)
    start = [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), Block(16)]
    start += [nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()]
    end = [Block(32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, n_classes)]
    return nn.Sequential(*start, *end)


def other():
    return net(1)


def ten():
    return net(0, 10)


plain = net()
number = 3
"""
QUICK = ("--quick", "--evaluations", "3", "--epochs", "0")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "my_model.py"
    path.write_text(MODEL, "utf-8")
    return path


@pytest.fixture(scope="module")
def fitted(line: Line, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("module") / "fit"
    asked = (
        *("fit", f"{model}:net", "--data", line.data, "--profile", line.profile_folder),
        *("--out", out, "--finetune-epochs", "1"),
        *("--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"),
        *(*QUICK, *WALLS, "--json"),
    )
    document = patient(lambda: fitted_here(*asked))
    assert document["holds"]
    return out


def fitted_here(*asked: str | Path) -> dict[str, object]:
    """The command line in this process, where kernels are learnt of two networks."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr(kernels, "_LEAST", 2)
        patch.setattr(kernels, "_MOST", 2)
        patch.setattr(sys, "argv", ["edgekit", *map(str, asked)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    if stop.value.code == TooNoisy.exit_code:
        raise TooNoisy(printed.getvalue())
    assert not stop.value.code
    document: dict[str, object] = json.loads(printed.getvalue())
    return document


def test_fit_leaves_a_bundle_with_the_means_it_was_given(fitted: Path) -> None:
    preprocessing = json.loads((fitted / "bundle" / "preprocessing.json").read_bytes())
    assert preprocessing["mean"] == [0.5, 0.5, 0.5]
    manifest = json.loads((fitted / "bundle" / "manifest.json").read_bytes())
    assert manifest["provenance"]["space"] == "elastic"
    page = (fitted / "report.html").read_text("utf-8")
    assert "of 16 channels" in page or "as it was" in page


def test_a_run_of_a_module_goes_on_with_that_module_only(fitted: Path, model: Path) -> None:
    without = edgekit("resume", fitted / "run")
    assert without.exit_code == 2
    assert "no code is loaded from a run folder" in without.stderr
    other = edgekit("resume", fitted / "run", "--model", f"{model}:other")
    assert other.exit_code == 2
    assert "another graph or other weights" in other.stderr
    same = edgekit("resume", fitted / "run", "--model", f"{model}:plain")
    assert same.exit_code == 0, same.stderr
    assert re.match(r"[34] candidates measured", same.stdout)  # one more where fp32 was kept


def test_a_candidate_of_a_module_is_exported(fitted: Path, model: Path, tmp_path: Path) -> None:
    given = ("--model", f"{model}:net", "--out", tmp_path / "bundle", "--finetune-epochs", "0")
    done = edgekit("export", fitted / "run", *given)
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "bundle" / "model.onnx").is_file()


def test_a_run_of_a_built_in_space_takes_no_module(line: Line, model: Path) -> None:
    done = edgekit("resume", line.folder / "run", "--model", f"{model}:net")
    assert done.exit_code == 2
    assert "leave that out" in done.stderr


def test_a_built_in_space_has_to_be_trained(line: Line, tmp_path: Path) -> None:
    given = ("--data", line.data, "--out", tmp_path / "out", "--epochs", "0")
    done = edgekit("fit", "mbconv", *given)
    assert done.exit_code == 2
    assert "has no weights before it is trained" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("number", "must be a torch.nn.Module"),
        ("missing", "must be a torch.nn.Module"),
        ("ten", "the data have 4 classes at 32 pixels, the network has 10 at 32"),
    ],
)
def test_what_is_no_network_for_the_data_is_refused(
    line: Line, model: Path, tmp_path: Path, name: str, message: str
) -> None:
    given = ("--data", line.data, "--profile", line.profile_folder, "--out", tmp_path / "out")
    done = edgekit("fit", f"{model}:{name}", *given)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()
