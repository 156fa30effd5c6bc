"""``edgekit split`` from the command to two halves that were measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekit.cli_split import METHODS
from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.progress import Progress
from edgekit.core.task import Split as Data
from edgekit.core.task import Task
from edgekit.search.space import PRECISIONS
from edgekit.split.bottleneck import SMALL, BottleneckRecipe, Recipe
from edgekit.split.patches import PatchRecipe
from edgekit.split.searching import SEARCHED, EncoderSpace
from edgekit.split.training import recipe_in
from edgekit.splitting import split_model
from tests.line import Line, copied_fit, edgekit, patient

pytestmark = pytest.mark.timeout(600)

INT8 = ("--encoder-precision", "int8")
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
    command += ["--channels", "4", "--price", "0.0001", "--price", "0.05", "--json"]
    command += ["--encoder-precision", "int8"]
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
        assert "int8: trained for it" in (halves / "split.json").read_text()
    verified = edgekit("verify", dear["halves"], "--data", "digits", "--json")
    assert verified.exit_code == 0, verified.stderr
    same = ("top1_test", "payload_bytes", "largest_payload_bytes")
    assert {name: verified.json[name] for name in same} == {name: dear[name] for name in same}
    limited = edgekit("verify", dear["halves"], "--data", "digits", "--max-size", "1MB")
    assert limited.exit_code == 2
    assert "halves are verified without limits" in limited.stderr
    with (Path(dear["halves"]) / "device" / "encoder.onnx").open("ab") as file:
        file.write(b"x")
    changed = edgekit("verify", dear["halves"], "--data", "digits")
    assert changed.exit_code == 5
    assert "device/encoder.onnx must be the file that was written" in changed.stderr
    other = edgekit(*[part.replace("--epochs", "--seed") for part in command])
    assert other.exit_code == 2
    assert "a student keeps its recipe" in other.stderr


def test_an_encoder_is_searched_under_a_limit(module: str, line: Line, tmp_path: Path) -> None:
    out = tmp_path / "split"
    command = ["split", module, "--data", "digits", "--out", out, "--price", "0.001", "--json"]
    command += ["--profile", line.profile_folder, "--evaluations", "2"]
    command += ["--epochs", "0.1", "--query-epochs", "0.1"]
    done = edgekit(*command, "--max-encoder-latency", "1s")
    assert done.exit_code == 0, done.stderr
    (row,) = done.json["splits"]
    assert 0 < row["encoder_p50_s"] < 1
    best = min(json.loads((out / SEARCHED).read_text())["tried"].items(), key=lambda one: one[1])
    genes = Candidate.parse(best[0]).genes
    recipe = recipe_in(out / "price-0.001")
    assert recipe.sizes == EncoderSpace(32).sizes(genes)
    assert (recipe.int8_weight_max is not None) == (PRECISIONS[genes[-1]] == "int8")


def test_a_place_that_is_no_cut_is_refused(module: str, tmp_path: Path) -> None:
    command = ["split", module, "--data", "digits", "--out", str(tmp_path / "split")]
    done = edgekit(*command, "--price", "1", "--cut", "middle", "--method", "entropic-student")
    assert done.exit_code == 2
    assert "a network is cut where one tensor goes on" in done.stderr
    assert "got middle; choose one of these" in done.stderr
    assert not (tmp_path / "split").exists()


@pytest.mark.parametrize(
    ("net", "options", "rule"),
    [
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.LazyLinear(4)), {}, "answers 4"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), {"sizes": SMALL}, "has no such place"),
        (
            nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.LazyLinear(10)),
            {"sizes": SMALL},
            "whole factor",
        ),
        (None, {"betas": [1.0, -1.0]}, "price of a bit"),
        (None, {"cut": "middle", "sizes": SMALL}, "got middle"),
        (None, {"cut": "relu"}, "patches are made images again"),
        (None, {"betas": []}, "a split has prices of bits, or the encoder"),
        (None, {"encoder_of": "nowhere"}, "a split has prices of bits, or the encoder"),
        (None, {"betas": [], "encoder_of": "nowhere"}, "is not there"),
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


def test_a_network_of_a_run_is_split(line: Line, tmp_path: Path) -> None:
    out = tmp_path / "split"
    run = copied_fit(line, tmp_path / "fit") / "run"
    command = ["split", run, "--out", out, "--price", "1", "--epochs", "1", "--json"]
    done = edgekit(*command, "--finetune-epochs", "0")
    assert done.exit_code == 0, done.stderr
    (row,) = done.json["splits"]
    assert row["payload_bytes"] > 0
    refused = edgekit(*command, "--data", "digits")
    assert refused.exit_code == 2
    assert "a run has its data" in refused.stderr


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["--price", "1"], "a module is split with data"),
        (["--data", "digits", "--price", "1", "--candidate", "1-2"], "are for a run folder"),
        (["--data", "digits", "--price", "1", "--method", "best"], "a method is one of patches"),
        (
            ["--data", "digits", "--price", "1", "--method", METHODS[1], *INT8],
            "trained for int8 with patches only",
        ),
        (["--encoder-of", "other", *INT8, "--data", "digits"], "sizes and precision of another"),
        (["--price", "1", "--max-encoder-latency", "20us", *INT8], "patches and their precision"),
        (["--price", "1", "--max-encoder-latency", "20us"], "has a limit and a profile"),
        (["--max-encoder-latency", "20us"], "a search for an encoder needs --price"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str], rule: str, module: str, tmp_path: Path
) -> None:
    done = edgekit("split", module, "--out", tmp_path / "split", *options)
    assert done.exit_code == 2
    assert rule in done.stderr
    assert not (tmp_path / "split").exists()


@pytest.mark.parametrize("sizes", [PatchRecipe(8, 4, 4, 8), BottleneckRecipe((8, 8), 4, 3, 4, 16)])
def test_one_device_half_serves_a_second_network_of_other_classes(
    sizes: Recipe, digits_task: Task, tmp_path: Path
) -> None:
    """Ten digits, then even and odd ones."""

    def net(n_classes: int) -> nn.Module:
        torch.manual_seed(n_classes)
        first = (nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        second = (nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        return nn.Sequential(
            *first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, n_classes)
        )

    def parity(split: Data) -> Data:
        return Data(split.images, split.labels % 2)

    even = replace(
        digits_task,
        labels=("even", "odd"),
        train=parity(digits_task.train),
        validation=parity(digits_task.validation),
        calibration=parity(digits_task.calibration),
        test=parity(digits_task.test),
    )
    quiet = Progress(quiet=True)
    sizes = BottleneckRecipe((8, 8), 4, 3, 4, 16)
    (one,) = patient(
        lambda: split_model(
            net(10),
            digits_task,
            tmp_path / "ten",
            betas=[0.01],
            sizes=sizes,
            n_epochs=1,
            progress=quiet,
        )
    )
    source = tmp_path / "ten" / "price-0.01"
    (other,) = patient(
        lambda: split_model(
            net(2), even, tmp_path / "two", encoder_of=source, n_epochs=4, progress=quiet
        )
    )
    for path in (one.halves.folder / "device").iterdir():
        assert path.read_bytes() == (other.halves.folder / "device" / path.name).read_bytes()
    assert other.halves.tables.digest == one.halves.tables.digest
    assert other.halves.labels == ("even", "odd")
    assert other.proof.payload_bytes == one.proof.payload_bytes
    if isinstance(sizes, PatchRecipe):  # the other one learns what a network does, here nothing
        assert other.proof.accuracy.top1 > 0.6
    smaller = replace(even, preprocessing=replace(even.preprocessing, mean=(0.1, 0.1, 0.1)))
    with pytest.raises(InputError, match="takes the images it was made for"):
        split_model(net(2), smaller, tmp_path / "no", encoder_of=source, progress=quiet)
    assert not (tmp_path / "no").exists()
