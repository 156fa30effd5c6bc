"""A student in its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import fx

from edgekit.core.errors import InputError
from edgekit.core.progress import Progress
from edgekit.core.task import Split, Task
from edgekit.split.bottleneck import BottleneckRecipe
from edgekit.split.cutting import cuts
from edgekit.split.student import Student
from edgekit.split.training import WEIGHTS, StudentRecipe, trained_student

QUIET = Progress(quiet=True)
RECIPE = StudentRecipe(0.1, 1, BottleneckRecipe((8, 8), 4, 3, 4, 16))


def test_a_student_is_trained_once_and_belongs_to_its_recipe(
    teacher: fx.GraphModule, digits_task: Task, tmp_path: Path
) -> None:
    train = Split(digits_task.train.images[:256], digits_task.train.labels[:256])
    task = replace(digits_task, train=train)

    def made(recipe: StudentRecipe) -> Student:
        place = cuts(teacher)[0]
        return trained_student(teacher, place, task, recipe, tmp_path, progress=QUIET)

    first = made(RECIPE)
    kept = (tmp_path / WEIGHTS).stat().st_mtime_ns
    again = made(RECIPE)
    assert (tmp_path / WEIGHTS).stat().st_mtime_ns == kept
    assert not list(tmp_path.glob("*.part"))
    states = first.state_dict(), again.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    with pytest.raises(InputError, match="a student keeps its recipe"):
        made(replace(RECIPE, beta=0.2))


@pytest.mark.parametrize("change", [{"beta": 0.0}, {"beta": float("inf")}, {"n_epochs": 0}])
def test_values_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match="are above 0"):
        replace(RECIPE, **change)
