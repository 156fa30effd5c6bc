"""Measuring one candidate: its accuracy with int8 blocks in int8, latency and size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.errors import EvaluationFailed, InputError
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.measuring.measure import LONG_PATIENCE_S, measure_models
from edgekit.devices.probe import probe
from edgekit.search.evaluated import Evaluated
from edgekit.search.networks import Networks

MAX_VALIDATION = 2500
SEARCH_INTERVAL = 0.15


class Evaluator:
    """Measures candidates on this machine, with the weights they share.

    Args:
        networks: trained.
        task: training, calibration and validation splits are read; the test split never is.
        target: where latency is measured.
        known_fast_s: reference kernels when the target was profiled, as ``measure_models`` takes
            them.
        by_loss: rank by the loss on the calibration split, for weights that were not trained to be
            cut: of such networks many are right about as often as chance.
        trained: gives the network of a candidate; None takes it out of the shared weights.
    """

    def __init__(
        self,
        networks: Networks,
        task: Task,
        target: Target,
        known_fast_s: Sequence[float] = (),
        *,
        by_loss: bool = False,
        trained: Callable[[Candidate], nn.Module] | None = None,
    ) -> None:
        self._networks, self._task, self._target = networks, task, target
        self._known_fast_s, self._by_loss = known_fast_s, by_loss
        self._trained = trained or networks.extract
        self._weight_max = probe(target).int8_weight_max
        self._validation = task.validation.evenly(MAX_VALIDATION)

    def __call__(self, candidate: Candidate) -> Evaluated:
        """Measure one candidate.

        Raises:
            EvaluationFailed: the runtime refuses the network, or its loss is no number.
            TooNoisy: the latency could not be had.
        """
        try:
            entry = self._measured(candidate)
        except InputError as error:
            raise EvaluationFailed(str(error)) from error
        if not math.isfinite(entry.merit):
            raise EvaluationFailed(
                f"a loss must be finite, that of {candidate.text} is {entry.loss}; lower the "
                "learning rate of what trained the weights"
            )
        return entry

    def _measured(self, candidate: Candidate) -> Evaluated:
        net, task = self._trained(candidate), self._task
        prepared = self._networks.prepared(net, candidate, task, self._weight_max)
        accuracy = prepared.accuracy(self._validation, task.preprocessing, "validation")
        loss = None
        if self._by_loss:
            loss = prepared.loss(task.calibration, task.preprocessing)
        model = prepared.model()
        latency = measure_models(
            {candidate.text: model},
            self._target,
            max_relative_interval=SEARCH_INTERVAL,
            patience_s=LONG_PATIENCE_S,
            known_fast_s=self._known_fast_s,
        )[candidate.text]
        return Evaluated(candidate, accuracy, latency, model.ByteSize(), loss)
