"""Measuring one candidate, against the runtime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest
import torch

from edgekit.core.candidate import Candidate
from edgekit.core.precision import Precision
from edgekit.core.target import Target
from edgekit.core.task import Split, Task
from edgekit.devices.probe import probe
from edgekit.search.evaluate import Evaluator, evenly, prepare
from edgekit.search.lowering import candidate_model, int8_blocks
from edgekit.search.spaces.mbconv import MBConvSpace
from edgekit.search.supernet import Supernet
from tests.line import patient

MIXED = Candidate((3, 6, 1, 0, 1, 0, 0, 1, 1, 1))


@pytest.fixture(scope="module")
def net(space: MBConvSpace) -> Supernet:
    """A supernet with random weights."""
    torch.manual_seed(0)
    return Supernet(space).to(memory_format=torch.channels_last)


def test_accuracy_is_what_the_runtime_counts_on_the_model(
    space: MBConvSpace, net: Supernet, small_task: Task
) -> None:
    weight_max = probe(Target()).int8_weight_max
    for candidate in (MIXED, space.largest(), space.smallest(Precision.INT8)):
        int8 = int8_blocks(space.decode(candidate))
        prepared = prepare(net.extract(candidate), int8, small_task, weight_max)
        accuracy = prepared.accuracy(small_task.validation, small_task.preprocessing, "validation")
        model = prepared.model(space, candidate).SerializeToString()
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        images = small_task.preprocessing.apply(small_task.validation.images)
        name = session.get_inputs()[0].name
        answers = [session.run(None, {name: image[None]})[0].argmax() for image in images]
        n_correct = int((np.array(answers) == small_task.validation.labels).sum())
        assert abs(accuracy.n_correct - n_correct) <= (2 if int8 else 0)
        assert (accuracy.n_images, accuracy.split) == (64, "validation")


def test_preparing_depends_on_neither_validation_nor_test(
    space: MBConvSpace, net: Supernet, small_task: Task
) -> None:
    blank = Split(np.zeros_like(small_task.validation.images), small_task.validation.labels)
    other = replace(small_task, validation=blank, test=blank)
    ranges = [prepare(net.extract(MIXED), ("stem",), t).ranges for t in (small_task, other)]
    assert ranges[0] == ranges[1]


def test_an_evaluation_measures_all_three_figures(
    space: MBConvSpace, net: Supernet, small_task: Task
) -> None:
    evaluate = Evaluator(space, net, small_task, Target())
    entry = patient(lambda: evaluate(MIXED))
    assert entry.candidate == MIXED
    assert entry.accuracy.n_images == 64
    # The label is fitted over blocks: on a busy machine it may lie a little above the median.
    assert entry.latency.label_s <= 1.1 * entry.latency.p50_s
    assert entry.latency.p50_s <= entry.latency.p90_s
    assert entry.latency.conditions.provider == "CPUExecutionProvider"
    assert entry.size_bytes == pytest.approx(candidate_model(space, MIXED).ByteSize(), rel=0.01)


def test_a_part_of_a_split_is_spread_over_all_of_it() -> None:
    split = Split(np.zeros((100, 1, 1, 3), np.uint8), np.arange(100))
    assert evenly(split, 100) is split
    assert evenly(split, 4).labels.tolist() == [0, 33, 66, 99]
