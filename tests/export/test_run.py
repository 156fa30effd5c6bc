from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edgekit.core.errors import InputError
from edgekit.core.task import Split, Task
from edgekit.devices.networks.graph import GraphBuilder
from edgekit.export.run import logits_of, measure_accuracy, measure_loss
from tests.export.conftest import Exported


def test_accuracy_is_counted_over_the_whole_split(exported: Exported, digits_task: Task) -> None:
    seen: list[int] = []
    found = measure_accuracy(
        exported.mixed,
        digits_task.test,
        digits_task.preprocessing,
        name="test",
        n_threads=2,
        update=seen.append,
    )
    logits = logits_of(
        exported.mixed, digits_task.preprocessing.apply(digits_task.test.images), n_threads=1
    )
    assert found.n_images == len(digits_task.test) == seen[-1]
    assert found.n_correct == (logits.argmax(1) == digits_task.test.labels).sum()
    assert found.split == "test"
    assert found.top1 > 0.85


def test_the_loss_is_the_mean_cross_entropy(exported: Exported, digits_task: Task) -> None:
    split, preprocessing = digits_task.calibration, digits_task.preprocessing
    logits = logits_of(exported.mixed, preprocessing.apply(split.images))
    expected = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(split.labels))
    found = measure_loss(exported.mixed, split, preprocessing, n_threads=2)
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_a_model_with_a_fixed_batch_runs_image_by_image() -> None:
    net = GraphBuilder("tiny", (1, 3, 8, 8))
    model = net.build(net.linear(net.flatten(net.global_pool(net.input)), 4))
    open_batch = net.build("linear", dynamic_batch=True)
    images = np.random.default_rng(0).standard_normal((5, 3, 8, 8), dtype=np.float32)
    np.testing.assert_allclose(logits_of(model, images), logits_of(open_batch, images), atol=1e-6)


def test_images_of_another_size_are_refused(exported: Exported) -> None:
    with pytest.raises(InputError, match=r"takes images \(3, 32, 32\), got \(3, 8, 8\)"):
        logits_of(exported.mixed, np.zeros((2, 3, 8, 8), np.float32))


def test_an_empty_split_and_an_unknown_class_are_refused(
    exported: Exported, digits_task: Task
) -> None:
    empty = Split(digits_task.test.images[:0], digits_task.test.labels[:0])
    with pytest.raises(InputError, match="the validation split has none"):
        measure_accuracy(exported.mixed, empty, digits_task.preprocessing, name="validation")
    strange = Split(digits_task.test.images[:3], np.array([1, 2, 10]))
    with pytest.raises(InputError, match="knows 10 classes, the test split has a label 10"):
        measure_accuracy(exported.mixed, strange, digits_task.preprocessing, name="test")
