"""``edgekit split`` from the command to two halves that were measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgekit.core.errors import InputError
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.workflow import split_model
from tests.line import edgekit

pytestmark = pytest.mark.timeout(600)

MODULE = """
import torch
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
    nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
)
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(MODULE)
    return f"{path}:net"


def test_a_sweep_of_prices_gives_halves_that_were_measured(module: str, tmp_path: Path) -> None:
    out = tmp_path / "split"
    command = ["split", module, "--data", "digits", "--out", str(out), "--epochs", "1"]
    command += ["--channels", "4", "--price", "0.01", "--price", "1000", "--json"]
    done = edgekit(*command)
    assert done.exit_code == 0, done.stderr
    cheap, dear = done.json["splits"]
    assert 0 < dear["payload_bytes"] < cheap["payload_bytes"]
    assert dear["encoder_p50_s"] > 0
    for row in (cheap, dear):
        halves = Path(row["halves"])
        assert (halves / "device" / "encoder.onnx").is_file()
        assert (halves / "server" / "server.onnx").is_file()
        assert (halves / "proof.json").is_file()
    other = edgekit(*[part.replace("--epochs", "--seed") for part in command])
    assert other.exit_code == 2
    assert "a student keeps its recipe" in other.stderr


def test_a_place_that_is_no_cut_is_refused(module: str, tmp_path: Path) -> None:
    command = ["split", module, "--data", "digits", "--out", str(tmp_path / "split")]
    done = edgekit(*command, "--price", "1", "--cut", "middle")
    assert done.exit_code == 2
    assert "a network is cut where one tensor goes on" in done.stderr
    assert "got middle; choose one of these" in done.stderr
    assert not (tmp_path / "split").exists()


@pytest.mark.parametrize(
    ("net", "options", "rule"),
    [
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.LazyLinear(4)), {}, "answers 4"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), {}, "has no such place"),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.LazyLinear(10)), {}, "whole factor"),
        (None, {"betas": [1.0, -1.0]}, "price of a bit"),
        (None, {"cut": "middle"}, "got middle"),
    ],
)
def test_what_cannot_be_split_is_said_before_anything_is_written(
    net: nn.Module | None,
    options: dict[str, object],
    rule: str,
    digits_task: Task,
    tmp_path: Path,
) -> None:
    side = digits_task.preprocessing.resolution
    net = net or nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Flatten(), nn.LazyLinear(10))
    net(torch.zeros(2, 3, side, side))
    given = {"betas": [1.0], "progress": Progress(quiet=True)} | options
    with pytest.raises(InputError, match=rule):
        split_model(net, digits_task, tmp_path / "split", **given)  # type: ignore[arg-type]
    assert not (tmp_path / "split").exists()
