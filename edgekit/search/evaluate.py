"""Measuring one candidate: its accuracy with int8 blocks in int8, latency and size.

candidate --> judged: trained, exported, its answers (here or by workers) --> timed, here and alone
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from onnx import ModelProto
from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.errors import EvaluationFailed, InputError
from edgekit.core.figures import MeasuredAccuracy
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.measuring.measure import LONG_PATIENCE_S, measure_models
from edgekit.devices.measuring.memory import known_memory_bytes
from edgekit.search.evaluated import Evaluated
from edgekit.search.finetuning import finetuned
from edgekit.search.networks import Networks
from edgekit.training.loop import TrainRecipe

MAX_VALIDATION = 2500
SEARCH_INTERVAL = 0.15


@dataclass(frozen=True, slots=True)
class Judged:
    """All of a candidate but its latency.

    Attributes:
        accuracy: on the validation split.
        loss: mean cross-entropy on the calibration split in nats, where candidates are ranked by
            it.
        model: the network as the runtime is given it.
    """

    accuracy: MeasuredAccuracy
    loss: float | None
    model: ModelProto


@dataclass(frozen=True, slots=True)
class Judge:
    """Finds what can be found of a candidate while other work goes on; may be sent to a process.

    Attributes:
        networks: trained.
        task: training, calibration and validation splits are read; the test split never is.
        folder: where the weights of candidates are kept that are trained alone.
        weight_max: largest magnitude of an int8 weight, 1..127.
        query: recipe of each candidate alone before it is judged; None takes it out of the shared
            weights.
        by_loss: rank by the loss on the calibration split, for weights that were not trained to be
            cut: of such networks many are right about as often as chance.
    """

    networks: Networks
    task: Task
    folder: Path
    weight_max: int
    query: TrainRecipe | None = None
    by_loss: bool = False

    def __call__(self, candidate: Candidate, progress: Progress | None = None) -> Judged:
        """Judge one candidate.

        Args:
            candidate: of the space.
            progress: where the bar of its training is drawn; None for nowhere.

        Raises:
            EvaluationFailed: the runtime refuses the network, or its loss is no number.
        """
        task = self.task
        try:
            net = self._trained(candidate, progress or Progress(quiet=True))
            prepared = self.networks.prepared(net, candidate, task, self.weight_max)
            validation = task.validation.evenly(MAX_VALIDATION)
            accuracy = prepared.accuracy(validation, task.preprocessing, "validation")
            loss = None
            if self.by_loss:
                loss = prepared.loss(task.calibration, task.preprocessing)
            model = prepared.model()
        except InputError as error:
            raise EvaluationFailed(str(error)) from error
        if loss is not None and not math.isfinite(loss):
            raise EvaluationFailed(
                f"a loss must be finite, that of {candidate.text} is {loss}; lower the learning "
                "rate of what trained the weights"
            )
        return Judged(accuracy, loss, model)

    def _trained(self, candidate: Candidate, progress: Progress) -> nn.Module:
        if self.query is None:
            return self.networks.extract(candidate)
        return finetuned(
            self.networks, self.folder, candidate, self.task, self.query, progress=progress
        )


class Crew(Protocol):
    """Who judges the candidates of a search."""

    def ahead(self, candidates: Sequence[Candidate]) -> None:
        """Be told what will be asked for next, in that order."""

    def judged(self, candidate: Candidate) -> Judged:
        """Wait for what is found of a candidate; raises as ``Judge`` does."""

    def paused(self) -> AbstractContextManager[None]:
        """Nobody uses this machine inside, so that latency can be measured."""


@dataclass(frozen=True, slots=True)
class Alone:
    """Judges one candidate after the other, in this process.

    Attributes:
        judge: what it does.
        progress: where bars are drawn.
    """

    judge: Judge
    progress: Progress

    def ahead(self, candidates: Sequence[Candidate]) -> None:
        """Nothing is begun before it is asked for."""

    def judged(self, candidate: Candidate) -> Judged:
        """See ``Crew``."""
        return self.judge(candidate, self.progress)

    def paused(self) -> AbstractContextManager[None]:
        """Nothing else goes on."""
        return nullcontext()


class Evaluator:
    """Measures candidates on this machine.

    Args:
        crew: judges them.
        targets: where latency is measured, each with the reference kernels of when it was
            profiled, as ``measure_models`` takes them.
        with_memory: whether peak memory is measured too.
    """

    def __init__(
        self,
        crew: Crew,
        targets: Sequence[tuple[Target, Sequence[float]]],
        *,
        with_memory: bool = False,
    ) -> None:
        self._crew, self._targets, self._with_memory = crew, targets, with_memory

    def __call__(self, candidate: Candidate) -> list[Evaluated]:
        """Measure one candidate: an entry for each target, which differ in latency and memory.

        Raises:
            EvaluationFailed: the runtime refuses the network, or its loss is no number.
            TooNoisy: a latency could not be had.
        """
        judged = self._crew.judged(candidate)
        try:
            with self._crew.paused():
                latencies = [
                    measure_models(
                        {candidate.text: judged.model},
                        target,
                        max_relative_interval=SEARCH_INTERVAL,
                        patience_s=LONG_PATIENCE_S,
                        known_fast_s=known_fast_s,
                    )[candidate.text]
                    for target, known_fast_s in self._targets
                ]
            memories = [self._memory_bytes(judged.model, target) for target, _ in self._targets]
        except InputError as error:
            raise EvaluationFailed(str(error)) from error
        size_bytes = judged.model.ByteSize()
        return [
            Evaluated(candidate, judged.accuracy, latency, size_bytes, judged.loss, memory_bytes)
            for latency, memory_bytes in zip(latencies, memories, strict=True)
        ]

    def _memory_bytes(self, model: ModelProto, target: Target) -> int | None:
        return known_memory_bytes(model, target) if self._with_memory else None
