"""Measuring one candidate, against the runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.core.candidate import Candidate
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.search.evaluate import Alone, Evaluator, Judge
from edgekit.search.evaluated import Evaluated
from edgekit.search.mbconv.lowering import candidate_model
from edgekit.search.mbconv.networks import MBConvNetworks
from tests.line import patient
from tests.search.synthetic import measured

MIXED = Candidate((3, 6, 1, 0, 1, 0, 0, 1, 1, 1))


def judge(networks: MBConvNetworks, task: Task, *, by_loss: bool = False) -> Judge:
    """Judges what is taken out of the shared weights."""
    return Judge(networks, task, Path(), 127, by_loss=by_loss)


def test_an_evaluation_measures_all_three_figures(
    networks: MBConvNetworks, small_task: Task
) -> None:
    crew, two = Alone(judge(networks, small_task), Progress(quiet=True)), "local?threads=2"
    evaluate = Evaluator(crew, [(Target(), ()), (Target(two), ())])
    entry, other = patient(lambda: evaluate(MIXED))
    assert replace(other, latency=entry.latency) == entry
    assert other.latency.conditions.n_threads == 2
    assert entry.candidate == MIXED
    assert entry.accuracy.n_images == 64
    # The label is fitted over blocks: on a busy machine it may lie a little above the median.
    assert entry.latency.label_s <= 1.1 * entry.latency.p50_s
    assert entry.latency.p50_s <= entry.latency.p90_s
    assert entry.latency.conditions.provider == "CPUExecutionProvider"
    assert entry.size_bytes == pytest.approx(
        candidate_model(networks.space, MIXED).ByteSize(), rel=0.01
    )
    assert entry.loss is None
    assert entry.merit == entry.accuracy.top1


def test_candidates_of_weights_that_were_not_trained_for_it_are_ranked_by_their_loss(
    networks: MBConvNetworks, small_task: Task
) -> None:
    entry = judge(networks, small_task, by_loss=True)(MIXED)
    prepared = networks.prepared(networks.extract(MIXED), MIXED, small_task)
    loss = prepared.loss(small_task.calibration, small_task.preprocessing)
    assert entry.loss == pytest.approx(loss)
    assert Evaluated(MIXED, entry.accuracy, measured(1e-3), 1, entry.loss).merit == -loss
