"""Training a supernet into a folder, also across an interruption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgekit.core.errors import InputError
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.mbconv.supernet import Supernet
from edgekit.search.mbconv.supernet_training import train_supernet
from edgekit.search.networks import WEIGHTS
from edgekit.training.loop import TrainRecipe
from tests.search.synthetic import Stop, StoppingClock

RECIPE = TrainRecipe(n_epochs=4, batch_size=32, learning_rate=0.1, checkpoint_every=3)


def _train(space: MBConvSpace, task: Task, folder: Path, progress: Progress) -> Supernet:
    return train_supernet(space, task, RECIPE, folder, progress=progress)


@pytest.mark.parametrize("n_readings", [5, 13, 16])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    n_readings: int, space: MBConvSpace, small_task: Task, tmp_path: Path
) -> None:
    quiet = Progress(quiet=True)
    whole = _train(space, small_task, tmp_path / "whole", quiet)
    with pytest.raises(Stop):
        _train(space, small_task, tmp_path / "cut", Progress(clock=StoppingClock(n_readings)))
    assert not (tmp_path / "cut" / WEIGHTS).exists()
    resumed = _train(space, small_task, tmp_path / "cut", quiet)
    expected, got = whole.state_dict(), resumed.state_dict()
    assert [name for name in expected if not torch.equal(expected[name], got[name])] == []


def test_a_finished_supernet_is_loaded_and_leaves_one_file(
    space: MBConvSpace, small_task: Task, tmp_path: Path
) -> None:
    quiet = Progress(quiet=True)
    first = _train(space, small_task, tmp_path, quiet)
    assert [path.name for path in tmp_path.iterdir()] == [WEIGHTS]
    again = _train(space, small_task, tmp_path, Progress(clock=StoppingClock(0)))
    expected, got = first.state_dict(), again.state_dict()
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_nested_sampling_has_one_part(
    space: MBConvSpace, small_task: Task, tmp_path: Path
) -> None:
    """The same images and steps; other weights, and one file in the end."""
    quiet = Progress(quiet=True)
    sandwich, nested = (
        train_supernet(space, small_task, recipe, tmp_path / recipe.sampling, progress=quiet)
        for recipe in (RECIPE, replace(RECIPE, sampling="nested"))
    )
    pairs = zip(sandwich.parameters(), nested.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)
    assert [path.name for path in (tmp_path / "nested").iterdir()] == [WEIGHTS]


def test_the_supernet_of_another_space_is_refused(
    space: MBConvSpace, small_task: Task, tmp_path: Path
) -> None:
    quiet = Progress(quiet=True)
    _train(space, small_task, tmp_path, quiet)
    other = MBConvSpace(replace(space.recipe, head_width=32))
    with pytest.raises(InputError, match="space"):
        _train(other, small_task, tmp_path, quiet)
