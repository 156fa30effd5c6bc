"""One small network, trained for seconds on the digits, exported once for all tests."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from onnx import ModelProto
from torch.nn import functional

from edgekit.core.candidate import Candidate
from edgekit.core.limits import Limits
from edgekit.core.precision import Precision
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.probe import probe
from edgekit.export.bundle import Bundle, write_bundle
from edgekit.export.manifest import Provenance, TaskRecord
from edgekit.export.onnx_model import export_onnx
from edgekit.export.parity import Probe, take_probe
from edgekit.export.quantise import quantise_blocks
from edgekit.search.mbconv.network import MBConvNet
from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace
from edgekit.search.space import int8_blocks
from edgekit.training.batchnorm import reestimate
from edgekit.training.loop import Step, TrainRecipe, train
from edgekit.training.simulate import block_paths, blocks_of

# operations, one of them a skip; then precisions: int8 in the stem, one block and the head
CANDIDATE = Candidate((2, 0, 0, 6, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1))


@dataclass(frozen=True)
class Exported:
    """What the tests look at."""

    space: MBConvSpace
    net: MBConvNet
    fp32: ModelProto
    mixed: ModelProto
    int8_blocks: tuple[str, ...]
    probe: Probe
    provenance: Provenance


@pytest.fixture(scope="session")
def exported(digits_task: Task) -> Exported:
    space = MBConvSpace(MBConvRecipe.quick(32, 10))
    architecture = space.decode(CANDIDATE)
    torch.manual_seed(0)
    net = MBConvNet(space, architecture)
    train_briefly(net, digits_task)
    fp32 = export_onnx(net, 32, block_paths(net))
    int8 = int8_blocks(space, CANDIDATE)
    images = digits_task.preprocessing.apply(digits_task.calibration.images)
    weight_max = probe(Target()).int8_weight_max
    provenance = Provenance(
        space=space.name,
        genes=CANDIDATE.genes,
        precisions={
            name: Precision.INT8 if name in int8 else Precision.FP32 for name in blocks_of(net)
        },
        limits=Limits.of("1s", "1MB"),
        target="local",
        device_fingerprint=probe(Target()).fingerprint,
        reference_fast_s=(),
        task=TaskRecord.of(digits_task),
        seeds={"training": 0},
    )
    return Exported(
        space,
        net,
        fp32,
        quantise_blocks(fp32, int8, images, weight_max=weight_max),
        int8,
        take_probe(net, fp32, int8, digits_task, weight_max=weight_max),
        provenance,
    )


def train_briefly(net: MBConvNet, task: Task) -> None:
    def objective(x: torch.Tensor, y: torch.Tensor, _: Step) -> float:
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        return float(loss.detach())

    recipe = TrainRecipe(3, batch_size=64, learning_rate=0.1, mirror=False)
    train(net, objective, task, recipe, progress=Progress(quiet=True), label="training")
    reestimate(net, task.train, task.preprocessing, 512)


@pytest.fixture(scope="session")
def written(
    exported: Exported, digits_task: Task, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of a bundle that tests leave as it is."""
    folder = tmp_path_factory.mktemp("bundles") / "digits"
    write(folder, exported, digits_task)
    return folder


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
    """Folder of a bundle that a test may change."""
    return Path(shutil.copytree(written, tmp_path / "bundle"))


def write(folder: Path, exported: Exported, task: Task) -> Bundle:
    return write_bundle(
        folder,
        model=exported.mixed,
        preprocessing=task.preprocessing,
        labels=task.labels,
        probe=exported.probe,
        provenance=exported.provenance,
    )
