"""Measuring one candidate: its accuracy with int8 simulated, latency and size in the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from onnx import ModelProto
from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.figures import MeasuredAccuracy
from edgekit.core.precision import FULL_WEIGHT_MAX
from edgekit.core.target import Target
from edgekit.core.task import Preprocessing, Split, Task
from edgekit.devices.measuring.measure import LONG_PATIENCE_S, measure_models
from edgekit.devices.probe import probe
from edgekit.search.lowering import candidate_model, int8_blocks
from edgekit.search.network import MBConvNet
from edgekit.search.problem import Evaluated
from edgekit.search.spaces.mbconv import MBConvSpace
from edgekit.search.supernet import Supernet
from edgekit.training.augment import evaluation_batches
from edgekit.training.batchnorm import reestimate
from edgekit.training.layers import folded
from edgekit.training.simulate import Ranges, record_ranges, simulated

N_NORM_IMAGES = 1000
MAX_VALIDATION = 2500
SEARCH_INTERVAL = 0.15


@dataclass(frozen=True, slots=True)
class Prepared:
    """A network ready to be judged or lowered: batch norm folded, ranges known.

    Attributes:
        net: folded network in evaluation mode.
        ranges: MinMax ranges on the calibration split.
        int8_blocks: names of its int8 blocks.
        weight_max: largest magnitude of an int8 weight.
    """

    net: nn.Module
    ranges: Ranges
    int8_blocks: tuple[str, ...]
    weight_max: int

    def model(self, space: MBConvSpace, candidate: Candidate) -> ModelProto:
        """The network with its own weights and ranges, as the runtime is given it."""
        weights = {name: tensor.detach() for name, tensor in self.net.state_dict().items()}
        return candidate_model(space, candidate, weights, self.ranges, weight_max=self.weight_max)

    def accuracy(self, split: Split, preprocessing: Preprocessing, name: str) -> MeasuredAccuracy:
        """Top-1 on a split with int8 simulated."""
        n_correct = 0
        rounded = simulated(self.net, self.int8_blocks, self.ranges, weight_max=self.weight_max)
        with torch.no_grad(), rounded:
            for x, y in evaluation_batches(split, preprocessing):
                n_correct += int((self.net(x).argmax(1) == y).sum())
        return MeasuredAccuracy(n_correct, len(split), name)


def prepare(
    net: MBConvNet, int8: tuple[str, ...], task: Task, weight_max: int = FULL_WEIGHT_MAX
) -> Prepared:
    """Re-estimate batch norm on training images, fold it, and calibrate on the calibration split.

    Args:
        net: the network; its batch-norm statistics are replaced.
        int8: names of its int8 blocks.
        task: training and calibration splits are read.
        weight_max: largest magnitude of an int8 weight, 1..127.
    """
    reestimate(net, task.train, task.preprocessing, N_NORM_IMAGES)
    plain = folded(net)
    ranges = record_ranges(plain, task.calibration, task.preprocessing)
    return Prepared(plain, ranges, int8, weight_max)


class Evaluator:
    """Measures candidates of a supernet on this machine.

    Args:
        space: the space.
        net: trained supernet.
        task: training, calibration and validation splits are read; the test split never is.
        target: where latency is measured.
        known_fast_s: reference kernels when the target was profiled, as ``measure_models`` takes
            them.
    """

    def __init__(
        self,
        space: MBConvSpace,
        net: Supernet,
        task: Task,
        target: Target,
        known_fast_s: Sequence[float] = (),
    ) -> None:
        self._space, self._net, self._task, self._target = space, net, task, target
        self._known_fast_s = known_fast_s
        self._weight_max = probe(target).int8_weight_max
        self._validation = evenly(task.validation, MAX_VALIDATION)

    def __call__(self, candidate: Candidate) -> Evaluated:
        """Measure one candidate.

        Raises:
            TooNoisy: the latency could not be had.
        """
        net, task = self._net.extract(candidate), self._task
        int8 = int8_blocks(self._space.decode(candidate))
        prepared = prepare(net, int8, task, self._weight_max)
        accuracy = prepared.accuracy(self._validation, task.preprocessing, "validation")
        model = prepared.model(self._space, candidate)
        latency = measure_models(
            {candidate.text: model},
            self._target,
            max_relative_interval=SEARCH_INTERVAL,
            patience_s=LONG_PATIENCE_S,
            known_fast_s=self._known_fast_s,
        )[candidate.text]
        return Evaluated(candidate, accuracy, latency, model.ByteSize())


def evenly(split: Split, n_most: int) -> Split:
    """At most ``n_most`` images, spread evenly over a split whose order may follow the classes."""
    if len(split) <= n_most:
        return split
    index = np.linspace(0, len(split) - 1, n_most).astype(np.int64)
    return Split(split.images[index], split.labels[index])
