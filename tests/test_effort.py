"""How long and at which rates networks are trained."""

from __future__ import annotations

import pytest

from edgekit.core.task import Task
from edgekit.effort import FULL, FULL_MODULE, Effort, effort_for
from edgekit.training.loop import TrainRecipe


def recipe(task: Task, n_epochs: float, *, is_pretrained: bool) -> TrainRecipe:
    made = FULL_MODULE.recipe(
        task, int(n_epochs * len(task.train)), 0, is_pretrained=is_pretrained
    )
    assert made
    return made


def test_no_images_are_no_training(digits_task: Task) -> None:
    assert FULL.recipe(digits_task, 0, 0, is_pretrained=False) is None


def test_filters_of_a_module_learn_anew_where_there_is_time_and_matrices_never(
    digits_task: Task,
) -> None:
    new = recipe(digits_task, 8, is_pretrained=False)
    short, long = (recipe(digits_task, n, is_pretrained=True) for n in (0.1, 8))
    assert short.filter_rate == pytest.approx(new.filter_rate / 4, rel=0.1)
    assert long.filter_rate == new.filter_rate
    assert short.learning_rate == long.learning_rate == new.learning_rate / 4


def test_only_a_module_is_trained_for_a_part_of_an_epoch(digits_task: Task) -> None:
    assert recipe(digits_task, 0.5, is_pretrained=True).n_epochs == pytest.approx(0.5, abs=0.01)
    assert recipe(digits_task, 0.5, is_pretrained=False).n_epochs == 1


@pytest.mark.parametrize("is_pretrained", [True, False])
@pytest.mark.parametrize("is_quick", [True, False])
def test_robot_trains_candidates_and_no_supernet(is_pretrained: bool, is_quick: bool) -> None:
    def effort(strategy: str) -> Effort:
        return effort_for(strategy, is_pretrained=is_pretrained, is_quick=is_quick)

    assert effort("robot").supernet_images == 0 < effort("robot").query_images
    assert effort("simq").supernet_images > 0 == effort("simq").query_images
    assert effort("robot").population == 1
