"""A tiny space, its kernels as the runtime gives them, and a predictor of a known law."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgekit.core.candidate import Candidate
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.devices.networks.lowering import lower
from edgekit.devices.predicting.fitting import fit_predictor
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.devices.predicting.samples import NetworkSample
from edgekit.search.mbconv.costs import BlockKernels, BlockTable, compile_table, lower_blocks
from edgekit.search.mbconv.lowering import candidate_model
from edgekit.search.mbconv.networks import MBConvNetworks
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.mbconv.supernet import Supernet
from tests.devices.timed import law_s
from tests.search.synthetic import TINY, drawn


@pytest.fixture(scope="session")
def space() -> MBConvSpace:
    """Four positions at 32 pixels."""
    return MBConvSpace(TINY)


@pytest.fixture(scope="session")
def blocks(space: MBConvSpace) -> BlockKernels:
    """What ONNX Runtime runs for each block of the tiny space."""
    return lower_blocks(space, n_threads=1, progress=Progress(quiet=True))


@pytest.fixture(scope="session")
def predictor(space: MBConvSpace) -> KernelPredictor:
    """Fitted to ten networks of the space whose times follow a law."""
    return fit_predictor([sample_by_law(space, c) for c in drawn(space, 10, 0)], seed=0)


@pytest.fixture(scope="session")
def table(space: MBConvSpace, blocks: BlockKernels, predictor: KernelPredictor) -> BlockTable:
    """The compiled table of the tiny space."""
    return compile_table(blocks, predictor)


@pytest.fixture
def networks(space: MBConvSpace) -> MBConvNetworks:
    """The networks of the tiny space, with random weights."""
    networks = MBConvNetworks(space)
    torch.manual_seed(0)
    networks.net = Supernet(space).to(memory_format=torch.channels_last)
    return networks


@pytest.fixture(scope="session")
def small_task(digits_task: Task) -> Task:
    """Digits with 128 images for training and 64 for each other part but the test."""
    parts = {name: getattr(digits_task, name).evenly(64) for name in ("validation", "calibration")}
    return replace(digits_task, train=digits_task.train.evenly(128), **parts)


def sample_by_law(space: MBConvSpace, candidate: Candidate) -> NetworkSample:
    """A candidate as if it had been timed where the law holds."""
    kernels = tuple(placed.kernel for placed in lower(candidate_model(space, candidate)))
    times_s = np.array([law_s(kernel) for kernel in kernels])
    label_s = float(times_s.sum())
    family = f"family{sum(candidate.genes) % 2}"
    return NetworkSample(
        candidate.text, family, "mixed", kernels, label_s, (label_s, label_s), times_s
    )
