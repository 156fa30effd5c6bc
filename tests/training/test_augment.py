"""Batches: what they show, and that a resumed run sees the same ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekit.core.task import Split, Task
from edgekit.training.augment import (
    augment,
    evaluation_batches,
    steps_per_epoch,
    to_tensor,
    training_batches,
)


def _windows(image: np.ndarray, pad: int, *, mirror: bool) -> set[bytes]:
    height, width, _ = image.shape
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    shown = set()
    for row in range(2 * pad + 1):
        for col in range(2 * pad + 1):
            window = padded[row : row + height, col : col + width]
            shown.add(window.tobytes())
            if mirror:
                shown.add(np.ascontiguousarray(window[:, ::-1]).tobytes())
    return shown


@pytest.mark.parametrize("mirror", [False, True])
def test_every_augmented_image_is_a_window_of_its_padded_source(mirror: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    before = images.copy()
    shown = augment(images, np.random.default_rng(1), mirror=mirror)
    assert shown.shape == images.shape
    assert shown.dtype == np.uint8
    assert (images == before).all()
    for source, result in zip(images, shown, strict=True):
        assert result.tobytes() in _windows(source, 2, mirror=mirror)


def test_mirror_images_appear_about_half_of_the_time_and_never_when_forbidden() -> None:
    columns = np.arange(0, 128, 8, dtype=np.uint8)
    ramp = np.broadcast_to(columns[None, None, :, None], (400, 16, 16, 3))
    falling = augment(ramp, np.random.default_rng(0), mirror=True)[:, 8, 5, 0] > 60
    assert 0.4 < falling.mean() < 0.6
    rising = augment(ramp, np.random.default_rng(0), mirror=False)[:, 8, 5, 0] < 60
    assert rising.all()


def test_tensor_equals_the_preprocessing_that_is_exported(digits_task: Task) -> None:
    images = digits_task.test.images[:8]
    x = to_tensor(images, digits_task.preprocessing)
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(x.numpy(), digits_task.preprocessing.apply(images), atol=2e-6)


def _batches(task: Task, first_step: int, **changes: int) -> list[tuple[int, bytes, bytes]]:
    settings = {"batch_size": 32, "seed": 5, "n_steps": 7} | changes
    batches = training_batches(
        task.train, task.preprocessing, first_step=first_step, mirror=True, **settings
    )
    return [(step, x.numpy().tobytes(), y.numpy().tobytes()) for step, x, y in batches]


def test_a_resumed_run_sees_the_batches_of_an_uninterrupted_one(small_task: Task) -> None:
    whole = _batches(small_task, 0)
    assert [step for step, _, _ in whole] == list(range(7))
    assert _batches(small_task, 4) == whole[4:]
    assert _batches(small_task, 0, seed=6) != whole


def test_an_epoch_shows_every_image_once_and_epochs_differ(small_task: Task) -> None:
    numbered = Split(small_task.train.images, np.arange(96))
    batches = training_batches(
        numbered,
        small_task.preprocessing,
        batch_size=32,
        seed=0,
        first_step=0,
        n_steps=6,
        mirror=False,
    )
    first, second = torch.cat([y for _, _, y in batches]).reshape(2, 96).tolist()
    assert sorted(first) == sorted(second) == list(range(96))
    assert first != second


def test_steps_count_whole_batches_and_never_none() -> None:
    assert steps_per_epoch(100, 32) == 3
    assert steps_per_epoch(10, 32) == 1


def test_a_batch_larger_than_the_data_holds_all_of_it(small_task: Task) -> None:
    shapes = [
        x.shape[0]
        for _, x, _ in training_batches(
            small_task.train,
            small_task.preprocessing,
            batch_size=500,
            seed=0,
            first_step=0,
            n_steps=2,
            mirror=False,
        )
    ]
    assert shapes == [96, 96]


def test_evaluation_keeps_the_order_and_leaves_nothing_out(small_task: Task) -> None:
    batches = list(evaluation_batches(small_task.train, small_task.preprocessing, 40))
    assert [len(y) for _, y in batches] == [40, 40, 16]
    labels = torch.cat([y for _, y in batches]).numpy()
    assert (labels == small_task.train.labels).all()
    whole = to_tensor(small_task.train.images, small_task.preprocessing)
    assert torch.equal(torch.cat([x for x, _ in batches]), whole)
